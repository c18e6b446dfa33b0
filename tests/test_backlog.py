"""What a night has to do, against a plain account of many nights; and that more than fits in memory goes to disk."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.catalogs import (
    CONFIG,
    NIGHT,
    SIZE,
    failure_row,
    frame_rows,
    video_row,
    write_files_table,
    write_night,
    write_part,
)
from transforms.archive.comparison import Backlog, Comparison
from transforms.archive.listing import UNLISTED
from transforms.catalog import database, schemas
from transforms.catalog.database import ComparisonError
from transforms.catalog.reading.latest import latest_failures, latest_videos
from transforms.catalog.records import RunConfig
from transforms.catalog.runs import Catalog
from transforms.storage import unfenced, video_id_of
from transforms.video.segments import Video

pytestmark = pytest.mark.slow

OTHER_FILES = replace(CONFIG, chunk_frames=7)
OTHER_ROWS = replace(CONFIG, top_labels=1)
OTHER_DTYPE = replace(CONFIG, embedding_dtype="float16")
OTHER_MODEL = replace(CONFIG, model_fingerprint="e" * 16)
FOLDERS = ("/one/sub", "/two/shut")
URIS = (
    "/one/a.mp4", "/one/sub/b.mp4", "/one/sub.mp4", "/two/\uffff.mp4", "/two/\U0001f3ac.mp4", "/two/e\u0301\x01.mp4",
    "/two/shut/c.mp4", "file:///two/shut/%E9.mp4", "s3://three/d.mp4",
)  # fmt: skip


def video(uri: str, version: int = 0) -> Video:
    fingerprint = UNLISTED if uri in FOLDERS else f"{version}-{uri}"
    return Video(video_id_of(uri), uri, 1000 + version, 1.7e9 + version / 3, fingerprint)


@dataclass
class Account:
    """The same nights in plain dictionaries: what there is to do, and what is known afterwards."""

    outcomes: dict[tuple, dict[str, tuple[str, int, float | None]]] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    gone: dict[str, datetime] = field(default_factory=dict)

    def plan(self, listing: Sequence[Video], config: RunConfig) -> tuple[Backlog, list[Video]]:
        found: dict[str, Video] = {}
        for one in listing:
            found.setdefault(one.uri, one)
        todo, given_up = [], 0
        for uri in sorted(found):
            fingerprint, attempts, first_s = self.outcomes.get(config.rows_key, {}).get(uri, ("", 0, None))
            if fingerprint != found[uri].fingerprint:
                todo.append(found[uri])
            elif attempts >= 3:
                given_up += 1
            elif attempts:
                todo.append(replace(found[uri], attempts=attempts, first_failed_s=first_s))
        return Backlog(len(found), len(todo), len(found) - len(todo), given_up), todo

    def missing(self, listing: Sequence[Video], archives: Sequence[str]) -> list[str]:
        listed = {one.uri for one in listing}
        shut = [one.uri for one in listing if one.fingerprint == UNLISTED]
        return [
            uri
            for uri in sorted(self.known - listed)
            if not any(uri.removeprefix("file://").startswith(f"{folder}/") for folder in shut)
            and (uri in self.gone or any(uri.removeprefix("file://").startswith(f"{one}/") for one in archives))
        ]

    def shown(self, config: RunConfig) -> dict[str, tuple[str, bool]]:
        outcomes = self.outcomes.get(config.rows_key, {})
        return {uri: (fingerprint, attempts > 0) for uri, (fingerprint, attempts, _) in outcomes.items()}

    def note(self, config: RunConfig, todo: Sequence[Video], failed: set[str], first_s: float) -> None:
        self.known |= {one.uri for one in todo}
        for one in todo:
            outcome = (one.attempts + 1, one.first_failed_s or first_s) if one.uri in failed else (0, None)
            self.outcomes.setdefault(config.rows_key, {})[one.uri] = (one.fingerprint, *outcome)


def shown(catalog: Catalog) -> dict[str, tuple[str, bool]]:
    """What readers see of each video: which version of the file, and whether it failed."""
    tables = ((latest_videos(catalog), False), (latest_failures(catalog), True))
    return {row["uri"]: (row["fingerprint"], failed) for table, failed in tables for row in table.to_pylist()}


def commit(
    catalog: Catalog, config: RunConfig, todo: Sequence[Video], failed: set[str], gone: pa.Table, first_s: float
) -> None:
    """Writes a night as the job would."""
    run = catalog.start_run(config, [], NIGHT)
    record = write_night(catalog, run, {})
    frames = frame_rows("/a", 1)
    rows = [video_row(one.uri, frames, config, fingerprint=one.fingerprint) for one in todo if one.uri not in failed]
    failures = [
        failure_row(
            one.uri, config, fingerprint=one.fingerprint, attempts=one.attempts + 1,
            first_seen=datetime.fromtimestamp(one.first_failed_s or first_s, UTC),
        )
        for one in todo
        if one.uri in failed
    ]  # fmt: skip
    written = [
        write_part(catalog, run, "videos", rows, schemas.videos_schema(SIZE)),
        write_part(catalog, run, "failures", failures, schemas.FAILURES),
        write_part(catalog, run, "gone", gone.to_pylist(), schemas.GONE),
    ]
    write_files_table(catalog, run.run_id, written)
    catalog.commit(record, unfenced)


NIGHTS = st.lists(
    st.tuples(
        st.lists(
            st.one_of(st.builds(video, st.sampled_from(URIS), st.integers(0, 1)), st.sampled_from(FOLDERS).map(video)),
            max_size=14,
        ),
        st.sets(st.sampled_from(["/one", "/two", "s3://three"])),
        st.sets(st.sampled_from(URIS)),
        st.sampled_from([CONFIG, CONFIG, CONFIG, OTHER_FILES, OTHER_ROWS, OTHER_DTYPE, OTHER_MODEL]),
    ),
    min_size=1,
    max_size=7,
)


@settings(deadline=None, max_examples=25)
@given(nights=NIGHTS)
def test_many_nights_as_a_plain_account_has_them(tmp_path_factory: pytest.TempPathFactory, nights: list) -> None:
    catalog, account = Catalog(str(tmp_path_factory.mktemp("catalog"))), Account()
    for number, (listing, archives, failing, config) in enumerate(nights):
        first_s = (NIGHT + timedelta(days=number, microseconds=number + 1)).timestamp()
        began = datetime.now(UTC)
        with Comparison() as comparison:
            assert comparison.list_videos(iter(listing)) == len(listing)
            counts = comparison.compare(catalog, config)
            with comparison.queue() as queue:
                todo = list(queue.videos(0, len(queue)))
            gone = pa.Table.from_batches(comparison.gone(sorted(archives)), schemas.GONE)
        assert (counts, todo) == account.plan(listing, config)
        assert gone["uri"].to_pylist() == account.missing(listing, sorted(archives))
        since = dict(zip(gone["uri"].to_pylist(), gone["since"].to_pylist(), strict=True))
        assert gone["video_id"].to_pylist() == [video_id_of(uri) for uri in since]
        assert all(began <= at if uri not in account.gone else at == account.gone[uri] for uri, at in since.items())
        failed = failing | set(FOLDERS)
        commit(catalog, config, todo, failed, gone, first_s)
        account.note(config, todo, failed, first_s)
        account.gone = since
        assert shown(catalog) == account.shown(config), "what is known with these options is what readers see"
        assert {one.uri for one in listing} <= shown(catalog).keys(), "and that is all of the archive"


def test_more_than_fits_in_memory_goes_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "MEMORY_LIMIT", "32MB")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    videos = [video(f"/archive/{number:032}.mp4") for number in range(100_000)]
    shuffled = Random(0).sample(videos, len(videos))
    with Comparison() as comparison:
        comparison.list_videos(iter(shuffled))
        assert comparison.compare(Catalog(str(tmp_path / "catalog")), CONFIG).todo == len(videos)
        assert sum(path.stat().st_size for path in tmp_path.rglob("duckdb*")) > 1_000_000
        with comparison.queue() as queue:
            assert list(queue.videos(0, len(queue))) == videos
    assert not list(tmp_path.iterdir())


def test_no_room_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "MEMORY_LIMIT", "2MB")
    videos = (video(f"/archive/{number:032}.mp4") for number in range(50_000))
    with Comparison() as comparison, pytest.raises(ComparisonError, match=r"^no room in /[^\n]*; set TMPDIR to"):
        comparison.list_videos(videos)
        comparison.compare(Catalog(str(tmp_path / "catalog")), CONFIG)
        comparison.queue()
