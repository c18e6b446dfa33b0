"""What a commit writes, counts and asks before it does so."""

import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from tests.catalogs import CONFIG, NIGHT, failure_row, frame_rows, gone_row, video_row, write_files_table, write_part
from transforms import storage
from transforms.catalog import schemas
from transforms.catalog.checks.verify import verify
from transforms.catalog.commit import commit, publish, write_failures, write_gone, write_no_files
from transforms.catalog.records import Counts, StartedRun
from transforms.catalog.runs import Catalog, CatalogError
from transforms.storage import unfenced


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(str(tmp_path / "catalog"))


def start(catalog: Catalog) -> StartedRun:
    run = catalog.start_run(CONFIG, ["/videos"], NIGHT + timedelta(days=len(catalog.run_ids())))
    storage.write_atomically(storage.join(catalog.model_folder(CONFIG.model_fingerprint), "spec.json"), b"{}")
    return run


def batches(rows: list[dict[str, Any]], schema: pa.Schema) -> list[pa.RecordBatch]:
    return pa.Table.from_pylist(rows, schema).to_batches()


def write_videos(catalog: Catalog, run: StartedRun, rows: list[dict[str, Any]]) -> list[schemas.FileRecord]:
    path = storage.join(catalog.table_folder("frames", run.run_id), "chunk-0123456789abcdef.parquet")
    frames = pa.concat_tables([frame_rows(row["uri"], row["frames_sampled"]) for row in rows])
    return [
        schemas.write_table(path, frames, frames.schema),
        write_part(catalog, run, "videos", rows, schemas.videos_schema(CONFIG.embedding_size)),
    ]


def row_of(uri: str, frames: int, **changes: Any) -> dict[str, Any]:
    return video_row(uri, frame_rows(uri, frames), **changes)


def test_a_record_counts_what_the_tables_hold(catalog: Catalog) -> None:
    run = start(catalog)
    labels = [
        [{"label": "crane", "score": 0.5}, {"label": "boat", "score": 0.4}],
        [{"label": "crane", "score": 0.9}],
        [],
    ]
    rows = [row_of("/a", 3, labels=labels[0]), row_of("/b", 2, labels=labels[1], status="partial", error="corrupt")]
    rows += [row_of("/c", 4, labels=labels[2], best_label=None, best_label_score=None, duration_s=None)]
    written = write_videos(catalog, run, rows)
    failed = [failure_row(f"/{i}", reason=reason) for i, reason in enumerate(["empty_file", "corrupt", "corrupt"])]
    written.append(write_part(catalog, run, "failures", failed, schemas.FAILURES))
    write_files_table(catalog, run.run_id, written)
    write_gone(catalog, run, batches([gone_row("/x"), gone_row("/y")], schemas.GONE), unfenced)
    before = datetime.now(UTC).isoformat()
    left = Counts(discovered=11, skipped=5, given_up=2)
    record = commit(catalog, run, left, {"m": 1}, 12.5, "SomeRunner", unfenced, {".txt": 3})
    assert before <= record.finished_at <= datetime.now(UTC).isoformat()
    assert record.finished_at.endswith("+00:00")
    files = schemas.describe_file(catalog.files_table(run.run_id), "files")
    assert replace(record, finished_at="") == replace(
        record,
        run_id=run.run_id,
        started_at=run.started_at,
        finished_at="",
        config=CONFIG,
        archives=["/videos"],
        counts=Counts(discovered=11, skipped=5, ok=2, partial=1, failed=3, gone=2, given_up=2),
        video_s=5.0,
        frames=9,
        elapsed_s=12.5,
        metrics={"m": 1},
        labels={"crane": 2},
        failures={"corrupt": 2, "empty_file": 1},
        files_sha256=files.sha256,
        files_count=5 - 1,
        host=socket.gethostname(),
        runner="SomeRunner",
        version=version("reelbeam"),
        ignored={".txt": 3},
    )
    assert list(record.failures) == ["corrupt", "empty_file"]
    assert catalog.run(run.run_id) == record


