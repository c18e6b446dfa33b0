"""ScoreExamples: labelled videos of a catalog -> what a classifier says of every labelled part of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics
from apache_beam.utils.shared import Shared
from numpy.typing import NDArray

from models.visual.bundle import ModelBundle
from models.visual.head_engine import HeadEngine
from transforms.frame_rows import stored_scores, uncalibrated
from transforms.labelled_videos import LabelledVideo, frames_of, labelled_rows
from transforms.video.sequence_labels import embeddings_of


@dataclass(frozen=True)
class ScoreSettings:
    """How parts are scored.

    Attributes:
        bundle: folder of the classifier's bundle, which workers reach; None where the rows' own labels are its scores.
        labels: names of the classes.
        temperature: that the classifier's logits are divided by.
        multi_label: whether its classes are independent.
    """

    bundle: str | None
    labels: tuple[str, ...]
    temperature: float
    multi_label: bool


@dataclass(frozen=True)
class ScoredExample:
    """A labelled part and its scores: the means of its frames', calibrated and not; `number` is its place in the plan,
    `middle_s` the time of its middle frame.
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
            path = Path(self._settings.bundle)
            engine = self._engine.acquire(lambda: HeadEngine(ModelBundle.open(path)), tag=self._settings.bundle)
        for one in score_videos(number, videos, self._settings, engine):
            self._frames.inc(one.frames)
            yield one


def score_videos(
    number: int, videos: tuple[LabelledVideo, ...], settings: ScoreSettings, engine: HeadEngine | None
) -> Iterator[ScoredExample]:
    """Scores every labelled part; a head sees the whole video, as it does when an archive is classified."""
    for labelled, rows in labelled_rows(videos, ["embedding" if engine is not None else "labels"]):
        times_s = rows["time_s"].to_numpy()
        scores = engine.scores(embeddings_of(rows)) if engine else stored_scores(rows, settings.labels)
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
    """Means over the frames of scores [T, L]."""
    means: list[float] = scores.astype(np.float64).mean(axis=0).tolist()
    return means
