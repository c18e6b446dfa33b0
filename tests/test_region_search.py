"""`search --region` and `search --where`, by the command, in Python and on the pages, over a film of coloured squares."""

import json
import re
import shutil
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import urlencode

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

import reelbeam
from models.retrieval.errors import RetrievalError
from models.retrieval.moments import moments
from models.visual.bundle import FEATURE_MAP
from models.visual.errors import ModelError
from pipelines.commands.main import cli
from pipelines.web.access import LOOPBACK
from pipelines.web.app import make_app
from pipelines.web.view import CatalogView
from tests import catalogs, coloured_squares
from tests.conftest import run_command
from transforms.catalog.runs import Catalog
from transforms.decoder.stills import StillDrawer
from transforms.dialogue.conversation import Conversation
from transforms.dialogue.evidence import open_evidence
from transforms.dialogue.questions import parse, parts_of
from transforms.retrieval.places import PlaceFinder
from transforms.retrieval.region_frames import MOST_CONDITIONS, RegionCondition, RegionFrames
from transforms.retrieval.search import CatalogSearch


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the archive `films`, the model `colours.keras` and the indexed `catalog` with regions."""
    folder = tmp_path_factory.mktemp("where")
    (folder / "films").mkdir()
    model = coloured_squares.make_model(folder / "colours.keras")
    coloured_squares.film(folder / "films" / "squares.mp4", 9, coloured_squares.red_then_blue)
    coloured_squares.film(folder / "films" / "grey.mp4", 3, lambda _: [])
    night = ("classify", "--archive", folder / "films", "--catalog", folder / "catalog", "--model", model, "--regions")
    for command in (night, ("index", "--catalog", folder / "catalog")):
        done = run_command(*command)
        assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="module")
def catalog(folder: Path) -> Path:
    return folder / "catalog"


@pytest.fixture(scope="module")
def client(catalog: Path) -> Iterator[TestClient]:
    with TestClient(make_app(CatalogView(str(catalog)), LOOPBACK, None), base_url="http://localhost") as one:
        yield one


def search(catalog: Path, *arguments: object) -> Result:
    return CliRunner().invoke(cli, ["search", "--catalog", str(catalog), *map(str, arguments)])


def found(catalog: Path, *arguments: object) -> list[dict]:
    done = search(catalog, "--json", *arguments)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def name(uri: str) -> str:
    return uri.rsplit("/", 1)[-1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("water>0.3", ("water", 0.3, False)),
        (" night train >= 1 ", ("night train", 1.0, True)),
        ("a>b>.5", ("a>b", 0.5, False)),
        ("water>1e-2", ("water", 0.01, False)),
    ],
)
def test_a_condition_is_a_label_and_a_share(text: str, expected: tuple) -> None:
    assert RegionCondition.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "water", ">0.3", "water>", "water>1.5", "water>-1", "water<0.3", "water>1e", "a>="]
)
def test_other_conditions_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(RetrievalError, match="write a label and the least share") as refused:
        RegionCondition.parse(text)
    assert "\n" not in str(refused.value)


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 20))
def test_moments_hold_only_frames_that_count(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    scores, among = rng.random(count).astype(np.float32), rng.random(count) < 0.5
    times = np.arange(count, dtype=np.float64)
    ranges = moments(times, scores, 1.0, most=count, among=among)
    covered = {float(t) for one in ranges for t in np.arange(one.start_s, one.end_s)}
    if not among.any():
        assert ranges == ()
        return
    least = (np.median(scores[among]) + scores[among].max()) / 2
    assert covered == {t for t, score, counts in zip(times, scores, among, strict=True) if counts and score >= least}
    assert moments(times, scores, 1.0, among=np.ones(count, bool)) == moments(times, scores, 1.0)


@pytest.mark.slow
def test_only_videos_and_moments_in_which_a_region_is(catalog: Path) -> None:
    rows = reelbeam.open_catalog(catalog).regions().to_pylist()
    (hit,) = found(catalog, "red", "--region", "red>0.05")
    assert name(hit["uri"]) == "squares.mp4"
    shares = [row["share"] for row in rows if row["label"] == "red"]
    assert found(catalog, "red", "--region", f"red>{max(shares)!r}") == []
    (exact,) = found(catalog, "red", "--region", f"red>={max(shares)!r}")
    times = [row["time_s"] for row in rows if row["label"] == "red" and row["share"] == max(shares)]
    assert {t for one in exact["ranges"] for t in np.arange(one["start_s"], one["end_s"])} <= set(times)
    (blue,) = found(catalog, "red", "--region", "blue>0")
    assert all(one["start_s"] >= 7 for one in blue["ranges"]), "the best moment of what is blue"
    assert found(catalog, "red", "--region", "blue>0", "--region", "red>0") == [], "no frame shows both"
    assert len(found(catalog, "red", "--region", "red>0.01", "--region", "red>=0", "--label", "red")) == 1
    assert found(catalog, "red", "--region", "red>0", "--uri", "grey.mp4") == []


@pytest.mark.slow
def test_regions_filter_pictures_and_videos_too(catalog: Path, folder: Path) -> None:
    opened = reelbeam.open_catalog(catalog)
    film = folder / "films" / "squares.mp4"
    assert [name(hit.uri) for hit in opened.search("red", region="red>0")] == ["squares.mp4"]
    assert [[name(hit.uri) for hit in hits] for hits in opened.search_many(["red", "grey"], region=["red>0"])] == [
        ["squares.mp4"]
    ] * 2
    assert opened.similar(film, region="red>0") == [], "it is itself the only one"
    picture = coloured_squares.picture([("red", 60, 40, 40)])
    assert [name(hit.uri) for hit in opened.similar(image=picture, region="blue>0")] == ["squares.mp4"]
    both = opened.search("red", region="red>0", filters=reelbeam.Filters(regions=("blue>0",)))
    assert both == []


@pytest.mark.slow
def test_what_no_region_has_is_said_in_one_line(catalog: Path, folder: Path, tmp_path: Path) -> None:
    refused = search(catalog, "red", "--region", "rad>0")
    assert refused.exit_code == 1 and "no region has the label 'rad'; did you mean 'red'?" in refused.output
    refused = search(catalog, "red", "--region", "water>0.3")
    assert refused.exit_code == 1
    assert "no region has the label 'water'; regions have 'blue', 'red'" in " ".join(refused.output.split())
    wrong = search(catalog, "red", "--region", "red")
    assert wrong.exit_code == 2 and "cannot read the region 'red'" in wrong.output
    plain = Catalog(str(tmp_path / "plain"))
    run_id = catalogs.commit_night(plain, {"/a.mp4": 3}).run_id
    with pytest.raises(RetrievalError, match="no regions yet: run `reelbeam regions` first"):
        RegionFrames(lambda: plain, run_id).where(["red>0"])
    with pytest.raises(RetrievalError, match="at most 8 regions"):
        reelbeam.open_catalog(catalog).search("red", region=["red>0"] * (MOST_CONDITIONS + 1))


@pytest.mark.slow
def test_the_page_filters_by_regions(client: TestClient) -> None:
    asked = client.get("/api/v1/search", params={"q": "red", "region": ["red>0.01", "red>=0.02"]})
    assert [name(hit["uri"]) for hit in asked.json()] == ["squares.mp4"]
    newest = client.get("/", params={"region": "red>0.01"}).text
    assert "squares.mp4" in newest and "grey.mp4" not in newest and 'value="red&gt;0.01"' in newest
    assert urlencode({"region": "red>0.01"}) in newest, "the chips keep it"
    assert "1 video<" in newest, "and it counts"
    for page in ("/", "/?q=red"):
        refused = client.get(page, params={"region": "rad>0", **({"q": "red"} if "q" in page else {})})
        assert refused.status_code == 400 and "did you mean" in refused.text
    assert client.get("/api/v1/search", params={"q": "red", "region": "red"}).status_code == 400
    assert client.get("/api/v1/search", params={"q": "red", "region": "x" * 300}).status_code == 422


def truth(time_s: float) -> tuple[float, float]:
    """The middle of the square at a time, in fractions of the picture."""
    ((_, x, y, side),) = coloured_squares.red_then_blue(int(time_s))
    return (x + side / 2) / coloured_squares.WIDTH, (y + side / 2) / coloured_squares.HEIGHT


@pytest.mark.slow
def test_where_in_the_picture_is_what_the_words_say(catalog: Path, tmp_path: Path) -> None:
    for words in ("red", "blue"):
        hits = found(catalog, words, "--where-pictures", tmp_path / words)
        (squares,) = [hit for hit in hits if name(hit["uri"]) == "squares.mp4"]
        where = squares["where"]
        assert any(one["start_s"] <= where["time_s"] < one["end_s"] for one in squares["ranges"][:1])
        assert where["time_s"] in ((7.0, 8.0) if words == "blue" else range(6))
        x, y = truth(where["time_s"])
        assert where["centroid"]["x"] == pytest.approx(x, abs=0.03)
        assert where["centroid"]["y"] == pytest.approx(y, abs=0.05)
        box = where["box"]
        assert box["x"] < x < box["x"] + box["width"] and box["y"] < y < box["y"] + box["height"]
        assert where["picture"] == str(tmp_path / words / f"{squares['rank']:02d}.jpg")
        drawn = cv2.imread(where["picture"])
        height, width = drawn.shape[:2]
        assert (height, width) == (360, 540), "the whole picture"
        assert drawn[int(y * height), int(x * width)].sum() > 2 * drawn[5, 5].sum(), "bright where it is"
    (grey,) = [hit for hit in found(catalog, "red", "--where") if name(hit["uri"]) == "grey.mp4"]
    assert list(grey["where"]) == ["reason"] and "nothing in the picture speaks for it" in grey["where"]["reason"]
    assert "where" not in found(catalog, "red")[0]


@pytest.mark.slow
def test_a_video_that_is_gone_has_a_reason_and_the_others_stay(
    catalog: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    film = folder / "films" / "grey.mp4"
    film.rename(folder / "away.mp4")
    try:
        done = search(catalog, "blue", "--where")
        places = {name(hit["uri"]): hit["where"] for hit in found(catalog, "blue", "--where")}
    finally:
        (folder / "away.mp4").rename(film)
    assert done.exit_code == 0, done.output
    assert "the picture cannot be decoded" in places["grey.mp4"]["reason"] and "box" in places["squares.mp4"]
    shown = " ".join(done.stdout.split())
    assert "the picture cannot be decoded" in shown and re.search(r"x \d+%-\d+%, y \d+%-\d+%", shown)


@pytest.mark.slow
def test_python_says_where_as_the_command_does(
    catalog: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = reelbeam.open_catalog(catalog)
    (hit,) = [one for one in opened.search("blue") if name(one.uri) == "squares.mp4"]
    place = opened.where("blue", hit.uri, hit.ranges[0].start_s, hit.ranges[0].end_s)
    (shown,) = [
        one for one in found(catalog, "blue", "--where-pictures", tmp_path / "p") if one["video_id"] == hit.video_id
    ]
    assert (place.time_s, place.share, place.box._asdict()) == tuple(
        shown["where"][name] for name in ("time_s", "share", "box")
    )
    assert place.centroid == tuple(shown["where"]["centroid"].values())
    assert place.jpeg() == Path(shown["where"]["picture"]).read_bytes() and place.drawn.shape == (360, 540, 3)
    red = coloured_squares.picture([("red", 60, 40, 40)])
    by_picture = opened.where(None, hit.uri, 2.0, image=red)
    assert by_picture.time_s == 2.0 and by_picture.centroid[0] == pytest.approx(truth(2)[0], abs=0.03)
    with pytest.raises(TypeError, match="words, an image or both"):
        opened.where(None, hit.uri, 2.0)
    grey = str(folder / "films" / "grey.mp4")
    with pytest.raises(reelbeam.NoPlaceError, match="nothing in the picture speaks for it"):
        opened.where("red", grey, 0.0)
    with pytest.raises(reelbeam.NoPlaceError, match="the index does not have this video yet"):
        opened.where("red", "/none.mp4", 0.0)
    monkeypatch.setattr("transforms.decoder.stills.path_of_uri", lambda uri: f"{uri}.away")
    with pytest.raises(reelbeam.NoPlaceError, match="the picture cannot be decoded"):
        opened.where("red", grey, 0.0)


@pytest.mark.slow
def test_the_mean_of_the_map_is_the_score(catalog: Path) -> None:
    """Independently of the map's maker: the cells' mean, scaled by the embedding's length, is the stored cosine."""
    opened = CatalogSearch.open(str(catalog))
    query, uri = opened.words("red"), opened.index.table["uri"].to_pylist()[-1]
    scored = opened.frame_scores(query, uri)
    assert scored is not None
    times, scores = scored
    drawer = StillDrawer()
    try:
        finder = PlaceFinder(opened, drawer.see, may_make=False)
        for time_s, score in list(zip(times, scores, strict=True))[:3]:
            given = drawer.see(uri, float(time_s), opened.bundle.spec.preprocessing).given
            cells = finder.engine.infer(given)[1].astype(np.float64) - opened.index.frames.centre
            length = np.linalg.norm(cells.mean(axis=(0, 1)))
            assert (cells @ query.direction).mean() / length == pytest.approx(float(score), abs=1e-3)
    finally:
        drawer.close()


