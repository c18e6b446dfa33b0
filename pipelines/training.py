"""Training a head on a catalog: a Beam job gathers the labelled features, then gradient descent on this machine."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from models.heads.feature_set import FeatureSet
from models.heads.judging import Epoch, Watcher
from models.heads.labels_table import check_classes, read_labels
from models.heads.saved import SavedHead, check_name, save
from models.heads.training import TrainingSettings, train_head
from pipelines.work_folder import work_folder
from transforms.catalog.runs import Catalog
from transforms.gather_features import GatherFeatures, gathered
from transforms.labelled_videos import (
    LabelledVideo,
    batches,
    catalog_bundle,
    check_some,
    labelled_videos,
    newest_config,
)


@dataclass(frozen=True)
class HeadRequest:
    """What training is asked to do; see `reelbeam train --help`."""

    catalog: str
    labels: Path
    output: Path
    settings: TrainingSettings


@dataclass(frozen=True)
class TrainingSummary:
    """What training gave.

    Attributes:
        output: the saved file.
        kind: of head, or ``network``.
        labels: its classes.
        examples: it learned from.
        validation_examples: it was validated on.
        frames: it learned from.
        sampling: how they were chosen.
        epochs: until it stopped.
        best_epoch: with the lowest validation loss.
        val_loss: of that epoch.
        val_accuracy: of that epoch.
        temperature: that its logits are divided by.
        elapsed_s: wall time.
        curve: (loss, validation loss, validation accuracy) of each epoch.
    """

    output: str
    kind: str
    labels: tuple[str, ...]
    examples: int
    validation_examples: int
    frames: int
    sampling: str
    epochs: int
    best_epoch: int
    val_loss: float
    val_accuracy: float
    temperature: float
    elapsed_s: float
    curve: list[tuple[float, float, float]]

    @staticmethod
    def of(output: Path, kind: str, about: SavedHead, curve: Sequence[Epoch], elapsed_s: float) -> "TrainingSummary":
        """From what the saved file says of its training."""
        told: dict[str, Any] = about.training
        return TrainingSummary(
            output=str(output),
            kind=kind,
            labels=about.labels,
            examples=told["examples"],
            validation_examples=told["validation_examples"],
            frames=told["frames"],
            sampling=about.sampling,
            epochs=told["epochs"],
            best_epoch=told["best_epoch"],
            val_loss=told["val_loss"],
            val_accuracy=told["val_accuracy"],
            temperature=about.temperature,
            elapsed_s=elapsed_s,
            curve=[(e.loss, e.val_loss, e.val_accuracy) for e in curve],
        )


Watch = Callable[[], AbstractContextManager[Watcher]]


def run_training(request: HeadRequest, options: PipelineOptions, watch: Watch) -> TrainingSummary:
    """Trains a head on a catalog's features and saves it.

    Args:
        request: what to do.
        options: Beam's.
        watch: gives a context manager that gives what is to be told of every epoch.

    Raises:
        CatalogError, LabelsError, HeadError, ModelError: see there.
    """
    began = time.monotonic()
    check_name(request.output)
    rows = read_labels(request.labels)
    catalog = Catalog.open(request.catalog)
    config = newest_config(catalog)
    bundle = catalog_bundle(catalog, config)
    videos = [_learnable(video) for video in labelled_videos(catalog, rows)]
    videos = [video for video in videos if video.examples]
    check_some(videos)
    check_classes([example for video in videos for example in video.examples])
    with TemporaryDirectory(prefix="reelbeam-train-") as local, work_folder(catalog, "training") as shared:
        features = gather(videos, shared, Path(local) / "features.f32", options)
        with watch() as watcher:
            trained = train_head(features, request.settings, watcher)
        about = SavedHead(
            kind=request.settings.architecture.kind,
            labels=features.labels,
            multi_label=features.multi_label,
            temperature=trained.temperature,
            thresholds=trained.thresholds,
            sampling=config.sampling,
            backbone=bundle.backbone,
            reach_frames=request.settings.architecture.reach_frames,
            training=trained.about(features, request.settings),
        )
        save(trained.model, about, request.output)
        return TrainingSummary.of(request.output, about.kind, about, trained.curve, time.monotonic() - began)


def gather(videos: list[LabelledVideo], folder: str, into: Path, options: PipelineOptions) -> FeatureSet:
    """The features of labelled videos, memory-mapped from the local file `into`.

    Args:
        videos: whose features.
        folder: where the runner's workers put what they read.
        into: is written.
        options: Beam's.
    """
    parts = list(batches(videos))
    with beam.Pipeline(options=options) as pipeline:
        _ = (
            pipeline
            | "Batches" >> beam.Create(list(enumerate(parts)))
            | "Spread batches" >> beam.Reshuffle()
            | GatherFeatures(folder)
        )
    return gathered(folder, parts, into)


def _learnable(video: LabelledVideo) -> LabelledVideo:
    """Without the parts that are kept for testing."""
    return LabelledVideo(video.video, tuple(example for example in video.examples if example.split != "test"))
