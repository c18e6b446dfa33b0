"""Thumbnails: which frames get one, what they look like, and that they are part of a run like every table."""

import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import combinations, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from av import VideoFrame
from hypothesis import given
from hypothesis import strategies as st

import reelbeam as reelbeam_api
from models.visual.spec import Preprocessing
from tests import videos
from tests.conftest import Reelbeam, run_command
from tests.filmed_videos import Kind, shots
from tests.tables import contents
from transforms.catalog import schemas
from transforms.catalog.checks.verify import verify
from transforms.catalog.reading.latest import latest_frames, latest_thumbnails, latest_videos
from transforms.catalog.rows.thumbnails import FEW_RANGES, MOST, choose, nearness
from transforms.catalog.runs import Catalog, CatalogError
from transforms.video.pixels import Painter
from transforms.video.thumbnails import Thumbnailer, as_webp, size_of

BYTES_AN_HOUR = 2_000_000


def stretches(frames: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    one = st.tuples(*[st.integers(0, frames - 1)] * 2).map(lambda pair: (min(pair), max(pair)))
    return st.lists(one, max_size=5)


@given(st.data(), st.lists(st.floats(0.1, 9), min_size=1, max_size=9), st.sampled_from([1.0, 4.0, 10.0, 100.0]))
def test_every_window_and_range_and_the_poster_have_one_and_no_fewer_would_do(
    data: st.DataObject, gaps: list[float], every_s: float
) -> None:
    time_s = np.cumsum([0.0, *gaps[1:]])
    count = len(time_s)
    poster, ranges = data.draw(st.integers(0, count - 1)), data.draw(stretches(count))
    wanted = [set(range(first, last + 1)) for first, last in ranges] + [{poster}]
    for number in range(int(time_s[-1] // every_s) + 1):
        wanted.append({k for k in range(count) if number * every_s <= time_s[k] < (number + 1) * every_s})
    wanted = [frames for frames in wanted if frames]
    fewest = next(
        size
        for size in range(1, count + 1)
        if any(all(frames & set(some) for frames in wanted) for some in combinations(range(count), size))
    )
    chosen = choose(time_s, poster, ranges, every_s)
    assert chosen == sorted(set(chosen)) and len(chosen) == fewest
    assert all(frames & set(chosen) for frames in wanted)


def test_a_day_of_unsure_labels_has_a_bounded_number() -> None:
    seconds = np.arange(24 * 3600, dtype=float)
    flickers = [(k, k) for k in range(0, len(seconds), 2)]
    chosen = choose(seconds, 7, [(0, 4999), *flickers], 10.0)
    assert MOST // 4 < len(chosen) <= MOST
    few = choose(seconds[:120], 7, flickers[:60], 10.0)
    assert {first for first, _ in flickers[:60]} <= set(few), "a short video has one for every range"


def test_the_longest_ranges_count_where_there_are_too_many() -> None:
    seconds = np.arange(1000, dtype=float)
    short, long = [(k, k) for k in range(0, 900, 2)], [(901, 903), (911, 913)]
    chosen = set(choose(seconds, 0, [*short, *long], 1000.0))
    assert all(chosen & set(range(first, last + 1)) for first, last in long)
    assert len(chosen) <= FEW_RANGES + 2


def test_nearness_is_the_cosine_whatever_is_given_at_once() -> None:
    rng = np.random.default_rng(5)
    embeddings, mean = rng.normal(size=(600, 1280)).astype(np.float32), rng.normal(size=1280).astype(np.float32)
    mean /= np.linalg.norm(mean)
    embeddings[3] = 0
    at_once = nearness(embeddings, mean)
    lengths = np.linalg.norm(embeddings.astype(float), axis=1)
    assert np.allclose(at_once * lengths, embeddings.astype(float) @ mean) and at_once[3] == 0
    assert at_once.tolist() == [float(nearness(row[np.newaxis], mean)[0]) for row in embeddings]


def thumbnail_of(
    picture: np.ndarray, aspect: Fraction | None = None, high: int = 160, **preprocessing: Any
) -> np.ndarray:
    """The picture of a frame's thumbnail, RGB."""
    model = replace(Preprocessing(), **preprocessing)
    frame = VideoFrame.from_ndarray(picture, format="rgb24")
    upright = Painter(model).upright(frame, aspect)
    sample: Any = SimpleNamespace(frame=frame, pixel_aspect=aspect, is_field=False)
    made = Thumbnailer(high, model).make(sample, upright)
    decoded = cv2.imdecode(np.frombuffer(made.image, np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape[:2] == (made.height, made.width)
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


@pytest.mark.parametrize(
    ("size", "aspect", "shown"),
    [
        ((1280, 720), None, (284, 160)),
        ((720, 1280), None, (90, 160)),
        ((720, 576), Fraction(64, 45), (284, 160)),
        ((64, 48), None, (213, 160)),
        ((1600, 200), None, (640, 80)),
        ((4, 1600), None, (1, 160)),
        ((60000, 2), None, (640, 1)),
        ((256, 32768), None, (1, 160)),
    ],
)
@pytest.mark.parametrize("model", [{}, {"fit": "squash"}, {"fit": "pad"}, {"height": 32, "width": 32}])
def test_whole_pictures_with_square_pixels(
    size: tuple[int, int], aspect: Fraction | None, shown: tuple[int, int], model: dict[str, Any]
) -> None:
    thumbnail = thumbnail_of(np.full((size[1], size[0], 3), 200, np.uint8), aspect, **model)
    assert abs(thumbnail.shape[1] - shown[0]) <= 1 and abs(thumbnail.shape[0] - shown[1]) <= 1
    assert abs(int(thumbnail.mean()) - 200) < 4


@pytest.mark.parametrize("model", [{}, {"fit": "squash"}, {"height": 64, "width": 64}, {"height": 448, "width": 448}])
def test_a_thumbnail_shows_what_the_model_crops(model: dict[str, Any]) -> None:
    picture = np.zeros((720, 1280, 3), np.uint8)
    picture[:, :120], picture[:, -120:], picture[:80, 500:700] = (220, 30, 30), (30, 30, 220), (30, 220, 30)
    thumbnail = thumbnail_of(picture, **model)
    expected = cv2.resize(picture, (284, 160), interpolation=cv2.INTER_AREA)
    assert thumbnail.shape == expected.shape
    assert np.abs(thumbnail.astype(int) - expected).mean() < 6


def test_another_height() -> None:
    assert thumbnail_of(videos.picture(1, 320, 180), high=90).shape == (90, 160, 3)


def test_bytes_that_are_no_picture_have_no_size() -> None:
    jpeg = cv2.imencode(".jpg", videos.picture(3))[1].tobytes()
    assert size_of(jpeg) == size_of(as_webp(jpeg)) == (160, 96)
    assert len(as_webp(jpeg)) < len(jpeg)
    assert size_of(b"") is None and size_of(b"no picture") is None


def turn(path: Path) -> None:
    """Has the header of an MP4 file ask for a quarter turn clockwise."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


OPTIONS = ("--model", "placeholder", "--segment-seconds", "7", "--chunk-frames", "9")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    videos.encode(folder / "long.mp4", videos.RECIPES["mpeg4_mp4"], 45)
    videos.encode(folder / "turned.mp4", videos.RECIPES["h264_bframes"], 3)
    turn(folder / "turned.mp4")
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture(scope="module")
def catalog(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    root = tmp_path_factory.mktemp("thumbnails") / "catalog"
    done = run_command("classify", "--archive", archive, "--catalog", root, *OPTIONS)
    assert done.code == 0, done.err
    return Catalog(str(root))


@pytest.mark.slow
def test_every_ten_seconds_and_every_range_and_a_poster_nearest_to_the_mean(catalog: Catalog) -> None:
    rows = latest_thumbnails(catalog).to_pylist()
    frames = pa.concat_tables(latest_frames(catalog)).to_pylist()
    for video in latest_videos(catalog).to_pylist():
        own = [row for row in rows if row["uri"] == video["uri"]]
        assert own == sorted(own, key=lambda row: row["time_s"]) and len(own) <= MOST
        for window in range(int(video["duration_s"] // 10) + 1):
            assert any(10 * window <= row["time_s"] < 10 * window + 10 for row in own)
        for ranges in video["label_ranges"]:
            for one in ranges["ranges"]:
                assert any(one["start_s"] <= row["time_s"] <= one["end_s"] for row in own)
        cosines = {
            frame["pts"]: np.dot(frame["embedding"], video["embedding"]) / np.linalg.norm(frame["embedding"])
            for frame in frames
            if frame["uri"] == video["uri"]
        }
        (poster,) = [row for row in own if row["poster"]]
        assert cosines[poster["pts"]] == pytest.approx(max(cosines.values()), abs=1e-6)
    sizes = {Path(row["uri"]).name: (row["width"], row["height"]) for row in rows}
    assert sizes == {"long.mp4": (267, 160), "turned.mp4": (96, 160)}
    assert all(size_of(row["image"]) == (row["width"], row["height"]) for row in rows)


@pytest.mark.slow
def test_the_public_api_gives_them(catalog: Catalog, archive: Path) -> None:
    opened = reelbeam_api.open_catalog(catalog.root)
    assert opened.thumbnails().equals(latest_thumbnails(catalog))
    one = opened.thumbnails(archive / "long.mp4", columns=["pts", "poster"], posters=True)
    assert one.column_names == ["video_id", "uri", "pts", "poster", "run_id"] and one["poster"].to_pylist() == [True]
    with pytest.raises(CatalogError, match="thumbnails has no column 'picture'"):
        opened.thumbnails(columns=["picture"])
    with pytest.raises(CatalogError, match="is no video of"):
        opened.thumbnails("/elsewhere.mp4")


@pytest.mark.slow
def test_a_turned_video_stands_upright(catalog: Catalog, archive: Path) -> None:
    rows = latest_thumbnails(catalog, uri=str(archive / "turned.mp4")).to_pylist()
    shown = cv2.imdecode(np.frombuffer(rows[0]["image"], np.uint8), cv2.IMREAD_COLOR)
    index = round(rows[0]["time_s"] * 25)
    expected = cv2.resize(np.rot90(videos.picture(index), -1), (96, 160))
    assert np.abs(cv2.cvtColor(shown, cv2.COLOR_BGR2RGB).astype(int) - expected).mean() < 25


def test_posters_and_columns_and_videos_that_are_not_there(catalog: Catalog, archive: Path) -> None:
    posters = latest_thumbnails(catalog, ["time_s"], posters=True)
    assert posters.column_names == ["video_id", "uri", "time_s", "run_id"]
    assert [Path(uri).name for uri in posters["uri"].to_pylist()] == ["long.mp4", "turned.mp4"]
    with pytest.raises(CatalogError, match="is no video of"):
        latest_thumbnails(catalog, uri=str(archive / "broken.mp4"))


def test_rows_do_not_depend_on_segments_nor_other_rows_on_thumbnails(
    catalog: Catalog, archive: Path, tmp_path: Path, reelbeam: Reelbeam
) -> None:
    whole, without = tmp_path / "whole", tmp_path / "without"
    for root, *more in ((whole,), (without, "--thumbnail-seconds", "0")):
        done = reelbeam("classify", "--archive", archive, "--catalog", root, "--model", "placeholder", *more)
        assert done.code == 0, done.err
    assert contents(whole)["thumbnails"] == contents(Path(catalog.root))["thumbnails"] != []
    assert {**contents(whole), "thumbnails": []} == contents(without)
    again = reelbeam("classify", "--archive", archive, "--catalog", without, "--model", "placeholder", "--json")
    assert again.json["skipped"] == 2, "a video is not decoded again for its thumbnails"
    assert not list((without / "thumbnails").glob("run=2*"))


def test_a_changed_file_shows_no_thumbnail_of_the_one_before(archive: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    own, root = tmp_path / "archive", tmp_path / "catalog"
    own.mkdir()
    command = ("classify", "--archive", own, "--catalog", root, "--model", "placeholder")
    videos.encode(own / "a.avi", videos.RECIPES["mpeg4_avi"], 3)
    assert reelbeam(*command).code == 0
    videos.encode(own / "a.avi", videos.RECIPES["mpeg4_avi"], 25, (64, 48))
    assert reelbeam(*command, "--thumbnail-height", "48").code == 0
    rows = latest_thumbnails(Catalog(str(root))).to_pylist()
    assert {(row["width"], row["height"]) for row in rows} == {(64, 48)}
    videos.encode(own / "a.avi", videos.RECIPES["mpeg4_avi"], 4)
    assert reelbeam(*command, "--thumbnail-seconds", "0").code == 0
    assert not len(latest_thumbnails(Catalog(str(root))))


def changed(catalog: Catalog, tmp_path: Path, change: Callable[[list[dict[str, Any]]], object]) -> set[str]:
    """What the checker says of a copy whose table of thumbnails was changed, besides the file's own checksum."""
    root = Path(shutil.copytree(catalog.root, tmp_path / "copy"))
    (path,) = root.glob("thumbnails/run=2*/*.parquet")
    rows = pq.read_table(path, partitioning=None).to_pylist()
    change(rows)
    schemas.write_table(str(path), pa.Table.from_pylist(rows, schemas.THUMBNAILS), schemas.THUMBNAILS)
    found = verify(Catalog(str(root)))
    assert found
    return {finding.message for finding in found if finding.code == "thumbnail"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[0].update(image=rows[0]["image"][:40]), "is no picture of 267 x 160 pixels"),
        (lambda rows: rows[0].update(width=100), "is no picture of 100 x 160 pixels"),
        (lambda rows: rows[0].update(pts=-5), "has no frame at pts -5"),
        (lambda rows: rows.append(dict(rows[-1], poster=False)), "or some twice"),
        (lambda rows: [row.update(poster=False) for row in rows], "has 0 posters, not 1"),
        (lambda rows: [row.update(poster=True) for row in rows], "posters, not 1"),
        (lambda rows: rows.clear(), "has 0 posters, not 1"),
    ],
)
def test_the_checker_finds_what_is_wrong(
    catalog: Catalog, tmp_path: Path, change: Callable[[list[dict[str, Any]]], object], said: str
) -> None:
    assert any(said in message for message in changed(catalog, tmp_path, change))


def test_an_hour_takes_two_megabytes_at_most_even_if_labels_flicker() -> None:
    """Pictures with the detail of film; a label that comes and goes every two seconds."""
    shown = list(islice(shots(Kind("720p", (1280, 720), Fraction(1), 12, 1.0, 2500), seed=3), 12))
    frames = [VideoFrame.from_ndarray(picture, format="rgb24") for picture in shown]
    painter, thumbnailer = Painter(Preprocessing()), Thumbnailer(160, Preprocessing())
    samples: list[Any] = [SimpleNamespace(frame=frame, pixel_aspect=None, is_field=False) for frame in frames]
    images = [as_webp(thumbnailer.make(one, painter.upright(one.frame)).image) for one in samples]
    chosen = choose(np.arange(3600.0), 0, [(k, k) for k in range(0, 3600, 2)], 10.0)
    assert len(chosen) > 400
    assert len(chosen) * np.mean([len(image) for image in images]) < BYTES_AN_HOUR
