"""Trained heads as files: what they carry, what opens them, and what must not pass for their backbone."""

import zipfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from models.heads import saved
from models.heads.architectures import KINDS, Architecture, build, finished
from models.heads.errors import HeadError
from models.heads.out_of_distribution import Scenes, Statistics
from models.heads.saved import HEAD_ENTRY, SavedHead, is_head
from models.visual import registry
from models.visual.architectures import placeholder
from models.visual.backbone import Backbone, fingerprint_of_key
from models.visual.bundle import ModelBundle, prepare
from models.visual.engines.head import HeadEngine
from models.visual.engines.opening import open_engine
from models.visual.errors import ModelError

pytestmark = pytest.mark.slow

LABELS = ("crane", "none", "train")
SIZE = placeholder.EMBEDDING_SIZE


def backbone() -> Backbone:
    return Backbone("placeholder", None, fingerprint_of_key(registry.find("placeholder").key))


def head(kind: str = "linear") -> tuple[Any, SavedHead]:
    """An untrained head with weights large enough to tell frames apart."""
    architecture = Architecture(kind, hidden=8, window_frames=5)  # type: ignore[arg-type]
    learner = build(architecture, len(LABELS), Statistics(np.linspace(-0.1, 0.1, SIZE), 0.5, 0.2), seed=3)
    # So near that some of the frames below are of familiar scenes and others are not.
    model = finished(learner, architecture, Scenes(np.eye(8, SIZE, dtype=np.float32), neighbours=2, radius=0.9))
    about = SavedHead(
        kind=architecture.kind,
        labels=LABELS,
        temperature=0.7,
        thresholds=(0.2, 0.5, 0.9),
        backbone=backbone(),
        reach_frames=architecture.reach_frames,
        longest_s=3.0 if kind == "localization" else 0.0,
    )
    return model, about


def made(kind: str, tmp_path: Path) -> tuple[Any, SavedHead, ModelBundle]:
    model, about = head(kind)
    saved.save(model, about, tmp_path / "tank.keras")
    return model, about, prepare(str(tmp_path / "tank.keras"), cache_dir=tmp_path / "cache", device="cpu")


def expected(model: Any, about: SavedHead, embeddings: np.ndarray) -> np.ndarray:
    """Scores of a video's frames by Keras alone, all at once, softmax in NumPy."""
    logits = np.asarray(model([embeddings[np.newaxis], np.ones((1, len(embeddings), 1), np.float32)]))[0]
    if about.kind == "localization":
        return 1 / (1 + np.exp(-logits[:, : len(LABELS)] / about.temperature))
    powers = np.exp(logits / about.temperature - (logits / about.temperature).max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def sequence(frames: int) -> np.ndarray:
    return np.random.default_rng(frames).normal(size=(frames, SIZE)).astype(np.float32)


def test_a_head_is_a_file_that_keras_and_we_open(tmp_path: Path) -> None:
    import keras

    model, about = head("mlp")
    path = tmp_path / "models" / "tank.keras"
    saved.save(model, about, path)
    assert is_head(path) and saved.read(path) == about
    again = keras.models.load_model(path)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), again.get_weights(), strict=True))
    assert [p.name for p in path.parent.iterdir()] == ["tank.keras"]


def test_the_bundle_of_a_linear_head(tmp_path: Path) -> None:
    model, about, bundle = made("linear", tmp_path)
    assert (bundle.engine, bundle.has_head, bundle.reach_frames) == ("litert", True, 0)
    assert bundle.backbone == backbone() == prepare("placeholder", cache_dir=tmp_path, device="cpu").backbone
    assert bundle.spec.labels == LABELS and bundle.spec.threshold_of() == dict(zip(LABELS, (0.2, 0.5, 0.9)))
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    found = open_engine(bundle).infer(images)
    plain = open_engine(prepare("placeholder", cache_dir=tmp_path, device="cpu")).infer(images)
    assert np.array_equal(found.embeddings, plain.embeddings), "the backbone's, bit for bit"
    assert np.allclose(found.scores, expected(model, about, found.embeddings), atol=1e-5)
    kernel, bias = bundle.classifier()
    logits = np.exp(found.embeddings @ kernel + bias)
    assert np.allclose(logits / logits.sum(axis=1, keepdims=True), found.scores, atol=1e-5)
    labels, (below, _) = bundle.backbone_classifier()
    assert labels == placeholder.LABELS and np.array_equal(below, placeholder.classifier()[0])


