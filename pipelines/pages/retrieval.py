"""How well a catalog's search answers known queries, as one self-contained HTML page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.pages.templating import data_uri, environment, style
from transforms.storage import printable, uri_of_path


@dataclass(frozen=True)
class Answer:
    """One of the first videos that a query finds.

    Attributes:
        uri: of the video.
        right: whether it is the one that should come first.
        picture: number of its picture among the page's; None if it has none.
    """

    uri: str
    right: bool
    picture: int | None


@dataclass(frozen=True)
class AskedQuery:
    """A query with its answers.

    Attributes:
        text: the words.
        uri: of the video that should come first.
        rank: where it stands, from 1.
        answers: the first videos, best first.
    """

    text: str
    uri: str
    rank: int
    answers: tuple[Answer, ...]


def render_retrieval(
    figures: dict[str, Any], queries: Sequence[AskedQuery], pictures: Sequence[bytes], catalog: str
) -> str:
    """Render the page as HTML; style and pictures are inside, no script is.

    A picture that many queries find is in the page once, as a rule of the style sheet.

    Args:
        figures: from `transforms.retrieval.evaluation.figures_of`.
        queries: the queries in the order of the page.
        pictures: WebP files, by their numbers in `queries`.
        catalog: root of the catalog.
    """
    page = environment("pipelines.pages", "templates").get_template("retrieval.html")
    return page.render(
        title="How well words find videos",
        style=style(),
        catalog=printable(uri_of_path(catalog)),
        figures=figures,
        queries=queries,
        pictures=[data_uri(picture) for picture in pictures],
    )
