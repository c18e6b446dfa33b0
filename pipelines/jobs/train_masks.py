"""Trains a segmentation model on pictures with masks, and exports it as a bundle."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.heads.early_stopping import Watcher
from models.regions.bundle import TrainingFacts, check_free, fingerprint_of_weights, write_bundle
from models.regions.decoder import build_segmentation_network, check_backbone
from models.regions.dense_model import DenseModel
from models.regions.iou import figures_of
from models.regions.mask_folder import MaskLabels, open_mask_folder, read_masks
from models.regions.mask_training import (
    MaskTrainingSettings,
    TrainedDecoder,
    check_targets,
    split_by_name,
    train_decoder,
)
from models.regions.spec import BACKGROUND, SegmentationSpec
from models.visual.spec import Preprocessing

Watch = Callable[[], AbstractContextManager[Watcher]]


@dataclass(frozen=True)
class MaskRequest:
    """The request for training on masks; see `reelbeam train --help`."""

    masks: Path
    output: Path
    architecture: str
    weights: Path | None
    settings: MaskTrainingSettings


@dataclass(frozen=True)
class MaskTrainingSummary:
    """The result of a training on masks.

    Attributes:
        output: the folder of the model.
        architecture: the backbone.
        labels: names of the classes.
        pictures: number of pictures that it learned from.
        validation_pictures: number of pictures that it was validated on.
        epochs: number of epochs until it stopped.
        best_epoch: the epoch with the lowest validation loss.
        val_loss: validation loss of that epoch.
        val_accuracy: share of the validation pixels that are right.
        val_mean_iou: mean intersection over union on the validation pictures.
        val_iou: the same of each class; None for one that they neither show nor are taken for.
        engine: what runs the model.
        note: what a user should know of the model, or "".
        elapsed_s: wall time in seconds.
        curve: (loss, validation loss, validation accuracy) of each epoch.
    """

    output: str
    architecture: str
    labels: tuple[str, ...]
    pictures: int
    validation_pictures: int
    epochs: int
    best_epoch: int
    val_loss: float
    val_accuracy: float
    val_mean_iou: float
    val_iou: dict[str, float | None]
    engine: str
    note: str
    elapsed_s: float
    curve: list[tuple[float, float, float]]


def run_mask_training(request: MaskRequest, watch: Watch) -> MaskTrainingSummary:
    """Trains a decoder on a folder of pictures and masks, and writes its bundle.

    Args:
        request: what to do.
        watch: returns a context manager that yields a function to call with every epoch.

    Raises:
        MaskError: the pictures or masks cannot be used.
        HeadError: training gives no finite numbers.
        ModelError: the backbone or its weights cannot be loaded, or the folder to write is not empty.
    """
    began = time.monotonic()
    check_free(request.output)
    check_backbone(request.architecture, request.weights)
    folder = open_mask_folder(request.masks)
    learned, validated = (
        [folder.pictures[i] for i in indices]
        for indices in split_by_name(folder.pictures, request.settings.validation_share)
    )
    model = build_segmentation_network(
        request.architecture, len(folder.labels.names), request.weights, request.settings.seed
    )
    spec = spec_of_network(model, request.output.name, folder.labels)
    learning, validation = (read_masks(folder, part, spec.preprocessing) for part in (learned, validated))
    check_targets(learning.targets, folder.labels.names)
    with watch() as watcher:
        trained = train_decoder(model, learning, validation, request.settings, watcher)
    figures = _figures(request, spec, trained, len(learned), len(validated))
    bundle = write_bundle(
        DenseModel(spec, _probabilities(model)),
        fingerprint_of_weights(model.get_weights(), spec),
        request.output,
        TrainingFacts(tuple(one.key() for one in learned), {**figures, "seed": request.settings.seed}),
    )
    return MaskTrainingSummary(
        str(request.output),
        engine=bundle.engine,
        note=bundle.note,
        elapsed_s=time.monotonic() - began,
        curve=[(epoch.loss, epoch.val_loss, epoch.val_accuracy) for epoch in trained.curve],
        **figures,
    )


def spec_of_network(model: Any, name: str, labels: MaskLabels) -> SegmentationSpec:
    """Returns the spec of a network that sees all of a picture, scaled to its input without keeping the proportions."""
    height, width = model.input_shape[1:3]
    preprocessing = Preprocessing(height, width, "squash", crop_fraction=1.0, mean=(0.0,), std=(1.0,))
    ignored = (BACKGROUND,) if BACKGROUND in labels.names else ()
    return SegmentationSpec(name, preprocessing, labels.names, ignored, labels.palette)


def _probabilities(model: Any) -> Callable[[Any], Any]:
    import tensorflow as tf

    return lambda images: tf.nn.softmax(model(images, training=False))


def _figures(
    request: MaskRequest, spec: SegmentationSpec, trained: TrainedDecoder, learned: int, validated: int
) -> dict[str, Any]:
    best, found = trained.curve[trained.best_epoch - 1], figures_of(trained.validation_counts, spec.labels)
    return {
        "architecture": request.architecture,
        "labels": spec.labels,
        "pictures": learned,
        "validation_pictures": validated,
        "epochs": len(trained.curve),
        "best_epoch": trained.best_epoch,
        "val_loss": best.val_loss,
        "val_accuracy": best.val_accuracy,
        "val_mean_iou": found["mean_iou"],
        "val_iou": {label: one["iou"] for label, one in found["per_class"].items()},
    }
