"""A catalog at a glance."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from models.heads.ranges import Range
from pipelines.commands.main import cli
from tests.catalogs import CONFIG, NIGHT, commit_night, write_night
from transforms import storage
from transforms.catalog.overview.status import status_of
from transforms.catalog.runs import Catalog


def test_status_adds_up(tmp_path):
    catalog = Catalog(str(tmp_path))
    first = commit_night(catalog, {"/a": 3600, "/b": 1800}, failed=["/c", "/d"])
    second = commit_night(catalog, {"/b": 10}, failed=["/c"], gone=["/a"], skipped=1)
    run = catalog.start_run(CONFIG, ["/videos"], NIGHT + timedelta(days=2))
    write_night(catalog, run, {"/e": 5})
    status = status_of(catalog)
    assert [one["run_id"] for one in status.runs] == [first.run_id, second.run_id]
    assert status.runs[0]["speed_x_realtime"] == 540 and status.runs[1]["skipped"] == 1
    assert (status.videos, status.partial, status.frames) == (2, 0, 3610)
    assert status.video_hours == 3610 / 3600
    assert (status.failures, status.gone) == ({"empty_file": 2}, 1)
    assert sum(status.size_bytes.values()) == sum(file.size_bytes for file in storage.list_files(catalog.root))
    assert {"frames", "videos", "failures", "gone", "files", "runs", "work"} <= status.size_bytes.keys()
    assert status.unfinished is not None and status.unfinished["run_id"] == run.run_id
    assert status.unfinished["chunks"] == 1
    assert msgspec.json.decode(msgspec.json.encode(status)) == asdict(status)


def test_status_of_a_catalog_whose_first_run_is_unfinished(tmp_path):
    catalog = Catalog(str(tmp_path))
    run = catalog.start_run(CONFIG, ["/videos"], NIGHT)
    status = status_of(catalog)
    assert (status.runs, status.videos, status.video_hours, status.gone) == ([], 0, 0.0, 0)
    assert status.unfinished is not None and status.unfinished["run_id"] == run.run_id


JUMPS = [Range("jump", 2.5, 4.0, 0.8), Range("jump", 5.0, 6.0, 0.6), Range("wave", 7.0, 8.0, 0.2)]


@pytest.mark.parametrize(
    ("ranges", "expected", "line"),
    [
        (None, None, None),
        (JUMPS[2:], {"ranges": 0, "videos": 0, "labels": {}}, "actions: 0 ranges in 0 videos"),
        (
            [*JUMPS, Range("[wave]", 1.0, 2.0, 0.3)],
            {"ranges": 3, "videos": 1, "labels": {"[wave]": 1, "jump": 1}},
            "actions: 3 ranges in 1 videos: [wave] 1, jump 1",
        ),
    ],
)
def test_status_says_which_actions_there_are(
    tmp_path: Path, ranges: Sequence[Range] | None, expected: dict | None, line: str | None
) -> None:
    catalog = Catalog(str(tmp_path / "c"))
    # The newest outcome of the second video is a failure, so its actions do not count.
    commit_night(catalog, {"/a": 9, "/b": 9}, actions={"/a": ranges, "/b": JUMPS} if ranges else {})
    commit_night(catalog, {}, failed=["/b"], skipped=1)
    found = status_of(catalog)
    assert found.actions == expected
    shown = CliRunner().invoke(cli, ["status", "--catalog", catalog.root], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    lines = [one.strip() for one in shown.output.splitlines()]
    assert [one for one in lines if one.startswith("actions:")] == ([line] if line else [])
    as_json = CliRunner().invoke(cli, ["status", "--catalog", catalog.root, "--json"])
    assert msgspec.json.decode(as_json.output)["actions"] == expected
