"""Pooled rows are written as they come, and not at all where a later start of the run took over meanwhile."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from transforms import pool_videos
from transforms.catalog.attempt import Attempt, AttemptSuperseded
from transforms.catalog.rows.pooling import Pooled
from transforms.catalog.schemas import FileRow
from transforms.pool_videos import BATCH_ROWS, PoolVideos, _PoolTodoList

ROWS = 2 * BATCH_ROWS + 1


def pooled(folder: Path, attempt: Attempt) -> list[FileRow]:
    transform = PoolVideos(None, 2, str(folder / "videos"), str(folder / "failures"), attempt)  # type: ignore[arg-type]
    return list(_PoolTodoList(transform).process((3, {"outcomes": [], "failures": []})))


def make_up(monkeypatch: pytest.MonkeyPatch, takes_over: Path | None) -> None:
    """Has pooling give made-up rows; in the middle of them a later start of the run may begin."""

    def rows(*_: object) -> Iterator[Pooled]:
        for number in range(ROWS):
            if takes_over is not None and number == ROWS // 2:
                Attempt.begin(str(takes_over))
            yield Pooled({"uri": f"{number:04}", "embedding": [0.0, 1.0]})

    monkeypatch.setattr(pool_videos, "pool_videos", rows)


def test_rows_come_in_order_whatever_the_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_up(monkeypatch, None)
    (record,) = pooled(tmp_path, Attempt.begin(str(tmp_path / "work")))
    assert record.rows == ROWS
    table = pq.read_table(tmp_path / "videos" / "part-00003.parquet")
    assert table["uri"].to_pylist() == [f"{number:04}" for number in range(ROWS)]


def test_a_start_that_was_superseded_while_it_pooled_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_up(monkeypatch, tmp_path / "work")
    with pytest.raises(AttemptSuperseded):
        pooled(tmp_path, Attempt.begin(str(tmp_path / "work")))
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "attempt"]
