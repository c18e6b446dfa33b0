"""Trains a head on a catalog: a Beam job gathers the labelled features, then this machine trains on them."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from models.heads.early_stopping import Epoch, Watcher
from models.heads.errors import LabelsError
from models.heads.feature_set import FeatureSet
from models.heads.labels_table import LabelRow, check_classes, has_parts
from models.heads.localization_training import LabelledVideos, train_localization
from models.heads.saved import SavedHead, check_name, save
from models.heads.trained import Trained
from models.heads.training import TrainingSettings, train_head
from pipelines.jobs.work_folder import work_folder
from transforms.catalog.bundles import written_locally
from transforms.catalog.reading.labelled_videos import (
    BATCH_VIDEOS,
    LabelledVideo,
    batches,
    catalog_bundle,
    check_some,
    labelled_videos,
    newest_config,
    read_labels,
    videos_with_ranges,
)
from transforms.catalog.runs import Catalog
from transforms.gather_features import GatherFeatures, gathered, gathered_times


@dataclass(frozen=True)
class HeadRequest:
    """The request for training; see `reelbeam train --help`."""

    catalog: str
    labels: str
    output: str
    settings: TrainingSettings
    model: str | None = None


@dataclass(frozen=True)
class TrainingSummary:
    """The result of a training.

    Attributes:
        output: the saved file.
        kind: kind of head, or ``network``.
        labels: names of the classes.
        examples: number of examples that it was trained on.
        validation_examples: number of examples that it was validated on.
        frames: number of frames that it was trained on.
        sampling: how these frames were chosen.
        epochs: number of epochs until it stopped.
        best_epoch: the epoch with the lowest validation loss.
        val_loss: validation loss of that epoch.
        val_accuracy: validation accuracy of that epoch.
        temperature: the logits are divided by this.
        elapsed_s: wall time in seconds.
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
    def of(output: str, kind: str, about: SavedHead, curve: Sequence[Epoch], elapsed_s: float) -> "TrainingSummary":
        """Makes a summary from what the saved file says about its training."""
        told: dict[str, Any] = about.training
        return TrainingSummary(
            output=output,
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
        watch: returns a context manager that yields a function to call with every epoch.

    Raises:
        CatalogError: there is no catalog, or a file of it is damaged.
        LabelsError: the table of labels cannot be used.
        HeadError: the labelled parts have no frames, or training gives no finite numbers.
        ModelError: the model that made the features is missing.
    """
    began = time.monotonic()
    check_name(request.output)
    rows = read_labels(request.labels)
    catalog = Catalog.open(request.catalog, request.model)
    config = newest_config(catalog)
    bundle = catalog_bundle(catalog, config)
    with TemporaryDirectory(prefix="reelbeam-train-") as local, work_folder(catalog, "training") as shared:
        learn = _learn_ranges if request.settings.architecture.kind == "localization" else _learn_classes
        learned = learn(catalog, rows, _Work(request, shared, Path(local) / "features.f32", options, watch))
        about = SavedHead(
            kind=request.settings.architecture.kind,
            labels=learned.features.labels,
            multi_label=learned.features.multi_label,
            temperature=learned.trained.temperature,
            thresholds=learned.trained.thresholds,
            sampling=config.sampling,
            backbone=bundle.backbone,
            reach_frames=request.settings.architecture.reach_frames,
            longest_s=learned.longest_s,
            training={
                **learned.trained.about(learned.features.lengths),
                "seed": request.settings.seed,
                "architecture": asdict(request.settings.architecture),
            },
        )
        with written_locally(request.output) as path:
            save(learned.trained.model, about, path)
        return TrainingSummary.of(request.output, about.kind, about, learned.trained.curve, time.monotonic() - began)


@dataclass(frozen=True)
class _Work:
    """The request, where features are gathered, and how."""

    request: HeadRequest
    shared: str
    local: Path
    options: PipelineOptions
    watch: Watch


class _Learned(NamedTuple):
    trained: Trained
    features: FeatureSet
    longest_s: float = 0.0


def _learn_classes(catalog: Catalog, rows: Sequence[LabelRow], work: _Work) -> _Learned:
    videos = [learnable(video) for video in labelled_videos(catalog, rows)]
    videos = [video for video in videos if video.examples]
    check_some(videos)
    check_classes([example for video in videos for example in video.examples])
    features = gather(videos, work.shared, work.local, work.options)
    with work.watch() as watcher:
        return _Learned(train_head(features, work.request.settings, watcher), features)


def _learn_ranges(catalog: Catalog, rows: Sequence[LabelRow], work: _Work) -> _Learned:
    if not has_parts(rows):
        raise LabelsError(
            f"{work.request.labels} labels whole videos only: a localization head learns from parts, "
            "with start_s and end_s; or train a temporal head"
        )
    videos = [one for one in videos_with_ranges(catalog, rows) if one[1].example.split != "test"]
    check_some([labelled for labelled, _ in videos])
    features = gather([labelled for labelled, _ in videos], work.shared, work.local, work.options)
    features = replace(features, multi_label=True)  # a frame may be in several ranges or in none
    times_s = gathered_times(work.shared, -(-len(videos) // BATCH_VIDEOS))
    whole = LabelledVideos(features, times_s, tuple(video.ranges for _, video in videos))
    with work.watch() as watcher:
        return _Learned(train_localization(whole, work.request.settings, watcher), features, whole.longest_s)


def gather(videos: list[LabelledVideo], folder: str, into: Path, options: PipelineOptions) -> FeatureSet:
    """Gathers the features of labelled videos, memory-mapped from the local file `into`.

    Args:
        videos: the labelled videos.
        folder: folder into which the runner's workers write.
        into: the local file to write.
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


def learnable(video: LabelledVideo) -> LabelledVideo:
    """Removes the parts that are kept for testing."""
    return LabelledVideo(video.video, tuple(example for example in video.examples if example.split != "test"))
