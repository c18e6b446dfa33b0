"""Every command with its catalog, and what a person gives it, on s3://, against a real S3 server."""

import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from models.visual.architectures.user_model import key
from models.visual.sidecar import sidecar_path
from tests import videos
from tests.catalogs import commit_night
from tests.conftest import Reelbeam, assert_whole
from tests.own_classes import CLASSES, labels_of, make_archive
from tests.placeholder_heads import make_head
from tests.tables import contents
from tests.takeovers import assert_refused, expire, stopped
from tests.test_serve_command import get, serving
from transforms import storage
from transforms.catalog import lock
from transforms.catalog.bundles import local_model
from transforms.catalog.lock import CatalogLock, CatalogLockLost
from transforms.catalog.runs import Catalog

boto3 = pytest.importorskip("boto3", reason="needs reelbeam[s3]")

LEARNED, HELD_OUT = range(6), range(6, 9)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_archive(tmp_path_factory.mktemp("own"), clips=9, seconds=3)


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_head(tmp_path_factory.mktemp("head") / "temporal.keras", "temporal")


def put(local: Path, bucket: str) -> str:
    """Copies a file into the bucket; returns its uri."""
    storage.write_atomically(f"{bucket}/{local.name}", local.read_bytes())
    return f"{bucket}/{local.name}"


