"""What a request asks of the index, and the answers as pages and the API show them."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.errors import ReelbeamError
from models.retrieval.errors import IndexFormatError, MixedModelsError, NoIndexError, RetrievalError
from pipelines.web.picture_address import from_address, to_address
from pipelines.web.view import Snapshot
from transforms.catalog.reading.frames import embeddings_of
from transforms.catalog.reading.latest import latest_frames
from transforms.retrieval.filters import MARKS, Filters
from transforms.retrieval.search import CatalogSearch, Hit, Query

TOP: Final = 24
"""Videos in an answer, if the request does not say."""

MOST: Final = 200
"""Videos in an answer, at most."""

MOST_CHARACTERS: Final = 1000
"""Characters of a question, at most."""


CURVE_POINTS: Final = 400
"""Points of a curve of scores over a video."""


class QuestionError(ReelbeamError, ValueError):
    """A question that cannot be asked; one line for the person who asked."""


@dataclass(frozen=True)
class Question:
    """One question to the index: words, or a picture, or a video of the catalog, or a moment of it.

    Attributes:
        words: in any language; "" for none.
        like: id of a video whose likes are wanted; "" for none.
        time_s: moment of that video in seconds after its first frame; None for the whole video.
        filters: which videos count.
        top: number of videos.
        picture: a sent picture, as `picture_address.to_address` writes it; "" for none.
    """

    words: str = ""
    like: str = ""
    time_s: float | None = None
    filters: Filters = field(default_factory=Filters)
    top: int = TOP
    picture: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked."""
        return not (self.words.strip() or self.picture or self.like)


class Answer(NamedTuple):
    """The videos that fit a question best.

    Attributes:
        hits: best first.
    """

    hits: list[Hit]

    @property
    def likely(self) -> list[Hit]:
        """Those that probably show what was asked for.

        Only words are judged: whatever is like a picture or a video is an answer.
        """
        return [hit for hit in self.hits if hit.likely]

    @property
    def unlikely(self) -> list[Hit]:
        """The others."""
        return [hit for hit in self.hits if not hit.likely]


def cannot_be_asked(error: ReelbeamError) -> bool:
    """Whether the question is to blame for an error, not the catalog or this machine."""
    ours = isinstance(error, (IndexFormatError, MixedModelsError, NoIndexError))
    return isinstance(error, (QuestionError, RetrievalError)) and not ours


def answer(snapshot: Snapshot, question: Question) -> Answer:
    """Returns the videos that fit best, best first.

    Raises:
        QuestionError: there is no index, no such video, or the words say nothing.
        RetrievalError: the model cannot answer, does not know a filter's label, or a picture's address is damaged.
    """
    search = _index(snapshot)
    if not 1 <= question.top <= MOST:
        raise QuestionError(f"ask for 1 to {MOST} videos")
    if question.picture:
        query = _query_of_picture(search, question.picture)
        return Answer(search.find(query, top_k=question.top, filters=question.filters))
    if question.like:
        row = snapshot.video(question.like)
        if row is None:
            raise QuestionError("the catalog has no such video")
        query = _query_of_video(search, row["uri"], question.time_s)
        found = search.find(query, top_k=question.top + 1, filters=question.filters)
        hits = [hit for hit in found if hit.video_id != question.like][: question.top]
        return Answer(hits)
    if len(question.words) > MOST_CHARACTERS:
        raise QuestionError(f"ask in at most {MOST_CHARACTERS} characters")
    return Answer(search.find(search.words(question.words), top_k=question.top, filters=question.filters))


def question_of_picture(
    snapshot: Snapshot, rgb: NDArray[np.uint8], top: int = TOP, filters: Filters | None = None
) -> Question:
    """Returns the question for videos that look like an upright RGB picture, uint8 [height, width, 3].

    Errors as `answer`.
    """
    search = _index(snapshot)
    picture = to_address(search.embedding_of(rgb), search.index.manifest.model_fingerprint)
    return Question(filters=filters or Filters(), top=top, picture=picture)


def _query_of_picture(search: CatalogSearch, picture: str) -> Query:
    manifest = search.index.manifest
    return search.embedding(from_address(picture, search.index.frames.embedding_size, manifest.model_fingerprint))