@pytest.mark.parametrize("kind", KINDS)
def test_stored_embeddings_get_the_scores_of_the_whole_video(kind: str, tmp_path: Path) -> None:
    model, about, bundle = made(kind, tmp_path)
    engine = HeadEngine(bundle)
    for frames in (1, 2, 63, 64, 65, 150):
        embeddings = sequence(frames)
        assert np.allclose(engine.scores(embeddings), expected(model, about, embeddings), atol=1e-5), frames
    assert bundle.reach_frames == {"temporal": 2 + 1 + 2 + 4, "localization": 2 + 1 + 2 + 4 + 2}.get(kind, 0)


def test_a_temporal_head_reaches_as_far_as_it_says() -> None:
    model, about = head("temporal")
    before = sequence(40)
    after = before.copy()
    after[20] += 5
    changed = np.abs(expected(model, about, before) - expected(model, about, after)).max(axis=1) > 1e-6
    touched = np.flatnonzero(changed)
    assert touched.min() >= 20 - about.reach_frames and touched.max() <= 20 + about.reach_frames
    assert len(touched) > 5


def test_a_frame_alone_is_scored_the_same_in_a_picture_and_in_a_table(tmp_path: Path) -> None:
    _, _, bundle = made("mlp", tmp_path)
    images = np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    found = open_engine(bundle).infer(images)
    assert np.array_equal(HeadEngine(bundle).scores(found.embeddings), found.scores)


def test_another_backbone_is_an_error(tmp_path: Path) -> None:
    model, about = head()
    wrong = msgspec.structs.replace(about, backbone=Backbone("placeholder", None, "0" * 20))
    saved.save(model, wrong, tmp_path / "a.keras")
    with pytest.raises(ModelError, match=r"was trained on the features of placeholder 000000000000, and .* here is"):
        prepare(str(tmp_path / "a.keras"), cache_dir=tmp_path)
    gone = msgspec.structs.replace(about, backbone=Backbone(str(tmp_path / "gone.keras"), None, "0" * 20))
    saved.save(model, gone, tmp_path / "b.keras")
    with pytest.raises(ModelError, match=r"needs the features of .*gone\.keras: no model at"):
        prepare(str(tmp_path / "b.keras"), cache_dir=tmp_path)


def test_embeddings_of_another_size_are_an_error(tmp_path: Path) -> None:
    _, about = head()
    small = build(Architecture("linear"), len(LABELS), Statistics(np.zeros(7), 1.0, 1.0), seed=0)
    saved.save(small, about, tmp_path / "a.keras")
    with pytest.raises(ModelError, match=r"takes embeddings of 7 numbers and placeholder gives 32"):
        prepare(str(tmp_path / "a.keras"), cache_dir=tmp_path)


def test_files_that_are_no_head(tmp_path: Path) -> None:
    model, about = head()
    with pytest.raises(HeadError, match=r"let it end in \.keras"):
        saved.save(model, about, tmp_path / "tank.h5")
    (tmp_path / "text.keras").write_text("no zip")
    with pytest.raises(ModelError, match="is no classifier that `reelbeam train` saved"):
        saved.read(tmp_path / "text.keras")
    saved.save(model, msgspec.structs.replace(about, format_version=99), tmp_path / "new.keras")
    with pytest.raises(ModelError, match="written by a newer reelbeam"):
        saved.read(tmp_path / "new.keras")
    with zipfile.ZipFile(tmp_path / "odd.keras", "w") as archive:
        archive.writestr(HEAD_ENTRY, '{"format_version": 1, "kind": "other"}')
    with pytest.raises(ModelError, match="is no classifier"):
        saved.read(tmp_path / "odd.keras")
