"""Networks trained from pictures: decoding of labelled parts, augmentation, simple_cnn from scratch, fine-tuning."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.heads import network_training, saved
from models.heads.augmentation import Augmentation, augment, centre
from models.heads.early_stopping import Limits
from models.heads.errors import HeadError
from models.heads.labels_table import Example
from models.heads.network_training import NetworkSettings, PictureSet, clip_logits, train_network
from models.heads.networks import build_network, check_architecture, preprocessing_of, with_margin
from models.visual.preprocess import preprocess
from models.visual.spec import Preprocessing
from tests.conftest import Reelbeam, run_command
from tests.own_classes import labels_of, make_archive
from tests.test_own_classes import right
from tests.videos import picture
from transforms.decoder.clips import decode_part, read_clips

pytestmark = pytest.mark.slow

SMALL = Preprocessing(32, 32, crop_fraction=1.0)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_archive(tmp_path_factory.mktemp("own"))


def test_simple_cnn_learns_from_scratch(archive: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    labels, model = labels_of(archive, tmp_path / "train.csv", range(12)), tmp_path / "scratch.keras"
    done = run_command(
        "train", "--archive", archive, "--labels", labels, "--output", model, "--side", 32, "--epochs", 6,
        "--clip-frames", 4, "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert (done.json["kind"], done.json["labels"]) == ("simple_cnn", ["day", "night"])
    assert saved.read(model).backbone is None
    done = reelbeam("classify", "--archive", archive, "--catalog", tmp_path / "c", "--model", model, "--json")
    assert done.code == 0, done.err
    assert right(tmp_path / "c", range(12, 16)) >= 0.9, "chance is 0.5"
    val = labels_of(archive, tmp_path / "val.csv", range(12, 16))
    figures = run_command("evaluate", "--catalog", tmp_path / "c", "--labels", val, "--model", model, "--json").json
    assert figures["accuracy"] >= 0.9


def test_a_real_pretrained_backbone_is_fine_tuned(archive: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    """EfficientNet-Lite0 with its ImageNet weights, whole: trained, classified with, evaluated."""
    labels, model = labels_of(archive, tmp_path / "train.csv", range(12)), tmp_path / "tuned.keras"
    done = run_command(
        "train", "--archive", archive, "--labels", labels, "--output", model, "--architecture", "efficientnet_lite0",
        "--epochs", 4, "--clip-frames", 2, "--json", timeout_s=900,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.json["kind"] == "efficientnet_lite0" and saved.read(model).labels == ("day", "night")
    options = ("--catalog", tmp_path / "c", "--model", model, "--json")
    done = reelbeam("classify", "--archive", archive, *options, timeout_s=900)
    assert done.code == 0, done.err
    val = labels_of(archive, tmp_path / "val.csv", range(12, 16))
    assert run_command("evaluate", "--labels", val, *options).json["accuracy"] >= 0.8, "chance is 0.5"


def bright_and_dark(clips: int, frames: int = 3, side: int = 37) -> PictureSet:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 90, (clips * frames, side, side, 3))
    pictures[np.arange(clips * frames) // frames % 2 == 1] += 150
    examples = [Example(f"v{i}", 0, np.inf, (("dark", "light")[i % 2],), "", f"v{i}") for i in range(clips)]
    targets = np.eye(2, dtype=np.float32)[np.arange(clips) % 2]
    offsets = np.arange(0, clips * frames + 1, frames)
    return PictureSet(pictures.astype(np.uint8), offsets, examples, ("dark", "light"), targets, False)


def test_a_network_is_fine_tuned_and_the_same_again() -> None:
    """A pretrained one keeps its batch norms' statistics; two trainings give the same weights."""
    import keras

    clips = bright_and_dark(10, side=round(64 / 0.875))
    chosen = NetworkSettings(Limits(2, 5), learning_rate=1e-3, step_frames=2, batch_clips=4)
    weights = []
    for _ in range(2):
        keras.utils.set_random_seed(1)
        inputs = keras.Input((64, 64, 3))
        x = keras.layers.Conv2D(4, 3, strides=4)(inputs)
        norm = keras.layers.BatchNormalization(trainable=False)
        x = keras.layers.GlobalAveragePooling2D()(keras.layers.Activation("relu")(norm(x)))
        model = keras.Model(inputs, keras.layers.Dense(2)(x))
        trained = train_network(model, clips, chosen)
        assert np.array_equal(norm.moving_variance, np.ones(4))
        weights.append(trained.model.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))


def network_for(clips: PictureSet, side: int) -> Any:
    import keras

    keras.utils.set_random_seed(1)
    inputs = keras.Input((side, side, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, strides=4, activation="relu")(inputs))
    return keras.Model(inputs, keras.layers.Dense(len(clips.labels), name="logits")(x))