@pytest.mark.slow
def test_a_catalog_without_a_map_gets_one_on_this_machine(
    catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(catalog, tmp_path / "catalog")
    (stored,) = (tmp_path / "catalog").rglob(FEATURE_MAP)
    stored.unlink()
    monkeypatch.setenv("REELBEAM_CACHE", str(tmp_path / "cache"))
    opened = CatalogSearch.open(str(tmp_path / "catalog"))
    drawer = StillDrawer()
    try:
        finder = PlaceFinder(opened, drawer.see, may_make=False)
        assert not finder.is_ready
        with pytest.raises(ModelError, match="run `reelbeam regions`, which adds it"):
            finder.open()
    finally:
        drawer.close()
    assert found(tmp_path / "catalog", "red", "--where") == found(catalog, "red", "--where")
    assert not stored.exists(), "searching writes nothing into a catalog"


@pytest.mark.slow
def test_a_model_without_a_map_is_refused_in_one_line(catalog: Path, folder: Path, tmp_path: Path) -> None:
    night = ("classify", "--archive", folder / "films", "--catalog", tmp_path / "c", "--model", "placeholder")
    for command in (night, ("index", "--catalog", tmp_path / "c")):
        assert run_command(*command).code == 0
    refused = search(tmp_path / "c", "--image", folder / "films" / "none.jpg", "--where")
    assert refused.exit_code == 1
    picture = tmp_path / "red.png"
    cv2.imwrite(str(picture), coloured_squares.picture([("red", 60, 40, 40)]))
    refused = search(tmp_path / "c", "--image", picture, "--where")
    assert refused.exit_code == 1 and "placeholder" in refused.output and len(refused.output.splitlines()) == 1
    both = search(catalog, "--batch", "-", "--where")
    assert both.exit_code == 2 and "--where is for one question" in both.output


@pytest.mark.slow
def test_the_page_draws_where_the_words_are(client: TestClient, catalog: Path) -> None:
    (hit,) = client.get("/api/v1/search", params={"q": "red", "region": "red>0"}).json()
    place, moment = f"/api/v1/videos/{hit['video_id']}/where", hit["ranges"][0]
    asked = {"q": "red", "t": moment["start_s"], "end": moment["end_s"]}
    answered = client.get(place, params=asked)
    (by_command,) = found(catalog, "red", "--region", "red>0", "--where")
    assert answered.json() == {key: by_command["where"][key] for key in ("time_s", "share", "box", "centroid")}
    drawn = client.get(f"{place}/picture", params=asked)
    assert (drawn.status_code, drawn.headers["content-type"]) == (200, "image/jpeg")
    assert drawn.headers["cache-control"] == "private, max-age=3600"
    assert cv2.imdecode(np.frombuffer(drawn.content, np.uint8), cv2.IMREAD_COLOR).shape == (360, 540, 3)
    for page in (client.get("/", params={"q": "red"}).text, client.get(f"/videos/{hit['video_id']}?q=red").text):
        assert 'class="where"' in page and "style=" not in page
        (address,) = {
            unescape(one) for one in re.findall(r'src="([^"]*/where/picture[^"]*)"', page) if hit["video_id"] in one
        }
        assert client.get(address).content[:2] == drawn.content[:2] == b"\xff\xd8"
    assert 'class="where"' not in client.get("/").text, "nothing is asked for"


@pytest.mark.slow
def test_places_that_cannot_be_told_have_one_line(client: TestClient, folder: Path) -> None:
    hits = client.get("/api/v1/search", params={"q": "red"}).json()
    (grey,) = [f"/api/v1/videos/{hit['video_id']}/where" for hit in hits if name(hit["uri"]) == "grey.mp4"]
    nothing = client.get(grey, params={"q": "red"})
    assert nothing.status_code == 404 and "nothing in the picture" in nothing.json()["detail"]
    assert client.get("/api/v1/videos/none/where", params={"q": "red"}).status_code == 404
    for wrong in ({}, {"q": ""}, {"q": "x" * 1001}, {"q": "red", "t": -1}, {"q": "red", "t": "nan"}):
        assert client.get(grey, params=wrong).status_code == 422
    assert client.get(grey, params={"q": "  "}).status_code == 400
    film = folder / "films" / "grey.mp4"
    film.rename(folder / "away.mp4")
    try:
        gone = client.get(grey, params={"q": "blue", "t": 1})
    finally:
        (folder / "away.mp4").rename(film)
    assert gone.status_code == 404 and "cannot be decoded" in gone.json()["detail"]


@pytest.mark.slow
def test_no_place_is_offered_without_a_feature_map(
    catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(catalog, tmp_path / "catalog")
    next((tmp_path / "catalog").rglob(FEATURE_MAP)).unlink()
    monkeypatch.setenv("REELBEAM_CACHE", str(tmp_path / "cache"))
    app = make_app(CatalogView(str(tmp_path / "catalog")), LOOPBACK, None)
    with TestClient(app, base_url="http://localhost") as plain:
        page = plain.get("/", params={"q": "red"}).text
        assert "squares.mp4" in page and 'class="where"' not in page
        (video_id, *_) = re.findall(r'data-video="(\w+)"', page)
        refused = plain.get(f"/api/v1/videos/{video_id}/where", params={"q": "red"})
        assert refused.status_code == 404 and "run `reelbeam regions`" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("asked", "intent", "thing"),
    [
        ("Where is the dog?", "where", "dog"),
        ("Where in the picture is the dog?", "where", "dog"),
        ("where are the dogs in the frame", "where", "dogs"),
        ("Where does the dog appear?", "when", "dog"),
        ("How much of the picture is water?", "share", "water"),
        ("how much of the frame does the dog fill?", "share", "dog"),
        ("How long is it?", "property", ""),
        ("狗在画面的哪里？", "where", "狗"),
        ("水占画面的多少？", "share", "水"),
        ("狗什么时候出现？", "when", "狗"),
    ],
)
def test_questions_about_places_in_the_picture(asked: str, intent: str, thing: str) -> None:
    (part,) = parts_of(asked)
    found_question = parse(part)
    assert (found_question.intent, found_question.thing) == (intent, thing)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("Where is the red in squares.mp4?", "in the middle of the picture"),
        ("How much of the picture is blue in squares.mp4?", "Blue fills 0.0"),
        ("squares.mp4里red在画面的哪里？", "red在画面中央"),
        ("squares.mp4里red占画面的多少？", "red占画面的0.0"),
    ],
)
def test_dialogues_cite_regions(catalog: Path, asked: str, said: str) -> None:
    answer = Conversation(open_evidence(str(catalog))).ask(asked)
    assert answer.grounded and said in answer.answer, answer
    ((cited,),) = [answer.citations]
    rows = reelbeam.open_catalog(catalog).regions(cited.uri).to_pylist()
    row = next(row for row in rows if (row["label"], row["time_s"]) == (cited.text, cited.start_s))
    assert cited.kind == "region" and cited.score == row["score"]
    same = [one for one in rows if one["label"] == row["label"]]
    by = "share" if "much" in asked or "占" in asked else "score"
    assert row[by] == max(one[by] for one in same)


@pytest.mark.slow
def test_a_share_that_no_region_tells_is_declined(catalog: Path) -> None:
    talk = Conversation(open_evidence(str(catalog)))
    for asked in ("How much of the picture is red in grey.mp4?", "How much of the picture is green?"):
        assert not talk.ask(asked).grounded
