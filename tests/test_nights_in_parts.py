"""Nights that end early or commit as they go, from the command line to the tables."""

import os
import shutil
import signal
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from models.visual.bundle import prepare
from pipelines.jobs.classify.ending import Ending
from pipelines.jobs.classify.night import Night, Watchers, run_night
from pipelines.jobs.classify.request import NightRequest
from tests.conftest import Reelbeam, assert_whole
from tests.tables import contents, leftovers
from transforms.catalog.overview.night_report import night_report
from transforms.catalog.records import Counts, RunConfig
from transforms.catalog.runs import Catalog
from transforms.decoder.settings import DecoderSettings

pytestmark = pytest.mark.slow

QUICK = ("--model", "placeholder")
ONE_BY_ONE = ("--commit-every", "0.001s")
"""A part always has a video, and this is less time than any takes: every part has one."""

NAMES = ["broken.mp4", "gif.gif", "h264_bframes.mp4", "long.mp4", "mpeg4_avi.avi"]


@pytest.fixture
def archive(clips: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clips, tmp_path / "archive"))


@pytest.fixture
def whole(archive: Path, tmp_path: Path, reelbeam: Reelbeam) -> dict[str, Any]:
    """The tables of a night in one part."""
    done = reelbeam("classify", "--archive", archive, "--catalog", tmp_path / "whole", "--commit-every", "0", *QUICK)
    assert done.code == 0, done.err
    return contents(tmp_path / "whole")


def processed(catalog: Path) -> list[list[str]]:
    """The names of the videos that each run processed, in the order of the runs."""
    opened = Catalog(str(catalog))
    runs = []
    for run_id in opened.run_ids():
        tables = [opened.read(table, run_id, ["uri"]) for table in ("videos", "failures")]
        uris = [uri for table in tables if table is not None for uri in table["uri"].to_pylist()]
        runs.append(sorted(uri.rsplit("/", 1)[-1] for uri in uris))
    return runs


def adds_up(counts: dict[str, int]) -> bool:
    return counts["discovered"] == sum(counts[name] for name in ("skipped", "ok", "partial", "failed", "left"))


def test_a_night_in_parts_gives_the_rows_of_one(
    archive: Path, tmp_path: Path, reelbeam: Reelbeam, whole: dict[str, Any]
) -> None:
    catalog = tmp_path / "catalog"
    done = reelbeam("classify", "--archive", archive, "--catalog", catalog, "--json", *QUICK, *ONE_BY_ONE)
    assert done.code == 0, done.err
    summary = done.json
    assert processed(catalog) == [[name] for name in NAMES]
    assert contents(catalog) == whole and not leftovers(catalog)
    assert summary["run_ids"] == Catalog(str(catalog)).run_ids() and summary["run_id"] == summary["run_ids"][-1]
    assert adds_up(summary) and (summary["left"], summary["stopped_by"]) == (0, None)
    assert (summary["ok"], summary["failed"], summary["skipped"]) == (4, 1, 0)
    one = reelbeam("classify", "--archive", archive, "--catalog", tmp_path / "one", "--json", *QUICK).json
    for name in ("discovered", "ok", "failed", "frames", "failures", "labels", "gone", "ignored"):
        assert summary[name] == one[name]
    assert summary["video_hours"] == pytest.approx(one["video_hours"])
    for run, left in zip(reelbeam("status", "--catalog", catalog, "--json").json["runs"], (4, 3, 2, 1, 0), strict=True):
        assert adds_up(run) and (run["left"], run["night"]) == (left, summary["run_ids"][0])


