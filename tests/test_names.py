"""Names that break programs: newlines, quotes, dashes, escapes, other scripts, bytes that are no text. End to end."""

import os
import shutil
from pathlib import Path

import duckdb
import pytest

from tests import videos
from tests.conftest import Finished, Reelbeam, run_command
from tests.tables import contents
from transforms.storage import path_of_uri

NAMES = [
    b"-dash.gif",
    b"--help.gif",
    b"new\nline.gif",
    b"carriage\rreturn.gif",
    b"tab\t.gif",
    b"quote'\"`.gif",
    b"back\\slash.gif",
    b"\x1b[2J\x1b]0;title\x07escape.gif",
    b"latin-\xe9\xff.gif",
    b"cut \xf0\x9f\x8e.gif",
    "emoji \U0001f3ac\U0001f468\u200d\U0001f469\u200d\U0001f467.gif".encode(),
    "rtl \u202efig.gif".encode(),
    "\u05d0\u05d1\u05d2 \u0627\u0644\u0641.gif".encode(),
    "line\u2028separator\u0085.gif".encode(),
    "zero\u200bwidth\ufeff.gif".encode(),
    "combining e\u0301 \u00e9.gif".encode(),
    b"per%20cent%03d%s{0}$HOME.gif",
    b"[glob]*?{a,b}.gif",
    b"[bold red]markup[bold].gif",
    b"semi;colon&amp;<b>&.gif",
    b" leading and trailing .gif",
    b"dots....gif",
    b"file:x.gif",
    b"http:..example.gif",
    b"a" * 251 + b".gif",
    "\u6620".encode() * 83 + b"aa.gif",
]
assert max(map(len, NAMES)) == 255


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a strange name, of videos with strange names, and a broken file beside each."""
    folder = tmp_path_factory.mktemp("names") / os.fsdecode(b"archive \xe9\n'")
    folder.mkdir()
    clip = videos.make(folder.parent, "gif", seconds=1)
    for name in NAMES:
        shutil.copy(clip, os.path.join(os.fsencode(folder), name))
        (folder / os.fsdecode(name[:-4] + b".mp4")).write_bytes(b"no video")
    return folder


@pytest.fixture(scope="module")
def catalog(archive: Path) -> Path:
    return archive.parent / "catalog \u05d0\n'\u202e"


@pytest.fixture(scope="module", autouse=True)
def night(archive: Path, catalog: Path) -> Finished:
    """What the job says of the archive, which the catalog holds from then on."""
    done = run_command("classify", "--archive", archive, "--catalog", catalog, "--model", "placeholder")
    assert done.code == 0, done.err
    return done


def is_clean(text: str) -> bool:
    """Whether nothing in a text can move the cursor, change colours or turn the direction of writing."""
    return all(c.isprintable() or c == "\n" for c in text)


def test_every_command_works_and_prints_clean_lines(
    archive: Path, catalog: Path, night: Finished, tmp_path: Path, reelbeam: Reelbeam
) -> None:
    classify = ("classify", "--archive", archive, "--model", "placeholder", "--json", "--catalog")
    planned = reelbeam(*classify, tmp_path / "c", "--dry-run").json
    assert (planned["files"], planned["failing"]) == (2 * len(NAMES), len(NAMES))
    assert f"{len(NAMES)} ok" in night.out and f"{len(NAMES)} failed" in night.out
    failed = [line for line in night.err.splitlines() if ": failed in probe: not_a_video" in line]
    assert len(failed) == len(NAMES), "one line for each failure"
    again = reelbeam(*classify, catalog).json
    assert (again["skipped"], again["failed"]) == (len(NAMES), len(NAMES))

    shown: list[Finished] = [night]
    for command in (("status",), ("index",), ("verify",), ("status", "--json"), ("verify", "--json")):
        done = reelbeam(command[0], "--catalog", catalog, *command[1:])
        assert done.code == 0, done.err
        shown.append(done)
    picture = next(path for path in archive.iterdir() if path.suffix == ".gif")
    for options in ((), ("--json",)):
        done = reelbeam("search", "--catalog", catalog, "--video", picture, "--top", len(NAMES), *options)
        assert done.code == 0, done.err
        shown.append(done)
    assert len(shown[-1].json) == len(NAMES)
    assert {os.path.basename(os.fsencode(path_of_uri(hit["uri"]))) for hit in shown[-1].json} == set(NAMES)
    for done in shown:
        assert is_clean(done.out) and is_clean(done.err), (done.out, done.err)


def test_the_tables_lead_back_to_every_file(archive: Path, catalog: Path) -> None:
    tables = contents(catalog)
    for table, suffix in (("videos", b".gif"), ("failures", b".mp4")):
        paths = {os.fsencode(path_of_uri(row["uri"])) for row in tables[table]}
        assert paths == {os.path.join(os.fsencode(archive), name[:-4] + suffix) for name in NAMES}
        assert len({row["video_id"] for row in tables[table]}) == len(NAMES)


def test_other_readers_read_the_names(archive: Path, catalog: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    shutil.copytree(catalog / "videos", plain)
    with duckdb.connect() as connection:
        rows = connection.execute(f"SELECT DISTINCT uri FROM read_parquet('{plain}/*/*.parquet')").fetchall()
    assert {uri for (uri,) in rows} == {row["uri"] for row in contents(catalog)["videos"]}


def test_log_lines_are_json_for_any_name(archive: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    import json

    done = reelbeam(
        "classify", "--archive", archive, "--catalog", tmp_path / "c", "--model", "placeholder", "--log-json", "--json"
    )
    lines = [json.loads(line) for line in done.err.splitlines()]
    failures = [line for line in lines if line.get("status") == "failed"]
    assert len(failures) == len(NAMES)
    assert {os.fsencode(path_of_uri(line["uri"])) for line in failures} == {
        os.path.join(os.fsencode(archive), name[:-4] + b".mp4") for name in NAMES
    }
    assert is_clean(done.err)
    assert done.json["failed"] == len(NAMES)


def test_a_catalog_whose_path_is_no_text_is_refused_in_one_line(
    archive: Path, tmp_path: Path, reelbeam: Reelbeam
) -> None:
    catalog = tmp_path / os.fsdecode(b"catalog \xe9")
    for command in (("classify", "--archive", archive, "--model", "placeholder"), ("status",), ("verify",)):
        done = reelbeam(*command, "--catalog", catalog)
        assert done.code == 1
        assert done.err.splitlines()[-1].endswith("is not valid UTF-8; choose another folder for the catalog")
        assert "Traceback" not in done.err
    assert not catalog.exists()