def test_the_ten_commonest_labels_are_recorded_commonest_first(catalog: Catalog) -> None:
    run = start(catalog)
    names = [f"label {i:02}" for i in range(12)]
    rows = [row_of(f"/{name}/{copy}", 1, best_label=name) for i, name in enumerate(names) for copy in range(i + 1)]
    write_files_table(catalog, run.run_id, write_videos(catalog, run, rows))
    write_gone(catalog, run, [], unfenced)
    record = commit(catalog, run, Counts(), {}, 1.0, "r", unfenced)
    assert list(record.labels.items()) == [(name, i + 1) for i, name in reversed(list(enumerate(names)))][:10]
    assert record.ignored is None


def test_videos_that_were_not_decoded_count_as_moved_and_copied_and_not_as_work(catalog: Catalog) -> None:
    run = start(catalog)
    rows = [
        row_of("/new", 3, duration_s=3.0, size_bytes=10),
        row_of("/moved", 4, duration_s=4.0, size_bytes=200, reuse="moved", reused_from="/old"),
        row_of("/copy", 5, duration_s=5.0, size_bytes=3000, reuse="copied", reused_from="/new"),
        row_of("/copy of it", 6, duration_s=6.0, size_bytes=40000, reuse="copied", reused_from="/new"),
    ]
    written = write_videos(catalog, run, rows)
    failed = [failure_row("/x", size_bytes=500000), failure_row("/y", size_bytes=6000000)]
    written.append(write_part(catalog, run, "failures", failed, schemas.FAILURES))
    write_files_table(catalog, run.run_id, written)
    write_gone(catalog, run, [], unfenced)
    record = commit(catalog, run, Counts(), {}, 1.0, "r", unfenced)
    counts = record.counts
    assert (counts.ok, counts.partial, counts.failed, counts.moved, counts.copied) == (4, 0, 2, 1, 2)
    assert (record.video_s, record.frames, record.size_bytes) == (3.0, 3 + 4 + 5 + 6, 6500010)


def test_a_record_says_how_the_run_was_started(catalog: Catalog) -> None:
    run = replace(start(catalog), follow_links=True, night="20261123T020000Z-abcdef")
    write_files_table(catalog, run.run_id, write_videos(catalog, run, [row_of("/a", 1)]))
    write_gone(catalog, run, [], unfenced)
    record = commit(catalog, run, Counts(), {}, 1.0, "r", unfenced)
    assert (record.follow_links, record.night) == (True, "20261123T020000Z-abcdef")


def files_of(catalog: Catalog, run: StartedRun) -> list[dict[str, Any]]:
    return [row._asdict() for row in catalog.file_rows(run.run_id)]


def test_a_run_with_nothing_to_do_lists_its_gone_table_only(catalog: Catalog) -> None:
    run = start(catalog)
    write_no_files(catalog, run, unfenced)
    assert files_of(catalog, run) == []
    write_gone(catalog, run, batches([gone_row("/x")], schemas.GONE), unfenced)
    commit(catalog, run, Counts(), {}, 1.0, "r", unfenced)
    (row,) = files_of(catalog, run)
    gone = schemas.describe_file(catalog.path(f"gone/run={run.run_id}", "part-00000.parquet"), "gone")
    assert row == {
        **gone._asdict(),
        "path": f"gone/run={run.run_id}/part-00000.parquet",
        "worker": socket.gethostname(),
        "segments": 0,
        "frames_decoded": 0,
        "bytes_read": 0,
        "decode_msec": 0,
        "infer_msec": 0,
    }
    assert row["rows"] == 1 and row["table"] == "gone"


def test_failures_are_listed_beside_what_is_there_and_once(catalog: Catalog) -> None:
    run = start(catalog)
    write_files_table(catalog, run.run_id, write_videos(catalog, run, [row_of("/a", 2)]))
    for uris in (["/b"], ["/b", "/c"]):
        write_failures(
            catalog, run, pa.Table.from_pylist([failure_row(uri) for uri in uris], schemas.FAILURES), unfenced
        )
    assert [(row["table"], row["rows"]) for row in files_of(catalog, run)] == [
        ("failures", 2),
        ("frames", 2),
        ("videos", 1),
    ]
    assert files_of(catalog, run)[0]["path"] == f"failures/run={run.run_id}/part-00000.parquet"
    write_gone(catalog, run, [], unfenced)
    record = commit(catalog, run, Counts(discovered=3), {}, 1.0, "r", unfenced)
    assert (record.counts.ok, record.counts.failed, record.counts.gone, record.files_count) == (1, 2, 0, 4)
    assert verify(catalog) == []