def test_nights_with_a_limit_come_to_an_end(
    archive: Path, tmp_path: Path, reelbeam: Reelbeam, whole: dict[str, Any]
) -> None:
    catalog = tmp_path / "catalog"
    metrics = tmp_path / "reelbeam.prom"
    command = ("classify", "--archive", archive, "--catalog", catalog, "--limit", 2, "--metrics-file", metrics, *QUICK)
    first = reelbeam(*command)
    assert first.code == 0, first.err
    assert "5 discovered = 0 skipped + 1 ok + 0 partial + 1 failed + 3 left; 0 gone" in first.out
    assert "3 videos are left (--limit 2); the same command goes on with them" in first.out
    assert 'reelbeam_videos{job="classify",outcome="left"} 3.0' in metrics.read_text()
    status = reelbeam("status", "--catalog", catalog, "--json").json["backlog"]
    assert (status["videos"], status["videos_a_night"], status["nights"]) == (3, 2.0, 2)
    assert "3 videos left of the last night; at 2 videos a night" in reelbeam("status", "--catalog", catalog).out
    second = reelbeam(*command, "--json").json
    assert (second["ok"], second["left"], second["stopped_by"], second["skipped"]) == (2, 2, "--limit 2", 1)
    third = reelbeam(*command, "--json").json
    assert (third["ok"], third["failed"], third["left"], third["stopped_by"]) == (1, 1, 0, None)
    assert all(map(adds_up, (second, third)))
    assert reelbeam("status", "--catalog", catalog, "--json").json["backlog"] is None
    assert processed(catalog) == [NAMES[:2], NAMES[2:4], [NAMES[0], NAMES[4]]], "what failed waits for the others"
    whole["failures"][0]["attempts"] = 2
    assert contents(catalog) == whole


