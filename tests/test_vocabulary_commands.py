"""Words as classes, run as a person runs it: relabel, classify and train on real clips with the default model."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from models.cache import cache_folder
from models.heads import saved
from models.visual import registry
from models.visual.bundle import ModelBundle, prepare
from models.vocabulary.head import content_key, keras_model, labels_of, vocabulary_head
from models.vocabulary.table import NONE_OF_THESE, Vocabulary, parse_vocabulary
from models.vocabulary.text_weights import text_weights
from pipelines.commands.demo_archive import demo_archive
from tests.conftest import Reelbeam, assert_whole, run_command
from tests.own_classes import write_labels
from tests.presets import save_clip, save_siglip
from tests.tables import contents
from tests.vocabulary_clips import ABSENT, PRESENT, SUBJECTS, csv_of_rows, shown, texts_of_rows
from transforms.catalog.reading.latest import latest_videos
from transforms.catalog.runs import Catalog

pytestmark = pytest.mark.slow

TABLE = "name,other_names,zh\nbicycle,bike;cycling,自行车\nrabbit,hare;bunny,兔子\npenguin,,企鹅\n"
CLIPS = ("bikes.mp4", "bigbuckbunny.mp4", "carphone_pristine.mp4")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    for name in CLIPS:
        shutil.copy(Path(demo_archive()) / name, folder)
    return folder


@pytest.fixture(scope="module")
def catalog(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's clips classified by the default model."""
    root = tmp_path_factory.mktemp("plain") / "catalog"
    done = run_command("classify", "--archive", archive, "--catalog", root)
    assert done.code == 0, done.err
    return root


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    save_clip(folder)
    return folder


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words.csv"
    path.write_text("\ufeff" + TABLE, encoding="utf-8")
    return path


def labels_by_video(root: Path) -> dict[str, dict[str, float]]:
    rows = latest_videos(Catalog(str(root)), ["uri", "labels"]).to_pylist()
    return {Path(row["uri"]).name: {one["label"]: one["score"] for one in row["labels"]} for row in rows}


def test_relabelling_with_words_gives_the_rows_of_classifying_with_them(
    archive: Path, catalog: Path, words: Path, tmp_path: Path, reelbeam: Reelbeam
) -> None:
    root = Path(shutil.copytree(catalog, tmp_path / "relabelled"))
    done = reelbeam("relabel", "--catalog", root, "--vocabulary", words, "--json")
    assert done.code == 0, done.err
    assert (done.json["ok"], done.json["skipped"]) == (3, 0) and done.json["model"] == str(words)
    assert "precision 0.80" in done.json["trust"] and "actions: not above chance" in done.json["trust"]
    fresh = tmp_path / "fresh"
    night = reelbeam("classify", "--archive", archive, "--catalog", fresh, "--vocabulary", words, "--json")
    assert night.code == 0, night.err
    assert night.json["trust"] == done.json["trust"]
    found, wanted = contents(root), contents(fresh)
    assert found["frames"] == wanted["frames"] and found["videos"] == wanted["videos"]
    labels = labels_by_video(root)
    assert {name for one in labels.values() for name in one} == {"bicycle", "rabbit", "penguin", NONE_OF_THESE}
    assert max(labels["bikes.mp4"].items(), key=lambda one: one[1] * (one[0] != NONE_OF_THESE))[0] == "bicycle"
    assert max(labels["carphone_pristine.mp4"], key=labels["carphone_pristine.mp4"].__getitem__) == NONE_OF_THESE


