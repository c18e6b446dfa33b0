"""Forgetting in tables: rows go and the others stay, tombstones hold no names, and a purge that was stopped goes on."""

import json
import os
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.jobs.compact import run_compact
from tests.catalogs import CONFIG, NIGHT, commit_night, write_night
from tests.tables import contents
from transforms import storage
from transforms.archive.comparison import Comparison
from transforms.archive.ignored import Ignored
from transforms.archive.listing import ArchiveError, covers, each_video
from transforms.archive.named_videos import excluded_by_lists, uris_of
from transforms.archive.selection import Selection
from transforms.archive.todo_lists import write_todo_lists
from transforms.catalog import duplicates, schemas, traces
from transforms.catalog.checks.verify import verify
from transforms.catalog.forgetting.forget import Plan, finish_forgetting, forget, plan_forgetting
from transforms.catalog.forgetting.tombstones import Content, Tombstones, version_of
from transforms.catalog.forgetting.traces import Text, Traces, _Needles, find_traces
from transforms.catalog.lock import CatalogLock
from transforms.catalog.runs import TABLES, Catalog, CatalogError
from transforms.storage import unfenced, video_id_of
from transforms.video.content_hash import ContentHash
from transforms.video.segments import Video

X, Y, Z, BROKEN, GONE = (f"/videos/{name}.mp4" for name in ("x", "y", "z", "broken", "gone"))
SAME = str(ContentHash("a" * 32))
TEMPLATES = TemporaryDirectory()


@cache
def template() -> Path:
    """Three nights: x is decoded and changes, y is a copy of its first version, one video fails and one is gone."""
    root = Path(TEMPLATES.name) / "catalog"
    catalog = Catalog(str(root))
    commit_night(catalog, {X: 5, Z: 4, GONE: 2}, failed=[BROKEN], changes={X: {"content_hash": SAME}})
    copied = {"content_hash": SAME, "reuse": "copied", "reused_from": X}
    with_copy = commit_night(catalog, {Y: 5}, skipped=4, changes={Y: copied})
    catalog.replace_record(replace(with_copy, counts=replace(with_copy.counts, copied=1), video_s=0.0), unfenced)
    commit_night(catalog, {X: 7}, failed=[BROKEN], gone=[GONE], skipped=2, seed=1)
    return root


@cache
def packed_template() -> Path:
    """The same, with a fourth night; the first three are in a pack, and their own files are still there."""
    root = Path(TEMPLATES.name) / "packed"
    shutil.copytree(template(), root)
    commit_night(Catalog(str(root)), {}, gone=[GONE], skipped=3)
    packed = run_compact(str(root), timedelta(days=36_500))
    assert (packed.runs, packed.waiting) == (3, 3)
    return root


def make_catalog(root: Path, *, packed: bool = False) -> Catalog:
    """A copy of the template."""
    shutil.copytree(packed_template() if packed else template(), root, dirs_exist_ok=True)
    return Catalog(str(root))


def run_forget(catalog: Catalog, *uris: str) -> Any:
    with CatalogLock(catalog.root) as lock:
        return forget(catalog, plan_forgetting(catalog, uris), lock.check)


