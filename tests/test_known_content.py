"""Which known videos a new path is compared with, and when its content is certainly the same."""

import itertools
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.catalogs import CONFIG, commit_night, thumbnail_rows, video_row
from transforms import storage
from transforms.archive.comparison import Comparison
from transforms.archive.known_content import CANDIDATES, KnownVideo, alike, are_to_be_read, same_content
from transforms.archive.recognition import recognise
from transforms.archive.todo_lists import TodoList, read_todo_list, write_todo_lists
from transforms.catalog import schemas
from transforms.catalog.records import RunConfig
from transforms.catalog.rows.take_over import NewName, TakeOverSettings, files_of, take_over
from transforms.catalog.runs import Catalog
from transforms.decoder.pool import DecoderPool
from transforms.decoder.processes import ChildDied
from transforms.storage import video_id_of
from transforms.video.content_hash import ContentHash
from transforms.video.failures import Failure
from transforms.video.segments import Video

HASHING = replace(CONFIG, content_hash="sampled")
A, B = ContentHash("a" * 32), ContentHash("b" * 32)
WHOLE, OTHER = "1" * 64, "2" * 64


def video(uri: str, size_bytes: int = 1000, fingerprint: str = "new") -> Video:
    return Video(video_id_of(uri), uri, size_bytes, 0.0, fingerprint)


def known(content: ContentHash = A, fingerprint: str = "old", *, listed: bool = True) -> KnownVideo:
    return KnownVideo(video_id_of("/old"), "/old", fingerprint, str(content), "run", "", listed)


@pytest.mark.parametrize(
    ("mode", "new_print", "new_whole", "known_whole", "same"),
    [
        ("sampled", "old", None, None, True),  # the blocks, the size and the time
        ("sampled", "new", None, None, False),  # a changed middle may hide
        ("sampled", "new", WHOLE, WHOLE, True),
        ("sampled", "new", WHOLE, OTHER, False),
        ("sampled", "old", WHOLE, OTHER, False),  # all bytes are stronger than the time
        ("sampled", "new", WHOLE, None, False),
        ("full", "old", WHOLE, None, False),  # the careful want all bytes
        ("full", "old", WHOLE, WHOLE, True),
    ],
)
def test_when_a_file_is_certainly_the_same(
    mode: Any, new_print: str, new_whole: str | None, known_whole: str | None, same: bool
) -> None:
    old = known(A._replace(whole=known_whole))
    assert same_content(video("/new", fingerprint=new_print), A._replace(whole=new_whole), old, mode) is same


def test_a_whole_hash_that_is_taken_now_counts_as_one_that_was_stored() -> None:
    content = A._replace(whole=WHOLE)
    assert same_content(video("/new"), content, known(), "sampled", WHOLE)
    assert not same_content(video("/new"), content, known(), "sampled", OTHER)


def test_files_are_read_whole_only_where_nothing_else_can_tell() -> None:
    there, away, stored = known(), known(listed=False), known(A._replace(whole=WHOLE), listed=False)
    new = video("/new")
    assert are_to_be_read(new, A, [there, away, stored], "sampled") == [there, stored]
    assert are_to_be_read(new, A._replace(whole=OTHER), [there, away, stored], "full") == [there]
    assert are_to_be_read(replace(new, fingerprint="old"), A, [there, stored], "sampled") == [], "the time is enough"
    assert alike(A, [known(B), there, known(ContentHash("")), replace(there, content_hash="sampled9:x")]) == [there]


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(str(tmp_path / "catalog"))


def night(catalog: Catalog, config: RunConfig = HASHING, **contents: tuple[int, str, ContentHash | None]) -> None:
    """A night with videos (size, fingerprint, hash) by name."""
    changes = {
        f"/{name}": {"size_bytes": size, "fingerprint": print_, "content_hash": str(content) if content else None}
        for name, (size, print_, content) in contents.items()
    }
    commit_night(catalog, {f"/{name}": 2 for name in contents}, config=config, changes=changes)


def candidates(catalog: Catalog, *listing: Video, config: RunConfig = HASHING) -> dict[str, list[tuple[str, bool]]]:
    """By uri of a new video, the uris of the known videos that it is compared with, and whether these are listed."""
    with Comparison() as comparison:
        comparison.list_videos(listing)
        comparison.compare(catalog, config)
        with comparison.queue() as queue:
            everything = (0, len(queue))
            names = {one.video_id: one.uri for one in queue.videos(*everything)}
            pairs = [(names[new_id], one) for new_id, one in queue.known(*everything)]
            assert queue.count_known(*everything) == len({one.video_id for _, one in pairs})
    found: dict[str, list[tuple[str, bool]]] = {}
    for uri, one in pairs:
        found.setdefault(uri, []).append((one.uri, one.listed))
    return found