def test_the_next_night_has_nothing_to_do_and_other_words_have(
    archive: Path, catalog: Path, words: Path, tmp_path: Path, reelbeam: Reelbeam
) -> None:
    """The words decide the fingerprint: neither the file's name nor an emptied cache makes the archive new."""
    root = Path(shutil.copytree(catalog, tmp_path / "c"))
    cache = {"REELBEAM_CACHE": str(tmp_path / "cache")}
    assert reelbeam("relabel", "--catalog", root, "--vocabulary", words).code == 0
    moved = words.rename(tmp_path / "moved.csv")
    ask = ("--archive", archive, "--catalog", root, "--vocabulary", moved, "--json")
    plan = reelbeam("classify", *ask, "--dry-run", env=cache)
    assert plan.code == 0, plan.err
    assert (plan.json["files"], plan.json["skipped"]) == (0, 3)
    night = reelbeam("classify", *ask, env=cache)
    assert night.code == 0, night.err
    assert (night.json["skipped"], night.json["ok"]) == (3, 0)
    moved.write_text(TABLE + "car,,\n", encoding="utf-8")
    again = reelbeam("relabel", "--catalog", root, "--vocabulary", moved, "--json")
    assert (again.json["skipped"], again.json["ok"]) == (0, 3), again.err


def test_the_summary_says_how_far_words_can_be_trusted(
    catalog: Path, words: Path, tmp_path: Path, reelbeam: Reelbeam
) -> None:
    root = Path(shutil.copytree(catalog, tmp_path / "c"))
    done = reelbeam("relabel", "--catalog", root, "--vocabulary", words)
    assert "precision 0.80" in " ".join(done.out.split())
    index = reelbeam("index", "--catalog", root)
    assert index.code == 0, index.err
    hits = reelbeam("search", "--catalog", root, "bicycles", "--json")
    assert Path(hits.json[0]["uri"]).name == "bikes.mp4", hits.err


def test_words_and_clips_train_a_head(catalog: Path, words: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    root = Path(shutil.copytree(catalog, tmp_path / "c"))
    rows = [{"uri": "bigbuckbunny.mp4", "label": "rabbit"}, {"uri": "carphone_pristine.mp4", "label": NONE_OF_THESE}]
    labels, output = write_labels(tmp_path / "few.csv", rows), tmp_path / "few.keras"
    ask = ("train", "--catalog", root, "--vocabulary", words, "--labels", labels, "--output", output)
    done = reelbeam(*ask, "--json")
    assert done.code == 0, done.err
    assert done.json["clips"] == {"rabbit": 1} and done.json["labels"] == ["bicycle", "rabbit", "penguin"]
    about = saved.read(output)
    assert about.kind == "vocabulary" and about.multi_label and about.labels[-1] == NONE_OF_THESE and not about.content
    reelbeam("relabel", "--catalog", root, "--vocabulary", words)
    before = labels_by_video(root)
    after_run = reelbeam("relabel", "--catalog", root, "--model", output)
    assert after_run.code == 0, after_run.err
    after = labels_by_video(root)
    assert after["bigbuckbunny.mp4"]["rabbit"] > 0.5 > before["bigbuckbunny.mp4"]["rabbit"]
    assert after["carphone_pristine.mp4"][NONE_OF_THESE] > 0.5
    told = reelbeam(*ask)
    assert "with the words alone" in " ".join(told.out.split())
    evaluated = reelbeam("evaluate", "--catalog", root, "--labels", labels, "--model", output, "--json")
    assert evaluated.code == 0 and evaluated.json["per_class"]["rabbit"]["recall"] == 1, evaluated.err


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("name\n", "has no classes"),
        ("name\nnone of these\n", "is added to every vocabulary"),
        (None, "cannot read"),
    ],
)
def test_a_vocabulary_that_cannot_be_used_is_one_line(
    table: str | None, said: str, archive: Path, catalog: Path, tmp_path: Path, reelbeam: Reelbeam
) -> None:
    path = tmp_path / "bad.csv"
    if table is not None:
        path.write_text(table)
    for command in (("relabel",), ("classify", "--archive", archive)):
        done = reelbeam(*command, "--catalog", catalog, "--vocabulary", path)
        assert (done.code, done.out, done.err.count("\n")) == (1, "", 1) and said in done.err
    assert len(Catalog(str(catalog)).run_ids()) == 1