def rows_of(catalog: Catalog) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """All rows by run and table: the independent slow path, which reads every file that lies there."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for table in TABLES[:-1]:
        for path in sorted(Path(catalog.root).glob(f"{table}/run=2*/*.parquet")):
            found.setdefault((path.parent.name, table), []).extend(pq.read_table(path, partitioning=None).to_pylist())
    return {key: sorted(rows, key=repr) for key, rows in found.items()}


def without(rows: dict[tuple[str, str], list[dict[str, Any]]], *uris: str) -> dict[tuple[str, str], list[dict]]:
    kept = {key: [row for row in some if row["uri"] not in uris] for key, some in rows.items()}
    return {key: some for key, some in kept.items() if some}


def nonempty(rows: dict[tuple[str, str], list[dict[str, Any]]]) -> dict[tuple[str, str], list[dict]]:
    return {key: some for key, some in rows.items() if some}


def findings(catalog: Catalog) -> list[str]:
    return [str(finding) for finding in verify(Catalog(catalog.root))]


@pytest.mark.parametrize("packed", [False, True], ids=["runs", "pack"])
@pytest.mark.parametrize(
    ("named", "goes"),
    [((Z,), (Z,)), ((X,), (X, Y)), ((Y,), (X, Y)), ((BROKEN,), (BROKEN,)), ((GONE, Z), (GONE, Z)),
     ((X, Z, BROKEN, GONE), (X, Y, Z, BROKEN, GONE))],
)  # fmt: skip
def test_all_rows_of_a_video_go_and_all_others_stay_as_they_are(
    tmp_path: Path, named: tuple[str, ...], goes: tuple[str, ...], packed: bool
) -> None:
    catalog = make_catalog(tmp_path, packed=packed)
    assert findings(catalog) == []
    before = rows_of(catalog)
    if packed:
        waiting = {f"run={one}" for one in catalog.record_ids()} - {f"run={one.holder_id}" for one in catalog.holders()}
        before = {key: rows for key, rows in before.items() if key[0] not in waiting}
    purged = run_forget(catalog, *named)
    assert nonempty(rows_of(catalog)) == without(before, *goes)
    assert findings(catalog) == []
    assert list(find_traces(catalog, goes)) == []
    removed = sum(map(len, before.values())) - sum(map(len, rows_of(catalog).values()))
    assert (purged.videos, purged.rows.total()) == (len(goes), removed)
    again = run_forget(catalog, *named)
    assert (again.videos, again.runs) == (0, 0)


def test_counts_add_up_and_say_what_was_forgotten(tmp_path: Path) -> None:
    catalog = make_catalog(tmp_path)
    before = catalog.runs()
    run_forget(catalog, X)
    after = catalog.runs()
    assert [run.counts.forgotten for run in after] == [1, 1, 1]
    assert [run.counts.discovered for run in after] == [run.counts.discovered for run in before]
    assert [(run.counts.ok, run.counts.copied, run.frames) for run in after] == [(2, 0, 6), (0, 0, 0), (0, 0, 0)]
    assert after[0].labels == {"crane": 2} and after[1].labels == {}
    assert after[0].video_s == 6.0
    assert [run.failures for run in after] == [{"empty_file": 1}, {}, {"empty_file": 1}]


def test_a_row_that_stays_no_longer_names_where_it_came_from(tmp_path: Path) -> None:
    """A copy whose original's own hash is of another version: only its `reused_from` names the original."""
    catalog = Catalog(str(tmp_path))
    other = {"content_hash": str(ContentHash("b" * 32)), "reuse": "moved", "reused_from": X}
    record = commit_night(catalog, {Y: 3, Z: 2}, changes={Y: other})
    catalog.replace_record(replace(record, counts=replace(record.counts, moved=1)), unfenced)
    before = rows_of(catalog)
    run_forget(catalog, X)
    for rows in before.values():
        for row in rows:
            row.update({"reused_from": None} if row["uri"] == Y and "reused_from" in row else {})
    assert nonempty(rows_of(catalog)) == nonempty(before)
    assert findings(catalog) == [] and list(find_traces(catalog, [X])) == []


def test_an_archive_that_is_the_file_itself_is_not_named_in_the_record(tmp_path: Path) -> None:
    catalog = make_catalog(tmp_path)
    record = catalog.runs()[0]
    catalog.replace_record(replace(record, archives=[X, "/videos"]), unfenced)
    run_forget(catalog, X)
    assert catalog.runs()[0].archives == ["/videos"]


