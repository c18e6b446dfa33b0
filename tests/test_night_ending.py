"""When a night ends and what it hands out at once, with a clock that the tests set."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import click
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.commands.ending_options import COMMIT_EVERY_S, ClockType, DurationType, ending_of, next_time
from pipelines.jobs.classify.ending import (
    ASSUMED_BYTES_A_S,
    DATAFLOW,
    VIDEO_BYTES,
    Ending,
    Part,
    Parts,
    like,
    speed_of,
    weight_of,
)
from tests.catalogs import CONFIG
from transforms.archive.todo_queue import TodoQueue
from transforms.catalog.overview.nights import Outlook, as_one, nights_of, outlook
from transforms.catalog.records import Counts, RunRecord
from transforms.storage import video_id_of

MB = 1_000_000
SIX_PM = datetime(2026, 11, 27, 18, tzinfo=UTC)
CHOSEN = {"limit": None, "for_s": None, "until": None, "commit_every": None, "order": "listed"}


def record(number: int = 0, *, night: str = "", started_at: datetime = SIX_PM, **changes: object) -> RunRecord:
    plain = RunRecord(
        run_id=f"run-{number}", started_at=started_at.isoformat(), finished_at=started_at.isoformat(), config=CONFIG,
        archives=["/videos"], counts=Counts(), video_s=0.0, frames=0, elapsed_s=1.0, metrics={}, labels={}, failures={},
        files_sha256="", files_count=0, host="here", runner="FnApiRunner", version="0.3.0", ignored={}, night=night,
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]


def queue_of(sizes: Sequence[int], begun: int = 0) -> TodoQueue:
    uris = [f"/videos/{number:06}.mp4" for number in range(len(sizes))]
    columns = {
        "video_id": [video_id_of(uri) for uri in uris],
        "uri": uris,
        "size_bytes": pa.array(sizes, pa.int64()),
        "modified_s": [float(number) for number in range(len(sizes))],
        "fingerprint": uris,
        "attempts": pa.array([0] * len(sizes), pa.int32()),
        "first_failed_s": pa.nulls(len(sizes), pa.float64()),
    }
    return TodoQueue(pa.table(columns).to_batches(), begun)


class Clock:
    """A clock that moves only when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def handed_out(parts: Parts) -> Iterator[Part]:
    while (part := parts.next()) is not None:
        yield part


def of_speed(bytes_a_s: float) -> RunRecord:
    return record(counts=Counts(ok=1), size_bytes=int(bytes_a_s * 10) - VIDEO_BYTES, elapsed_s=10.0)


def test_without_an_ending_a_night_is_one_part() -> None:
    with queue_of([MB] * 5) as queue:
        parts = Parts(Ending(), queue, [], Clock())
        assert list(handed_out(parts)) == [Part(0, 5)]
        assert (parts.left, parts.stopped_by) == (0, None)


def test_nothing_to_do_is_no_part() -> None:
    with queue_of([]) as queue:
        parts = Parts(Ending(limit=3, deadline_s=0.0, commit_every_s=1.0), queue, [], Clock())
        assert list(handed_out(parts)) == [] and parts.stopped_by is None


def test_a_limit_counts_videos_over_all_parts() -> None:
    with queue_of([0] * 10) as queue:
        parts = Parts(Ending(limit=7, commit_every_s=3.0), queue, [of_speed(MB)], Clock())
        assert list(handed_out(parts)) == [Part(0, 3), Part(3, 6), Part(6, 7)]
        assert (parts.left, parts.stopped_by) == (3, "--limit 7")


def test_a_limit_that_is_not_reached_stops_nothing() -> None:
    with queue_of([0] * 2) as queue:
        parts = Parts(Ending(limit=2), queue, [], Clock())
        assert list(handed_out(parts)) == [Part(0, 2)] and parts.stopped_by is None


def test_parts_follow_the_speed_of_the_part_before() -> None:
    with queue_of([9 * MB] * 100) as queue:
        parts = Parts(Ending(commit_every_s=100.0), queue, [], Clock())
        first = parts.next()
        assert first == Part(0, int(100 * ASSUMED_BYTES_A_S / weight_of(9 * MB)))
        parts.learn(record(counts=Counts(ok=10), size_bytes=90 * MB, elapsed_s=50.0))
        assert parts.next() == Part(10, 30), "2 MB a second for 100 s are 20 videos of 10 MB"