def test_options_that_do_not_go_together_are_wrong_usage(catalog: Path, words: Path, reelbeam: Reelbeam) -> None:
    assert reelbeam("relabel", "--catalog", catalog).code == 2
    both = reelbeam("relabel", "--catalog", catalog, "--vocabulary", words, "--model", "x.keras")
    assert both.code == 2 and "give --model" in both.err
    ask = ("--labels", words, "--output", "x.keras", "--vocabulary", words)
    for options, said in (
        (("--catalog", catalog, "--head", "mlp"), "--head does not go with --vocabulary"),
        (("--catalog", catalog, "--seed", 1), "--seed does not go with --vocabulary"),
        (("--archive", catalog), "--archive does not go with --vocabulary"),
    ):
        done = reelbeam("train", *ask, *options)
        assert done.code == 2 and said in done.err
    labels = write_labels(words.parent / "l.csv", [{"uri": "bikes.mp4", "label": "bycicle"}])
    done = reelbeam("train", "--catalog", catalog, "--vocabulary", words, "--labels", labels, "--output", "x.keras")
    assert done.code == 1 and "has no class 'bycicle' (is it 'bicycle'?)" in done.err


def vocabulary(table: str = TABLE) -> Vocabulary:
    return parse_vocabulary(table.encode(), "words.csv")