def _index(snapshot: Snapshot) -> CatalogSearch:
    if snapshot.search is None:
        raise QuestionError("There is no index yet. Run: reelbeam index")
    return snapshot.search


def _query_of_video(search: CatalogSearch, uri: str, time_s: float | None) -> Query:
    query = search.indexed(uri)
    if query is None:
        raise QuestionError("the index does not have this video yet")
    return query if time_s is None else search.moment(uri, time_s)


def scores_over_time(snapshot: Snapshot, words: str, uri: str) -> tuple[list[float], list[float]]:
    """Returns times in seconds and scores (cosines) of a video's stored frames for some words.

    Long videos are shown by the best frame of each of `CURVE_POINTS` equal parts. Both lists are empty if there are no
    words, or if no index holds the video.

    Raises:
        RetrievalError: the model cannot answer.
    """
    if not words.strip() or snapshot.search is None:
        return [], []
    found = snapshot.search.frame_scores(snapshot.search.words(words[:MOST_CHARACTERS]), uri)
    if found is None:
        return [], []
    times_s, scores = found
    parts = [part for part in np.array_split(np.arange(len(times_s)), CURVE_POINTS) if len(part)]
    best = [int(part[np.argmax(scores[part])]) for part in parts]
    return times_s[best].tolist(), scores[best].tolist()


def frames_of(snapshot: Snapshot, uri: str, columns: list[str]) -> dict[str, Any]:
    """Returns columns of a video's stored frames, in order of time: embeddings as float32 [n, D], others as lists.

    Raises:
        CatalogError: no run has seen the video, or the catalog has vanished.
    """
    parts = list(latest_frames(snapshot.readable(), ["time_s", *columns], snapshot.run_id, uri))
    table = pa.concat_tables(parts).sort_by("time_s")
    return {name: embeddings_of(table[name]) if name == "embedding" else table[name].to_pylist() for name in columns}


def filters_of(
    label: str = "",
    folder: str = "",
    min_duration_s: float | None = None,
    max_duration_s: float | None = None,
    since: datetime.date | None = None,
    until: datetime.date | None = None,
    min_height: int | None = None,
    status: str | None = None,
    regions: Sequence[str] = (),
) -> Filters:
    """Makes filters of the fields of a form; empty fields are no conditions."""
    glob = folder if not folder or any(mark in folder for mark in MARKS) else f"*{folder}*"
    asked = tuple(one.strip() for one in regions if one.strip())
    return Filters(label or None, glob or None, min_duration_s, max_duration_s, since, until, min_height, status, asked)


def folder_of(filters: Filters) -> str:
    """Returns the field of a form that gives the filter of URIs; see `filters_of`."""
    glob = filters.uri or ""
    text = glob.removeprefix("*").removesuffix("*")
    return text if glob == f"*{text}*" and not any(mark in text for mark in MARKS) else glob


def address_of(question: Question, page: str = "/", **changes: Any) -> str:
    """Returns the address of the page that asks a question.

    Args:
        question: the question.
        page: path of the page, or of the API's route.
        changes: new values of its fields, or of its filters' fields.
    """
    own = {name: value for name, value in changes.items() if hasattr(question, name)}
    others = {name: value for name, value in changes.items() if name not in own}
    asked = replace(question, **own)
    filters = replace(asked.filters, **others)
    fields = {
        "q": asked.words,
        "picture": asked.picture,
        "like": asked.like,
        "t": asked.time_s,
        "label": filters.label,
        "folder": folder_of(filters),
        "min_duration_s": filters.min_duration_s,
        "max_duration_s": filters.max_duration_s,
        "since": filters.since,
        "until": filters.until,
        "min_height": filters.min_height,
        "status": filters.status,
        "region": filters.regions,
        "top": None if asked.top == TOP else asked.top,
    }
    set_ones = {name: f"{value:.12g}" if isinstance(value, float) else value for name, value in fields.items()}
    return f"{page}?" + urlencode(
        {n: value for n, value in set_ones.items() if value not in (None, "", ())}, doseq=True
    )