@contextmanager
def given_as_options(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Beam's options that stand for the environment, which says nothing of the server meanwhile."""
    names = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    flags = ("s3_endpoint_url", "s3_access_key_id", "s3_secret_access_key")
    options = [f"--{flag}={os.environ[name]}" for flag, name in zip(flags, names, strict=True)]
    with monkeypatch.context() as patched:
        for name in names:
            patched.delenv(name)
        yield [*options, "--s3_region_name=us-east-1"]


def test_own_classes_from_end_to_end(
    bucket: str, archive: Path, tmp_path: Path, reelbeam: Reelbeam, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog, model = ("--catalog", f"{bucket}/catalog"), f"{bucket}/heads/own.keras"
    learned = put(labels_of(archive, tmp_path / "train.csv", LEARNED), bucket)
    kept_out = put(labels_of(archive, tmp_path / "val.csv", HELD_OUT), bucket)
    (tmp_path / "up.csv").write_text("parent,child\ntime,day\ntime,night\n")
    hierarchy = put(tmp_path / "up.csv", bucket)
    # A cache of its own: every command makes its copies of what is on the store.
    env = {"REELBEAM_CACHE": str(tmp_path / "cache")}
    classify = ("classify", "--archive", archive, *catalog, "--json")
    with given_as_options(monkeypatch) as beam:
        planned = reelbeam(*classify, "--model", "placeholder", "--dry-run", *beam, env=env)
        assert (planned.code, planned.json["files"]) == (0, 18), planned.err
        night = reelbeam(*classify, "--model", "placeholder", *beam, env=env)
        assert (night.code, night.json["ok"]) == (0, 18), night.err
        curve = ("--curve", f"{bucket}/curve.png")
        trained = reelbeam(
            "train",
            *catalog,
            "--labels",
            learned,
            "--output",
            model,
            "--head",
            "linear",
            *curve,
            "--json",
            *beam,
            env=env,
        )
        assert trained.code == 0, trained.err
        assert (trained.json["output"], trained.json["labels"]) == (model, list(CLASSES))
        report = ("--report", f"{bucket}/report", "--hierarchy", hierarchy)
        evaluated = reelbeam(
            "evaluate", *catalog, "--labels", kept_out, "--model", model, *report, "--json", *beam, env=env
        )
        assert evaluated.code == 0, evaluated.err
        assert (evaluated.json["examples"], evaluated.json["hierarchy"]["labels"]) == (6, ["time"])
        relabelled = reelbeam("relabel", *catalog, "--model", model, "--json", *beam, env=env)
        assert (relabelled.code, relabelled.json["ok"]) == (0, 18), relabelled.err
        again = reelbeam(*classify, "--model", model, *beam, env=env)
        assert (again.code, again.json["skipped"], again.json["model"]) == (0, 18, model), again.err
        same = reelbeam("evaluate", *catalog, "--labels", kept_out, "--json", *beam, env=env)
        assert (same.code, same.json["accuracy"]) == (0, evaluated.json["accuracy"]), same.err
        indexed = reelbeam("index", *catalog, "--json", *beam, env=env)
        assert (indexed.code, indexed.json["videos"], indexed.json["frames"]) == (0, 18, 54), indexed.err
        with monkeypatch.context() as patched:
            patched.setenv("REELBEAM_CACHE", env["REELBEAM_CACHE"])
            with serving(catalog[1], *beam) as (_, address):  # type: ignore[arg-type]
                code, page = get(f"{address}/api/v1/search?q=night")
                served = json.loads(page)
                assert code == 200 and get(f"{address}/api/v1/videos/{served[0]['video_id']}/poster")[0] == 200
    found = reelbeam("search", "night", *catalog, "--json", env=env)
    assert found.code == 0 and {hit["best_label"] for hit in found.json} <= {*CLASSES, None}, found.err
    assert [hit["uri"] for hit in served[:10]] == [hit["uri"] for hit in found.json]
    assert storage.read_bytes(f"{bucket}/curve.png").startswith(b"\x89PNG")
    written = {file.path.removeprefix(f"{bucket}/") for file in storage.list_files(f"{bucket}/report")}
    assert written == {"report/report.html", "report/figures.json", "report/scores.csv"}
    assert storage.read_bytes(f"{bucket}/report/report.html").count(b"data:image/jpeg;base64,") == 6
    status = reelbeam("status", *catalog, "--json")
    assert (status.code, status.json["videos"], len(status.json["runs"])) == (0, 18, 3), status.err
    assert status.json["unfinished"] is None
    verified = reelbeam("verify", *catalog)
    assert verified.code == 0 and "is whole: 3 runs checked" in verified.out, verified.out
    rows = contents(f"{bucket}/catalog")  # type: ignore[arg-type]
    assert {pair["label"] for row in rows["videos"] for pair in row["labels"]} == set(CLASSES)
    assert not storage.list_files(f"{bucket}/catalog/work")
    assert not [one.path for one in storage.list_files(bucket) if storage.TEMPORARY_MARK in one.path]


def test_a_killed_run_is_told_of_and_taken_up(
    bucket: str, archive: Path, head: Path, tmp_path: Path, reelbeam: Reelbeam
) -> None:
    """A night with a temporal head, whose chunks wait in the work folder, and relabelling with the same head."""
    options = ("--catalog", f"{bucket}/catalog", "--model", put(head, bucket))
    plain = ("classify", "--archive", archive, "--catalog", f"{bucket}/plain", "--model", "placeholder")
    assert reelbeam(*plain).code == 0
    night = ("classify", "--archive", archive, *options)
    relabel = ("relabel", "--catalog", f"{bucket}/plain", "--model", put(head, bucket))
    for command in (night, relabel):
        killed = reelbeam(*command, env={"REELBEAM_FAULT": "storage.before_rename:runs=kill"})
        assert killed.code == -signal.SIGKILL, killed.err
        left = reelbeam("status", *command[command.index("--catalog") :][:2], "--json").json["unfinished"]
        assert left["frames"] == 54 and left["chunks"] >= 1
        done = reelbeam(*command, "--json")
        assert done.code == 0 and done.json["resumed"], done.err
    fresh, relabelled = (contents(f"{bucket}/{name}") for name in ("catalog", "plain"))  # type: ignore[arg-type]
    assert fresh["frames"] == relabelled["frames"] and fresh["videos"] == relabelled["videos"]
    for name in ("catalog", "plain"):
        assert_whole(f"{bucket}/{name}")


@pytest.mark.parametrize("point", ["storage.before_rename:frames:2", "storage.after_rename:files"])
def test_a_night_that_stood_still_while_another_finished_it(
    bucket: str, archive: Path, reelbeam: Reelbeam, point: str
) -> None:
    command = ("classify", "--archive", archive, "--catalog", f"{bucket}/catalog", "--model", "placeholder")
    with stopped(point, *command) as first:
        expire(f"{bucket}/catalog")
        second = reelbeam(*command, "--json")
        assert (second.code, second.json["ok"]) == (0, 18), second.err
        assert_refused(first.go_on())
    catalog = Catalog(f"{bucket}/catalog")
    assert catalog.run_ids() == [second.json["run_id"]]
    assert not storage.list_files(catalog.path("work"))
    assert_whole(catalog.root)


def test_relabelling_that_stood_still_while_another_finished_it(
    bucket: str, archive: Path, head: Path, reelbeam: Reelbeam
) -> None:
    night = ("classify", "--archive", archive, "--catalog", f"{bucket}/catalog", "--model", "placeholder")
    assert reelbeam(*night).code == 0
    command = ("relabel", "--catalog", f"{bucket}/catalog", "--model", head)
    with stopped("storage.after_rename:files", *command) as first:
        expire(f"{bucket}/catalog")
        second = reelbeam(*command, "--json")
        assert (second.code, second.json["ok"]) == (0, 18), second.err
        assert_refused(first.go_on())
    assert Catalog(f"{bucket}/catalog").run_ids()[1:] == [second.json["run_id"]]
    assert_whole(f"{bucket}/catalog")


def test_a_heartbeat_that_may_have_overwritten_another_lock(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object store has no mutex: a holder may be suspended between looking at its lock and writing it."""
    with CatalogLock(f"{bucket}/catalog") as held:
        held._renew()
        held.check()
        times = iter([0.0, lock.STALE_AFTER_S + 1])
        with monkeypatch.context() as patched:
            patched.setattr(lock.time, "time", lambda: next(times))
            held._renew()
        with pytest.raises(CatalogLockLost):
            held.check()


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (("search", "a crane"), "there is no index in {bucket}/catalog/index; build it first with `reelbeam index`"),
        (("evaluate", "retrieval", "--queries", "{local}"), "there is no index in {bucket}/catalog/index"),
        (("relabel", "--model", "{bucket}/none.keras"), "no model at {bucket}/none.keras"),
        (("relabel", "--model", "{bucket}/folder"), "no model at {bucket}/folder"),
        (("train", "--labels", "{bucket}/none.csv", "--output", "{bucket}/x.keras"), "cannot read {bucket}/none.csv"),
        (
            ("train", "--labels", "{bucket}/none.csv", "--output", "{bucket}/x"),
            "{bucket}/x is no name for a trained model",
        ),
        (("evaluate", "--labels", "{bucket}/none.csv"), "cannot read {bucket}/none.csv"),
        (("status",), "no catalog at"),
        (("index",), "no catalog at"),
        (("search", "a crane"), "no catalog at"),
        (("serve",), "no catalog at"),
        (("proxies",), "no catalog at"),
        (("verify",), "no catalog at"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    bucket: str, tmp_path: Path, reelbeam: Reelbeam, command: tuple[str, ...], what: str
) -> None:
    (tmp_path / "queries.json").write_text("{}")
    where = f"{bucket}/catalog"
    if what != "no catalog at":
        commit_night(Catalog(where), {"/a": 1})
    given = [part.format(bucket=bucket, local=tmp_path / "queries.json") for part in command]
    done = reelbeam(*given, "--catalog", where)
    assert (done.code, done.out) == (1, ""), done.err
    assert what.format(bucket=bucket) in done.err and done.err.startswith("reelbeam: ") and done.err.count("\n") == 1


def test_videos_on_an_object_store_are_served(
    bucket: str, tmp_path: Path, reelbeam: Reelbeam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file, a range of it, and a picture that a child draws, all with Beam's options alone."""
    film = videos.encode(tmp_path / "one.mp4", videos.RECIPES["mpeg4_mp4"], 2, (64, 48))
    uri = put(film, f"{bucket}/videos")
    night = ("classify", "--archive", f"{bucket}/videos", "--catalog", tmp_path / "catalog", "--model", "placeholder")
    with given_as_options(monkeypatch) as beam:
        done = reelbeam(*night, "--thumbnail-seconds", "0", *beam)
        assert done.code == 0, done.err
        with serving(tmp_path / "catalog", *beam) as (_, address):
            place = f"{address}/api/v1/videos/{storage.video_id_of(uri)}"
            assert get(f"{place}/picture?t=1")[0] == 200
            for headers, code, data in (
                ({}, 200, film.read_bytes()),
                ({"Range": "bytes=5-9"}, 206, film.read_bytes()[5:10]),
            ):
                with urllib.request.urlopen(urllib.request.Request(f"{place}/file", headers=headers)) as answer:
                    assert (answer.status, answer.read()) == (code, data)
                    assert answer.headers["etag"]


def test_a_models_folder_on_an_object_store(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SavedModel, or a preset: all its files and the sidecar beside it, again only where one of them changed."""
    monkeypatch.setenv("REELBEAM_CACHE", str(tmp_path / "cache"))
    model = f"{bucket}/models/mine"
    for name in ("saved_model.pb", "variables/variables.index"):
        storage.write_atomically(f"{model}/{name}", name.encode())
    storage.write_atomically(f"{bucket}/models/mine.spec.json", b"{}")
    copies = [Path(local_model(one)) for one in (model, f"{model}/")]
    assert copies[0] == copies[1] and copies[0].name == "mine"
    found = {str(path.relative_to(copies[0])) for path in copies[0].rglob("*") if path.is_file()}
    assert found == {"saved_model.pb", "variables/variables.index"}
    assert sidecar_path(copies[0]).read_bytes() == b"{}"
    storage.write_atomically(f"{bucket}/models/mine.spec.json", b'{"labels": []}')
    changed = Path(local_model(model))
    assert changed != copies[0] and sidecar_path(changed).read_bytes() == b'{"labels": []}'
    assert key(changed) != key(copies[0])