def test_segments_without_rows_that_name_it_go_too(tmp_path: Path) -> None:
    """The metadata of a chunk file names every segment, also one that gave no frame."""
    catalog = make_catalog(tmp_path)
    run_id = commit_night(catalog, {Y: 2}, failed=["/videos/w.mp4"], skipped=2).run_id
    (row,) = [row for row in catalog.file_rows(run_id) if row.table == "frames"]
    path = catalog.path(row.path)
    schema = pq.read_schema(path)
    said = json.dumps([{"video": {"video_id": video_id_of("/videos/w.mp4"), "uri": "/videos/w.mp4"}}]).encode()
    rows = pq.read_table(path, partitioning=None)
    schemas.write_table(path, rows, schema, metadata={"reelbeam.segments": said})
    assert row.path in [finding.path for finding in find_traces(catalog, ["/videos/w.mp4"])]
    run_forget(catalog, "/videos/w.mp4")
    assert list(find_traces(catalog, ["/videos/w.mp4"])) == []


def test_records_in_a_pack_count_what_those_of_runs_count(tmp_path: Path) -> None:
    counted = {}
    for kind in ("runs", "pack"):
        catalog = make_catalog(tmp_path / kind, packed=kind == "pack")
        run_forget(catalog, X, BROKEN, GONE)
        records = catalog.runs()[:3]
        names = ("counts", "video_s", "frames", "size_bytes", "failures", "labels")
        counted[kind] = [{name: getattr(record, name) for name in names} for record in records]
    assert counted["pack"] == counted["runs"]
    assert [one["counts"].forgotten for one in counted["runs"]] == [3, 1, 2]


@pytest.mark.parametrize(("one", "other", "goes"), [(X, Y, True), (Z, GONE, False)])
def test_a_table_of_duplicates_that_names_it_goes(tmp_path: Path, one: str, other: str, goes: bool) -> None:
    catalog = make_catalog(tmp_path)
    row = {"kind": "copy", "speed": 1.0, "score": 1.0, "group": 0}
    for side, uri in (("one", one), ("other", other)):
        row |= {f"{side}_video_id": video_id_of(uri), f"{side}_uri": uri, f"{side}_start_s": 0.0, f"{side}_end_s": 9.0}
        row[f"{side}_keep"] = side == "one"
    file = duplicates.write_rows(catalog, "r", pa.Table.from_pylist([row], schemas.DUPLICATES), unfenced)
    record = duplicates.DuplicatesRecord(
        run_id="r", created_at="2026-11-28T00:00:00+00:00", newest_run=catalog.run_ids()[-1], index_id="i",
        model_fingerprint="f", min_seconds=1.0, min_score=0.5, videos=4, not_indexed=0, copies=2, groups=1,
        path=duplicates.table_path("r"), rows=1, size_bytes=file.size_bytes, sha256=file.sha256, version="1",
    )  # fmt: skip
    duplicates.publish(catalog, record, unfenced)
    assert run_forget(catalog, X).duplicates == goes
    assert (duplicates.read_record(catalog) is None) == goes
    assert list(find_traces(catalog, [X, Y])) == []


class Stopped(Exception):
    """The process is over."""


def stops(monkeypatch: pytest.MonkeyPatch, at: tuple[str, int] | None) -> Counter[str]:
    """Ends the work where a fault point is passed for so many times; returns how often each was passed."""
    passed: Counter[str] = Counter()

    def point(name: str) -> None:
        passed[name] += 1
        if (name, passed[name]) == at:
            raise Stopped(name)

    monkeypatch.setattr(storage, "fault_point", point)
    return passed


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True], ids=["runs", "pack"])
def test_whatever_was_done_readers_see_whole_tables_and_the_next_call_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    """Stops at the first and the last passing of each fault point. `test_forget.py` kills for real, at fewer points."""
    whole = make_catalog(tmp_path / "whole", packed=packed)
    old = contents(Path(whole.root))
    with monkeypatch.context() as patched:
        passed = stops(patched, None)
        run_forget(whole, X)
    kinds = ("forgotten", "frames", "videos", "files", "runs")
    assert passed.keys() >= {f"storage.{step}:{kind}" for kind in kinds for step in storage.FAULT_STEPS}
    new, new_rows = contents(Path(whole.root)), rows_of(whole)
    points = sorted({(name, nth) for name, count in passed.items() for nth in (1, count) if not name.endswith(":lock")})
    for number, point in enumerate(points):
        catalog = make_catalog(tmp_path / str(number), packed=packed)
        with monkeypatch.context() as patched, pytest.raises(Stopped):
            stops(patched, point)
            run_forget(catalog, X)
        for lock in Path(catalog.root).rglob("LOCK"):
            lock.unlink()  # of this process, which has died
        seen = contents(Path(catalog.root))
        for table in ("videos", "failures", "frames"):
            others = [row for row in seen[table] if row["uri"] not in (X, Y)]
            assert others == new[table], f"{point}: the rows of other videos are not whole"
            assert all(row in old[table] for row in seen[table])
        before = Tombstones.read(catalog)
        assert any("interrupted" in line for line in findings(catalog)) == before.pending
        with CatalogLock(catalog.root) as lock:
            finished = finish_forgetting(catalog, lock.check)
        assert (finished is not None) == before.pending
        if before.videos:
            assert rows_of(catalog) == new_rows, point
            assert findings(catalog) == [] and list(find_traces(catalog, [X, Y])) == []
            assert [run.counts for run in catalog.runs()] == [run.counts for run in whole.runs()]


