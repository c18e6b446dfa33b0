"""`reelbeam report`: what a night did, as a page."""

import json
import shutil
from base64 import b64decode
from pathlib import Path

import pytest

from tests import videos
from tests.conftest import Reelbeam, run_command
from tests.html_pages import Page
from transforms.catalog import night_report
from transforms.catalog.reading.latest import latest_failures, latest_thumbnails, latest_videos
from transforms.catalog.runs import Catalog, CatalogError

HOSTILE = 'a <script>alert("1")</script> & \u202egpj.mp4'


@pytest.fixture(scope="module")
def two_nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog of two runs: in the second one video is new, one is gone, and the failures failed again."""
    archive, catalog = (tmp_path_factory.mktemp(name) for name in ("archive", "nights"))
    for name in ("stays.avi", "goes.avi"):
        videos.encode(archive / name, videos.RECIPES["mpeg4_avi"], 2, (64, 48))
    (archive / HOSTILE.replace("/", "\u2215")).write_bytes(b"")
    (archive / "letter.mp4").write_bytes(b"dear all " * 50)
    command = ("classify", "--archive", archive, "--catalog", catalog / "catalog", "--model", "placeholder")
    assert run_command(*command).code == 0
    (archive / "goes.avi").rename(archive / "comes.avi")
    assert run_command(*command).code == 0
    return catalog / "catalog"


def test_the_page_says_what_the_newest_run_did(two_nights: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    output = tmp_path / "night.html"
    done = reelbeam("report", "--catalog", two_nights, "--output", output, "--json")
    assert done.code == 0, done.err
    newest = Catalog(str(two_nights)).newest_run()
    assert newest is not None
    assert done.json == {
        "output": str(output),
        "run_id": newest.run_id,
        "size_bytes": output.stat().st_size,
        "failures": 2,
    }
    text = Page(output).text
    assert "4 discovered = 1 unchanged + 1 ok + 0 partial + 2 failed" in text
    assert "The catalog now holds 3 videos" in text
    assert "comes.avi" in text and "stays.avi" not in text
    assert "Gone from the archive: 1" in text and "goes.avi" in text
    assert "the file has no bytes empty_file 1" in text and "no demuxer that is allowed here" in text
    assert text.count("(2 nights)") == 2
    assert "The last 2 runs" in text and "video processed" in text


def test_an_earlier_run_has_its_page(two_nights: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    first = Catalog(str(two_nights)).run_ids()[0]
    done = reelbeam("report", "--catalog", two_nights, "--output", tmp_path / "first.html", "--run", first)
    assert (done.code, done.out) == (0, f"{tmp_path / 'first.html'}: run {first}\n"), done.err
    text = Page(tmp_path / "first.html").text
    assert "4 discovered = 0 unchanged + 2 ok" in text and "goes.avi" in text and "comes.avi" not in text
    assert "nights)" not in text and "The last" not in text


def test_names_of_files_are_text_and_nothing_is_fetched(two_nights: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    assert reelbeam("report", "--catalog", two_nights, "--output", tmp_path / "night.html").code == 0
    page = Page(tmp_path / "night.html")
    assert not {tag for tag, _ in page.elements} & {"script", "link", "iframe"}
    assert not [name for _, attrs in page.elements for name in attrs if name == "href" or name.startswith("on")]
    sources = [attrs["src"] for _, attrs in page.elements if "src" in attrs]
    assert sources and all(str(source).startswith("data:image/webp;base64,") for source in sources)
    assert '<script>alert("1")<∕script> & \\u202egpj.mp4' in page.text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--run", "20200101T000000Z-000000"), "has no run 20200101T000000Z-000000; its newest is "),
        (("--output", "/proc/none/night.html"), "/proc/none"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    two_nights: Path, tmp_path: Path, reelbeam: Reelbeam, arguments: tuple[str, ...], said: str
) -> None:
    done = reelbeam("report", "--catalog", two_nights, "--output", tmp_path / "night.html", *arguments)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("reelbeam: ") and said in done.err and done.err.count("\n") == 1


def test_a_catalog_whose_first_run_is_not_finished(two_nights: Path, tmp_path: Path) -> None:
    shutil.copytree(two_nights, tmp_path / "catalog")
    for record in (tmp_path / "catalog" / "runs").iterdir():
        record.unlink()
    with pytest.raises(CatalogError, match="no finished run yet: run `reelbeam classify` first"):
        night_report.night_report(Catalog(str(tmp_path / "catalog")))


def test_long_lists_are_cut_and_counted(two_nights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.pages.night import render_night

    monkeypatch.setattr(night_report, "ROWS", 1)
    report = night_report.night_report(Catalog(str(two_nights)))
    assert (len(report.failures.rows), report.failures.total, report.failures.more) == (1, 2, 1)
    (tmp_path / "night.html").write_text(render_night(report, str(two_nights)), encoding="utf-8")
    assert "and 1 more failures" in Page(tmp_path / "night.html").text


def test_new_videos_show_their_posters_as_far_as_they_fit(
    two_nights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.pages.night import render_night

    catalog = Catalog(str(two_nights))
    report = night_report.night_report(catalog, catalog.run_ids()[0])
    posters = latest_thumbnails(catalog, at=catalog.run_ids()[0], posters=True)
    assert report.posters == dict(zip(posters["video_id"].to_pylist(), posters["image"].to_pylist(), strict=True))
    (tmp_path / "night.html").write_text(render_night(report, str(two_nights)), encoding="utf-8")
    shown = [attrs for tag, attrs in Page(tmp_path / "night.html").elements if tag == "img"]
    assert len(shown) == 2 and {attrs["alt"] for attrs in shown} == {""}
    first = report.processed.rows[0]["video_id"]
    monkeypatch.setattr(night_report, "POSTER_BYTES", len(report.posters[first]))
    assert list(night_report.night_report(catalog, catalog.run_ids()[0]).posters) == [first]


def test_a_contact_sheet_shows_a_video_in_order_of_time(two_nights: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    catalog = Catalog(str(two_nights))
    rows = latest_videos(catalog, ["label_ranges"]).to_pylist()
    uri = next(row["uri"] for row in rows if row["uri"].endswith("/stays.avi"))
    output = tmp_path / "sheet.html"
    done = reelbeam("report", "--catalog", two_nights, "--video", uri, "--output", output, "--json")
    assert done.code == 0, done.err
    pictures = latest_thumbnails(catalog, uri=uri).to_pylist()
    size_bytes = output.stat().st_size
    expected = {"output": str(output), "size_bytes": size_bytes, "video": uri, "thumbnails": len(pictures)}
    assert done.json == expected
    page = Page(output)
    shown = [str(attrs["src"]).partition(",")[2] for tag, attrs in page.elements if tag == "img"]
    assert [b64decode(one) for one in shown] == [row["image"] for row in pictures] != []
    assert "stays.avi" in page.text and "64 × 48 pixels" in page.text and "0:00 poster" in page.text
    assert all(pair["label"] in page.text for pair in rows[0]["label_ranges"])
    assert not {tag for tag, _ in page.elements} & {"script", "link", "iframe"}


def test_a_contact_sheet_says_why_a_video_failed_or_left(two_nights: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    catalog, output = Catalog(str(two_nights)), tmp_path / "sheet.html"
    hostile = next(uri for uri in latest_failures(catalog)["uri"].to_pylist() if "script" in uri)
    for uri, said in ((hostile, "Failed: the file has no bytes empty_file"), (_gone(catalog), "no longer has this")):
        assert reelbeam("report", "--catalog", two_nights, "--video", uri, "--output", output).code == 0
        assert said in Page(output).text
        assert not {tag for tag, _ in Page(output).elements} & {"script", "link", "iframe"}
    unknown = reelbeam("report", "--catalog", two_nights, "--video", "/elsewhere.mp4", "--output", output)
    assert unknown.code == 1 and "/elsewhere.mp4 is no video of" in unknown.err
    both = reelbeam("report", "--catalog", two_nights, "--video", hostile, "--run", "x", "--output", output)
    assert both.code == 2 and "--run is for the page of a night" in both.err


def _gone(catalog: Catalog) -> str:
    rows = latest_videos(catalog, []).to_pylist()
    return next(row["uri"] for row in rows if row["gone"])


def test_every_reason_has_its_advice() -> None:
    from pipelines.pages.advice import ADVICE
    from transforms.video.failures import REASONS

    assert ADVICE.keys() == REASONS.keys()


def test_bars_are_as_high_as_their_values() -> None:
    from pipelines.pages.charts import Bar, bar_chart

    chart = bar_chart("hours <i>", [Bar("mon", 1, "1 h"), Bar("tue", 4, "4 h"), Bar("wed", 0, "none")])
    heights = [float(part.split('"')[0]) for part in chart.svg.split('" height="')[1:]]
    assert heights == [19.0, 76.0, 0.0]
    assert "hours &lt;i&gt;: highest 4 h (tue), newest none" in chart.svg
    assert json.dumps(str(bar_chart("x", [Bar("a", 0, "0")]).svg)).count("nan") == 0
