"""The videos to index: read from the catalog without holding them all."""

import tracemalloc
from pathlib import Path

import pytest

from tests.catalogs import commit_night
from transforms.catalog import database
from transforms.catalog.reading import live_videos
from transforms.catalog.reading.live_videos import LiveVideos
from transforms.catalog.runs import Catalog


def peak_bytes(root: Path, videos: int) -> int:
    """The most memory that Python's objects took while the videos of a catalog were read one by one."""
    catalog = Catalog(str(root))
    commit_night(catalog, {f"/videos/{number:05}.mp4": 1 for number in range(videos)})
    with LiveVideos(Catalog(str(root))) as warm:
        next(iter(warm))
    catalog = Catalog(str(root))
    tracemalloc.start()
    try:
        with LiveVideos(catalog) as live:
            assert sum(len(video.rows) for video in live) == videos
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_the_videos_are_not_all_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (live_videos, database):
        monkeypatch.setattr(module, "BATCH_ROWS", 500)
    few, many = peak_bytes(tmp_path / "few", 3000), peak_bytes(tmp_path / "many", 9000)
    assert many < 1.5 * few, (few, many)


def test_videos_are_chosen_by_id_uri_or_condition(tmp_path: Path) -> None:
    catalog = Catalog(str(tmp_path / "catalog"))
    commit_night(catalog, {"/a": 3, "/b": 2, "/c": 1})
    commit_night(catalog, {"/b": 4}, failed=["/c"], gone=["/a"])
    newest = catalog.run_ids()[-1]
    with LiveVideos(catalog) as live:
        assert [(video.uri, video.run_id) for video in live] == [("/b", newest)] and len(live) == 1
    with LiveVideos(catalog, also_gone=True) as live:
        assert [video.uri for video in live] == ["/a", "/b"] == sorted(live.uris())
        assert [video.uri for video in live.having("uri", ["/a", "/c"])] == ["/a"]
        assert [video.uri for video in live.where("uri > '/a'")] == ["/b"]
        assert {Path(video.part).parent.name for video in live} == {f"run={run_id}" for run_id in catalog.run_ids()}


def test_rows_of_a_table_of_the_caller_come_beside_their_videos(tmp_path: Path) -> None:
    catalog = Catalog(str(tmp_path / "catalog"))
    commit_night(catalog, {f"/{name}": 2 for name in "dbac"})
    with LiveVideos(catalog) as live:
        every = list(live)
        numbers = {video.video_id: number for number, video in enumerate(every) if video.uri != "/b"}
        live.database.execute("CREATE TABLE numbered (video_id VARCHAR, number INTEGER)")
        live.database.insert("numbered", {"video_id": list(numbers), "number": list(numbers.values())})
        found = list(live.beside("numbered"))
    assert [video for video, _ in found] == [video for video in every if video.video_id in numbers]
    assert all(row == {"video_id": video.video_id, "number": numbers[video.video_id]} for video, row in found)


def test_the_limit_on_memory_grows_with_very_many_rows_only() -> None:
    with database.BoundedDatabase() as few:
        limits = []
        for rows in (0, 10_000, 400_000, 4_000_000):
            few.make_room_for(rows)
            ((limit,),) = few.execute("SELECT current_setting('memory_limit')")
            limits.append(limit)
    assert limits == ["122.0 MiB"] * 3 + ["1.1 GiB"]
