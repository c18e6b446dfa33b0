"""Trains a network end to end on an archive: decodes the labelled clips once, then trains on their pictures."""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from models.cores import cores_of_process
from models.heads.errors import LabelsError
from models.heads.feature_set import label_names
from models.heads.labels_table import check_classes, examples_of
from models.heads.network_training import NetworkSettings, PictureSet, train_network
from models.heads.networks import build_network, check_architecture, preprocessing_of, with_margin
from models.heads.saved import FORMAT_VERSION, PICTURES_VERSION, SavedHead, check_name, save
from models.heads.trained import Trained
from models.visual.clip_spec import ClipSpec
from pipelines.jobs.train_head import TrainingSummary, Watch
from pipelines.terminal.logs import log
from transforms.archive.listing import find_videos
from transforms.catalog.bundles import written_locally
from transforms.catalog.reading.labelled_videos import read_labels
from transforms.decoder.clips import Clips, read_clips
from transforms.video.sampling import Sampling


@dataclass(frozen=True)
class NetworkRequest:
    """The request for training end to end; see `reelbeam train --help`.

    `clip` is what the clips of a network of clips hold; then `clip_frames` is the number of its clips of each part.
    """

    archives: tuple[str, ...]
    labels: str
    output: str
    architecture: str
    weights: Path | None
    side: int | None
    clip_frames: int
    settings: NetworkSettings
    clip: ClipSpec | None = None


Decoding = Callable[[int], AbstractContextManager[Callable[[int], Any]]]


def run_network_training(request: NetworkRequest, watch: Watch, decoding: Decoding) -> TrainingSummary:
    """Trains a network on the labelled videos of an archive and saves it.

    Args:
        request: what to do.
        watch: returns a context manager that yields a function to call with every epoch.
        decoding: takes the number of clips; returns a context manager that yields a function to call with the number of
            clips decoded so far.

    Raises:
        ArchiveError: the archive cannot be listed.
        LabelsError: the table of labels cannot be used.
        HeadError: no labelled part gives a picture, or training gives no finite numbers.
        ModelError: the architecture or its weights cannot be loaded.
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
        request.architecture, len(labels), request.side, request.weights, request.settings.seed, request.clip
    )
    p = preprocessing_of(model)
    with TemporaryDirectory(prefix="reelbeam-train-") as folder:
        workers = cores_of_process()
        with decoding(len(examples)) as done:
            into = Path(folder) / "pictures.u8"
            clips = read_clips(examples, with_margin(p), request.clip_frames, into, workers, done, request.clip)
        if clips.failed:
            uri, reason = clips.failed[0]
            log(logging.WARNING, f"{len(clips.failed)} labelled parts give no picture, the first: {uri}: {reason}")
        check_classes(clips.examples)
        pictures = _picture_set(clips, labels)
        with watch() as watcher:
            trained = train_network(model, pictures, request.settings, watcher)
        about = _about(request, trained, pictures, p)
        with written_locally(request.output) as path:
            save(trained.model, about, path)
        elapsed_s = time.monotonic() - began
        return TrainingSummary.of(request.output, request.architecture, about, trained.curve, elapsed_s)


def _picture_set(clips: Clips, labels: tuple[str, ...]) -> PictureSet:
    targets = np.array([[float(label in example.labels) for label in labels] for example in clips.examples], np.float32)
    several = any(len(example.labels) > 1 for example in clips.examples)
    return PictureSet(clips.pictures, clips.offsets, clips.examples, labels, targets, several)


def _about(request: NetworkRequest, trained: Trained, clips: PictureSet, p: Any) -> SavedHead:
    told = {
        "architecture": request.architecture,
        **trained.about(np.diff(clips.offsets)),
        "seed": request.settings.seed,
        "augmentation": asdict(request.settings.augmentation),
    }
    return SavedHead(
        kind="network",
        labels=clips.labels,
        multi_label=clips.multi_label,
        temperature=trained.temperature,
        thresholds=trained.thresholds,
        sampling=f"count:{request.clip_frames}" if request.clip is None else str(Sampling.of_clips(request.clip)),
        preprocessing=p,
        training=told,
        clip=request.clip,
        format_version=PICTURES_VERSION if request.clip is None else FORMAT_VERSION,
    )
