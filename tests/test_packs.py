"""Packed catalogs say what they said before, to every reader, for any history of nights."""

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from pipelines.jobs import compact
from pipelines.jobs.compact import compact_after_night, run_compact
from pipelines.web import view
from pipelines.web.access import LOOPBACK
from pipelines.web.app import make_app
from pipelines.web.view import CatalogView
from tests.catalogs import CONFIG, NIGHT, commit_night, known_fingerprints
from transforms.archive.comparison import Comparison
from transforms.catalog import runs
from transforms.catalog.checks.verify import verify
from transforms.catalog.index.source import IndexedVideo, LiveVideos
from transforms.catalog.lock import CatalogLock
from transforms.catalog.overview.night_report import night_report
from transforms.catalog.overview.status import status_of
from transforms.catalog.packs.packing import start_piece, unfinished_piece
from transforms.catalog.reading.latest import (
    latest_failures,
    latest_frames,
    latest_thumbnails,
    latest_videos,
    latest_videos_sql,
    whole_since,
)
from transforms.catalog.reading.thumbnail_store import ThumbnailStore
from transforms.catalog.records import RECORD_VERSION
from transforms.catalog.runs import Catalog, CatalogError, new_run_id
from transforms.storage import unfenced, video_id_of

WITH_THUMBNAILS = replace(CONFIG, thumbnail_seconds="2")
CONFIGS = (
    WITH_THUMBNAILS,
    replace(WITH_THUMBNAILS, thumbnail_height=90),
    replace(CONFIG, model_fingerprint="e" * 16),
    replace(WITH_THUMBNAILS, model_fingerprint="d" * 16, embedding_dtype="float16"),
)
URIS = ("a", "b", "c", "d")
OUTCOMES = st.dictionaries(st.sampled_from(URIS), st.tuples(st.sampled_from("ooof"), st.integers(0, 1)))
Night = tuple[int, dict[str, tuple[str, int]], set[str]]
NIGHTS = st.tuples(st.sampled_from((0, 0, 0, 1, 2, 3)), OUTCOMES, st.sets(st.sampled_from(URIS)))
"""A night's configuration, the outcomes with the version of each file, and what is gone."""


def commit(catalog: Catalog, night: Night, seed: int) -> None:
    config, outcomes, gone = night
    prints = {uri: {"fingerprint": f"print {version} of {uri}"} for uri, (_, version) in outcomes.items()}
    ok = {uri: 3 + version for uri, (kind, version) in outcomes.items() if kind == "o"}
    failed = {uri: prints[uri] for uri, (kind, _) in outcomes.items() if kind == "f"}
    commit_night(
        catalog, ok, failed=failed, gone=sorted(gone), config=CONFIGS[config], seed=seed, changes=prints
    )  # fmt: skip


def said(catalog: Catalog, at: str | None = None) -> dict[str, Any]:
    """All that readers are told of a catalog, as of a run; of the newest run also what only that is asked for."""
    frames = [
        part.sort_by([("uri", "ascending"), ("pts", "ascending")]) for part in _together(latest_frames(catalog, at=at))
    ]
    tables = [latest_videos(catalog, at=at), latest_failures(catalog, at), latest_thumbnails(catalog, at=at), *frames]
    store = ThumbnailStore(catalog, at)
    places = {uri: _places(store, uri) for uri in tables[0]["video_id"].to_pylist()}
    live = [(video.video_id, video.run_id, sum(rows.rows for rows in video.rows)) for video in videos_of(catalog, at)]
    return {"tables": [table.to_pylist() for table in tables], "pictures": places, "live": live}


def videos_of(catalog: Catalog, at: str | None) -> list[IndexedVideo]:
    with LiveVideos(catalog, at) as live:
        return list(live)


def _together(parts: Iterator[pa.Table]) -> list[pa.Table]:
    found = list(parts)
    return [pa.concat_tables(found)] if found else []


def _places(store: ThumbnailStore, video_id: str) -> list[tuple[float, bool, bytes]]:
    return [(one.time_s, one.poster, store.image(video_id, one)) for one in store.of(video_id)]


def said_now(catalog: Catalog) -> dict[str, Any]:
    compared = [_backlog(catalog, config) for config in CONFIGS]
    known = [known_fingerprints(catalog, config) for config in CONFIGS]
    shown = replace(status_of(catalog), size_bytes={}, catalog="")
    sql = duckdb.sql(latest_videos_sql(catalog.root)).to_arrow_table().to_pylist()
    return {**said(catalog), "compared": compared, "known": known, "status": shown, "sql": sql}


def _backlog(catalog: Catalog, config: Any) -> Any:
    with Comparison() as comparison:
        comparison.list_videos([])
        backlog = comparison.compare(catalog, config)
        gone = [batch.select(["video_id", "uri"]) for batch in comparison.gone(["/"])]
        return backlog, [row for batch in gone for row in batch.to_pylist()]


def wrong(catalog: Catalog) -> list[str]:
    """What `verify` finds but the thumbnails, which are made up of text."""
    return [str(finding) for finding in verify(catalog) if "is no picture of" not in finding.message]


