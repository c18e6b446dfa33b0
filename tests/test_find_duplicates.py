"""`FindDuplicates` on an index of made-up vectors: names decide nothing, and a video meets a bounded number of others."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest

from models.duplicates.alignment import MIN_SCORE, Line
from models.retrieval.build import draft
from models.retrieval.errors import RetrievalError
from models.retrieval.manifest import publish_manifest
from models.retrieval.rows import VideoFrames
from tests.retrieval_archives import SOURCE, finish, write_shards
from transforms.collect import Collect, read_collected
from transforms.find_duplicates import (
    MOST_CANDIDATES,
    Candidate,
    FindDuplicates,
    FindSettings,
    Found,
    OpenFrames,
    best_of,
)

VIDEOS, SIZE = 24, 64


def built(root: Path, names: Callable[[int], str], order: int) -> FindSettings:
    """An index of copies of four films, each cut and turned in its own way; names and order are the caller's."""
    rng = np.random.default_rng(3)
    films = [
        np.repeat(rng.standard_normal((10, SIZE)), 4, axis=0) + 0.4 * rng.standard_normal((40, SIZE)) for _ in range(4)
    ]
    found = []
    for number in range(VIDEOS):
        film = films[number % 4][number // 4 :] + rng.standard_normal(SIZE) / 2
        frames = film + 0.4 * rng.standard_normal(film.shape)
        times_s = np.arange(len(frames), dtype=float)
        name = names(number)
        found.append(VideoFrames(name, f"/{name}.mp4", float(len(frames)), times_s, frames, {"run_id": "made up"}))
    root.mkdir()
    source = replace(SOURCE, embedding_size=SIZE)
    columns = pa.schema([("run_id", pa.string())])
    shards = write_shards(root, "i", source, found[::order], columns=columns, frames_per_shard=200)
    publish_manifest(root, finish(root, draft(root, "i", "2026-01-01T00:00:00Z", source, shards, kind="flat")))
    frames = OpenFrames(str(root)).frames
    places = frames.places()
    rows = np.array([place.rows for place in places], np.int64)
    return FindSettings(str(root), "i", rows, frames.fit(places), 10.0, MIN_SCORE)


def found_by(settings: FindSettings, folder: Path) -> list[tuple[object, ...]]:
    """What is found, by the numbers of the videos in the order of their content."""
    folder.mkdir()
    with beam.Pipeline("FnApiRunner") as pipeline:
        _ = pipeline | beam.Create(settings.blocks()) | FindDuplicates(settings) | Collect(str(folder / "found.json"))
    found = read_collected(str(folder / "found.json"), Found)
    return sorted((one.one, one.other, one.one_start_s, one.one_end_s, one.speed, one.score) for one in found)


@pytest.mark.slow
def test_names_and_the_order_of_shards_decide_nothing(tmp_path: Path) -> None:
    one = built(tmp_path / "a", lambda number: f"{number:016x}", 1)
    other = built(tmp_path / "b", lambda number: f"{(number * 7919 + 5) % 9973:016x}", -1)
    assert np.array_equal(one.projection.axes, other.projection.axes)
    found = found_by(one, tmp_path / "found")
    assert len(found) > VIDEOS and found == found_by(other, tmp_path / "found again")


def test_an_index_that_was_replaced_meanwhile_is_one_line(tmp_path: Path) -> None:
    settings = built(tmp_path / "a", lambda number: f"{number:016x}", 1)
    with pytest.raises(RetrievalError, match="was replaced meanwhile: run the command again"):
        found_by(replace(settings, index_id="earlier"), tmp_path / "found")


def test_a_video_is_aligned_with_those_that_most_seconds_speak_for() -> None:
    lines = (Line(1.0, 0.0),)
    candidates = [Candidate(0, other, lines, float(other % 50)) for other in range(1, 200)]
    chosen = dict(best_of(reversed(candidates)))
    assert len(chosen) == MOST_CANDIDATES
    assert min(one.votes for one in chosen.values()) >= 45
    assert chosen == dict(best_of(candidates))