def test_a_part_that_says_no_speed_changes_none() -> None:
    reused = record(counts=Counts(ok=1), size_bytes=MB, elapsed_s=0.1, metrics={"extract.chunks_reused": 1})
    assert [speed_of(one) for one in (reused, record(), record(counts=Counts(ok=3)))] == [None] * 3
    assert speed_of(replace(reused, metrics={"extract.chunks_reused": 0})) == pytest.approx(20 * MB)
    known = record(counts=Counts(ok=3, partial=1, moved=2, copied=1), size_bytes=MB, elapsed_s=2.0)
    assert speed_of(known) == pytest.approx(MB), "only one of the four was decoded"
    with queue_of([0] * 10) as queue:
        parts = Parts(Ending(commit_every_s=4.0), queue, [of_speed(MB / 2), reused], Clock())
        assert parts.next() == Part(0, 2)


def test_only_runs_with_the_same_means_tell_the_speed() -> None:
    runs = [
        record(1),
        record(2, host="there"),
        record(3, runner="FlinkRunner"),
        record(4, config=replace(CONFIG, model="b")),
        record(5, ignored=None),
    ]
    assert like(runs, CONFIG, "FnApiRunner", "here") == [runs[0]]


def test_every_part_has_a_video_however_large() -> None:
    with queue_of([10**12, 0, 10**12]) as queue:
        parts = Parts(Ending(commit_every_s=1.0), queue, [], Clock())
        assert list(handed_out(parts)) == [Part(0, 1), Part(1, 2), Part(2, 3)]


def test_parts_become_smaller_toward_the_end() -> None:
    clock = Clock()
    with queue_of([0] * 10_000) as queue:
        parts = Parts(
            Ending(deadline_s=clock.now_s + 1000, deadline_from="--until 06:00"), queue, [of_speed(MB)], clock
        )
        sizes = []
        for part in handed_out(parts):
            sizes.append(part.end - part.first)
            clock.now_s += part.end - part.first  # a megabyte, so a second, each
        assert sizes == [500, 250, 125, 62, 31]
        assert parts.stopped_by == "--until 06:00" and parts.left == 10_000 - sum(sizes)


def test_the_first_part_comes_at_whatever_time() -> None:
    clock = Clock()
    with queue_of([10**12, 0]) as queue:
        parts = Parts(Ending(deadline_s=clock.now_s - 1, deadline_from="--for is over"), queue, [], clock)
        assert list(handed_out(parts)) == [Part(0, 1)] and parts.stopped_by == "--for is over"


def test_a_video_that_would_take_longer_than_the_time_left_is_not_begun() -> None:
    clock = Clock()
    with queue_of([0, 1000 * MB]) as queue:
        parts = Parts(Ending(deadline_s=clock.now_s + 500, deadline_from="--for is over"), queue, [of_speed(MB)], clock)
        assert list(handed_out(parts)) == [Part(0, 1)] and parts.left == 1


def test_what_an_interrupted_run_had_in_hand_is_one_part() -> None:
    with queue_of([MB] * 10, begun=6) as queue:
        parts = Parts(Ending(commit_every_s=1.0), queue, [of_speed(2 * MB)], Clock())
        assert list(handed_out(parts))[:2] == [Part(0, 6), Part(6, 7)]
    with queue_of([MB] * 10, begun=6) as queue:
        assert list(handed_out(Parts(Ending(limit=4), queue, [], Clock()))) == [Part(0, 4)]


def test_jobs_that_start_slowly_get_no_short_parts() -> None:
    clock = Clock()
    with queue_of([0] * 10_000) as queue:
        ending = Ending(deadline_s=clock.now_s + 3600, deadline_from="--until 06:00", runner=DATAFLOW)
        parts = Parts(ending, queue, [of_speed(MB)], clock)
        assert parts.next() == Part(0, 1800)
        clock.now_s += 2500
        assert parts.next() is None