def check_same(catalog: Catalog, before: Catalog) -> None:
    """Compares a compacted catalog with a copy from before, at every run as of which it is whole."""
    assert catalog.run_ids() == before.run_ids()
    assert catalog.runs() == before.runs()
    assert said_now(catalog) == said_now(before)
    for run_id in catalog.run_ids():
        if run_id >= whole_since(catalog):
            assert said(catalog, run_id) == said(before, run_id), run_id
        else:
            with pytest.raises(CatalogError, match="no longer has all rows"):
                latest_videos(catalog, at=run_id)
    assert not wrong(catalog)


@pytest.mark.slow
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(NIGHTS, min_size=2, max_size=9), st.integers(0, 10), st.integers(2, 4))
def test_any_history_says_the_same_after_compacting(nights: list[Night], days: int, most_small: int) -> None:
    check_history(nights, days, most_small)


def check_history(nights: list[Night], days: int, most_small: int) -> None:
    """Two catalogs of the same nights: one is compacted by a night in the middle and whole at the end, the other never."""
    with TemporaryDirectory() as folder, patch.object(runs, "new_run_id", id_of):
        catalog, untouched = Catalog(f"{folder}/catalog"), Catalog(f"{folder}/untouched")
        for seed, night in enumerate(nights):
            commit(catalog, night, seed)
            commit(untouched, night, seed)
            if seed == len(nights) // 2:
                with CatalogLock(catalog.root) as lock:
                    compact_after_night(catalog, lock, NIGHT + timedelta(days=seed, seconds=1), most_small)
                # The copy has another path, which no row may hold.
                check_same(Catalog(catalog.root), untouched)
        until = NIGHT + timedelta(days=days)
        for clock, keep in ((until, timedelta(0)), (until + timedelta(days=2), timedelta(days=2))):
            run_compact(catalog.root, keep, lambda clock=clock: clock)  # type: ignore[misc]
            check_same(Catalog(catalog.root), untouched)
        assert not list(Path(catalog.root, "work").glob("*"))


def id_of(now: datetime, existing: Iterable[str]) -> str:
    """Returns an id without a part by chance."""
    return new_run_id(now, existing)[:-6] + "abcdef"


@pytest.mark.slow
def test_ten_nights_in_one_pack(tmp_path: Path) -> None:
    catalog = Catalog(str(tmp_path))
    for seed in range(10):
        commit(catalog, (0, {"a": ("o", seed), "b": ("f", 0)}, set()), seed)
    shutil.copytree(tmp_path, tmp_path.with_name("before"))
    before = Catalog(str(tmp_path.with_name("before")))
    now = NIGHT + timedelta(days=9)
    summary = run_compact(catalog.root, timedelta(days=4), lambda: now)
    (pack, newest) = catalog.holders()
    assert (summary.runs, summary.packs, summary.waiting) == (9, [pack.holder_id], 9)
    assert summary.dropped == 2 * 5  # rows that the sixth night or an earlier one superseded
    assert whole_since(catalog) == catalog.run_ids()[5]
    assert newest.runs == (catalog.newest_run(),)
    for table in ("frames", "videos", "failures", "thumbnails"):
        assert len(list(tmp_path.glob(f"{table}/run={pack.holder_id}/*"))) == 1
    check_same(Catalog(str(tmp_path)), before)
    again = run_compact(catalog.root, timedelta(days=4), lambda: now + timedelta(hours=23))
    assert (again.packs, again.removed, again.waiting) == ([], [], 9)
    last = run_compact(catalog.root, timedelta(days=5), lambda: now + timedelta(days=1, seconds=1))
    assert (last.packs, len(last.removed), last.waiting) == ([], 9, 0)
    left = {path.name.removeprefix("run=") for path in tmp_path.glob("*/run=*")}
    assert left == {"none", pack.holder_id, newest.holder_id}
    check_same(Catalog(str(tmp_path)), before)


def test_readers_that_are_open_go_on_reading(tmp_path: Path) -> None:
    catalog = Catalog(str(tmp_path))
    for seed in range(4):
        commit(catalog, (0, {"a": ("o", seed % 2), "b": ("o", 0)}, set()), seed)
    store, reading = ThumbnailStore(catalog), latest_frames(catalog)
    first = next(reading)
    pictures = {video_id: [store.image(video_id, one) for one in store.of(video_id)] for video_id in store._spans}
    run_compact(str(tmp_path), timedelta(0))
    assert len(pa.concat_tables([first, *reading])) == 4 + 3
    assert {video_id: [store.image(video_id, one) for one in store.of(video_id)] for video_id in pictures} == pictures


def test_the_report_of_an_old_night_says_that_rows_were_dropped(tmp_path: Path) -> None:
    catalog = Catalog(str(tmp_path))
    for seed in range(4):
        commit(catalog, (0, {"a": ("o", seed % 2)}, set()), seed)
    whole = night_report(catalog, catalog.run_ids()[0])
    run_compact(str(tmp_path), timedelta(0))
    old, new = (night_report(Catalog(str(tmp_path)), catalog.run_ids()[night]) for night in (0, 3))
    assert (whole.is_whole, whole.processed.total) == (True, 1)
    assert (old.is_whole, old.processed.total, old.run) == (False, 0, whole.run)
    assert (new.is_whole, new.processed.total) == (True, 1)