def test_none_of_these_is_what_the_best_class_leaves(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kernel, bias, embeddings = rng.normal(size=(6, 3)), rng.normal(size=3), rng.normal(size=(1, 9, 6))
    logits = np.asarray(keras_model(kernel, bias)([embeddings.astype(np.float32), np.ones((1, 9, 1), np.float32)]))
    scores = 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(scores[..., :3], 1 / (1 + np.exp(-(embeddings @ kernel + bias))), atol=1e-5)
    np.testing.assert_allclose(scores[..., 3], 1 - scores[..., :3].max(axis=-1), atol=1e-5)


def test_the_same_words_are_the_same_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From one cache and from another, which has the vectors of the labels' texts only; the night above has an empty one."""
    bundle = prepare("efficientnet_lite0", device="cpu")
    keys = [registry.find(str(vocabulary_head(vocabulary(), bundle, "one"))).key]
    if (texts := cache_folder() / "texts").is_dir():
        shutil.copytree(texts, tmp_path / "cache" / "texts")
    monkeypatch.setenv("REELBEAM_CACHE", str(tmp_path / "cache"))
    keys.append(registry.find(str(vocabulary_head(vocabulary(), bundle, "two"))).key)
    assert keys[0] == keys[1]
    assert content_key(vocabulary(TABLE + "car,,\n"), bundle) != content_key(vocabulary(), bundle)
    on_a_head = prepare(str(vocabulary_head(vocabulary(), bundle, "one")), device="cpu")
    assert content_key(vocabulary(), on_a_head) == content_key(vocabulary(), bundle), "a head below changes nothing"
    np.testing.assert_array_equal(
        text_weights(vocabulary(), on_a_head).kernel, text_weights(vocabulary(), bundle).kernel
    )


def test_a_model_with_numbers_for_classes_is_one_line(tmp_path: Path, archive: Path, reelbeam: Reelbeam) -> None:
    import keras

    inputs = keras.Input((16, 16, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(pooled)).save(tmp_path / "numbers.keras")
    (tmp_path / "words.csv").write_text(TABLE, encoding="utf-8")
    ask = ("--archive", archive, "--catalog", tmp_path / "c", "--vocabulary", tmp_path / "words.csv")
    done = reelbeam("classify", *ask, "--model", tmp_path / "numbers.keras")
    assert (done.code, done.err.count("\n")) == (1, 1) and "has numbers for classes" in done.err


def test_a_joint_model_scores_words_by_its_own_text_tower(
    preset: Path,
    archive: Path,
    tmp_path: Path,
    reelbeam: Reelbeam,
) -> None:
    """The rows of a classified archive hold what the towers say: scale x (prompt - mean label) . frame - log(labels)."""
    from models.text.joint import load_towers
    from models.text.registry import open_text_model
    from models.visual.sidecar import sidecar_path

    root, table = tmp_path / "joint", tmp_path / "words.csv"
    table.write_text("name\ndog\ncat\n")
    sidecar_path(preset).write_text(json.dumps({"labels": ["a", "cat", "dot"]}))
    ask = ("--archive", archive, "--model", preset, "--vocabulary", table, "--top-labels", 3)
    done = reelbeam("classify", *ask, "--catalog", root, "--json")
    assert done.code == 0, done.err
    assert "not measured" in done.json["trust"]
    frames = contents(root)["frames"]
    embeddings = np.array([row["embedding"] for row in frames])
    scale = float(np.exp(np.asarray(load_towers(preset).backbone.clip_head.logit_scale)))
    text = open_text_model("joint", preset)
    prompts = text.encode_queries([f"a photo of {name}" for name in ("dog", "cat")])
    others = text.encode_queries([f"a photo of a {name}" for name in ("a", "cat", "dot")]).mean(axis=0)
    wanted = 1 / (1 + np.exp(-(scale * embeddings @ (prompts - others).T - np.log(3))))
    found = [[{one["label"]: one["score"] for one in row["labels"]}[name] for name in ("dog", "cat")] for row in frames]
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_a_siglip_scores_words_by_its_own_sigmoid(tmp_path: Path) -> None:
    """The scores are those of the whole model for each prompt: sigmoid(scale x cosine + bias)."""
    from models.text.joint import load_towers

    folder = tmp_path / "siglip"
    save_siglip(folder)
    bundle = prepare(str(folder), cache_dir=tmp_path / "cache", device="cpu")
    use = text_weights(vocabulary("name\ndog\ncat\n"), bundle)
    assert not use.neutral_zero
    towers = load_towers(folder)
    pictures = np.random.default_rng(1).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    prepared = towers.preprocessor({"prompts": ["a photo of dog", "a photo of cat"], "images": pictures})
    inputs = {"images": prepared["images"], "token_ids": prepared["token_ids"]}
    embeddings = np.asarray(towers.backbone.get_vision_embeddings(prepared["images"]))
    embeddings = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    logits = np.asarray(towers.backbone(inputs)["vision_logits"])
    np.testing.assert_allclose(embeddings @ use.kernel + use.bias, logits, atol=1e-3)


def test_words_find_the_subjects_of_captioned_clips(shared: Path) -> None:
    """The figures that the summary tells, within what other machines may round differently."""
    from tests.retrieval_clips import embed_clip, open_model

    model = open_model(prepare("efficientnet_lite0", device="cpu"))
    rows = (*PRESENT, *ABSENT)
    use = text_weights(texts_of_rows(rows), model.bundle)
    assert use.neutral_zero
    found = {path.name: path for path in (shared / "captioned").glob("*/videos/*")}
    frames = [embed_clip(found[name], model, "2fps").embeddings @ use.kernel + use.bias for name in SUBJECTS]
    scores = np.stack([(1 / (1 + np.exp(-one))).mean(axis=0) for one in frames])
    targets = np.array(shown([row[0] for row in rows]))
    named = scores >= 0.5
    assert (named & targets).sum() / named.sum() >= 0.74, "precision, told as 0.80"
    assert (named & targets).sum() / targets.sum() >= 0.55, "recall, told as 0.63"
    assert csv_of_rows(rows).count("\n") == len(rows) + 1 == 49


def test_labels_of_a_head_end_with_none_of_these() -> None:
    assert labels_of(vocabulary()) == ("bicycle", "rabbit", "penguin", NONE_OF_THESE)


def test_a_vocabulary_s_head_is_a_bundle_like_any_other(catalog: Path, words: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(catalog, tmp_path / "c"))
    assert run_command("relabel", "--catalog", root, "--vocabulary", words).code == 0
    newest = Catalog(str(root)).newest_run()
    assert newest is not None
    bundle = ModelBundle.open(Path(Catalog(str(root)).model_folder(newest.config.model_fingerprint)))
    assert bundle.has_head and bundle.reach_frames == 0 and bundle.classifier() is None
    assert set(bundle.spec.threshold_of().values()) == {0.5}
    assert_whole(root)
