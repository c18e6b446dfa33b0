"""Memory of commands that look at all videos, against their number: `python -m tests.benchmarks.catalog_memory`.

A catalog of one small real night gets a night of made-up videos of two frames with 32 numbers each. Then `index`,
`train`, `relabel` and `verify` run as processes of their own. Reports the peak resident memory and the CPU time of each.
"""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import pyarrow as pa

from tests import videos
from tests.catalogs import write_files_table
from tests.command_line import ROOT, reelbeam_command
from transforms import storage
from transforms.catalog import schemas
from transforms.catalog.reading.latest import latest_frames, latest_videos
from transforms.catalog.records import Counts, StartedRun
from transforms.catalog.runs import Catalog
from transforms.storage import unfenced, video_id_of

FRAMES = 2
PER_FILE = 1000
LABELLED = 40


@click.command()
@click.option("--videos", "counts", default="25000,100000", show_default=True, help="Numbers of videos.")
@click.option("--only", default="index,train,relabel,verify", show_default=True, help="Commands to measure, in order.")
def main(counts: str, only: str) -> None:
    """Print the peak memory and the CPU seconds of some commands by the number of videos."""
    for count in map(int, counts.split(",")):
        with TemporaryDirectory() as folder:
            home = Path(folder)
            _make(home, count)
            for name in only.split(","):
                peak_mb, cpu_s = _measured(*_command(name, home))
                click.echo(f"| {count} | {name} | {peak_mb:.0f} MB | {cpu_s:.0f} s |")


def _command(name: str, home: Path) -> tuple[object, ...]:
    catalog = ("--catalog", home / "catalog")
    more = {
        "train": ("--labels", home / "labels.csv", "--output", home / "head.keras"),
        "relabel": ("--model", home / "head.keras"),
    }
    return (name, *catalog, *more.get(name, ()))


def _measured(*arguments: object) -> tuple[float, float]:
    process = subprocess.Popen(reelbeam_command(*arguments), cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise click.ClickException(f"{arguments[0]} ended with {status}")
    return usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime


def _make(home: Path, count: int) -> None:
    archive, root = home / "archive", str(home / "catalog")
    archive.mkdir()
    videos.encode(archive / "real.mp4", videos.RECIPES["mpeg4_mp4"], FRAMES, (64, 48))
    command = ("classify", "--archive", archive, "--catalog", root, "--model", "placeholder", "--decode-workers", "1")
    _measured(*command, "--thumbnail-seconds", "0")
    catalog = Catalog.open(root)
    real = catalog.runs()[-1]
    run = catalog.start_run(real.config, real.archives, datetime.now(UTC), unfenced)
    uris = [f"{archive}/{number % 500:03}/{number:08}.mp4" for number in range(count)]
    gone = schemas.write_table(
        storage.join(catalog.table_folder("gone", run.run_id), "part-00000.parquet"),
        schemas.GONE.empty_table(),
        schemas.GONE,
    )
    files = write_files_table(catalog, run.run_id, [gone, *_written(catalog, run, uris)])
    counts = Counts(count + 1, 1, count, 0, 0, 0)
    record = replace(
        real, run_id=run.run_id, started_at=run.started_at, counts=counts, frames=count * FRAMES, night="",
        files_sha256=files.sha256, files_count=files.rows,
    )  # fmt: skip
    catalog.commit(record, unfenced)
    lines = [f"{uri},{'one' if number % 2 else 'two'}" for number, uri in enumerate(uris[:LABELLED])]
    (home / "labels.csv").write_text("\n".join(["uri,label", *lines]) + "\n", encoding="utf-8")


def _written(catalog: Catalog, run: StartedRun, uris: list[str]) -> Iterator[schemas.FileRecord]:
    video = latest_videos(catalog).drop_columns(["run_id", "gone"])
    frame = pa.concat_tables(latest_frames(catalog)).slice(0, 1).drop_columns(["run_id"])
    size = run.config.embedding_size
    rng = np.random.default_rng(0)
    for first in range(0, len(uris), PER_FILE):
        some = uris[first : first + PER_FILE]
        vectors = rng.standard_normal((len(some) * FRAMES, size)).astype(np.float32)
        means = vectors.reshape(len(some), FRAMES, size).mean(axis=1)
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        names = {"video_id": [video_id_of(uri) for uri in some], "uri": some}
        shown = {**names, "fingerprint": some, "embedding": _lists(means), "frames_sampled": [FRAMES] * len(some)}
        places = np.arange(len(some) * FRAMES) % FRAMES
        moments = {"pts": places * 512, "time_s": places.astype(float), "embedding": _lists(vectors)}
        frames = {name: list(np.repeat(values, FRAMES)) for name, values in names.items()} | moments
        yield _file(catalog, run, "frames", first, _like(frame, frames))
        yield _file(catalog, run, "videos", first, _like(video, shown))


def _lists(vectors: np.ndarray) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float32).ravel()), vectors.shape[1])


def _like(row: pa.Table, changed: dict[str, object]) -> pa.Table:
    """Returns rows that are `row` but for some columns."""
    count = len(changed["video_id"])  # type: ignore[arg-type]
    repeated = row.slice(0, 1).take(pa.array(np.zeros(count, np.int64)))
    for name, values in changed.items():
        place = repeated.schema.get_field_index(name)
        field = repeated.schema.field(place)
        array = values if isinstance(values, pa.Array) else pa.array(values, field.type)
        repeated = repeated.set_column(place, field, array.cast(field.type))
    return repeated


def _file(catalog: Catalog, run: StartedRun, table: str, number: int, rows: pa.Table) -> schemas.FileRecord:
    schema = (
        schemas.videos_schema(run.config.embedding_size)
        if table == "videos"
        else schemas.frames_schema(run.config.embedding_size, run.config.embedding_dtype)
    )
    prefix = "part" if table == "videos" else "chunk"
    path = storage.join(catalog.table_folder(table, run.run_id), f"{prefix}-{number:016x}.parquet")
    return schemas.write_table(path, rows.select(schema.names).cast(schema), schema)


if __name__ == "__main__":
    main()