def test_a_server_that_is_open_goes_over_to_the_packs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "LOOK_AGAIN_S", 0.0)
    catalog = Catalog(str(tmp_path))
    for seed in range(4):
        commit(catalog, (0, {"a": ("o", seed), "b": ("o", 0)}, set()), seed)
    with TestClient(make_app(CatalogView(str(tmp_path)), LOOPBACK, None), base_url="http://localhost") as client:
        nights = client.get("/nights").text
        night = f"/nights/{catalog.run_ids()[0]}"
        assert "superseded" not in client.get(night).text
        run_compact(str(tmp_path), timedelta(0))
        run_compact(str(tmp_path), timedelta(0), lambda: datetime.now(UTC) + timedelta(days=2))
        assert not list(tmp_path.glob(f"*/run={catalog.run_ids()[0]}"))
        assert client.get("/nights").text == nights
        assert "later nights superseded were dropped" in client.get(night).text
        assert client.get(f"/videos/{video_id_of('a')}").status_code == 200


def test_rows_that_the_index_shows_are_not_dropped(tmp_path: Path) -> None:
    catalog = Catalog(str(tmp_path))
    for seed in range(4):
        commit(catalog, (0, {"a": ("o", seed)}, set()), seed)
    ids = catalog.run_ids()
    with patch.object(compact, "_newest_indexed", lambda catalog: ids[1:2]):
        assert compact.drops_until(catalog, datetime.now(UTC) + timedelta(days=365)) == ids[1]
        summary = run_compact(str(tmp_path), timedelta(0))
    assert summary.dropped == 1
    assert whole_since(catalog) == ids[1]


def test_an_interrupted_piece_goes_on_if_it_drops_no_more_than_is_wanted(tmp_path: Path) -> None:
    catalog = Catalog(str(tmp_path))
    for seed in range(4):
        commit(catalog, (0, {"a": ("o", seed % 2)}, set()), seed)
    ids = catalog.run_ids()
    piece = start_piece(catalog, ids[:3], ids[2], NIGHT + timedelta(days=9), unfenced)
    assert unfinished_piece(catalog, ids[3], unfenced) == piece
    assert unfinished_piece(catalog, ids[1], unfenced) is None
    assert not list(tmp_path.glob("work/*"))


def test_damage_in_a_pack_is_found(tmp_path: Path) -> None:
    catalog = Catalog(str(tmp_path))
    for seed in range(4):
        commit(catalog, (seed % 2, {"a": ("o", seed % 2), "b": ("f", 0)}, set("c")), seed)
    run_compact(str(tmp_path), timedelta(0))
    (pack, _) = catalog.holders()
    for path in sorted(tmp_path.glob(f"*/run={pack.holder_id}/*.parquet")):
        kept = path.read_bytes()
        path.write_bytes(kept[:-9] + bytes(9))
        assert any(str(path.relative_to(tmp_path)) in finding for finding in wrong(Catalog(str(tmp_path)))), path
        path.unlink()
        assert wrong(Catalog(str(tmp_path))), path
        path.write_bytes(kept)
    assert not wrong(Catalog(str(tmp_path)))


def test_rows_of_a_run_that_a_pack_does_not_hold_are_found(tmp_path: Path) -> None:
    catalog = Catalog(str(tmp_path))
    for seed in range(3):
        commit(catalog, (0, {"a": ("o", 0), "b": ("o", 0)}, set()), seed)
    run_compact(str(tmp_path), timedelta(0), lambda: NIGHT)
    (pack, _) = catalog.holders()
    record = tmp_path / "runs" / f"{pack.holder_id}.json"
    content = json.loads(record.read_text())
    content["records"][0]["run_id"] = content["records"][0]["run_id"][:-6] + "aaaaaa"
    record.write_text(json.dumps(content))
    assert any("which the pack does not hold" in finding for finding in wrong(Catalog(str(tmp_path))))


def test_a_newer_pack_is_refused_and_an_older_release_refuses_packs(tmp_path: Path) -> None:
    catalog = Catalog(str(tmp_path))
    for seed in range(3):
        commit(catalog, (0, {"a": ("o", 0)}, set()), seed)
    run_compact(str(tmp_path), timedelta(0))
    (pack, _) = catalog.holders()
    record = tmp_path / "runs" / f"{pack.holder_id}.json"
    content = json.loads(record.read_text())
    assert content["record_version"] > RECORD_VERSION  # all that an older release looks at
    record.write_text(json.dumps({**content, "record_version": 99}))
    with pytest.raises(CatalogError, match="newer reelbeam"):
        Catalog(str(tmp_path)).runs()


def test_compacting_needs_a_catalog(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="no catalog at"):
        run_compact(str(tmp_path / "nothing"))
    assert not (tmp_path / "nothing").exists()