def test_fine_tuning_holds_a_batch_of_pictures_however_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Learning the last layer, gradient descent and validation, over pictures on a disk."""
    import tracemalloc

    monkeypatch.setattr(network_training, "PROBE_EPOCHS", 1)
    few, repeats = bright_and_dark(10, side=73), 120
    shape = (repeats * len(few.pictures), *few.pictures.shape[1:])
    pictures = np.memmap(tmp_path / "pictures.u8", np.uint8, "w+", shape=shape)
    for number in range(repeats):
        pictures[number * len(few.pictures) : (number + 1) * len(few.pictures)] = few.pictures
        pictures[number * len(few.pictures), 0, 0] = number  # or all would be copies of one clip
    count = repeats * len(few.examples)
    clips = PictureSet(
        pictures,
        np.arange(0, len(pictures) + 1, 3),
        [Example(f"v{i}", 0, np.inf, (few.labels[i % 2],), "", f"v{i}") for i in range(count)],
        few.labels,
        np.tile(few.targets, (repeats, 1)),
        False,
    )
    model = network_for(clips, side=64)
    chosen = NetworkSettings(Limits(1, 1), step_frames=2, probe_first=True, validation_share=0.5)
    tracemalloc.start()
    try:
        train_network(model, clips, chosen)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < pictures.nbytes / 3, f"{peak / 1e6:.0f} MB at the most, of {pictures.nbytes / 1e6:.0f} MB of pictures"


def test_logits_do_not_depend_on_where_batches_are_cut() -> None:
    """Clips of all lengths, in any order, against all of their pictures at once."""
    clips = bright_and_dark(30, side=73)
    clips = replace(clips, offsets=np.array([0, 1, 1, 40, 41, 80, 90]))
    model = network_for(clips, side=64)
    asked = np.array([5, 0, 2, 4])
    found = clip_logits(model, clips, asked)
    for index, logits in zip(asked, found, strict=True):
        pictures = centre(clips.clip(int(index)), 64, 64).astype(np.float32)
        np.testing.assert_allclose(logits, model.predict_on_batch(pictures), rtol=1e-4, atol=1e-4)


def test_pretrained_backbones_get_a_fresh_last_layer() -> None:
    model = build_network("efficientnet_lite0", 3, None, None, seed=0)
    assert model.output_shape == (None, 3) and model.input_shape == (None, 224, 224, 3)
    trainable = {weight.path.split("/")[0] for weight in model.trainable_weights}
    assert not any("batch_normalization" in name for name in trainable) and any("conv2d" in name for name in trainable)
    assert preprocessing_of(model).height == 224 and with_margin(preprocessing_of(model)).height == 256


@pytest.mark.parametrize(
    ("name", "weights", "what"),
    [
        ("simple_cmm", None, "did you mean simple_cnn"),
        ("ResNet50", Path("nowhere.h5"), "no weights file at nowhere.h5"),
        ("simple_cnn", Path(__file__), "trained from scratch"),
    ],
)
def test_what_cannot_be_trained(name: str, weights: Path | None, what: str) -> None:
    with pytest.raises(HeadError, match=what):
        check_architecture(name, weights)
    with pytest.raises(HeadError, match="no augmentation is called 'zoom'"):
        Augmentation.parse("flip,zoom")


def test_the_options_of_the_two_ways_do_not_mix(tmp_path: Path) -> None:
    for options, what in (
        ((), "give --catalog to train a head"),
        (("--archive", "a", "--head", "mlp"), "--head goes with --catalog"),
        (("--catalog", "c", "--side", "64"), "--side goes with --archive"),
    ):
        done = run_command("train", "--labels", "l.csv", "--output", "o.keras", *options)
        assert done.code == 2 and what in done.err


@given(st.integers(20, 400), st.integers(20, 400), st.integers(16, 120))
@settings(max_examples=20, deadline=None)
def test_the_centre_of_the_margin_is_what_classify_sees(height: int, width: int, side: int) -> None:
    """Within a pixel of rounding: the same scale, the same place."""
    p = Preprocessing(side, side, crop_fraction=0.875)
    rgb = picture(3, width, height) if min(height, width) > 45 else np.full((height, width, 3), 9, np.uint8)
    kept = preprocess(rgb, with_margin(p))
    middle = centre(kept[np.newaxis], side, side)[0]
    difference = np.abs(middle.astype(int) - preprocess(rgb, p))
    assert np.median(difference) <= 40


def test_augmentation_changes_what_it_is_asked_to() -> None:
    import tensorflow as tf

    pictures = tf.constant(np.stack([picture(i, 80, 80) for i in range(2)]))
    seed = tf.constant([1, 2], tf.int32)
    plain = augment(pictures, 64, 64, Augmentation.parse("none"), seed).numpy()
    assert np.allclose(plain, centre(pictures, 64, 64), atol=1e-3)
    seen = set()
    for number in range(8):
        flipped = augment(pictures, 64, 64, Augmentation.parse("flip"), tf.constant([number, 0], tf.int32)).numpy()
        seen.add(bool(np.allclose(flipped, plain[:, :, ::-1], atol=1e-3)))
        assert np.allclose(flipped, plain, atol=1e-3) or np.allclose(flipped, plain[:, :, ::-1], atol=1e-3)
    assert seen == {True, False}
    full = augment(pictures, 64, 64, Augmentation(), seed).numpy()
    assert full.shape == plain.shape and full.min() >= 0 and full.max() <= 255 and not np.allclose(full, plain)
    assert np.array_equal(full, augment(pictures, 64, 64, Augmentation(), seed).numpy()), "seeded"


def test_parts_are_decoded_from_where_they_are(archive: Path, tmp_path: Path) -> None:
    uri = str(archive / "cam0" / "day-00.mp4")
    whole = Example(uri, 0, np.inf, ("day",), "", uri)
    late = Example(uri, 2, 4, ("day",), "", uri)
    every = decode_part(whole, SMALL, 16)
    assert every.shape == (16, 32, 32, 3)
    assert np.array_equal(decode_part(late, SMALL, 8), every[8:])
    assert len(decode_part(whole, SMALL, 4)) == 4
    missing = Example(str(tmp_path / "gone.mp4"), 0, np.inf, ("day",), "", "g")
    clips = read_clips([late, missing, whole], SMALL, 8, tmp_path / "p.u8", workers=2)
    assert [e.start_s for e in clips.examples] == [2, 0] and clips.offsets.tolist() == [0, 8, 16]
    assert np.array_equal(clips.pictures[:8], every[8:])
    assert clips.failed[0][0].endswith("gone.mp4")
    with pytest.raises(HeadError, match="none of 1 labelled parts gives a picture"):
        read_clips([missing], SMALL, 8, tmp_path / "q.u8", workers=1)
