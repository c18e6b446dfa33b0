"""Which files the server sends: those that the archives of the catalog's runs hold, however they were named."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from starlette.testclient import TestClient

from pipelines.web.access import LOOPBACK
from pipelines.web.app import make_app
from pipelines.web.view import CatalogView
from tests import catalogs, videos
from tests.conftest import ROOT, run_command
from transforms.archive.roots import Roots
from transforms.catalog.runs import Catalog
from transforms.storage import unfenced, video_id_of


@contextmanager
def serving(catalog: Path) -> Iterator[TestClient]:
    with TestClient(make_app(CatalogView(str(catalog)), LOOPBACK, None), base_url="http://localhost") as client:
        yield client


def test_files_of_folders_globs_and_lists(tmp_path: Path) -> None:
    inside, outside = tmp_path / "a" / "x.mp4", tmp_path / "b" / "y.mp4"
    for path in (inside, outside):
        path.parent.mkdir()
        path.touch()
    for archive in (f"{tmp_path}/a", f"{tmp_path}/a/", f"{tmp_path}/a/*.mp4", f"{tmp_path}/a/**", str(inside)):
        roots = Roots({archive: False})
        assert roots.hold(str(inside)) and not roots.hold(str(outside)), archive
    assert Roots({"@list.txt": False}).hold(str(outside))
    assert not Roots({}).hold(str(outside))
    assert not Roots({f"{tmp_path}/a/x": False}).hold(str(inside))
    literal = tmp_path / "[b]" / "y.mp4"
    literal.parent.mkdir()
    literal.touch()
    assert Roots({f"{tmp_path}/[b]": False}).hold(str(literal))
    assert not Roots({f"{tmp_path}/[b]": False}).hold(str(outside))


def test_on_an_object_store_names_decide() -> None:
    for archive in ("s3://a/videos", "s3://a/videos/*.mp4", "@s3://a/list", "s3://a/videos/one.mp4"):
        assert Roots({archive: False}).hold("s3://a/videos/one.mp4")
    assert not Roots({"s3://a/videos": False}).hold("s3://a/videos2/one.mp4")


def test_links_that_leave_the_archive(tmp_path: Path) -> None:
    archive, secret, link = tmp_path / "a", tmp_path / "secret.mp4", tmp_path / "a" / "x.mp4"
    archive.mkdir()
    secret.touch()
    link.symlink_to(secret)
    folder_link = archive / "elsewhere"
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "y.mp4").touch()
    folder_link.symlink_to(tmp_path / "b")
    for path in (link, folder_link / "y.mp4"):
        for archives in ({str(archive): False}, {f"{archive}/*": False}, {str(archive): False, "@list": False}):
            assert not Roots(archives).hold(str(path))
        assert Roots({str(archive): True}).hold(str(path))
    assert not Roots({"@list": False}).hold(str(link))
    assert not Roots({str(link): False}).hold(str(link)), "a shell writes out globs"
    alias = tmp_path / "alias"
    alias.symlink_to(archive)
    (archive / "own.mp4").touch()
    assert Roots({str(alias): False}).hold(str(alias / "own.mp4")), "an archive that is a link itself"
    assert not Roots({"/other": True, str(archive): False}).hold(str(link))
    (archive / "near.mp4").touch()
    (archive / "alias.mp4").symlink_to("near.mp4")
    assert Roots({str(archive): False}).hold(str(archive / "alias.mp4"))


def test_the_newest_run_of_an_archive_tells_whether_links_count(tmp_path: Path) -> None:
    catalog = Catalog(str(tmp_path / "catalog"))
    secret, link = tmp_path / "secret.mp4", tmp_path / "a" / "x.mp4"
    secret.write_bytes(b"film")
    link.parent.mkdir()
    link.symlink_to(secret)
    for night, (follow_links, code) in enumerate([(True, 200), (False, 404)]):
        run = catalog.start_run(
            catalogs.CONFIG, [str(link.parent)], catalogs.NIGHT.replace(day=24 + night), follow_links=follow_links
        )
        record = catalogs.write_night(catalog, run, {str(link): 3})
        catalog.commit(replace(record, follow_links=follow_links), unfenced)
        with serving(tmp_path / "catalog") as client:
            assert client.get(f"/api/v1/videos/{video_id_of(str(link))}/file").status_code == code


def test_records_of_earlier_releases_can_be_read(tmp_path: Path) -> None:
    catalog = Catalog(str(tmp_path))
    record = catalogs.commit_night(catalog, {"/videos/one.mp4": 1})
    path = tmp_path / "runs" / f"{record.run_id}.json"
    content = msgspec.json.decode(path.read_bytes())
    del content["follow_links"]
    path.write_bytes(msgspec.json.encode(content))
    assert Catalog(str(tmp_path)).newest_run().follow_links is False


@pytest.mark.slow
@pytest.mark.parametrize("how", ["relative", "glob", "list", "links"])
def test_a_night_of_each_kind_of_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    archive, catalog, elsewhere = tmp_path / "archive", tmp_path / "catalog", tmp_path / "elsewhere"
    archive.mkdir()
    elsewhere.mkdir()
    place = elsewhere if how == "links" else archive
    film = videos.encode(place / "one.mp4", videos.RECIPES["mpeg4_mp4"], 2, (64, 48))
    path = archive / "one.mp4"
    if how == "links":
        path.symlink_to(film)
    (tmp_path / "list.txt").write_text(f"{path}\n")
    named: dict[str, list[object]] = {
        "relative": [os.path.relpath(archive, ROOT)],
        "glob": [archive / "*.mp4"],
        "list": [f"@{tmp_path}/list.txt"],
        "links": [archive, "--follow-links"],
    }
    night = ("classify", "--archive", *named[how], "--catalog", catalog, "--model", "placeholder")
    done = run_command(*night, "--thumbnail-seconds", 0)
    assert done.code == 0, done.err
    monkeypatch.chdir("/")
    with serving(catalog) as client:
        place = f"/api/v1/videos/{video_id_of(os.fspath(path))}"
        assert client.get(f"{place}/file").content == film.read_bytes()
        assert client.get(f"{place}/poster").status_code == 200
