"""The pages for people, rendered on the server."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlencode

from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from models.errors import ReelbeamError
from pipelines.pages.advice import ADVICE
from pipelines.pages.charts import Chart
from pipelines.pages.night import charts_of_nights
from pipelines.pages.templating import environment
from pipelines.web import chinese_failures
from pipelines.web.questions import (
    MOST,
    TOP,
    Answer,
    Question,
    QuestionError,
    address_of,
    answer,
    cannot_be_asked,
    folder_of,
    scores_over_time,
)
from pipelines.web.view import Snapshot
from pipelines.web.words import CHINESE_LINES, label_in, language_of, many, noun, translated, units_in
from transforms.catalog.overview.night_report import NIGHTS, NightReport, label_of_each
from transforms.catalog.overview.nights import as_one, nights_of
from transforms.catalog.records import RunRecord
from transforms.retrieval.search import Hit
from transforms.storage import printable
from transforms.video.failures import REASONS
from transforms.video.playable import is_playable

if TYPE_CHECKING:
    from transforms.dialogue.answers import Citation
    from transforms.dialogue.conversation import Answer as DialogueAnswer

DRAWN: Final = 12
"""Pictures of a filmstrip that are drawn because the catalog stores none."""

STRIP: Final = 60
"""Stored pictures of a filmstrip, at most; those of a longer video are spread over it."""

FAILURES: Final = 500
"""Failures of each reason on the page of failures, at most."""

RUNS: Final = 200
"""Runs in the table of nights, at most."""

BEST_MOMENTS: Final = 5
"""Moments that are named beside the curve of scores."""

EMPTY: Final = Answer([])

QUANTITIES: Final = ("bytes", "speed", "time")
"""Filters that write a number with a unit."""

FAILED: Final = {404: "There is no such page.", 503: "This cannot be answered now."}
"""What the headline of a failure says, by its status code."""


NOT_ASKED: Final = "This cannot be asked."
"""The headline of all other failures."""


class Dialogue(NamedTuple):
    """A question about a video, and its answer; None if nothing was asked."""

    question: str = ""
    answer: "DialogueAnswer | None" = None


NOTHING_ASKED: Final = Dialogue()


class Pages:
    """Renders pages; any number of threads may use it.

    Args:
        can_point: tells whether the model of a snapshot can tell where in a picture something is.
    """

    def __init__(self, can_point: Callable[[Snapshot], bool] = lambda snapshot: False) -> None:
        self._can_point = can_point
        self._environment = environment("pipelines.web", "templates")
        self._environment.filters.update({name: _in_language(self._environment.filters[name]) for name in QUANTITIES})

    def search(self, snapshot: Snapshot, asked: Question, language: str | None) -> tuple[str, int]:
        """The page with a question and its answers; without a question it lists the newest videos.

        Returns:
            The page and its status code.
        """
        try:
            if asked.is_empty:
                newest = snapshot.newest(asked.filters, asked.top)
                return self._answers(snapshot, asked, language, newest=newest), 200
            return self._answers(snapshot, asked, language, found=answer(snapshot, asked)), 200
        except ReelbeamError as error:
            if not cannot_be_asked(error):
                raise
            return self._answers(snapshot, asked, language, error=" ".join(str(error).split())), 400

    def _answers(
        self,
        snapshot: Snapshot,
        asked: Question,
        language: str | None,
        *,
        found: Answer = EMPTY,
        newest: Sequence[dict[str, Any]] = (),
        error: str = "",
    ) -> str:
        filters = replace(asked.filters, regions=()) if error else asked.filters  # one of them may be what is wrong
        facets = snapshot.facets.counts(filters, only_live=not asked.is_empty)
        shown = len(found.hits) + len(newest)
        more = min(MOST, 2 * asked.top) if shown == asked.top < min(MOST, facets.videos) else None
        return self._render(
            "search.html",
            language,
            asked=asked,
            folder=folder_of(asked.filters),
            likely=found.likely,
            unlikely=found.unlikely,
            error=error,
            like=snapshot.video(asked.like) if asked.like else None,
            points=bool(asked.words and self._can_point(snapshot)),
            newest=newest,
            facets=facets,
            address=partial(address_of, asked),
            more=more,
            top=None if asked.top == TOP else asked.top,
        )

    def video(
        self,
        snapshot: Snapshot,
        row: dict[str, Any],
        time_s: float,
        words: str,
        language: str | None,
        dialogue: Dialogue = NOTHING_ASKED,
    ) -> str:
        """The page of one video, at a moment, with how well each moment fits some words, and an answer about it."""
        try:
            times_s, scores = scores_over_time(snapshot, words, row["uri"])
        except ReelbeamError as error:
            if not cannot_be_asked(error):
                raise
            times_s, scores = [], []
        stored = _spread([one.time_s for one in snapshot.thumbnails.of(row["video_id"])], STRIP)
        drawn = [] if row["gone"] else _strip(row["duration_s"] or 0.0)
        playable = is_playable(row) and not row["gone"]
        return self._render(
            "video.html",
            language,
            row=row,
            time_s=time_s,
            playable=playable,
            proxy=snapshot.proxy_of(row) is not None,
            strip=stored or drawn,
            is_stored=bool(stored),
            ranges=[one for one in row["label_ranges"] or [] if one["ranges"]],
            acted=snapshot.acted(row["video_id"]),
            length_s=row["duration_s"] or 0.0,
            like=_like(snapshot, row),
            words=words,
            dialogue=dialogue,
            cited=_cited(dialogue, row["uri"]),
            points=bool(scores and not row["gone"] and self._can_point(snapshot)),
            curve=_curve(times_s, scores, row["duration_s"] or 0.0),
            best=sorted(zip(scores, times_s, strict=True), reverse=True)[:BEST_MOMENTS],
        )

    def failed(self, row: dict[str, Any], language: str | None) -> str:
        """The page of a video that failed, from its row of `failures`."""
        return self._render("failed.html", language, row=row)

    def nights(self, snapshot: Snapshot, before: str, language: str | None) -> str:
        """The page of the newest nights, newest first.

        Args:
            snapshot: the catalog.
            before: the id of a night's last run: only earlier nights are shown; "" for all.
            language: the request's `Accept-Language` header.
        """
        nights = [as_one(parts) for parts in nights_of(snapshot.runs)]
        runs = [night for night in nights if not before or night.run_id < before]
        return self._render(
            "nights.html",
            language,
            runs=runs[: -RUNS - 1 : -1],
            more=len(runs) - RUNS,
            under_way=None if before else snapshot.under_way(),
            charts=_charts(runs[-NIGHTS:], language_of(language)),
        )

    def night(self, snapshot: Snapshot, report: NightReport, language: str | None) -> str:
        """The page of what one night did."""
        return self._render(
            "night.html",
            language,
            run=report.run,
            report=report,
            most=max(report.labels.values(), default=0),
            has_page=lambda video_id: bool(snapshot.video(video_id) or snapshot.failure(video_id)),
        )

    def failures(self, snapshot: Snapshot, language: str | None) -> str:
        """The page of the videos that fail, by reason."""
        return self._render("failures.html", language, rows=snapshot.failures, most=FAILURES)

    def labels(self, snapshot: Snapshot, language: str | None) -> str:
        """The page of what the archive shows, each with a picture."""
        examples: dict[str, dict[str, Any]] = {}
        rows = snapshot.videos.select(["video_id", "label_ranges"]).to_pylist()
        for row, label in zip(rows, label_of_each(snapshot.videos), strict=True):
            if label is not None:
                examples.setdefault(label, row)
        return self._render("labels.html", language, counts=snapshot.labels, examples=examples, picture_of=_picture_of)

    def failure(self, code: int, line: str, language: str | None) -> str:
        """The page of a request that cannot be answered.

        Args:
            code: its status code.
            line: what is wrong, in English.
            language: the request's `Accept-Language` header.
        """
        return self._render("error.html", language, headline=FAILED.get(code, NOT_ASKED), line=line)

    def _render(self, template: str, language: str | None, **values: Any) -> str:
        chosen = language_of(language)
        return self._environment.get_template(template).render(
            lang=chosen,
            t=lambda text: translated(text, chosen),
            many=lambda number, things: many(number, things, chosen),
            noun=lambda number, things: noun(number, things, chosen),
            label_name=lambda label: printable(label_in(label, chosen)),
            said=lambda line: _said(line, chosen),
            reasons=REASONS if chosen == "en" else chinese_failures.REASONS,
            advice=ADVICE if chosen == "en" else chinese_failures.ADVICE,
            moment_link=_moment_link,
            picture=_picture,
            heat_map=_heat_map,
            **values,
        )


def _in_language(quantity: Callable[[float], str]) -> Callable[[Context, float], str]:
    """Makes a filter that writes a quantity in the language of the page."""

    @pass_context
    def write(context: Context, value: float) -> str:
        return units_in(quantity(value), context["lang"])

    return write


def _charts(runs: Sequence[RunRecord], language: str) -> list[Chart]:
    return list(charts_of_nights(runs, lambda text: translated(text, language), lambda text: units_in(text, language)))


def _said(line: str, language: str) -> Markup:
    """Returns a line that says what is wrong, in a language where it is known, and marked as English elsewhere."""
    if language == "en":
        return Markup("{}").format(printable(line))
    known = CHINESE_LINES.get(line)
    return Markup('<span lang="en">{}</span>').format(printable(line)) if known is None else Markup("{}").format(known)


def _moment_link(video_id: str, time_s: float, words: str = "") -> str:
    """Returns the address of a moment of a video, with the words that led to it."""
    return f"/videos/{video_id}?{urlencode({'t': f'{time_s:.6g}', **({'q': words} if words else {})})}"


def _picture(video_id: str, start_s: float | None = None, end_s: float | None = None) -> str:
    """Returns the address of the picture of a moment of a video, or of its poster."""
    place = f"/api/v1/videos/{video_id}"
    if start_s is None:
        return f"{place}/poster"
    return f"{place}/picture?t={start_s:.3f}" + ("" if end_s is None else f"&end={end_s:.3f}")


def _heat_map(video_id: str, words: str, start_s: float, end_s: float | None = None) -> str:
    """Returns the address of the picture of a moment with a heat map of some words over it."""
    until = {} if end_s is None else {"end": f"{end_s:.3f}"}
    return f"/api/v1/videos/{video_id}/where/picture?{urlencode({'q': words, 't': f'{start_s:.3f}', **until})}"


def _cited(dialogue: Dialogue, uri: str) -> "list[Citation]":
    """Returns the citations of an answer that are moments of a video, not what is true of all of it."""
    cited = dialogue.answer.citations if dialogue.answer is not None else ()
    return [
        one for one in cited if one.uri == uri and one.kind in ("label", "best_label", "action", "region", "search")
    ]


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
    count = max(1, min(DRAWN, int(length_s)))
    return [round((i + 0.5) * length_s / count, 3) for i in range(count)]


def _spread(times_s: Sequence[float], most: int) -> list[float]:
    """Returns some of many times, evenly spread with the first and the last, or all of few."""
    if len(times_s) <= most:
        return list(times_s)
    return [times_s[round(i * (len(times_s) - 1) / (most - 1))] for i in range(most)]


def _like(snapshot: Snapshot, row: dict[str, Any]) -> list[Hit]:
    if snapshot.search is None:
        return []
    try:
        return answer(snapshot, Question(like=row["video_id"], top=8)).hits
    except QuestionError:  # it is newer than the index
        return []


def _picture_of(row: dict[str, Any], label: str) -> str:
    """Returns the address of a picture of a video where a label is first seen."""
    for one in row["label_ranges"] or []:
        if one["label"] == label and one["ranges"]:
            return _picture(row["video_id"], one["ranges"][0]["start_s"], one["ranges"][0]["end_s"])
    return _picture(row["video_id"])