@given(
    sizes=st.lists(st.integers(0, 50 * MB), max_size=60),
    speed=st.floats(1e5, 1e8),
    true_speed=st.floats(1e5, 1e8),
    limit=st.none() | st.integers(1, 70),
    commit_every_s=st.none() | st.floats(0.01, 100),
    for_s=st.none() | st.floats(0.01, 1000),
)
def test_parts_are_a_row_of_all_that_was_handed_out(
    sizes: list[int], speed: float, true_speed: float, limit: int | None, commit_every_s: float | None,
    for_s: float | None,
) -> None:  # fmt: skip
    clock = Clock()
    began_s = clock.now_s
    with queue_of(sizes) as queue:
        deadline_s = None if for_s is None else began_s + for_s
        ending = Ending(limit, deadline_s, "--for is over", commit_every_s)
        parts = Parts(ending, queue, [of_speed(speed)], clock)
        at = 0
        for part in handed_out(parts):
            assert part.first == at < part.end
            assert not at or deadline_s is None or clock.now_s < deadline_s, "no part begins after the end"
            weight = sum(map(weight_of, sizes[part.first : part.end]))
            clock.now_s += weight / true_speed
            size_bytes = sum(sizes[part.first : part.end])
            counts = Counts(ok=part.end - part.first)
            parts.learn(record(counts=counts, size_bytes=size_bytes, elapsed_s=weight / true_speed))
            at = part.end
        assert at <= min(len(sizes), limit or len(sizes))
        assert (parts.stopped_by is None) == (parts.left == 0)
        if parts.stopped_by == f"--limit {limit}":
            assert at == limit
        if for_s is None and limit is None:
            assert at == len(sizes)


@pytest.mark.slow
@given(sizes=st.lists(st.integers(0, 10**9), max_size=50), first=st.integers(0, 50))
def test_a_queue_gives_back_what_it_was_given(sizes: list[int], first: int) -> None:
    with queue_of(sizes) as queue:
        assert len(queue) == len(sizes)
        assert list(queue.sizes(first)) == sizes[first:]
        videos = list(queue.videos(first, first + 7))
        assert [video.size_bytes for video in videos] == sizes[first : first + 7]
        assert [video.uri for video in videos] == sorted(video.uri for video in videos)


def test_a_queue_of_many_row_groups() -> None:
    sizes = list(range(25_000))
    with queue_of(sizes) as queue:
        for first in (0, 9_999, 10_000, 10_001, 24_999, 25_000):
            assert list(queue.sizes(first)) == sizes[first:]
        assert [video.size_bytes for video in queue.videos(9_990, 10_010)] == sizes[9_990:10_010]


@pytest.mark.parametrize(
    ("text", "seconds"), [("5h", 18000), ("30m", 1800), ("1h30m", 5400), ("90s", 90), ("1.5H", 5400), ("0.01s", 0.01)]
)
def test_durations(text: str, seconds: float) -> None:
    assert DurationType(zero=False).convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "0", "0h", "5", "h", "-5h", "30m1h", "five", "5 h", "1e9s"])
def test_no_durations(text: str) -> None:
    with pytest.raises(click.BadParameter, match="write 5h, 30m, 1h30m or 90s"):
        DurationType(zero=False).convert(text, None, None)


def test_a_duration_of_zero_where_it_means_something() -> None:
    assert DurationType(zero=True).convert("0", None, None) == DurationType(zero=True).convert("0s", None, None) == 0


@pytest.mark.parametrize("text", ["", "6", "24:00", "06:60", "6am", "06:00:00", "-1:00"])
def test_no_times_of_day(text: str) -> None:
    with pytest.raises(click.BadParameter, match="write 06:00"):
        ClockType().convert(text, None, None)


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("now", "at", "expected"),
    [
        ("2026-11-27T18:00+01:00", "06:00", "2026-11-28T06:00+01:00"),
        ("2026-11-28T05:59+01:00", "06:00", "2026-11-28T06:00+01:00"),
        ("2026-11-28T06:00+01:00", "06:00", "2026-11-29T06:00+01:00"),
        ("2026-12-31T23:00+01:00", "06:00", "2027-01-01T06:00+01:00"),
        ("2026-10-24T22:00+02:00", "06:00", "2026-10-25T06:00+01:00"),  # the night with an hour more
        ("2027-03-27T22:00+01:00", "06:00", "2027-03-28T06:00+02:00"),  # the night with an hour less
    ],
)
def test_the_next_time_of_day(now: str, at: str, expected: str) -> None:
    assert next_time(at, datetime.fromisoformat(now).timestamp()) == datetime.fromisoformat(expected).timestamp()