def test_new_videos_are_compared_with_stored_ones_of_their_size(catalog: Catalog) -> None:
    night(catalog, a=(10, "10-1", A), b=(20, "20-1", B), old=(10, "10-2", None))
    night(catalog, replace(HASHING, top_labels=3), other=(10, "10-3", A))
    listing = [video("/a", 10, "10-1"), video("/c", 10, "10-9"), video("/d", 30, "30-1"), video("/b", 20, "20-2")]
    assert candidates(catalog, *listing) == {"/c": [("/a", True)]}, "/b itself changed, and /old has no hash"
    assert candidates(catalog, *listing, config=CONFIG) == {}, "a run that takes no hashes recognises nothing"
    assert candidates(catalog, video("/c", 10, "10-1")) == {"/c": [("/a", False)]}


def test_each_part_of_a_night_has_the_known_videos_of_its_own_videos(catalog: Catalog) -> None:
    night(catalog, a=(10, "10-1", A), b=(20, "20-1", B), c=(20, "20-2", B))
    new = [video("/w", 30, "30-1"), video("/x", 20, "20-9"), video("/y", 10, "10-9"), video("/z", 20, "20-8")]
    with Comparison() as comparison:
        comparison.list_videos([*new, video("/b", 20, "20-1")])
        comparison.compare(catalog, HASHING)
        queue = comparison.queue("smallest")
    with queue:
        names = {one.video_id: one.uri for one in queue.videos(0, 4)}
        parts = [(0, 1), (1, 3), (3, 4), (0, 4)]
        found = [[(names[new_id], one.uri, one.listed) for new_id, one in queue.known(*part)] for part in parts]
        numbers = [queue.count_known(*part) for part in parts]
    of_20 = [("/c", False), ("/b", True)]
    of_x, of_z = ([(uri, *known) for known in of_20] for uri in ("/x", "/z"))
    y = ("/y", "/a", False)
    assert found == [[y], [*of_x, *of_z], [], [*of_x, y, *of_z]], "in the order of the part's videos, by uri"
    assert numbers == [1, 2, 0, 3]


def test_every_stored_row_counts_and_the_newest_is_first(catalog: Catalog) -> None:
    night(catalog, a=(10, "10-1", A))
    night(catalog, a=(10, "10-2", B), b=(10, "10-3", A))
    assert candidates(catalog, video("/n", 10, "10-4"))["/n"] == [("/b", False), ("/a", False), ("/a", False)]


def test_files_cut_to_one_size_are_compared_with_few(catalog: Catalog) -> None:
    many = {f"v{number:03}": (10, f"10-{number}", A) for number in range(50)}
    night(catalog, **many)
    found = candidates(catalog, video("/n", 10, "10-3"), video("/m", 10, "10-99"))
    newest = [(f"/v{number:03}", False) for number in range(49, 49 - CANDIDATES, -1)]
    assert found["/m"] == newest
    assert found["/n"] == [*newest, ("/v003", False)], "the one of its time is never left out"


def test_a_catalog_of_an_earlier_release_has_no_hashes_and_is_read(catalog: Catalog) -> None:
    night(catalog, a=(10, "10-1", A))
    (path,) = catalog.paths_of("videos", catalog.run_ids()[0])
    table = pq.read_table(catalog.path(path)).drop_columns(["content_hash", "reuse", "reused_from"])
    pq.write_table(table, catalog.path(path))
    assert candidates(Catalog(catalog.root), video("/n", 10, "10-1")) == {}


def test_rows_without_the_thumbnails_of_tonight_are_not_taken_over(catalog: Catalog) -> None:
    with_thumbnails = replace(HASHING, thumbnail_seconds="1")
    night(catalog, a=(10, "10-1", A))
    assert candidates(catalog, video("/n", 10, "10-1"), config=with_thumbnails) == {}
    night(catalog, with_thumbnails, b=(10, "10-1", A))
    assert candidates(catalog, video("/n", 10, "10-1"), config=with_thumbnails) == {"/n": [("/b", False)]}
    assert candidates(catalog, video("/n", 10, "10-1"), config=replace(with_thumbnails, thumbnail_height=99)) == {}


