"""`reelbeam forget` from end to end: no byte of a video is left, it stays away, and a kill anywhere loses nothing else."""

import os
import pty
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import reelbeam as api
from models.retrieval.manifest import read_manifest
from models.retrieval.shards import open_level
from pipelines.web import view as views
from tests import videos
from tests.command_line import ROOT, reelbeam_command
from tests.conftest import Reelbeam, assert_whole, run_command
from tests.forking_cli import ForkingCli
from tests.tables import contents, leftovers
from tests.test_fault_points import first_and_last, names, states
from transforms import storage
from transforms.catalog.forgetting.traces import find_traces
from transforms.catalog.runs import Catalog
from transforms.storage import video_id_of

pytestmark = pytest.mark.slow

MODEL = ("--model", "placeholder", "--sample", "4fps", "--decode-workers", "1")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an archive and its catalog of two nights and an index: b.avi changed, and copy.mp4 is a copy."""
    folder = tmp_path_factory.mktemp("forget")
    archive = folder / "archive"
    archive.mkdir()
    for name, recipe, seconds in (("secret.mp4", "mpeg4_mp4", 3), ("b.avi", "mpeg4_avi", 2), ("c.mp4", "mpeg4_mp4", 1)):
        videos.encode(archive / name, videos.RECIPES[recipe], seconds, (64 + 16 * seconds, 48))
    (archive / "broken.mp4").write_bytes(b"no video")
    classify = ("classify", "--archive", archive, "--catalog", folder / "catalog", *MODEL)
    assert run_command(*classify).code == 0
    assert run_command("index", "--catalog", folder / "catalog").code == 0
    videos.encode(archive / "b.avi", videos.RECIPES["mpeg4_avi"], 1, (64, 48))
    shutil.copy2(archive / "secret.mp4", archive / "copy.mp4")
    assert run_command(*classify).code == 0
    assert run_command("index", "--catalog", folder / "catalog").code == 0
    return folder


@pytest.fixture
def own(made: Path, tmp_path: Path) -> Path:
    """The same catalog; the archive stays where its rows say it is."""
    return Path(shutil.copytree(made / "catalog", tmp_path / "catalog"))


def vectors_of(catalog: Path, *uris: str) -> set[bytes]:
    """Every vector of some videos, as float32 and float16, as tables and shards hold it."""
    found = set()
    for table in ("frames", "videos"):
        for path in catalog.glob(f"{table}/run=2*/*.parquet"):
            rows = pq.read_table(path, columns=["uri", "embedding"], partitioning=None).to_pylist()
            found |= {np.asarray(row["embedding"], np.float32).tobytes() for row in rows if row["uri"] in uris}
    return found | {np.frombuffer(one, np.float32).astype(np.float16).tobytes() for one in found}


def everything_in(catalog: Path) -> bytes:
    """All bytes of all files and their names, and all values of all tables: text as it is, vectors as bytes."""
    parts = []
    for path in sorted(catalog.rglob("*")):
        if path.is_file():
            parts += [str(path.relative_to(catalog)).encode(), path.read_bytes()]
            if path.suffix == ".parquet":
                table = pq.read_table(path, partitioning=None)
                parts.append(repr(table.schema.metadata).encode())
                for name, column in zip(table.column_names, table.columns, strict=True):
                    values = column.to_pylist()
                    if "embedding" in name or "vector" in name:
                        floats = [np.asarray(value, np.float32) for value in values if value is not None]
                        parts += [one.tobytes() for one in floats]
                        parts += [one.astype(np.float16).tobytes() for one in floats]
                    else:
                        parts += [value if isinstance(value, bytes) else str(value).encode() for value in values]
    return b"\n".join(parts)


def others_of(catalog: Path, *uris: str) -> dict[str, list[dict]]:
    return {table: [row for row in rows if row["uri"] not in uris] for table, rows in contents(catalog).items()}


def test_no_byte_of_it_is_left_and_nothing_else_has_changed(made: Path, own: Path, reelbeam: Reelbeam) -> None:
    secret, copy = (str(made / "archive" / name) for name in ("secret.mp4", "copy.mp4"))
    proxy = own / "proxies" / "360p" / f"{video_id_of(secret)}-0123456789ab.mp4"
    proxy.parent.mkdir(parents=True)
    proxy.write_bytes(b"film")
    thumbnails = {row["image"] for row in contents(own)["thumbnails"] if row["uri"] in (secret, copy)}
    words = [b"secret"]  # the index has the words of the file's name
    marks = {video_id_of(secret).encode(), secret.encode(), *words, *thumbnails, *vectors_of(own, secret)}
    before, others = everything_in(own), others_of(own, secret, copy)
    assert len(marks) > 20 and not [mark for mark in marks if mark not in before], "the search finds what is there"
    hits = answers(own)
    planned = reelbeam("forget", "--catalog", own, secret, "--dry-run", "--json")
    assert (planned.json["named"], planned.json["copies"]) == ([secret], [copy])
    assert everything_in(own) == before
    done = reelbeam("forget", "--catalog", own, secret, "--yes", "--json")
    assert (done.code, done.json["videos"], done.json["index"], done.json["proxies"]) == (0, 2, "rewritten", 1), (
        done.err
    )
    after = everything_in(own)
    assert not [mark for mark in marks if mark in after]
    assert others_of(own) == others
    assert_whole(own)
    verified = reelbeam("verify", "--catalog", own, "--forgotten", secret, copy)
    assert (verified.code, verified.out.splitlines()[-1].split(": ")[1:]) == (
        0, ["looked for 2 videos in all files", "no file names them"],
    )  # fmt: skip
    assert {hit.row["uri"] for hit in answers(own)} == {hit.row["uri"] for hit in hits} - {secret, copy}


def answers(catalog: Path) -> list:
    from models.retrieval.videos import VideoIndex

    index = VideoIndex.open(catalog / "index")
    return index.search(np.ones(index.manifest.embedding_size, np.float32), 10)


def test_it_does_not_come_back_under_any_name(made: Path, own: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    archive = Path(shutil.copytree(made / "archive", tmp_path / "archive"))
    secret = archive / "secret.mp4"
    night = ("classify", "--archive", archive, "--catalog", tmp_path / "new", *MODEL, "--json")
    assert reelbeam(*night).json["discovered"] == 5
    assert reelbeam("forget", "--catalog", tmp_path / "new", secret, "--yes").code == 0
    secret.rename(archive / "innocent.mp4")
    os.utime(archive / "innocent.mp4", (1, 1))
    planned = reelbeam(*night, "--dry-run")
    assert planned.json["ignored"] == {"forgotten": 2} and planned.json["files"] == 1, "the broken file is tried again"
    done = reelbeam(*night)
    assert (done.json["discovered"], done.json["skipped"], done.json["ignored"]) == (3, 2, {"forgotten": 2})
    assert "2 forgotten" in reelbeam("status", "--catalog", tmp_path / "new").out
    assert {Path(row["uri"]).name for row in contents(tmp_path / "new")["videos"]} == {"b.avi", "c.mp4"}
    assert reelbeam("verify", "--catalog", tmp_path / "new", "--forgotten", secret).code == 0


def test_an_exclude_list_keeps_files_out(made: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    (tmp_path / "out.txt").write_text(f"{made}/archive/secret.mp4\n{made}/archive/copy.mp4\n", encoding="utf-8")
    night = ("classify", "--archive", made / "archive", "--catalog", tmp_path / "catalog", *MODEL, "--json")
    done = reelbeam(*night, "--exclude-list", tmp_path / "out.txt")
    assert (done.json["discovered"], done.json["ignored"]) == (3, {f"--exclude-list {tmp_path}/out.txt": 2}), done.err
    missing = reelbeam(*night, "--exclude-list", tmp_path / "none.txt")
    assert missing.code == 1 and "cannot read the list" in missing.err.splitlines()[-1], missing.err


def test_a_kill_at_any_point_loses_nothing_else(made: Path, own: Path, warm_cli: ForkingCli, tmp_path: Path) -> None:
    """At every point, what lies on the disk is read, and then finished: by the same command, or by the next night."""
    secret, copy = (str(made / "archive" / name) for name in ("secret.mp4", "copy.mp4"))
    others, snapshots = others_of(own, secret, copy), tmp_path / "snapshots"
    done = warm_cli.run("forget", "--catalog", own, secret, "--yes", snapshots=str(snapshots))
    assert done.code == 0, done.err
    rows, kinds = contents(own), ("forgotten", "frames", "thumbnails", "videos", "files", "runs")
    assert names(snapshots) >= {f"storage.{step}:{kind}" for step in storage.FAULT_STEPS for kind in kinds}
    assert names(snapshots) >= {"index.before_rename:CURRENT", "index.after_rename:CURRENT"}
    # A file that is being written has a temporary name whether or not its last byte is there: one of these is enough.
    wanted = ("storage.before_rename", "storage.after_rename", "storage.before_delete", "index.after_rename")
    points = [point for point in first_and_last(snapshots) if point.name.split("=")[1].startswith(wanted)]
    points = [point for point in points if ":lock" not in point.name]
    for number, point in enumerate(states(points)):
        killed = point / "catalog"
        assert others_of(killed, secret, copy) == others, point.name
        assert_sql_sees_each_once(killed)
        if number % 6 == 5:
            night = ("classify", "--archive", made / "archive", "--catalog", killed, *MODEL)
            again = warm_cli.run(*night) if (killed / "forgotten" / "tombstones.json").exists() else done
        else:
            again = warm_cli.run("forget", "--catalog", killed, secret, "--yes")
        assert again.code == 0, (point.name, again.err)
        if number % 6 != 5 or (killed / "forgotten" / "tombstones.json").exists():
            assert untried(contents(killed)) == untried(rows), point.name
            assert_whole(killed)
            assert not leftovers(killed), point.name
            assert list(find_traces(Catalog(str(killed)), [secret, copy])) == [], point.name


def untried(tables: dict[str, list[dict]]) -> dict[str, list[dict]]:
    """Tables without how often a broken file was tried, which another night changes."""
    return {**tables, "failures": [{**row, "attempts": None} for row in tables["failures"]]}


def assert_sql_sees_each_once(catalog: Path) -> None:
    import duckdb

    with duckdb.connect() as connection:
        rows = connection.execute(f"SELECT uri FROM ({api.open_catalog(catalog).videos_sql})").fetchall()
    uris = [uri for (uri,) in rows]
    assert len(uris) == len(set(uris))


def test_a_process_that_is_killed_is_told_of_and_finished(made: Path, own: Path, reelbeam: Reelbeam) -> None:
    secret = made / "archive" / "secret.mp4"
    fault = {"REELBEAM_FAULT": "storage.before_rename:files=kill"}
    killed = reelbeam("forget", "--catalog", own, secret, "--yes", env=fault)
    assert killed.code == -signal.SIGKILL
    told = reelbeam("verify", "--catalog", own)
    assert told.code == 1 and "`reelbeam forget` was interrupted" in told.out
    done = reelbeam("forget", "--catalog", own, "--json")
    assert (done.code, done.json["resumed"], done.json["named"]) == (0, True, []), done.err
    assert_whole(own)
    assert reelbeam("verify", "--catalog", own, "--forgotten", secret).code == 0


def test_services_that_are_open_stop_answering_with_it(
    made: Path, own: Path, reelbeam: Reelbeam, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "LOOK_AGAIN_S", 0.0)
    secret, kept = str(made / "archive" / "secret.mp4"), str(made / "archive" / "c.mp4")
    catalog, view = api.open_catalog(own), views.CatalogView(str(own))

    def found() -> list[set[str]]:
        snapshot = view.snapshot()
        assert snapshot.search is not None
        asked = snapshot.search.picture(np.zeros((48, 64, 3), np.uint8))
        return [
            {hit.uri for hit in catalog.similar(image=np.zeros((48, 64, 3), np.uint8))},
            set(catalog.videos(columns=[])["uri"].to_pylist()),
            set(catalog.thumbnails(columns=[])["uri"].to_pylist()),
            {hit.uri for hit in snapshot.search.find(asked, top_k=10)},
            set(snapshot.videos["uri"].to_pylist()),
        ]

    assert all({secret, kept} <= uris for uris in found())
    assert view.snapshot().thumbnails.poster(video_id_of(secret)) is not None
    assert reelbeam("forget", "--catalog", own, secret, "--yes").code == 0
    assert all(kept in uris and secret not in uris for uris in found())
    store = view.snapshot().thumbnails
    assert store.poster(video_id_of(secret)) is None and store.poster(video_id_of(kept)) is not None


def test_a_catalog_of_nothing_else_has_no_index_then(tmp_path: Path, reelbeam: Reelbeam) -> None:
    film = videos.encode(tmp_path / "only.mp4", videos.RECIPES["mpeg4_mp4"], 2, (64, 48))
    catalog = tmp_path / "catalog"
    assert reelbeam("classify", "--archive", film, "--catalog", catalog, *MODEL).code == 0
    assert reelbeam("index", "--catalog", catalog).code == 0
    done = reelbeam("forget", "--catalog", catalog, film, "--yes", "--json")
    assert done.json["index"] == "removed", done.err
    searched = reelbeam("search", "a crane", "--catalog", catalog)
    assert searched.code == 1 and "there is no index" in searched.err
    assert str(film).encode() not in everything_in(catalog), "not in the run's record either, which named the archive"
    night = reelbeam("classify", "--archive", film, "--catalog", catalog, *MODEL, "--json")
    assert (night.code, night.json["discovered"], night.json["ignored"]) == (0, 0, {"forgotten": 1}), night.err


def test_an_approximate_index_keeps_no_codes_of_it(tmp_path: Path, reelbeam: Reelbeam) -> None:
    archive, catalog = tmp_path / "archive", tmp_path / "catalog"
    archive.mkdir()
    for name, seconds in (("secret.mp4", 12), ("b.mp4", 48)):
        videos.encode(archive / name, videos.RECIPES["mpeg4_mp4"], seconds, (64 + 2 * seconds, 48))
    night = ("classify", "--archive", archive, "--catalog", catalog, "--model", "placeholder", "--sample", "every:1")
    assert reelbeam(*night).code == 0
    assert reelbeam("index", "--catalog", catalog, "--kind", "ivfpq").code == 0
    root = catalog / "index"
    old = read_manifest(root)
    assert old.levels["frames"].kind == "ivfpq"
    files = set(root.rglob("*"))
    marks = vectors_of(catalog, str(archive / "secret.mp4"))
    assert reelbeam("forget", "--catalog", catalog, archive / "secret.mp4", "--yes").code == 0
    new = read_manifest(root)
    assert new.levels["frames"].kind == "ivfpq" and new.levels["frames"].recall_at_10 >= 0.9
    assert not {path for path in files & set(root.rglob("*")) if path.name.endswith((".faiss", ".parquet"))}
    after = everything_in(catalog)
    assert not [mark for mark in marks if mark in after]
    (shard,) = new.shards
    assert len(open_level(root, shard, "frames").ids) == new.levels["frames"].rows > 0
    assert_whole(catalog)


def test_a_catalog_on_an_object_store(bucket: str, tmp_path: Path, reelbeam: Reelbeam) -> None:
    archive, catalog = tmp_path / "archive", f"{bucket}/catalog"
    archive.mkdir()
    for name in ("secret.mp4", "b.mp4"):
        videos.encode(archive / name, videos.RECIPES["mpeg4_mp4"], 1 + len(name) % 3, (64, 48))
    night = ("classify", "--archive", archive, "--catalog", catalog, *MODEL, "--json")
    assert reelbeam(*night).json["ok"] == 2
    storage.write_atomically(f"{catalog}/index/20260101T000000Z-abcdef/shard.bin", b"secret.mp4")
    storage.write_atomically(f"{catalog}/index/CURRENT", b"20260101T000000Z-abcdef")
    kept = [row for row in contents(catalog)["frames"] if row["uri"].endswith("b.mp4")]  # type: ignore[arg-type]
    fault = {"REELBEAM_FAULT": "storage.after_rename:files=kill"}
    killed = reelbeam("forget", "--catalog", catalog, archive / "secret.mp4", "--yes", env=fault)
    assert killed.code == -signal.SIGKILL, killed.err
    done = reelbeam("forget", "--catalog", catalog, archive / "secret.mp4", "--yes", "--json")
    assert (done.code, done.json["resumed"]) == (0, True), done.err
    assert contents(catalog)["frames"] == kept  # type: ignore[arg-type]
    assert_whole(catalog)
    assert not [file.path for file in storage.list_files(f"{catalog}/index") if not file.path.endswith("LOCK")]
    assert reelbeam("verify", "--catalog", catalog, "--forgotten", archive / "secret.mp4").code == 0
    assert reelbeam(*night).json["ignored"] == {"forgotten": 1}


def test_a_catalog_of_a_killed_night_forgets_what_it_had_in_hand(tmp_path: Path, reelbeam: Reelbeam) -> None:
    archive, catalog = tmp_path / "archive", tmp_path / "catalog"
    archive.mkdir()
    for name in ("secret.mp4", "b.mp4"):
        videos.encode(archive / name, videos.RECIPES["mpeg4_mp4"], len(name) % 4, (64, 48))
    night = ("classify", "--archive", archive, "--catalog", catalog, *MODEL, "--json")
    assert reelbeam(*night, env={"REELBEAM_FAULT": "storage.before_rename:runs=kill"}).code == -signal.SIGKILL
    secret = archive / "secret.mp4"
    assert video_id_of(str(secret)).encode() in everything_in(catalog)
    done = reelbeam("forget", "--catalog", catalog, secret, "--yes", "--json")
    assert (done.code, done.json["unfinished"], done.json["unknown"]) == (0, 1, [str(secret)]), done.err
    assert video_id_of(str(secret)).encode() not in everything_in(catalog)
    assert reelbeam(*night).json["ok"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("{x}",), 2, "forgetting cannot be undone: give --yes"),
        (("--yes",), 1, "nothing to forget: name videos"),
        (("{x}", "--yes", "--dry-rum"), 2, "did you mean --dry-run?"),
        (("--list", "/none.txt", "--yes"), 1, "cannot read the list /none.txt"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    own: Path, reelbeam: Reelbeam, arguments: tuple[str, ...], code: int, said: str
) -> None:
    before = everything_in(own)
    done = reelbeam("forget", "--catalog", own, *(one.format(x=own / "x.mp4") for one in arguments))
    assert done.code == code and said in done.err and "Traceback" not in done.err
    assert everything_in(own) == before


def test_locks_and_usage(made: Path, own: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    from transforms.catalog.lock import CatalogLock

    secret = made / "archive" / "secret.mp4"
    with CatalogLock(str(own), "a night"):
        held = reelbeam("forget", "--catalog", own, secret, "--yes")
    assert held.code == 1 and "is held by a night" in held.err and held.err.count("\n") == 1
    none = reelbeam("forget", "--catalog", tmp_path / "none", secret, "--yes")
    assert none.code == 1 and "no catalog at" in none.err
    assert reelbeam("verify", "--catalog", own, secret).code == 2
    assert reelbeam("verify", "--catalog", own, "--forgotten").code == 2
    left = reelbeam("verify", "--catalog", own, "--forgotten", secret, "--json")
    assert left.code == 1 and {one["code"] for one in left.json["findings"]} == {"forgotten"}


@pytest.mark.parametrize(("answer", "left"), [("n", True), ("y", False)])
def test_a_terminal_is_asked(made: Path, own: Path, answer: str, left: bool) -> None:
    secret = made / "archive" / "secret.mp4"
    keyboard, terminal = pty.openpty()
    os.write(keyboard, f"{answer}\n".encode())
    done = subprocess.run(
        reelbeam_command("forget", "--catalog", own, secret),
        stdin=terminal, capture_output=True, text=True, cwd=ROOT, timeout=300, check=False,
    )  # fmt: skip
    assert "Forget 2 videos for good?" in done.stderr and str(secret) in done.stdout
    assert done.returncode == (1 if left else 0)
    assert (str(secret) in {row["uri"] for row in contents(own)["videos"]}) == left
    for descriptor in (keyboard, terminal):
        os.close(descriptor)


def test_other_commands_go_on_with_it(made: Path, own: Path, reelbeam: Reelbeam, heads: dict[str, Path]) -> None:
    """An interrupted call is finished by relabelling too; its run has no rows of the video."""
    secret = made / "archive" / "secret.mp4"
    fault = {"REELBEAM_FAULT": "storage.before_rename:videos=kill"}
    assert reelbeam("forget", "--catalog", own, secret, "--yes", env=fault).code == -signal.SIGKILL
    done = reelbeam("relabel", "--catalog", own, "--model", heads["linear"], "--json")
    assert (done.code, done.json["ok"]) == (0, 2), done.err
    assert reelbeam("verify", "--catalog", own, "--forgotten", secret).code == 0
    assert Catalog(str(own)).runs()[-1].counts.forgotten == 0
