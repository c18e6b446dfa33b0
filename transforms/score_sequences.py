"""ScoreSequences: labels the frames of whole videos with a temporal head and writes the frames files.

A temporal head scores a frame by the frames around it. It cannot run while segments are decoded, because those frames
may lie in another segment. Extraction therefore leaves its chunk files in the run's work folder. This transform reads
all segments of a video together and scores it from its first frame to its last, so the labels do not depend on how the
video was cut into segments.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.utils.shared import Shared

import transforms.elements  # noqa: F401 - registers the coders
from transforms import storage
from transforms.catalog import schemas
from transforms.catalog.attempt import UNFENCED, Attempt
from transforms.catalog.bundles import local_bundle
from transforms.catalog.reading.frames import FrameReader
from transforms.catalog.records import RunConfig
from transforms.catalog.rows.actions import action_rows, actions_table
from transforms.catalog.rows.chunks import SegmentOutcome, chunk_path, pack_outcomes, unpack_outcomes, worker_name
from transforms.catalog.rows.pooling import identity_of
from transforms.catalog.rows.sequence_labels import SequenceLabeller

FILES = "files"
"""Tag of the output with rows of the `files` table."""


@dataclass(frozen=True)
class SequenceSettings:
    """The head, and where it reads chunk files and writes frames files.

    Attributes:
        bundle: folder of the head's bundle.
        chunks_folder: folder of the chunk files.
        frames_folder: folder of the run's frames files.
        actions_folder: folder of the run's files of `actions`.
        config: what decides the rows.
    """

    bundle: str
    chunks_folder: str
    frames_folder: str
    actions_folder: str
    config: RunConfig


class ScoreSequences(beam.PTransform):
    """Turns (todo list number, packed outcomes) into the same, with the places of the final rows in the outcomes.

    It writes one frames file for each todo list, and one of `actions` if the head finds some.
    """

    def __init__(self, settings: SequenceSettings, attempt: Attempt = UNFENCED) -> None:
        super().__init__()
        self.settings = settings
        self.attempt = attempt

    def expand(self, outcomes: beam.PCollection) -> beam.pvalue.DoOutputsTuple:
        """Applies the transform."""
        return (
            outcomes
            | "By todo list" >> beam.GroupByKey()
            | "Score and write"
            >> beam.ParDo(_ScoreTodoList(self.settings, self.attempt)).with_outputs(FILES, main="outcomes")
        )


class _ScoreTodoList(beam.DoFn):
    def __init__(self, settings: SequenceSettings, attempt: Attempt) -> None:
        self._settings = settings
        self._attempt = attempt
        self._labeller = Shared()
        self._frames = Metrics.counter("sequences", "frames_scored")
        self._bad = Metrics.counter("sequences", "frames_bad")

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
        number, packed = element
        settings = self._settings
        labeller = self._labeller.acquire(
            lambda: SequenceLabeller(
                local_bundle(settings.bundle), settings.config.top_labels, settings.config.hedging
            ),
            tag=settings.bundle,
        )
        in_order = unpack_outcomes(packed)
        placed, records = score_todo_list(in_order, settings, labeller, self._attempt.require)
        scored, kept = (sum(outcome.rows for outcome in outcomes) for outcomes in (in_order, placed))
        self._frames.inc(scored)
        self._bad.inc(scored - kept)
        yield number, pack_outcomes(placed)
        for record in records:
            segments = len(placed) if record.table == "frames" else 0
            yield beam.pvalue.TaggedOutput(FILES, schemas.FileRow(*record, worker=worker_name(), segments=segments))


def score_todo_list(
    in_order: Sequence[SegmentOutcome],
    settings: SequenceSettings,
    labeller: SequenceLabeller,
    fence: storage.Fence = storage.unfenced,
) -> tuple[list[SegmentOutcome], list[schemas.FileRecord]]:
    """Labels the videos of a todo list and writes their frames into one file, named by the chunks that they come from.

    Frames are left out if the head gives no usable scores for them. They are added to the bad frames of their segment.

    Args:
        in_order: outcomes of all segments, sorted by video and segment.
        settings: where to read and write.
        labeller: the head.
        fence: asked before the file gets its name.

    Returns:
        The outcomes with the places of their rows in the new file, and the records of that file and, if the head finds
        actions, of theirs.

    Raises:
        OSError: a file cannot be read or written.
        Exception: what the fence raises.
    """
    name = hashlib.sha256("|".join(sorted({o.chunk_id for o in in_order})).encode()).hexdigest()[:20]
    kept: list[int] = []
    schema = schemas.frames_schema(labeller.bundle.spec.embedding_size, settings.config.embedding_dtype)
    path = chunk_path(settings.frames_folder, name)
    actions: list[dict[str, Any]] = []
    scored = _scored(in_order, settings, labeller, kept, actions)
    records = [schemas.write_table(path, scored, schema, fence=fence)]
    if actions:
        path = chunk_path(settings.actions_folder, name)
        records.append(schemas.write_table(path, actions_table(actions), schemas.ACTIONS, fence=fence))
    first_rows = accumulate(kept, initial=0)
    placed = [
        replace(o, chunk_id=name, first_row=first, rows=rows, bad_frames=o.bad_frames + o.rows - rows)
        for o, first, rows in zip(in_order, first_rows, kept, strict=False)
    ]
    return placed, records


def _scored(
    in_order: Sequence[SegmentOutcome],
    settings: SequenceSettings,
    labeller: SequenceLabeller,
    kept: list[int],
    actions: list[dict[str, Any]],
) -> Iterator[pa.RecordBatch]:
    """Yields labelled rows, one video after another.

    Appends the number of rows of each segment to `kept`, and rows of `actions` to `actions`.
    """
    reader = FrameReader()
    for _, group in groupby(in_order, key=lambda outcome: outcome.segment.video.uri):
        outcomes = list(group)
        parts = [
            reader.rows(chunk_path(settings.chunks_folder, o.chunk_id), o.first_row, o.rows) for o in outcomes if o.rows
        ]
        if not parts:
            kept += [0] * len(outcomes)
            continue
        labelled, keep, ranges = labeller.label(pa.concat_tables(parts).combine_chunks())
        if keep.any():
            actions += action_rows(identity_of(outcomes[0].segment.video), ranges, settings.config.model)
        ends = np.cumsum([outcome.rows for outcome in outcomes])
        kept += [int(part.sum()) for part in np.split(keep, ends[:-1])]
        yield from labelled.to_batches()