def test_damage_is_not_taken_for_a_purge_that_was_interrupted(tmp_path: Path) -> None:
    catalog = make_catalog(tmp_path)
    Tombstones().with_more([video_id_of("/videos/nobody.mp4")], []).write(catalog, unfenced)
    (row,) = [row for row in catalog.file_rows(catalog.run_ids()[0]) if row.table == "videos"]
    data = bytearray(storage.read_bytes(catalog.path(row.path)))
    data[8] ^= 1
    Path(catalog.path(row.path)).write_bytes(data)
    with CatalogLock(catalog.root) as lock:
        try:
            finish_forgetting(catalog, lock.check)
        except CatalogError:
            return  # the damage is where it is noticed at once
    assert any("checksum" in line for line in findings(catalog))


def test_readers_that_stay_open_notice(tmp_path: Path) -> None:
    catalog, reader = make_catalog(tmp_path), Catalog(str(tmp_path))
    assert {row["uri"] for row in contents_of(reader)} == {X, Y, Z, GONE}
    version = version_of(reader)
    run_forget(catalog, X)
    assert {row["uri"] for row in contents_of(reader)} == {Z, GONE}
    assert [run.counts.forgotten for run in reader.runs()] == [1, 1, 1]
    assert version_of(reader) != version


def contents_of(catalog: Catalog) -> list[dict[str, Any]]:
    from transforms.catalog.reading.latest import latest_videos

    return latest_videos(catalog, ["uri"]).to_pylist()


ids = st.text("0123456789abcdef", min_size=16, max_size=16)


@given(st.sets(ids, max_size=8), st.sets(ids, max_size=8))
def test_tombstones_have_what_was_added_and_nothing_else(added: set[str], others: set[str]) -> None:
    tombstones = Tombstones().with_more(added, [Content(len(one), one * 2) for one in added])
    assert all(tombstones.has(one) and tombstones.has_content(one * 2) for one in added)
    assert not any(tombstones.has(one) or tombstones.has_content(one * 2) for one in others - added)
    assert tombstones.pending and not tombstones.done().pending
    assert tombstones.has_size(16) == bool(added)


def test_tombstones_on_disk_name_nothing_and_two_catalogs_share_no_hash(tmp_path: Path) -> None:
    stored = []
    for name in ("one", "other"):
        catalog = make_catalog(tmp_path / name)
        run_forget(catalog, X)
        data = (tmp_path / name / "forgotten" / "tombstones.json").read_bytes()
        assert X.encode() not in data and video_id_of(X).encode() not in data and b"a" * 32 not in data
        assert Tombstones.read(catalog).has(video_id_of(X))
        stored.append(json.loads(data))
    assert not set(stored[0]["videos"]) & set(stored[1]["videos"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data[:-5], "is damaged"),
        (lambda data: data.replace(b'"version":1', b'"version":2'), "newer reelbeam"),
        (lambda data: data.replace(b'"key":"', b'"key":"x'), "is damaged"),
    ],
)
def test_tombstones_that_cannot_be_read_are_one_line(
    tmp_path: Path, change: Callable[[bytes], bytes], said: str
) -> None:
    catalog = make_catalog(tmp_path)
    run_forget(catalog, X)
    path = tmp_path / "forgotten" / "tombstones.json"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(CatalogError, match=said):
        Tombstones.read(catalog)
    assert any(said in line for line in findings(catalog))


