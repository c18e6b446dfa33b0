"""Training a network end to end on an archive: decode the labelled clips once, then descend on their pictures."""

import logging
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from models.heads.errors import LabelsError
from models.heads.feature_set import label_names
from models.heads.labels_table import check_classes, examples_of, read_labels
from models.heads.network_training import NetworkSettings, PictureSet, TrainedNetwork, train_network
from models.heads.networks import build_network, check_architecture, preprocessing_of, with_margin
from models.heads.saved import SavedHead, check_name, save
from pipelines.logs import log
from pipelines.training import TrainingSummary, Watch
from transforms.video.archive import find_videos
from transforms.video.clips import Clips, read_clips


@dataclass(frozen=True)
class NetworkRequest:
    """What training end to end is asked to do; see `reelbeam train --help`."""

    archives: tuple[str, ...]
    labels: Path
    output: Path
    architecture: str
    weights: Path | None
    side: int | None
    clip_frames: int
    settings: NetworkSettings


Decoding = Callable[[int], AbstractContextManager[Callable[[int], Any]]]


def run_network_training(request: NetworkRequest, watch: Watch, decoding: Decoding) -> TrainingSummary:
    """Trains a network on the labelled videos of an archive and saves it.

    Args:
        request: what to do.
        watch: gives a context manager that gives what is to be told of every epoch.
        decoding: the same for the number of decoded clips, given how many there are.

    Raises:
        ArchiveError, LabelsError, HeadError, ModelError: see there.
    """
    began = time.monotonic()
    check_name(request.output)
    check_architecture(request.architecture, request.weights)
    rows = read_labels(request.labels)
    uris = [video.uri for video in find_videos(request.archives)]
    examples = [example for example in examples_of(rows, uris) if example.split != "test"]
    if not examples:
        raise LabelsError(f"{request.labels} labels no part that is not kept for testing")
    check_classes(examples)
    labels = label_names(examples)
    model = build_network(
        request.architecture, len(labels), request.side, request.weights, request.settings.seed
    )  # fmt: skip
    p = preprocessing_of(model)
    with TemporaryDirectory(prefix="reelbeam-train-") as folder:
        workers = len(os.sched_getaffinity(0))
        with decoding(len(examples)) as done:
            into = Path(folder) / "pictures.u8"
            clips = read_clips(examples, with_margin(p), request.clip_frames, into, workers, done)
        if clips.failed:
            uri, reason = clips.failed[0]
            log(logging.WARNING, f"{len(clips.failed)} labelled parts give no picture, the first: {uri}: {reason}")
        check_classes(clips.examples)
        pictures = _picture_set(clips, labels)
        with watch() as watcher:
            trained = train_network(model, pictures, request.settings, watcher)
        about = _about(request, trained, pictures, p)
        save(trained.model, about, request.output)
        elapsed_s = time.monotonic() - began
        return TrainingSummary.of(request.output, request.architecture, about, trained.curve, elapsed_s)


def _picture_set(clips: Clips, labels: tuple[str, ...]) -> PictureSet:
    targets = np.array([[float(label in example.labels) for label in labels] for example in clips.examples], np.float32)
    several = any(len(example.labels) > 1 for example in clips.examples)
    return PictureSet(clips.pictures, clips.offsets, clips.examples, labels, targets, several)


def _about(request: NetworkRequest, trained: TrainedNetwork, clips: PictureSet, p: Any) -> SavedHead:
    best = trained.curve[trained.best_epoch - 1]
    told = {
        "architecture": request.architecture,
        "examples": len(trained.learned),
        "validation_examples": len(trained.val),
        "frames": int(np.diff(clips.offsets)[trained.learned].sum()),
        "epochs": len(trained.curve),
        "best_epoch": trained.best_epoch,
        "val_loss": best.val_loss,
        "val_accuracy": best.val_accuracy,
        "seed": request.settings.seed,
        "augmentation": asdict(request.settings.augmentation),
    }
    return SavedHead(
        kind="network",
        labels=clips.labels,
        multi_label=clips.multi_label,
        temperature=trained.temperature,
        thresholds=trained.thresholds,
        sampling=f"count:{request.clip_frames}",
        preprocessing=p,
        training=told,
    )
