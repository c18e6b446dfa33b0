"""A catalog at a glance."""

from dataclasses import asdict
from datetime import timedelta

import msgspec

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