def test_verify_finds_rows_of_forgotten_videos(tmp_path: Path) -> None:
    catalog = make_catalog(tmp_path)
    Tombstones().with_more([video_id_of(Z)], []).done().write(catalog, unfenced)
    assert [line.rsplit(" ", 1)[1] for line in findings(catalog)] == ["[forgotten]"]


def listed(catalog: Catalog, videos: list[Video]) -> tuple[set[str], int]:
    """URIs that a night would process, and how many are left out as forgotten."""
    with Comparison() as comparison:
        comparison.list_videos(videos)
        backlog = comparison.compare(catalog, CONFIG)
        assert backlog.found + backlog.forgotten + comparison.links() == len(videos)
        with comparison.queue() as queue:
            return {video.uri for video in queue.videos(0, len(queue))}, backlog.forgotten


def file_at(path: Path, data: bytes, real: Path | None = None) -> Video:
    if real is None:
        path.write_bytes(data)
    else:
        path.symlink_to(real)
    real_id = video_id_of(str(real)) if real else ""
    return Video(video_id_of(str(path)), str(path), len(data), 1.0, "new", real_id=real_id)


def test_nights_leave_out_the_name_links_to_it_and_the_content_under_any_name(tmp_path: Path) -> None:
    catalog, archive = make_catalog(tmp_path / "catalog"), tmp_path / "archive"
    archive.mkdir()
    data = os.urandom(3 << 20)
    named = file_at(archive / "named.mp4", data)
    assert listed(catalog, [named]) == ({named.uri}, 0)
    run_forget(catalog, named.uri)
    changed = file_at(archive / "named.mp4", os.urandom(100))
    assert listed(catalog, [changed]) == (set(), 1), "whatever is there now"
    link = file_at(archive / "link.mp4", b"", archive / "named.mp4")
    assert listed(catalog, [link]) == (set(), 1)
    renamed = file_at(archive / "renamed.mp4", data)
    same_size = file_at(archive / "same size.mp4", os.urandom(len(data)))
    other = file_at(archive / "other.mp4", b"else")
    assert listed(catalog, [renamed, same_size, other]) == ({same_size.uri, other.uri}, 1)


def test_an_empty_file_keeps_no_other_empty_file_out(tmp_path: Path) -> None:
    catalog = make_catalog(tmp_path / "catalog")
    empty, other = (file_at(tmp_path / name, b"") for name in ("empty.mp4", "other.mp4"))
    run_forget(catalog, empty.uri)
    assert listed(catalog, [empty, other]) == ({other.uri}, 1)


def test_a_forgotten_video_is_not_gone(tmp_path: Path) -> None:
    catalog = make_catalog(tmp_path / "catalog")
    run_forget(catalog, GONE, X)
    with Comparison() as comparison:
        comparison.list_videos([Video(video_id_of(X), X, 1, 1.0, "new")])
        comparison.compare(catalog, CONFIG)
        uris = [uri for batch in comparison.gone(["/videos"]) for uri in batch["uri"].to_pylist()]
    assert uris == sorted([BROKEN, Z])


def test_an_unfinished_run_is_abandoned_only_if_it_has_the_video_in_hand(tmp_path: Path) -> None:
    for number, (wanted, left) in enumerate(((X, 1), (Z, 0))):
        catalog = make_catalog(tmp_path / str(number))
        run = catalog.start_run(CONFIG, ["/videos"], NIGHT.replace(year=2027))
        write_todo_lists(catalog.work_folder(run.run_id), [Video(video_id_of(Z), Z, 1, 1.0, "new")])
        purged = run_forget(catalog, wanted)
        assert (purged.unfinished, catalog.unfinished() is not None) == (1 - left, bool(left))
        assert list(find_traces(catalog, [wanted])) == []
    catalog = make_catalog(tmp_path / "chunks")
    run = catalog.start_run(CONFIG, ["/videos"], NIGHT.replace(year=2027))
    write_night(catalog, run, {X: 3})
    assert run_forget(catalog, X).unfinished == 1
    assert list(find_traces(catalog, [X])) == [] and findings(catalog) == []