def test_what_is_not_listed_is_removed(catalog: Catalog) -> None:
    run = start(catalog)
    write_no_files(catalog, run, unfenced)
    write_gone(catalog, run, [], unfenced)
    stray = Path(catalog.table_folder("frames", run.run_id)) / "chunk-ffffffffffffffff.parquet"
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_bytes(b"of another plan")
    commit(catalog, run, Counts(), {}, 1.0, "r", unfenced)
    assert not stray.exists()
    assert Path(catalog.table_folder("gone", run.run_id), "part-00000.parquet").exists()


def test_a_run_without_a_files_table_is_not_committed(catalog: Catalog) -> None:
    run = start(catalog)
    write_gone(catalog, run, [], unfenced)
    with pytest.raises(CatalogError):
        commit(catalog, run, Counts(), {}, 1.0, "r", unfenced)
    assert catalog.run_ids() == []


class TakenOver(Exception):
    pass


def from_the(number: int) -> Callable[[], None]:
    """A fence that holds for `number` looks and refuses all after them."""
    looks = 0

    def fence() -> None:
        nonlocal looks
        looks += 1
        if looks > number:
            raise TakenOver

    return fence


def write_run(catalog: Catalog) -> StartedRun:
    run = start(catalog)
    write_no_files(catalog, run, unfenced)
    write_gone(catalog, run, [], unfenced)
    return run


def test_a_run_that_was_taken_over_commits_nothing(catalog: Catalog) -> None:
    """Whichever look it is that tells: the first comes before anything is written, the last before the record's name."""
    listed, strays = [], []
    for looks in range(100):
        run = write_run(catalog)
        stray = Path(catalog.table_folder("gone", run.run_id)) / "part-00001.parquet"
        stray.write_bytes(b"of the other run")
        try:
            commit(catalog, run, Counts(), {}, 1.0, "r", from_the(looks))
        except TakenOver:
            assert catalog.run_ids() == []
        else:
            assert catalog.run_ids() == [run.run_id]
            break
        listed.append(len(files_of(catalog, run)))
        strays.append(stray.exists())
        catalog.abandon(run.run_id)
    assert listed[0] == 0 and listed == sorted(listed) and listed[-1] == 1
    assert strays[0] and strays == sorted(strays, reverse=True) and not strays[-1]
    assert sum(listed[i] and strays[i] for i in range(len(listed))) >= 1, "strays go after a look of their own"


def test_every_file_asks_before_it_gets_its_name(catalog: Catalog) -> None:
    run = start(catalog)
    failures = pa.Table.from_pylist([failure_row("/b")], schemas.FAILURES)
    writes: list[Callable[[], object]] = [
        lambda: write_gone(catalog, run, [], from_the(0)),
        lambda: write_failures(catalog, run, failures, from_the(0)),
        lambda: write_no_files(catalog, run, from_the(0)),
    ]
    for write in writes:
        with pytest.raises(TakenOver):
            write()
    assert not list(Path(catalog.root).rglob(f"*{run.run_id}*/*.parquet"))
    assert not storage.exists(catalog.files_table(run.run_id))


def test_a_model_is_published_under_its_fingerprint(catalog: Catalog, tmp_path: Path) -> None:
    source = tmp_path / "bundle"
    source.mkdir()
    (source / "spec.json").write_bytes(b"{}")
    bundle: Any = SimpleNamespace(path=source, fingerprint="e" * 16)
    for _ in range(2):
        folder = publish(bundle, catalog)
        assert folder == catalog.model_folder("e" * 16)
        assert (Path(folder) / "spec.json").read_bytes() == b"{}"
