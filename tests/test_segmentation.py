"""`reelbeam train --masks` and `reelbeam evaluate --masks`, from a folder of masks to regions and a report."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.heads.augmentation import Augmentation
from models.heads.early_stopping import Limits
from models.regions import decoder
from models.regions.bundle import read_bundle
from models.regions.decoder import check_backbone
from models.regions.errors import MaskError
from models.regions.mask_folder import open_mask_folder, read_masks
from models.regions.mask_training import MaskTrainingSettings
from models.regions.opening import open_segmenter
from models.regions.segmenter import View
from tests.conftest import Reelbeam
from tests.html_pages import Page
from tests.masked_pictures import LABELS, noise_background, write_folder

EPOCHS = 4


def scenes(folder: Path, count: int, seed: int) -> Path:
    """Discs with stripes over made-up backgrounds."""
    rng = np.random.default_rng(seed)
    write_folder(folder, [noise_background((96, 128), rng) for _ in range(count)], count, seed, classes=1)
    return folder


@pytest.mark.slow
def test_masks_become_a_model_that_finds_regions(tmp_path: Path, reelbeam: Reelbeam) -> None:
    learned, others = scenes(tmp_path / "learned", 40, 1), scenes(tmp_path / "others", 6, 2)
    arguments = ("train", "--masks", learned, "--output", tmp_path / "model", "--epochs", EPOCHS)
    done = reelbeam(*arguments, "--curve", tmp_path / "curve.png", "--json")
    assert done.code == 0, done.err
    said = done.json
    assert said["labels"] == list(LABELS[:2]) and said["pictures"] + said["validation_pictures"] == 40
    assert (said["epochs"], said["engine"], said["note"]) == (EPOCHS, "litert", "")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")

    done = reelbeam("evaluate", "--masks", others, "--model", tmp_path / "model", "--report", tmp_path / "r", "--json")
    assert done.code == 0, done.err
    figures = done.json
    assert (figures["pictures"], figures["left_out"]) == (6, 0)
    assert figures["per_class"]["stripes disc"]["iou"] > 0.5, "a tenth of the pixels are its: guessing gives 0.1"
    assert json.loads((tmp_path / "r" / "figures.json").read_text()) == figures
    with (tmp_path / "r" / "pictures.csv").open(encoding="utf-8") as file:
        ious = [float(row["mean_iou"]) for row in csv.DictReader(file)]
    assert len(ious) == 6 and ious == sorted(ious)
    page = Page(tmp_path / "r" / "report.html")
    pictures = [about["src"] or "" for tag, about in page.elements if tag == "img"]
    assert len(pictures) == 6 and all(one.startswith("data:image/webp;base64,") for one in pictures)
    assert "stripes disc" in page.text and f"{figures['mean_iou']:.3f}" in page.text

    _check_regions(tmp_path / "model", others)
    done = reelbeam("evaluate", "--masks", learned, "--model", tmp_path / "model", "--json")
    assert done.json["pictures"] == said["validation_pictures"] and done.json["left_out"] == said["pictures"]
    assert done.json["mean_iou"] == pytest.approx(said["val_mean_iou"], abs=0.01), "LiteRT computes what Keras does"
    done = reelbeam(*arguments)
    assert done.code == 1 and "model exists; choose another folder, or remove it first" in done.err


def _check_regions(model: Path, masks: Path) -> None:
    """The regions of each picture are those that the evaluation counted."""
    segmenter, folder = open_segmenter(model), open_mask_folder(masks)
    assert segmenter.labels == ("stripes disc",)
    read = read_masks(folder, folder.pictures, read_bundle(model).spec.preprocessing)
    hits = union = 0
    for picture, target in zip(read.pictures, read.targets, strict=True):
        regions = segmenter.regions(View(picture, None, np.zeros(1, np.float32)))
        found = regions[0].mask if regions else np.zeros(target.shape, bool)
        hits, union = hits + (found & (target == 1)).sum(), union + (found | (target == 1)).sum()
    assert hits / union > 0.5


def _small_backbone(name: str, weights: Path | None) -> Any:
    """Frozen maps at the four strides of pictures of 64 x 64; their weights are drawn with the seed of the training."""
    import keras

    x = inputs = keras.Input((64, 64, 3))
    maps = []
    for stride in (4, 2, 2, 2):
        x = keras.layers.Conv2D(8, 3, strides=stride, padding="same", activation="relu")(x)
        maps.append(x)
    backbone = keras.Model(inputs, maps)
    backbone.trainable = False
    return backbone


@pytest.mark.slow
def test_the_same_masks_and_seed_give_the_same_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder's weights, the order of pictures and their changes, and what is exported; on a small backbone."""
    from contextlib import nullcontext

    from pipelines.jobs.train_masks import MaskRequest, run_mask_training

    monkeypatch.setattr(decoder, "_backbone", _small_backbone)
    scenes(tmp_path / "masks", 6, 3)
    settings = MaskTrainingSettings(Limits(1, 1), batch_pictures=4, augmentation=Augmentation(flip=True))
    for name in ("a", "b"):
        request = MaskRequest(tmp_path / "masks", tmp_path / name / "model", "efficientnet_lite0", None, settings)
        run_mask_training(request, lambda: nullcontext(lambda number, of, epoch: None))
    first, second = (read_bundle(tmp_path / name / "model") for name in ("a", "b"))
    assert first == second


@pytest.mark.slow
def test_what_cannot_be_trained_or_measured_is_said_in_one_line(tmp_path: Path, reelbeam: Reelbeam) -> None:
    folder = scenes(tmp_path / "masks", 3, 4)

    def refused(*arguments: object) -> str:
        done = reelbeam(*arguments)
        assert done.code in (1, 2) and "Traceback" not in done.err and done.out == ""
        return done.err.splitlines()[-1]

    train = ("train", "--masks", folder, "--output", tmp_path / "m")
    assert "--head does not go with --masks" in refused(*train, "--head", "mlp")
    assert "--archive does not go with --masks" in refused(*train, "--archive", folder)
    assert "simple_cnn has no pretrained feature maps" in refused(*train, "--architecture", "simple_cnn")
    assert "did you mean efficientnet_lite" in refused(*train, "--architecture", "efficientnet_lite")
    assert "Missing option '--model'" in refused("evaluate", "--masks", folder)
    assert "--labels does not go with" in refused("evaluate", "--masks", folder, "--labels", "x", "--model", "x")
    assert "no segmentation model at" in refused("evaluate", "--masks", folder, "--model", tmp_path / "none")
    assert "Missing option '--labels'" in refused("train", "--catalog", tmp_path, "--output", tmp_path / "m.keras")
    for mask in (folder / "masks").iterdir():
        mask.unlink()
    assert refused(*train).startswith("reelbeam: ") and "has no masks" in refused(*train)
    assert not (tmp_path / "m").exists()


def test_a_backbone_without_pretrained_weights_is_refused() -> None:
    with pytest.raises(MaskError, match="choose efficientnet_lite0"):
        check_backbone("simple_cnn", None)