def test_what_other_commands_left_is_removed(tmp_path: Path) -> None:
    catalog = make_catalog(tmp_path)
    name = f"proxies/360p/{video_id_of(X)}-0123456789ab.mp4"
    left = [
        name,
        "work/training-0123/part.parquet",
        "videos/.part.tmp-1-2",
        "runs/.x.tmp-3",
        f"{name[:13]}.a.tmp-1.mp4",
    ]
    kept = f"proxies/360p/{video_id_of(Z)}-0123456789ab.mp4"
    for path in (*left, kept):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(X.encode())
    (tmp_path / kept).write_bytes(b"film")
    assert run_forget(catalog, X).proxies == 1
    assert not [path for path in left if (tmp_path / path).exists()] and (tmp_path / kept).exists()


@given(st.binary(max_size=200), st.sets(st.binary(min_size=1, max_size=20), max_size=5), st.data())
def test_many_needles_are_found_as_one_by_one(data: bytes, needles: set[bytes], drawn: st.DataObject) -> None:
    if needles and drawn.draw(st.booleans()):
        place = drawn.draw(st.integers(0, len(data)))
        data = data[:place] + drawn.draw(st.sampled_from(sorted(needles))) + data[place:]
    assert _Needles(needles, whole=False).are_in(Text("bytes", data)) == any(needle in data for needle in needles)


URI = '/videos/ein "Name" mit ä und 名.mp4'


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b"\0\1" * 3_000_000 + URI.encode() + b"\0"),
        lambda path: path.write_bytes(b"x" * ((1 << 20) - 9) + b" " + URI.encode() + b" " * 100),
        lambda path: path.write_text(json.dumps({"uri": URI})),
        lambda path: path.write_text(json.dumps({"uri": URI}, ensure_ascii=False), encoding="utf-8"),
        lambda path: path.write_text(f"cannot open {URI}: no such file", encoding="utf-8"),
        lambda path: path.write_text(f"x{video_id_of(URI)}y"),
        lambda path: path.with_suffix(".bin").write_bytes(zlib.compress(URI.encode())),
        lambda path: pq.write_table(pa.table({"uri": [URI]}), path, compression="zstd"),
        lambda path: pq.write_table(pa.table({"reused_from": [None, URI]}), path, compression="zstd"),
        lambda path: pq.write_table(pa.table({"message": [f"cannot open {URI}: why"]}), path, compression="zstd"),
        lambda path: pq.write_table(pa.table({"a": [[{"b": [URI]}]]}), path, compression="zstd"),
        lambda path: pq.write_table(pa.table({"a": [1]}).replace_schema_metadata({"k": URI}), path),
        lambda path: path.with_name(f"{video_id_of(URI)}-1.mp4").write_bytes(b""),
        lambda path: pq.write_table(pa.table({"video_id": [video_id_of(URI)] * 3}), path, compression="zstd"),
    ],
)  # fmt: skip
def test_traces_are_found_wherever_they_are(tmp_path: Path, write: Callable[[Path], object]) -> None:
    catalog = make_catalog(tmp_path)
    Tombstones().with_more([video_id_of(URI)], []).write(catalog, unfenced)
    others = [f"/videos/{number}.mp4" for number in range(450)]
    assert [one for one in find_traces(catalog, [*others, URI]) if one.path not in others] == []
    (tmp_path / "extra").mkdir()
    write(tmp_path / "extra" / "file")
    found = [one for one in find_traces(catalog, [*others, URI]) if one.path not in others]
    assert [one.path.split("/")[0] for one in found] == ["extra"] and found[0].code == "forgotten"


