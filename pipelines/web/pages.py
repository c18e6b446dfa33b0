"""The pages for people, rendered on the server."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from models.errors import ReelbeamError
from pipelines.pages.advice import ADVICE
from pipelines.pages.night import charts_of_nights
from pipelines.pages.templating import environment
from pipelines.web.questions import Question, QuestionError, answer, scores_over_time
from pipelines.web.view import Snapshot
from pipelines.web.words import language_of, translated
from transforms.catalog.night_report import NIGHTS
from transforms.retrieval.search import Hit
from transforms.video.failures import REASONS
from transforms.video.playable import is_playable

STRIP: int = 12
"""Pictures of a filmstrip."""

BEST_MOMENTS: int = 5
"""Moments that are named beside the curve of scores."""

LABEL_CHOICES: int = 200
"""Labels that the filter offers, commonest first."""


class Pages:
    """Renders pages; any number of threads may use it."""

    def __init__(self) -> None:
        self._environment = environment("pipelines.web", "templates")

    def search(self, snapshot: Snapshot, asked: Question, language: str | None) -> str:
        """The page with a question and its answers; without a question it shows the newest videos."""
        if asked.is_empty:
            return self._answers(snapshot, asked, language, newest=snapshot.newest)
        try:
            return self._answers(snapshot, asked, language, hits=answer(snapshot, asked))
        except ReelbeamError as error:
            return self._answers(snapshot, asked, language, error=" ".join(str(error).split()))

    def picture(self, snapshot: Snapshot, hits: Sequence[Hit], language: str | None) -> str:
        """The page with the answers to a picture."""
        return self._answers(snapshot, Question(), language, hits=hits)

    def _answers(
        self,
        snapshot: Snapshot,
        asked: Question,
        language: str | None,
        *,
        hits: Sequence[Hit] = (),
        newest: Sequence[dict[str, Any]] = (),
        error: str = "",
    ) -> str:
        return self._render(
            "search.html",
            language,
            asked=asked,
            folder=(asked.filters.uri or "").strip("*"),
            hits=hits,
            error=error,
            like=snapshot.video(asked.like) if asked.like else None,
            newest=newest,
            labels=[label for label, _ in snapshot.labels[:LABEL_CHOICES]],
            moment_link=_moment_link,
            total=len(snapshot.videos),
        )

    def video(self, snapshot: Snapshot, row: dict[str, Any], time_s: float, words: str, language: str | None) -> str:
        """The page of one video, at a moment, with how well each moment fits some words."""
        try:
            times_s, scores = scores_over_time(snapshot, words, row["uri"])
        except ReelbeamError:  # the model cannot express these words
            times_s, scores = [], []
        playable = is_playable(row) and not row["gone"]
        return self._render(
            "video.html",
            language,
            row=row,
            time_s=time_s,
            playable=playable,
            proxy=not playable and snapshot.proxy_of(row) is not None,
            strip=_strip(row["duration_s"] or 0.0),
            ranges=[one for one in row["label_ranges"] or [] if one["ranges"]],
            length_s=row["duration_s"] or 0.0,
            like=_like(snapshot, row),
            words=words,
            curve=_curve(times_s, scores, row["duration_s"] or 0.0),
            best=sorted(zip(scores, times_s, strict=True), reverse=True)[:BEST_MOMENTS],
            moment_link=_moment_link,
        )

    def nights(self, snapshot: Snapshot, language: str | None) -> str:
        """The page of all runs, newest first."""
        runs = snapshot.runs
        return self._render(
            "nights.html", language, runs=list(reversed(runs)), charts=list(charts_of_nights(runs[-NIGHTS:]))
        )

    def failures(self, snapshot: Snapshot, language: str | None) -> str:
        """The page of the videos that fail, by reason."""
        return self._render("failures.html", language, rows=snapshot.failures, reasons=REASONS, advice=ADVICE)

    def labels(self, snapshot: Snapshot, language: str | None) -> str:
        """The page of what the archive shows, each with a picture."""
        examples: dict[str, dict[str, Any]] = {}
        for row in snapshot.videos.select(["video_id", "labels", "label_ranges"]).to_pylist():
            for pair in (row["labels"] or [])[:1]:
                examples.setdefault(pair["label"], row)
        return self._render("labels.html", language, counts=snapshot.labels, examples=examples, start=_start_of)

    def _render(self, template: str, language: str | None, **values: Any) -> str:
        chosen = language_of(language)
        return self._environment.get_template(template).render(
            lang=chosen, t=lambda text: translated(text, chosen), **values
        )


def _moment_link(video_id: str, time_s: float, words: str = "") -> str:
    """Returns the address of a moment of a video, with the words that led to it."""
    return f"/videos/{video_id}?{urlencode({'t': f'{time_s:.6g}', **({'q': words} if words else {})})}"


def _curve(times_s: Sequence[float], scores: Sequence[float], length_s: float) -> str:
    """Returns the points of an SVG polyline, 1000 wide and 60 high, of scores over time; "" if there are none."""
    if not scores or length_s <= 0:
        return ""
    low, high = min(scores), max(scores)
    span = high - low or 1.0
    return " ".join(
        f"{1000 * min(t / length_s, 1):.1f},{58 - 56 * (score - low) / span:.1f}"
        for t, score in zip(times_s, scores, strict=True)
    )


def _strip(length_s: float) -> list[float]:
    """Returns times spread evenly over a video, in the middle of equal parts."""
    count = max(1, min(STRIP, int(length_s)))
    return [round((i + 0.5) * length_s / count, 3) for i in range(count)]


def _like(snapshot: Snapshot, row: dict[str, Any]) -> list[Hit]:
    if snapshot.search is None:
        return []
    try:
        return answer(snapshot, Question(like=row["video_id"], top=8))
    except QuestionError:  # it is newer than the index
        return []


def _start_of(row: dict[str, Any], label: str) -> float:
    """Returns when a label is first seen in a video."""
    for one in row["label_ranges"] or []:
        if one["label"] == label and one["ranges"]:
            return float(one["ranges"][0]["start_s"])
    return 0.0