def test_the_earlier_of_two_ends_counts() -> None:
    now_s = datetime.now().replace(hour=12, minute=0, second=0, microsecond=0).timestamp()
    both = {**CHOSEN, "until": "13:00"}
    assert ending_of({**both, "for_s": 60.0}, [], now_s) == Ending(
        None, now_s + 60, "--for is over", COMMIT_EVERY_S, "listed"
    )
    assert ending_of({**both, "for_s": 7200.0}, [], now_s).deadline_from == "--until 13:00"


def test_runners_have_their_own_commits() -> None:
    def every(*arguments: str, **chosen: object) -> float | None:
        return ending_of({**CHOSEN, **chosen}, arguments).commit_every_s

    assert every() == every("--runner=FlinkRunner") == COMMIT_EVERY_S
    assert every("--runner=DataflowRunner") is None and every(commit_every=0.0) is None
    assert every("--runner=DataflowRunner", commit_every=7200.0) == 7200
    assert ending_of(CHOSEN, ["--runner=FlinkRunner"]).runner == "FlinkRunner"


def test_a_template_cannot_look_at_the_clock() -> None:
    template = ("--runner=DataflowRunner", "--template_location=gs://b/t")
    assert ending_of({**CHOSEN, "limit": 5, "commit_every": 0.0}, template).limit == 5
    for chosen, said in (
        ({"until": "06:00"}, "--until"),
        ({"for_s": 1.0, "commit_every": 9.0}, "--for and --commit-every"),
    ):
        with pytest.raises(click.UsageError, match=f"^{said}: a template"):
            ending_of({**CHOSEN, **chosen}, template)


def night_of_parts() -> list[RunRecord]:
    common = {"night": "run-1", "ignored": {}}
    return [
        record(1, **common, counts=Counts(10, 4, 1, 0, 1, 2, 1, left=4), video_s=0.1, frames=3, size_bytes=7,
               failures={"corrupt": 1}),
        record(2, **common, started_at=SIX_PM + timedelta(hours=1), counts=Counts(10, 6, 1, 1, 0, 2, 1, left=2),
               video_s=0.2, frames=4, size_bytes=8, elapsed_s=2.0),
        record(3, **common, counts=Counts(10, 8, 0, 0, 1, 2, 1, left=1), video_s=0.3, frames=5, failures={"corrupt": 1}),
    ]  # fmt: skip


def test_a_night_of_parts_is_the_sum_of_its_parts() -> None:
    parts = night_of_parts()
    for part in [*parts, as_one(parts)]:
        counts = part.counts
        assert counts.discovered == counts.skipped + counts.ok + counts.partial + counts.failed + counts.left
    whole = as_one(parts)
    assert whole.counts == Counts(10, 4, 2, 1, 2, 2, 1, left=1)
    assert (whole.run_id, whole.started_at, whole.frames, whole.size_bytes) == ("run-3", SIX_PM.isoformat(), 12, 15)
    assert (whole.video_s, whole.elapsed_s, whole.failures) == (0.6, 4.0, {"corrupt": 2})
    assert as_one(parts[:1]) == parts[0]


def test_runs_of_earlier_releases_are_nights_of_their_own() -> None:
    runs = [record(0), *night_of_parts(), record(4), record(5)]
    assert [[run.run_id for run in night] for night in nights_of(runs)] == [
        ["run-0"], ["run-1", "run-2", "run-3"], ["run-4"], ["run-5"],
    ]  # fmt: skip


def test_the_outlook_is_the_rest_at_the_pace_of_the_last_nights() -> None:
    def night(day: int, done: int, left: int) -> RunRecord:
        counts = Counts(100, 0, done, left=left)
        return record(day, started_at=SIX_PM + timedelta(days=day), counts=counts)

    assert outlook([]) is None and outlook([night(0, 10, 0)]) is None
    assert outlook([night(0, 10, 95)]) == Outlook(95, 10.0, 10, "2026-12-07")
    nights = [night(0, 1000, 90), night(2, 10, 80), night(4, 20, 60), night(6, 30, 41)]
    assert outlook(nights) == Outlook(41, 25.0, 2, "2026-12-07"), "every other night, 20 or 30 videos: two more"
    relabelled = record(9, ignored=None)
    assert outlook([*nights, relabelled]) == outlook(nights), "a run that listed nothing knows nothing of the archive"
    assert outlook([record(0, counts=Counts(5, left=5))]) == Outlook(5, None, None, None)


def test_the_pace_is_that_of_nights_and_not_of_parts() -> None:
    assert outlook(night_of_parts()) == Outlook(1, 5.0, 1, "2026-11-28")