def test_a_longer_name_is_no_trace_and_a_damaged_table_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog(str(tmp_path))
    names = (f"{X}.avi", f"/more{X}", f"{X} copy.mp4")
    commit_night(catalog, dict.fromkeys(names, 1), changes={name: {"fingerprint": "1-2"} for name in names})
    Tombstones().with_more([video_id_of(X)], []).write(catalog, unfenced)
    assert list(find_traces(catalog, [X])) == []
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 is how a table begins")
    assert [(one.code, one.path) for one in find_traces(catalog, [X])] == [("unreadable", "broken.parquet")]
    monkeypatch.setattr(traces, "_BLOCK_BYTES", 64)
    monkeypatch.setattr(traces, "_OVERLAP_BYTES", 40)
    for place in range(100):  # at every place of a block
        for name, found in ((f"/more{X}", None), (f"{X}.avi", None), (X, "bytes")):
            (tmp_path / "text").write_bytes(b" " * place + name.encode() + b" " * (100 - place))
            assert Traces([X]).find(str(tmp_path / "text")) == found, (place, name)


def test_a_plan_names_copies_links_and_what_is_unknown(tmp_path: Path) -> None:
    catalog = make_catalog(tmp_path / "catalog")
    assert plan_forgetting(catalog, [X]) == Plan((X,), (), (Y,), frozenset({Content(1000, "a" * 32)}))
    assert plan_forgetting(catalog, ["/videos/typo.mp4", Z]) == Plan((Z,), ("/videos/typo.mp4",), (), frozenset())
    real, link = tmp_path / "real.mp4", tmp_path / "link.mp4"
    real.write_bytes(b"film")
    link.symlink_to(real)
    commit_night(catalog, {str(real): 1}, skipped=1)
    plan = plan_forgetting(catalog, [str(link)])
    assert (plan.named, plan.unknown, len(plan.contents)) == ((str(real),), (), 1)


def test_names_become_uris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_text("a.mp4\n\n  s3://bucket/b.mp4 \n/x/../c.mp4\r\na.mp4\n", encoding="utf-8")
    given = uris_of(["d.mp4", "file:///caf%C3%A9.mp4"], ["list.txt"])
    assert given == [f"{tmp_path}/d.mp4", "/café.mp4", f"{tmp_path}/a.mp4", "s3://bucket/b.mp4", "/c.mp4"]
    with pytest.raises(ArchiveError, match=r"cannot read the list none\.txt"):
        uris_of([], ["none.txt"])


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Path]:
    for name in ("a.mp4", "b.mp4", "cam/c.mp4", "cam/deep/d.mp4", "camera/e.mp4"):
        path = tmp_path / "archive" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "archive"


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        ([], {"a.mp4", "b.mp4", "c.mp4", "d.mp4", "e.mp4"}),
        (["{}/a.mp4", "/elsewhere/b.mp4"], {"b.mp4", "c.mp4", "d.mp4", "e.mp4"}),
        (["{}/cam"], {"a.mp4", "b.mp4", "e.mp4"}),
        (["{}/cam/", "{}/b.mp4"], {"a.mp4", "e.mp4"}),
        (["{}/cam/deep/../c.mp4"], {"a.mp4", "b.mp4", "d.mp4", "e.mp4"}),
        (["{}"], set()),
    ],
)
def test_an_exclude_list_leaves_out_files_and_folders(archive: Path, lines: list[str], left: set[str]) -> None:
    listing = archive.parent / "list.txt"
    listing.write_text("".join(f"{line.format(archive)}\n" for line in lines), encoding="utf-8")
    selection = Selection(excluded=excluded_by_lists([str(listing)], "list {}"))
    ignored = Ignored(selection.rules)
    found = {Path(video.uri).name for video in each_video([str(archive)], selection=selection, ignored=ignored)}
    assert found == left
    table = {f"list {listing}": 5 - len(left)} if lines else {}
    assert ignored.table() == table
    for path in archive.rglob("*.mp4"):
        assert covers(str(archive), str(path), selection) == (path.name in left), "what is left out is not gone"
    named = list(each_video([str(archive / "a.mp4")], selection=selection))
    assert bool(named) == ("a.mp4" in left), "also where the archive is the file itself"