@pytest.mark.slow
@settings(max_examples=15)
@given(
    sizes=st.lists(st.integers(1, 3), max_size=6),
    new=st.lists(st.tuples(st.integers(1, 3), st.integers(0, 6)), min_size=1, max_size=5),
)
def test_candidates_are_those_of_a_slow_search(
    sizes: list[int], new: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    catalog = Catalog(str(tmp_path_factory.mktemp("catalog")))
    night(catalog, **{f"k{i}": (size, f"{size}-{i}", A) for i, size in enumerate(sizes)})
    listing = [video(f"/n{i}", size, f"{size}-{time}") for i, (size, time) in enumerate(new)]
    expected = {
        one.uri: [(f"/k{i}", False) for i in reversed(range(len(sizes))) if sizes[i] == one.size_bytes]
        for one in listing
    }
    assert candidates(catalog, *listing) == {uri: found for uri, found in expected.items() if found}


def test_todo_lists_hold_the_known_videos_of_their_own_videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.archive.todo_lists.LIST_VIDEOS", 2)
    new = [video(f"/{number}") for number in range(9)]
    pairs = [(new[2].video_id, known(A)), (new[2].video_id, known(B)), (new[8].video_id, known(A))]
    lists = [read_todo_list(path) for _, path in write_todo_lists(str(tmp_path), new, pairs)]
    assert [one for todo in lists for one in todo.videos] == new and len(lists) > 2
    for todo in lists:
        assert todo == TodoList(todo.videos, todo.known)
        assert set(todo.known) <= {one.video_id for one in todo.videos}
    assert {key: one for todo in lists for key, one in todo.known.items()} == {
        new[2].video_id: [known(A), known(B)],
        new[8].video_id: [known(A)],
    }


def test_what_cannot_be_hashed_in_time_has_no_hash_and_is_left_to_be_decoded() -> None:
    """The second child is stopped at its deadline, the third dies, the fourth cannot read its file.

    Whether the first is the known video cannot be told, because reading that whole takes too long as well.
    """
    results: dict[str, ContentHash | Failure | Exception] = {
        "/a": A, "/b": TimeoutError(), "/c": ChildDied(-9), "/d": Failure("probe", "unreadable", "Input/output error"),
        "/old": TimeoutError(),
    }  # fmt: skip

    class Children:
        def hash_content(self, uri: str, size_bytes: int, *, full: bool) -> Future[Any]:
            future: Future[Any] = Future()
            result = results[uri]
            (future.set_exception if isinstance(result, Exception) else future.set_result)(result)
            return future

    videos = [video(uri) for uri in results if uri != known().uri]
    todo = TodoList(videos, {one.video_id: [known()] for one in videos})
    recognised = recognise(todo, cast(DecoderPool, Children()), "sampled")
    assert recognised == ({videos[0].video_id: A}, [])


NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.fixture
def same(catalog: Catalog) -> Iterator[TakeOverSettings]:
    config = replace(HASHING, thumbnail_seconds="1")
    commit_night(catalog, {"/a": 1500, "/b": 3, "/c": 2}, config=config)
    run = catalog.start_run(replace(config, model="named otherwise"), [], NOON)
    yield TakeOverSettings(catalog.root, run.run_id, run.config, NOON.timestamp())


def written(catalog: Catalog, table: Any, same: TakeOverSettings, *names: NewName) -> pa.Table:
    run_id = catalog.run_ids()[0]
    ((path, found),) = files_of(catalog, table, run_id, names)
    assert found == sorted(names, key=lambda name: name.known_id)
    record, was_there = take_over(table, path, found, same)
    assert not was_there
    assert take_over(table, path, reversed(found), same) == (record, True), "the name follows from the content"
    with storage.open_read(record.path) as file:
        rows = pq.read_table(file)
    schemas.check_table(rows.schema, table)
    assert rows.schema.remove_metadata() == same.schema(table).remove_metadata()
    return rows


def test_rows_are_written_again_under_each_new_name(catalog: Catalog, same: TakeOverSettings) -> None:
    names = [
        NewName(video("/z", 1000, "p"), video_id_of("/a"), "/a", str(A), "moved"),
        NewName(video("/y", 1000, "q"), video_id_of("/a"), "/a", str(A), "copied"),
        NewName(video("/x", 1000, "r"), video_id_of("/c"), "/c", str(B), "moved"),
    ]
    run_id = catalog.run_ids()[0]
    before = catalog.read("frames", run_id)
    frames = written(catalog, "frames", same, *names)
    assert len(frames) == 1500 * 2 + 2 and before is not None
    for name in names:
        new = frames.filter(pa.compute.equal(frames["uri"], name.video.uri)).drop_columns(["uri", "video_id"])
        old = before.filter(pa.compute.equal(before["uri"], name.known_uri))
        assert new.equals(old.drop_columns(["uri", "video_id", "run_id"]).cast(new.schema)), name
    ids = frames["video_id"].to_pylist()
    assert len([1 for one, next_one in itertools.pairwise(ids) if one != next_one]) == 2, "rows stay together"

    (x, y, z) = sorted(written(catalog, "videos", same, *names).to_pylist(), key=lambda row: row["uri"])
    expected = video_row("/x", before.filter(pa.compute.equal(before["uri"], "/c")), HASHING)
    changed = {"modified", "fingerprint", "processed_at", "content_hash", "reuse", "reused_from", "video_id", "model"}
    kept = set(expected) - changed - {"embedding", "best_label_score", "labels"}
    assert {name: x[name] for name in kept} == {name: expected[name] for name in kept}
    assert (x["reuse"], x["reused_from"], x["content_hash"]) == ("moved", "/c", str(B))
    assert (x["video_id"], x["fingerprint"], x["processed_at"]) == (video_id_of("/x"), "r", NOON)
    assert x["model"] == "named otherwise"
    assert (y["reuse"], z["reuse"]) == ("copied", "moved")

    thumbnails = written(catalog, "thumbnails", same, names[2])
    assert thumbnails["fingerprint"].unique().to_pylist() == ["r"]
    images = [row["image"] for row in thumbnail_rows("/c", 2, same.config)]
    assert thumbnails["image"].to_pylist() == images


def test_files_without_known_videos_are_left_alone(catalog: Catalog, same: TakeOverSettings) -> None:
    name = NewName(video("/z"), video_id_of("/elsewhere"), "/elsewhere", str(A), "moved")
    assert not list(files_of(catalog, "frames", catalog.run_ids()[0], [name]))
