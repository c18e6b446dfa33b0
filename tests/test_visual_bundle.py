"""Bundles: made once, whole or not at all, found again without TensorFlow, and named by all that decides the numbers."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.atomic_folder import ABANDONED_S
from models.visual import registry
from models.visual.architectures import efficientnet_lite, placeholder, simple_cnn
from models.visual.bundle import ModelBundle, fingerprints_of_model, prepare
from models.visual.engines.opening import open_engine
from models.visual.errors import ModelError

PREPARE = """
import json, sys
from pathlib import Path
from models.visual.bundle import prepare
from models.visual.engines.opening import open_engine
import numpy as np
bundle = prepare(sys.argv[2], cache_dir=Path(sys.argv[1]), device="cpu")
p = bundle.spec.preprocessing
open_engine(bundle, device="cpu").infer(np.zeros((1, p.height, p.width, p.channels), np.uint8))
print(json.dumps([bundle.fingerprint, "tensorflow" in sys.modules]))
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def bundle(cache: Path) -> ModelBundle:
    return prepare("placeholder", cache_dir=cache, device="cpu")


def in_a_process(cache: Path, model: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PREPARE, str(cache), model], stdout=subprocess.PIPE)


def answer(process: subprocess.Popen[bytes]) -> list[Any]:
    out, _ = process.communicate()
    assert process.returncode == 0
    return json.loads(out.splitlines()[-1])


def test_a_bundle_is_plain_files_that_work_anywhere(bundle: ModelBundle, tmp_path: Path) -> None:
    assert sorted(f.name for f in bundle.path.iterdir()) == ["classifier.npz", "graph.pb", "model.tflite", "spec.json"]
    moved = ModelBundle.open(Path(shutil.copytree(bundle.path, tmp_path / "elsewhere")))
    assert replace(moved, path=bundle.path) == bundle
    assert (bundle.engine, bundle.precision, bundle.spec) == ("litert", "float32", placeholder.SPEC)
    pictures = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
    here, there = open_engine(bundle).infer(pictures), open_engine(moved).infer(pictures)
    assert np.array_equal(here.embeddings, there.embeddings) and np.array_equal(here.scores, there.scores)


@pytest.mark.parametrize("model", ["placeholder", "efficientnet_lite0"])
def test_a_cached_bundle_needs_no_tensorflow(bundle: ModelBundle, cache: Path, model: str) -> None:
    if model == "efficientnet_lite0":  # made already, and 10 s to make again
        made = prepare(model, device="cpu")
        shutil.copytree(made.path, cache / "models" / made.fingerprint)
    fingerprint, tensorflow = answer(in_a_process(cache, model))
    assert fingerprint == fingerprints_of_model(model, device="cpu").bundle
    assert not tensorflow


@pytest.mark.slow
def test_two_processes_may_make_the_same_bundle_at_once(bundle: ModelBundle, tmp_path: Path) -> None:
    answers = [answer(process) for process in [in_a_process(tmp_path, "placeholder") for _ in range(2)]]
    assert [found[0] for found in answers] == [bundle.fingerprint] * 2
    assert [folder.name for folder in (tmp_path / "models").iterdir()] == [bundle.fingerprint]


def test_what_killed_processes_left_is_removed_and_a_torn_bundle_made_again(
    bundle: ModelBundle, tmp_path: Path
) -> None:
    old, new, torn = (tmp_path / "models" / name for name in (".making-old", ".making-new", bundle.fingerprint))
    for folder in (old, new, torn):
        folder.mkdir(parents=True)
        (folder / "graph.pb").write_bytes(b"half")
    long_ago = time.time() - 2 * ABANDONED_S
    os.utime(old, (long_ago, long_ago))
    again = prepare("placeholder", cache_dir=tmp_path, device="cpu")
    assert not old.exists() and new.exists()
    assert again.classifier() is not None and (again.path / "graph.pb").stat().st_size > 1000
    assert again.path.stat().st_mode & 0o777 == 0o755, "others may read it"


