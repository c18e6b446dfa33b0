"""ScoreExamples: scores every labelled part of the videos of a catalog with a classifier."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics
from apache_beam.utils.shared import Shared
from numpy.typing import NDArray

from models.heads.calibration import uncalibrated
from models.heads.errors import HeadError
from models.visual.bundle import ModelBundle
from models.visual.engines.head import HeadEngine
from transforms.catalog.bundles import local_bundle
from transforms.catalog.reading.frames import embeddings_of, stored_scores
from transforms.catalog.reading.labelled_videos import LabelledVideo, frames_of, labelled_rows


@dataclass(frozen=True)
class ScoreSettings:
    """How parts are scored.

    Attributes:
        bundle: folder of the classifier's bundle, which all workers must reach; None to take the stored labels as
            scores.
        labels: names of the classes.
        temperature: number by which the classifier's logits are divided.
        multi_label: whether the classes are independent (sigmoid) or exclude each other (softmax).
    """

    bundle: str | None
    labels: tuple[str, ...]
    temperature: float
    multi_label: bool


@dataclass(frozen=True)
class ScoredExample:
    """The scores of a labelled part: means over its frames.

    Attributes:
        number: position of the part among all examples.
        scores: calibrated score of each class.
        raw_scores: score of each class before calibration.
        frames: number of sampled frames in the part.
        middle_s: time of its middle frame in seconds.
    """

    number: int
    scores: list[float]
    raw_scores: list[float]
    frames: int
    middle_s: float


class ScoreExamples(beam.PTransform):
    """Turns (number of its first example, batch of `LabelledVideo`s) into `ScoredExample`s."""

    def __init__(self, settings: ScoreSettings) -> None:
        super().__init__()
        self.settings = settings

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        """Applies the transform."""
        return batches | "Read and score" >> beam.ParDo(_ScoreBatch(self.settings))


class _ScoreBatch(beam.DoFn):
    def __init__(self, settings: ScoreSettings) -> None:
        self._settings = settings
        self._engine = Shared()
        self._frames = Metrics.counter("evaluate", "frames_scored")

    def process(self, batch: tuple[int, tuple[LabelledVideo, ...]]) -> Iterator[ScoredExample]:
        number, videos = batch
        engine = None
        if self._settings.bundle is not None:
            folder = self._settings.bundle
            engine = self._engine.acquire(lambda: HeadEngine(ModelBundle.open(local_bundle(folder))), tag=folder)
        for one in score_videos(number, videos, self._settings, engine):
            self._frames.inc(one.frames)
            yield one


def score_videos(
    number: int, videos: tuple[LabelledVideo, ...], settings: ScoreSettings, engine: HeadEngine | None
) -> Iterator[ScoredExample]:
    """Scores every labelled part. A head sees the whole video, as it does when an archive is classified.

    Args:
        number: number of the first part; the others follow.
        videos: the videos and their labelled parts.
        settings: how parts are scored.
        engine: scores embeddings; None to take the stored labels as scores.

    Raises:
        HeadError: a part has no sampled frame, or a score is not finite.
        OSError: stored frames cannot be read.
    """
    for labelled, rows in labelled_rows(videos, ["embedding" if engine is not None else "labels"]):
        times_s = rows["time_s"].to_numpy()
        scores = engine.scores(embeddings_of(rows["embedding"])) if engine else stored_scores(rows, settings.labels)
        if not np.isfinite(scores).all():
            raise HeadError(f"the classifier gives scores that are not finite for {labelled.video.uri}")
        raw = uncalibrated(scores, settings.temperature, settings.multi_label)
        for example in labelled.examples:
            inside = frames_of(example, times_s)
            shown = times_s[inside]
            yield ScoredExample(
                number,
                _floats(scores[inside]),
                _floats(raw[inside]),
                len(shown),
                float(shown[len(shown) // 2]),
            )
            number += 1


def _floats(scores: NDArray[np.floating[Any]]) -> list[float]:
    """Returns the means over the frames of scores [T, L]."""
    means: list[float] = scores.astype(np.float64).mean(axis=0).tolist()
    return means
