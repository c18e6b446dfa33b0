"""Where the CPU time goes: one process takes the archive's segments through every stage, each stage on its own clock.

    python -m tests.benchmarks.stages --minutes 10

CPU seconds, which a busy machine changes little; the share of Beam and of starting is what the whole command takes beyond
them. Prints one table; `--json FILE` keeps the figures.
"""

import argparse
import json
import pickle
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from models.visual.bundle import ModelBundle, prepare
from tests.benchmarks import generated_archive
from tests.command_line import reelbeam_command
from tests.measuring import measure
from transforms.archive.listing import find_videos
from transforms.catalog import schemas
from transforms.catalog.rows import chunks
from transforms.decoder import child, wire
from transforms.decoder.settings import DecoderSettings
from transforms.video import decode
from transforms.video.pixels import Painter
from transforms.video.probe import probe
from transforms.video.sampling import Sampling
from transforms.video.segments import Chunk, Segment, cut

STAGES = (
    "probe", "open", "seek", "demux", "decode", "convert and resize", "inference", "top labels",
    "copy between processes", "rows", "write",
)  # fmt: skip


class Clock:
    """CPU seconds by stage; a stage inside another stops the outer one's clock."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._open: list[str] = []
        self._since = time.process_time()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts the block as `name`."""
        self._settle()
        self._open.append(name)
        try:
            yield
        finally:
            self._settle()
            self._open.pop()

    def _settle(self) -> None:
        now = time.process_time()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def wrap(self, owner: Any, name: str, stage: str) -> None:
        """Counts every call of a function as a stage."""
        inner: Callable = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.stage(stage):
                return inner(*args, **kwargs)

        setattr(owner, name, timed)

    def wrap_opening(self, owner: Any, stage: str) -> None:
        """Counts the entering of `open_source` as a stage, not the block inside."""
        inner = owner.open_source

        @contextmanager
        def timed(path: str, stream: int) -> Iterator[Any]:
            with self.stage(stage):
                opened = inner(path, stream)
                source = opened.__enter__()
            try:
                yield source
            finally:
                with self.stage(stage):
                    opened.__exit__(None, None, None)

        owner.open_source = timed


def instrument(clock: Clock, engine: Any) -> None:
    """Puts the clock around the stages of a decoder child."""
    clock.wrap_opening(decode, "open")
    clock.wrap(decode, "find_start", "seek")
    clock.wrap(decode, "read_table", "demux")
    clock.wrap(Painter, "upright", "convert and resize")
    clock.wrap(engine, "infer", "inference")
    clock.wrap(child, "top", "top labels")


def profile(archive: Path, bundle: ModelBundle, sampling: Sampling, segment_s: int) -> tuple[Clock, int, float]:
    """(CPU by stage, frames, seconds of video) of the whole archive in this process."""
    clock = Clock()
    child.start(child.ChildSettings(str(bundle.path), True, sampling, 10, DecoderSettings(1)))
    assert child._state is not None
    instrument(clock, child._state.engine)
    frames, video_s = 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        for number, video in enumerate(find_videos([str(archive)], follow_links=True)):
            with clock.stage("probe"):
                info = probe(video.uri)
            segments = cut(video, info, sampling, Fraction(segment_s))
            results = [_run(clock, segment) for segment in segments]
            _write(clock, folder, bundle, Chunk(f"{number:020}", tuple(segments)), results)
            frames += sum(len(result.pts) for result in results)
            video_s += sum(segment.duration_s for segment in segments)
    return clock, frames, video_s


def _run(clock: Clock, segment: Segment) -> child.SegmentResult:
    with clock.stage("decode"):
        result = child.run_segment(segment, segment.video.uri)
    with clock.stage("copy between processes"):
        return pickle.loads(pickle.dumps(result))


def _write(clock: Clock, folder: str, bundle: ModelBundle, chunk: Chunk, results: list[Any]) -> None:
    features = [result.features for result in results]
    schema = schemas.frames_schema(bundle.spec.embedding_size, "float32")
    with clock.stage("rows"):
        rows = [chunks._Rows(result, result.features, 0) for result in results]
        outcomes = tuple(chunks._outcomes(chunk, rows))
        table = _table(outcomes, results, features, bundle, schema)
    with clock.stage("write"):
        metadata = {chunks.SEGMENTS_KEY: wire.encode_json(outcomes)}
        schemas.write_table(f"{folder}/{chunk.chunk_id}.parquet", table, schema, metadata=metadata)


def _table(outcomes: Any, results: list[Any], features: list[Any], bundle: ModelBundle, schema: pa.Schema) -> pa.Table:
    labels = pa.array(bundle.spec.labels, pa.string())
    parts = zip(outcomes, results, features, strict=True)
    return pa.Table.from_batches([chunks._frame_rows(*part, labels, schema) for part in parts], schema)


def whole_cpu_s(archive: Path, sampling: str) -> float:
    """CPU seconds of the whole command."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--archive", str(archive), "--follow-links", "--catalog", f"{folder}/catalog", "--sample", sampling]
        return measure(reelbeam_command("classify", *options)).cpu_s


def main() -> None:
    """Runs the profile."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--archive", type=Path)
    parser.add_argument("--sample", default="1fps")
    parser.add_argument("--segment-seconds", type=int, default=60)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--no-whole", action="store_true", help="leave the whole command out")
    chosen = parser.parse_args()
    archive = chosen.archive or generated_archive.build(chosen.minutes)
    bundle = prepare("efficientnet_lite0")
    whole_s = 0.0 if chosen.no_whole else whole_cpu_s(archive, chosen.sample)
    clock, frames, video_s = profile(archive, bundle, Sampling.parse(chosen.sample), chosen.segment_seconds)
    stages = {stage: clock.seconds[stage] for stage in STAGES}
    if whole_s:
        stages["Beam, starting, planning, pooling"] = whole_s - sum(stages.values())
    total_s = sum(stages.values())
    table = Table("stage", "CPU s", "share", "ms a frame", title=f"{video_s / 3600:.2f} h of video, {frames} frames")
    for name, seconds in [*stages.items(), ("all", total_s)]:
        table.add_row(name, f"{seconds:.2f}", f"{seconds / total_s:.1%}", f"{seconds / frames * 1000:.2f}")
    Console(file=sys.stdout).print(table)
    if chosen.json:
        chosen.json.write_text(json.dumps({"frames": frames, "video_s": video_s, "cpu_s": stages}))


if __name__ == "__main__":
    main()