def test_everything_that_decides_the_numbers_is_in_the_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"other weights")
    found = [
        fingerprints_of_model("placeholder", device="cpu").bundle,
        fingerprints_of_model("placeholder", "float16", device="cpu").bundle,
        fingerprints_of_model("placeholder", "bfloat16", device="cpu").bundle,
        fingerprints_of_model("placeholder", "float32", device="gpu").bundle,
        fingerprints_of_model("placeholder", "float16", device="gpu").bundle,
        fingerprints_of_model("efficientnet_lite0", device="cpu").bundle,
        fingerprints_of_model("efficientnet_lite0", weights=str(weights), device="cpu").bundle,
        fingerprints_of_model("efficientnet_lite1", weights=str(weights), device="cpu").bundle,
        fingerprints_of_model("simple_cnn", device="cpu").bundle,
        fingerprints_of_model("ResNet50", device="cpu").bundle,
        fingerprints_of_model("ResNet50", weights=str(weights), device="cpu").bundle,
    ]
    assert found[0] == fingerprints_of_model("placeholder", "float32", device="cpu").bundle, "auto is float32 on a CPU"
    monkeypatch.setattr(placeholder, "SPEC", replace(placeholder.SPEC, labels=placeholder.LABELS[::-1]))
    found.append(fingerprints_of_model("placeholder", device="cpu").bundle)
    monkeypatch.setattr(efficientnet_lite, "imagenet_labels", lambda: ("other",))
    found.append(fingerprints_of_model("efficientnet_lite0", device="cpu").bundle)
    assert len(set(found)) == len(found)


def test_a_folder_without_a_bundle_says_so(tmp_path: Path, bundle: ModelBundle) -> None:
    with pytest.raises(ModelError, match="no model bundle in"):
        ModelBundle.open(tmp_path)
    (tmp_path / "spec.json").write_text('{"fingerprint": 5}')
    with pytest.raises(ModelError, match="no model bundle in"):
        ModelBundle.open(tmp_path)


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ModelError, match="set REELBEAM_CACHE"):
        prepare("placeholder", cache_dir=tmp_path / "file", device="cpu")


@pytest.mark.parametrize(
    ("model", "weights", "what"),
    [
        ("efficientnet_lite", None, "did you mean efficientnet_lite"),
        ("resnet50", None, r"did you mean ResNet50"),
        ("zzz", None, "known are efficientnet_lite0"),
        ("efficientnet_lite0", "/nowhere/w.pth", "no weights file at /nowhere/w.pth"),
        ("placeholder", __file__, "takes no weights"),
        ("efficientnet_lite0", __file__, "cannot read the weights in"),
        ("simple_cnn", __file__, "do not fit simple_cnn"),
    ],
)
def test_a_model_that_cannot_be_had_is_one_line(tmp_path: Path, model: str, weights: str | None, what: str) -> None:
    with pytest.raises(ModelError, match=what) as raised:
        prepare(model, weights=weights, cache_dir=tmp_path, device="cpu")
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.glob("models/*"))


def test_a_folder_in_the_way_does_not_hide_a_registered_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "placeholder").mkdir()
    assert registry.find("placeholder").key == placeholder.SPEC.to_json().decode()


def test_simple_cnn_says_that_it_knows_nothing_yet() -> None:
    assert "random weights until it is trained" in registry.find("simple_cnn").note


def test_simple_cnn_is_the_same_every_time_and_as_described() -> None:
    first, second = (simple_cnn.build(4, side=32) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first.get_weights(), second.get_weights(), strict=True))
    other = simple_cnn.build(4, side=32, seed=8)
    assert not np.array_equal(first.get_weights()[0], other.get_weights()[0])
    shapes = [w.shape for w in first.get_weights() if w.ndim > 1]
    assert shapes == [(3, 3, 3, 32), (3, 3, 32, 64), (3, 3, 64, 128), (4 * 4 * 128, 1024), (1024, 4)]


def test_simple_cnn_takes_weights_from_a_file(tmp_path: Path) -> None:
    trained = simple_cnn.build(10, seed=3)
    trained.save_weights(tmp_path / "w.weights.h5")
    loaded = simple_cnn.load(tmp_path / "w.weights.h5")
    picture = np.random.default_rng(0).uniform(0, 255, (1, 112, 112, 3)).astype(np.float32)
    embedding, scores = loaded.function(picture)
    assert np.allclose(scores, trained(picture), atol=1e-6)
    assert embedding.shape == (1, simple_cnn.EMBEDDING_SIZE)