def test_orders(archive: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    for age, name in enumerate(["gif.gif", "long.mp4", "broken.mp4", "mpeg4_avi.avi", "h264_bframes.mp4"]):
        os.utime(archive / name, (1.7e9 - age, 1.7e9 - age))
    os.utime(archive / "h264_bframes.mp4", (1.7e9 - 3, 1.7e9 - 3))  # as old as the AVI: the path decides
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{archive}/{name}\n" for name in ("mpeg4_avi.avi", "gif.gif", "mpeg4_avi.avi")))
    by_size = sorted(NAMES, key=lambda name: (archive / name).stat().st_size)
    expected = {
        "newest": ["gif.gif", "long.mp4", "broken.mp4", "h264_bframes.mp4", "mpeg4_avi.avi"],
        "oldest": ["h264_bframes.mp4", "mpeg4_avi.avi", "broken.mp4", "long.mp4", "gif.gif"],
        "smallest": by_size,
        "listed": ["mpeg4_avi.avi", "gif.gif", "broken.mp4", "h264_bframes.mp4", "long.mp4"],
    }
    for order, names in expected.items():
        catalog = tmp_path / order
        archives = ("--archive", f"@{listed}", "--archive", archive)
        done = reelbeam("classify", *archives, "--catalog", catalog, "--order", order, *ONE_BY_ONE, *QUICK)
        assert done.code == 0, done.err
        assert processed(catalog) == [[name] for name in names], order


def test_a_dry_run_shows_what_a_limit_leaves(archive: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    command = ("classify", "--archive", archive, "--catalog", tmp_path / "catalog", "--dry-run", *QUICK)
    for order, failing, frames in (("listed", 1, 6), ("smallest", 1, 6), ("newest", 0, 12)):
        for age, name in enumerate([*NAMES[1:3], *NAMES[3:], NAMES[0]]):
            os.utime(archive / name, (1.7e9 - age, 1.7e9 - age))
        plan = reelbeam(*command, "--json", "--limit", 2, "--order", order).json
        assert (plan["files"], plan["left"], plan["failing"]) == (2, 3, failing)
        assert plan["frames"] == pytest.approx(frames, abs=2)
    assert "3 files left for later nights by --limit" in reelbeam(*command, "--limit", 2).out
    assert not (tmp_path / "catalog").exists()


def test_a_kill_in_a_part_loses_nothing_committed(
    archive: Path, tmp_path: Path, reelbeam: Reelbeam, whole: dict[str, Any]
) -> None:
    catalog = tmp_path / "catalog"
    command = ("classify", "--archive", archive, "--catalog", catalog, "--json", *QUICK)
    killed = reelbeam(*command, *ONE_BY_ONE, env={"REELBEAM_FAULT": "storage.after_write:runs:3=kill"})
    assert killed.code == -signal.SIGKILL
    assert processed(catalog) == [[name] for name in NAMES[:2]]
    status = reelbeam("status", "--catalog", catalog, "--json").json
    assert status["backlog"]["videos"] == 3 and status["unfinished"]["chunks"] == 1
    done = reelbeam(*command, *ONE_BY_ONE)
    assert done.code == 0, done.err
    summary = done.json
    assert summary["resumed"] and adds_up(summary) and (summary["skipped"], summary["ok"]) == (2, 3)
    assert processed(catalog) == [[name] for name in NAMES]
    assert contents(catalog) == whole, "also the attempts: what failed in the first part is not tried again"
    assert Catalog(str(catalog)).runs()[2].metrics["extract.chunks_reused"] == 1
    again = reelbeam(*command).json
    assert (again["failed"], contents(catalog)["failures"][0]["attempts"]) == (1, 2), "the next night tries it again"


def test_two_kills_in_one_night_are_still_one_night(archive: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    catalog = tmp_path / "catalog"
    command = ("classify", "--archive", archive, "--catalog", catalog, *QUICK, *ONE_BY_ONE)
    for _ in range(2):
        killed = reelbeam(*command, env={"REELBEAM_FAULT": "storage.after_write:runs:2=kill"})
        assert killed.code == -signal.SIGKILL
    assert reelbeam(*command).code == 0
    assert [row["attempts"] for row in contents(catalog)["failures"]] == [1]
    assert processed(catalog) == [[name] for name in NAMES]


def test_what_a_killed_night_had_in_hand_comes_first(
    archive: Path, tmp_path: Path, reelbeam: Reelbeam, whole: dict[str, Any]
) -> None:
    """Its chunks would be removed as strays if the next command began with other videos."""
    catalog = tmp_path / "catalog"
    command = ("classify", "--archive", archive, "--catalog", catalog, *QUICK, "--chunk-frames", "5")
    killed = reelbeam(*command, "--limit", 3, env={"REELBEAM_FAULT": "storage.before_write:files=kill"})
    assert killed.code == -signal.SIGKILL
    done = reelbeam(*command, "--order", "newest", *ONE_BY_ONE)
    assert done.code == 0, done.err
    first, *others = processed(catalog)
    assert first == NAMES[:3] and len(others) == 2
    reused = Catalog(str(catalog)).runs()[0].metrics["extract.chunks_reused"]
    assert reused == len(list(catalog.glob(f"frames/run={Catalog(str(catalog)).run_ids()[0]}/*.parquet")))


def test_what_is_gone_is_noticed_once(archive: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    catalog = tmp_path / "catalog"
    command = ("classify", "--archive", archive, "--catalog", catalog, "--json", *QUICK, *ONE_BY_ONE)
    reelbeam(*command, "--limit", 3)
    (archive / "gif.gif").unlink()
    summary = reelbeam(*command).json
    assert (summary["ok"], summary["failed"], summary["gone"], len(summary["run_ids"])) == (2, 1, 1, 3)
    opened = Catalog(str(catalog))
    since = [opened.read("gone", run_id, ["since"]) for run_id in summary["run_ids"]]
    assert len({str(table["since"].to_pylist()) for table in since if table is not None}) == 1
    report = night_report(opened)
    assert [row["uri"].rsplit("/", 1)[-1] for row in report.gone.rows] == ["gif.gif"]


def test_the_report_of_a_night_has_all_its_parts(archive: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    catalog, page = tmp_path / "catalog", tmp_path / "night.html"
    reelbeam("classify", "--archive", archive, "--catalog", catalog, *QUICK, *ONE_BY_ONE, "--limit", 4)
    report = night_report(Catalog(str(catalog)))
    assert (report.processed.total, report.failures.total, report.parts, len(report.posters)) == (3, 1, 4, 3)
    assert report.run.counts == Counts(discovered=5, ok=3, failed=1, left=1) and len(report.nights) == 1
    assert reelbeam("report", "--catalog", catalog, "--output", page).code == 0
    text = page.read_text()
    assert "5 discovered = 0 unchanged + 3 ok + 0 partial + 1 failed + 1 left for later nights." in text
    assert "in 4 parts on" in text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--until", "25:00"), "'25:00' is no time of day; write 06:00 or 23:30"),
        (("--for", "0"), "'0' is no time at all; write 5h, 30m, 1h30m or 90s"),
        (("--for", "5 hours"), "'5 hours' is no duration; write 5h, 30m, 1h30m or 90s"),
        (("--limit", "0"), "0 is not in the range x>=1"),
        (("--order", "largest"), "'largest' is not one of"),
        (("--for", "5h", "--template_location=/t"), "--for: a template's job runs later"),
    ],
)
def test_wrong_endings_are_one_line(
    archive: Path, tmp_path: Path, reelbeam: Reelbeam, options: tuple[str, ...], said: str
) -> None:
    done = reelbeam("classify", "--archive", archive, "--catalog", tmp_path / "catalog", *QUICK, *options)
    assert done.code == 2 and said in done.err.splitlines()[-1] and "Traceback" not in done.err
    assert not (tmp_path / "catalog").exists()


def test_a_night_whose_time_is_over_ends_after_its_first_part(
    archive: Path, tmp_path: Path, reelbeam: Reelbeam
) -> None:
    catalog = tmp_path / "catalog"
    command = ("classify", "--archive", archive, "--catalog", catalog, "--json", *QUICK, "--for", "0.001s")
    for left in (4, 4, 3):
        done = reelbeam(*command)
        assert done.code == 0, done.err
        assert (done.json["left"], done.json["stopped_by"]) == (left, "--for is over")
    assert processed(catalog) == [[name] for name in NAMES[:3]], "what failed waits for the others"


class NightClock:
    """A clock that each commit sets forward."""

    def __init__(self, step_s: float) -> None:
        self.now_s = datetime(2026, 11, 27, 18, tzinfo=UTC).timestamp()
        self.step_s = step_s

    def __call__(self) -> float:
        return self.now_s

    def committed(self, record: object) -> None:
        self.now_s += self.step_s


def run(archive: Path, catalog: Path, ending: Ending, clock: NightClock) -> Night:
    bundle = prepare("placeholder")
    config = RunConfig("placeholder", bundle.fingerprint, "1fps", 3, "float32", bundle.spec.embedding_size)
    request = NightRequest((str(archive),), str(catalog), config, DecoderSettings(2), None, False, ending=ending)
    return run_night(request, bundle, [], Watchers(lambda folder: nullcontext(), clock.committed), clock)


def test_the_clock_is_looked_at_before_each_part(archive: Path, tmp_path: Path) -> None:
    clock = NightClock(step_s=4000)
    deadline_s = clock.now_s + 10_000
    ending = Ending(None, deadline_s, "--until 06:00", 0.001)
    night = run(archive, tmp_path / "catalog", ending, clock)
    assert len(night.parts) == 3 and night.stopped_by == "--until 06:00"
    assert night.record(Catalog(str(tmp_path / "catalog"))).counts == Counts(discovered=5, ok=2, failed=1, left=2)
    assert processed(tmp_path / "catalog") == [[name] for name in NAMES[:3]]
    assert_whole(tmp_path / "catalog")


def test_readers_see_each_part_when_it_is_committed(archive: Path, tmp_path: Path) -> None:
    catalog, seen = tmp_path / "catalog", list[int]()

    class Reader(NightClock):
        def committed(self, record: object) -> None:
            assert_whole(catalog)
            tables = contents(catalog)
            seen.append(len(tables["videos"]) + len(tables["failures"]))
            assert (catalog / "LOCK").exists(), "the same lock is held over all parts"

    run(archive, catalog, Ending(commit_every_s=0.001), Reader(0))
    assert seen == [1, 2, 3, 4, 5]
