"""`reelbeam describe`: a description and a dialogue for every video, as a Beam job."""

import json
from pathlib import Path
from unittest import mock

import pytest
from click.testing import CliRunner, Result

from pipelines.commands.main import cli
from tests.conftest import Reelbeam, assert_whole
from tests.dialogue_films import film_catalog
from transforms.catalog.checks.verify import verify
from transforms.catalog.dialogues import part_path, read_dialogues, read_record
from transforms.catalog.runs import Catalog, CatalogError
from transforms.dialogue.conversation import Conversation
from transforms.dialogue.evidence import Evidence
from transforms.storage import video_id_of

DOG, CAT, NOTHING = {"beagle": 0.95}, {"tabby": 0.97}, {"beagle": 0.02}
FILMS = {
    "/videos/both.mp4": [DOG, DOG, NOTHING, CAT, NOTHING, DOG],
    "/videos/none.mp4": [NOTHING] * 3,
    **{f"/videos/cat {number}.mp4": [CAT] * (3 + number) for number in range(5)},
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    film_catalog(tmp_path / "catalog", FILMS)
    return tmp_path / "catalog"


def run(*arguments: object) -> Result:
    done = CliRunner().invoke(cli, [str(one) for one in arguments])
    assert done.exit_code == 0, done.output
    return done


def test_every_video_gets_a_description_and_a_dialogue(root: Path) -> None:
    summary = json.loads(run("describe", "--catalog", root, "--json").stdout)
    dialogues = list(read_dialogues(Catalog(str(root))))
    assert [one["uri"] for one in dialogues] == sorted(FILMS)
    assert [one["video_id"] for one in dialogues] == [video_id_of(uri) for uri in sorted(FILMS)]
    assert (summary["videos"], summary["turns"]) == (len(FILMS), sum(len(one["turns"]) for one in dialogues))
    both = dialogues[0]
    assert "The first that both.mp4 surely shows is beagle, from 0:00 to 0:02" in both["description"]
    assert "length 6 s" in both["description"]
    answers = {turn["question"]: turn["answer"] for turn in both["turns"]}
    assert "at 0:00, until 0:02" in answers["When does the beagle first appear in both.mp4?"]
    assert "2 times" in answers["How often does the beagle appear in both.mp4?"]
    assert "tabby comes in both.mp4 at 0:03" in answers["What comes after the beagle in both.mp4?"]
    assert_whole(root)


def test_verify_finds_damaged_dialogues(root: Path) -> None:
    run("describe", "--catalog", root)
    record = read_record(Catalog(str(root)))
    assert record is not None
    path = Path(part_path(Catalog(str(root)), record.run_id, 0))
    whole = path.read_bytes()

    def said() -> list[str]:
        return [f"{finding.code}: {finding.message}" for finding in verify(Catalog(str(root)))]

    assert said() == []
    path.write_bytes(whole.replace(b'"turns":', b'"turnes":', 1))
    assert len(said()) == 1 and "line 1 is no dialogue" in said()[0]
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    assert [one.split(":")[0] for one in said()] == ["counts"]
    path.write_bytes(whole.replace(b"/videos/both.mp4", b"/videos/none such.mp4"))
    assert any("is a video of no run" in one for one in said()) and any("is not the id" in one for one in said())
    path.unlink()
    assert [one.split(":")[0] for one in said()] == ["missing"]
    run("describe", "--catalog", root)
    assert said() == []


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_conversation_gives_the_same_answers(root: Path, language: str) -> None:
    run("describe", "--catalog", root, "--language", language)
    catalog = Catalog(str(root))
    evidence = Evidence(catalog, lambda: pytest.fail("no index is needed"))
    evidence.__dict__["search"] = None
    for one in read_dialogues(catalog):
        for turn in one["turns"]:
            assert turn["grounded"] and turn["citations"]
            assert {cite["uri"] for cite in turn["citations"]} == {one["uri"]}
            found = json.loads(json.dumps(Conversation(evidence).ask(turn["question"]).as_json()))
            assert {"question": turn["question"], **found} == turn


def test_workers_and_parts_change_no_dialogue(root: Path) -> None:
    run("describe", "--catalog", root)
    before = list(read_dialogues(Catalog(str(root))))
    with mock.patch("pipelines.jobs.describe.VIDEOS_PER_PART", 2):
        run(
            "describe",
            "--catalog",
            root,
            "--runner=FnApiRunner",
            "--direct_num_workers=2",
            "--direct_running_mode=multi_threading",
        )
    record = read_record(Catalog(str(root)))
    assert record is not None and record.parts == 4
    assert list(read_dialogues(Catalog(str(root)))) == before
    assert [path.name for path in (root / "dialogues").glob("run=*")] == [f"run={record.run_id}"]


def test_a_failing_job_leaves_the_dialogues_before(root: Path) -> None:
    run("describe", "--catalog", root)
    before = list(read_dialogues(Catalog(str(root))))
    with mock.patch("pipelines.jobs.describe.publish", side_effect=CatalogError("the disk is full")):
        done = CliRunner().invoke(cli, ["describe", "--catalog", str(root), "--language", "zh"])
    assert done.exit_code == 1 and "the disk is full" in done.output
    assert list(read_dialogues(Catalog(str(root)))) == before
    run("describe", "--catalog", root)
    assert len(list((root / "dialogues").glob("run=*"))) == 1


def test_forgetting_a_video_removes_the_dialogues_that_name_it(root: Path, reelbeam: Reelbeam) -> None:
    run("describe", "--catalog", root)
    done = reelbeam("forget", "/videos/both.mp4", "--catalog", root, "--yes")
    assert done.code == 0, done.err
    assert "run `reelbeam describe` again" in " ".join(done.out.split())
    assert read_record(Catalog(str(root))) is None and not (root / "dialogues").exists()
    assert reelbeam("verify", "--catalog", root, "--forgotten", "/videos/both.mp4").code == 0
    run("describe", "--catalog", root)
    assert "/videos/both.mp4" not in {one["uri"] for one in read_dialogues(Catalog(str(root)))}


def test_a_catalog_without_dialogues_or_runs_says_what_to_do(root: Path, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="run `reelbeam describe` first"):
        list(read_dialogues(Catalog(str(root))))
    done = CliRunner().invoke(cli, ["describe", "--catalog", str(tmp_path / "none")])
    assert done.exit_code == 1 and "no catalog at" in done.output


def test_damaged_dialogues_are_said(root: Path) -> None:
    run("describe", "--catalog", root)
    (root / "dialogues" / "CURRENT.json").write_text("{")
    with pytest.raises(CatalogError, match="run `reelbeam describe` again"):
        read_record(Catalog(str(root)))
