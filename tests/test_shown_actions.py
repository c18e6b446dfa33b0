"""Ranges of actions where people meet them: a video's page, its contact sheet and answers; and what verify says."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from models.heads.ranges import Range
from pipelines.pages.video import render_video
from pipelines.web.access import LOOPBACK
from pipelines.web.app import make_app
from pipelines.web.view import CatalogView
from tests import catalogs
from transforms.catalog.checks.verify import verify
from transforms.catalog.overview.video_sheet import video_sheet
from transforms.catalog.reading.latest import latest_actions
from transforms.catalog.runs import Catalog, CatalogError
from transforms.dialogue.conversation import Conversation
from transforms.dialogue.evidence import open_evidence
from transforms.storage import video_id_of

YARD, HALL = "/videos/yard.mp4", "/videos/hall.mp4"
JUMP = {"labels": [{"label": "jump", "score": 0.4}], "label_ranges": [{"label": "jump", "ranges": []}]}
RANGES = [Range("jump", 2.5, 4.0, 0.8), Range("jump", 65.0, 66.5, 0.6), Range("jump", 30.0, 31.0, 0.2)]


def made(root: Path, ranges: Sequence[Range] = RANGES) -> Catalog:
    catalog = Catalog(str(root))
    catalogs.commit_night(catalog, {YARD: 80, HALL: 80}, changes={YARD: JUMP}, actions={YARD: ranges})
    return catalog


def test_pages_show_the_ranges_that_are_sure_enough(tmp_path: Path) -> None:
    catalog = made(tmp_path / "c")
    with TestClient(make_app(CatalogView(str(tmp_path / "c")), LOOPBACK, None), base_url="http://localhost") as client:
        page, other = (client.get(f"/videos/{video_id_of(uri)}").text for uri in (YARD, HALL))
    assert "What is done when" in page and 'data-seek="65.0">1:05–1:06</a>' in page
    assert "0:30–0:31" not in page, "not sure enough"
    assert "What is done when" not in other
    sheet = render_video(video_sheet(catalog, YARD), catalog.root)
    assert "<h2>Actions</h2>" in sheet and "1:05–1:06" in sheet and "0:30–0:31" not in sheet
    assert "<h2>Actions</h2>" not in render_video(video_sheet(catalog, HALL), catalog.root)


@pytest.mark.parametrize(
    "question", ["When does the jump first appear in yard.mp4?", "When does she jump in yard.mp4?"]
)
def test_answers_cite_actions(tmp_path: Path, question: str) -> None:
    made(tmp_path / "c")
    answer = Conversation(open_evidence(str(tmp_path / "c"))).ask(question)
    assert answer.grounded, answer.answer
    assert (answer.citations[0].kind, answer.citations[0].start_s, answer.citations[0].end_s) == ("action", 2.5, 4.0)


def test_the_latest_rows_are_those_of_the_newest_run_of_each_video(tmp_path: Path) -> None:
    catalog = made(tmp_path / "c")
    assert latest_actions(catalog)["start_s"].to_pylist() == [2.5, 30.0, 65.0]
    first = catalog.run_ids()[0]
    catalogs.commit_night(catalog, {YARD: 80}, skipped=1, actions={YARD: [Range("jump", 7.0, 8.0, 0.9)]})
    assert latest_actions(catalog, ["score"], uri=YARD)["score"].to_pylist() == [0.9]
    assert len(latest_actions(catalog, at=first)) == 3
    assert len(latest_actions(catalog, uri=HALL)) == 0
    with pytest.raises(CatalogError, match="no video of"):
        latest_actions(catalog, uri="/none.mp4")
    assert [finding for finding in verify(catalog) if finding.code == "action"] == []


@pytest.mark.parametrize(
    "wrong", [Range("jump", 4.0, 4.0, 0.5), Range("jump", -1.0, 4.0, 0.5), Range("jump", 1.0, 2.0, 1.5)]
)
def test_verify_finds_what_is_no_range(tmp_path: Path, wrong: Range) -> None:
    catalog = made(tmp_path / "c", [*RANGES, wrong])
    (finding,) = (finding for finding in verify(catalog) if finding.code == "action")
    assert "is no range" in finding.message and finding.path.startswith("actions/run=")
