"""120 questions about the shared clips, whose answers were written before the code that answers them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import reelbeam
from tests.retrieval_clips import CAPTIONED, catalog_of
from transforms.dialogue.answers import Citation
from transforms.dialogue.conversation import Answer, Conversation
from transforms.dialogue.evidence import Evidence
from transforms.dialogue.mentions import name_of
from transforms.retrieval.search import CatalogSearch

pytestmark = pytest.mark.slow

QUESTIONS: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("dialogue_questions.json").read_text(encoding="utf-8")
)
"""What is asked, and what is right, as a person who saw the clips says: ``says`` (patterns that the answer holds),
``videos`` that it cites (``also``: may cite), ``start_s`` (least and greatest time of the first citation), ``declined``."""

RIGHT = 0.9
KINDS = {"when", "what", "how", "how many", "which", "compare", "none"}


@pytest.fixture(scope="module")
def search(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> CatalogSearch:
    return catalog_of(tmp_path_factory.mktemp("questions") / "catalog", CAPTIONED, shared / "longer")


@pytest.fixture(scope="module")
def answers(search: CatalogSearch) -> list[Answer]:
    evidence = Evidence(search.catalog, lambda: search)
    return [Conversation(evidence).ask(one["ask"]) for one in QUESTIONS]


def is_right(question: dict[str, Any], found: Answer) -> bool:
    if question.get("declined"):
        return not found.grounded and not found.citations
    cited = {name_of(one.uri) for one in found.citations}
    least, most = question.get("start_s", (0, float("inf")))
    return (
        found.grounded
        and all(re.search(pattern, found.answer, re.IGNORECASE) for pattern in question.get("says", ()))
        and ("videos" not in question or set(question["videos"]) <= cited <= {*question["videos"], *question["also"]})
        and least <= found.citations[0].start_s <= most
    )


def test_at_least_nine_of_ten_are_right_and_grounded(answers: list[Answer]) -> None:
    assert len(QUESTIONS) == 120
    assert {one["kind"] for one in QUESTIONS} == KINDS
    wrong = [(one["ask"], got.answer) for one, got in zip(QUESTIONS, answers, strict=True) if not is_right(one, got)]
    print(f"{len(QUESTIONS) - len(wrong)} of {len(QUESTIONS)} right; wrong: {wrong}")
    assert len(wrong) <= (1 - RIGHT) * len(QUESTIONS), wrong


def test_every_citation_is_true(answers: list[Answer], search: CatalogSearch) -> None:
    """Compares each with the tables that the public API reads, and with the search."""
    catalog = reelbeam.open_catalog(search.catalog.root)
    rows = {row["uri"]: row for row in catalog.videos().drop_columns(["embedding"]).to_pylist()}
    cited = [one for found in answers for one in found.citations]
    assert {one.kind for one in cited} >= {"label", "best_label", "search", "technical", "words"}
    for one in cited:
        assert IS_TRUE[one.kind](one, rows[one.uri], catalog, search), one


def _frames_of(one: Citation, catalog: reelbeam.Catalog) -> list[dict[str, Any]]:
    tables = catalog.frames(columns=["time_s", "labels", "best_label", "best_label_score"], uri=one.uri)
    frames = [row for table in tables for row in table.to_pylist()]
    inside = [row for row in frames if one.start_s <= row["time_s"] < max(one.end_s or 0.0, one.start_s + 1e-6)]
    assert inside
    return inside


def _is_label(one: Citation, row: dict[str, Any], catalog: reelbeam.Catalog, _: CatalogSearch) -> bool:
    """The label is in a frame of the range, and no frame's labels add up to less than the score says."""
    frames = _frames_of(one, catalog)
    here = [pair["score"] for frame in frames for pair in frame["labels"] if pair["label"] == one.text]
    most = max(sum(pair["score"] for pair in frame["labels"]) for frame in frames)
    mean = next((pair["score"] for pair in row["labels"] if pair["label"] == one.text), None)
    return bool(here) and (one.score == mean or max(here) - 1e-6 <= one.score <= most + 1e-6)


def _is_best_label(one: Citation, row: dict[str, Any], catalog: reelbeam.Catalog, _: CatalogSearch) -> bool:
    if (one.text, one.score) == (row["best_label"], row["best_label_score"]):
        return True
    frames = _frames_of(one, catalog)
    return {frame["best_label"] for frame in frames} == {one.text} and one.score == max(
        frame["best_label_score"] for frame in frames
    )


def _is_found(one: Citation, _: dict[str, Any], __: reelbeam.Catalog, search: CatalogSearch) -> bool:
    hits = {hit.uri: hit for hit in search.find(search.words(one.text), top_k=100, min_relevance=0.5)}
    ranges = {(moment.start_s, moment.end_s) for moment in hits[one.uri].ranges}
    return hits[one.uri].relevance == pytest.approx(one.score) and (one.start_s, one.end_s) in ranges


def _is_technical(one: Citation, row: dict[str, Any], _: reelbeam.Catalog, __: CatalogSearch) -> bool:
    values = {f"{row['width']}x{row['height']}", str(row["width"]), str(row["height"]), row["codec"], row["container"]}
    values |= {f"({row['size_bytes']} bytes)", str(row["frames_sampled"]), f"{row['fps']:.2f}".rstrip("0").rstrip(".")}
    seconds = f"{row['duration_s']:.1f}".removesuffix(".0")
    return (
        any(one.text.endswith(f" {value}") for value in values) or re.search(rf"\b{seconds} s\b", one.text) is not None
    )


def _is_words(one: Citation, row: dict[str, Any], _: reelbeam.Catalog, __: CatalogSearch) -> bool:
    return all(word in name_of(row["uri"]) for word in one.text.split())


IS_TRUE = {
    "label": _is_label,
    "best_label": _is_best_label,
    "search": _is_found,
    "technical": _is_technical,
    "words": _is_words,
}
