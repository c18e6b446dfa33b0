"""The JSON API of the server and the media by video id; everything below ``/api/v1``."""

import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
import numpy as np
from fastapi import APIRouter, Depends, HTTPException, Query, UploadFile
from fastapi.responses import Response
from fastapi.security import APIKeyCookie, HTTPBearer
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from pipelines.web.access import COOKIE
from pipelines.web.answers import Answer as Grounded
from pipelines.web.answers import Failure, FoundInPicture, FoundVideo, Frames, Problem, Scores, Thumbnail, Video
from pipelines.web.media import MEDIA_TYPES, AskedPart, media_type_of, send_file
from pipelines.web.picture_address import MOST_PICTURE_CHARACTERS
from pipelines.web.pictures import Picture, picture_at, poster_of
from pipelines.web.places import FoundPlace, Places
from pipelines.web.questions import (
    MOST,
    TOP,
    Answer,
    Question,
    QuestionError,
    address_of,
    answer,
    filters_of,
    frames_of,
    question_of_picture,
    scores_over_time,
)
from pipelines.web.questions import MOST_CHARACTERS as MOST_WORDS
from pipelines.web.routes import add_get
from pipelines.web.stills import Stills
from pipelines.web.uploads import TOO_LARGE, UPLOAD_BYTES
from pipelines.web.view import CatalogView, Snapshot
from transforms.catalog.records import RunRecord
from transforms.dialogue.limits import MOST_CHARACTERS
from transforms.retrieval.filters import Filters
from transforms.retrieval.region_frames import MOST_CONDITIONS
from transforms.storage import path_of_uri, printable
from transforms.video.playable import is_playable

if TYPE_CHECKING:
    from transforms.dialogue.conversation import Answer as DialogueAnswer

FRAMES_AT_ONCE: Final = 5_000
"""Frames of one answer."""

MOST_S: Final = 1e8
"""Seconds that a request can name, three years; any video is shorter."""

MOST_PIXELS: Final = 1_000_000
"""Height that a request can name."""

MOST_REGION_CHARACTERS: Final = 200
"""Characters of a condition about regions."""

MOST_FRAMES: Final = 1_000_000_000
"""Number of a frame that a request can name."""

_TEXT: Final = {"text/plain": {"schema": {"type": "string"}}}

Described = dict[int | str, dict[str, Any]]

NOT_ANSWERED: Final[Described] = {
    401: {"description": "The server has a token and the request does not carry it.", "content": _TEXT},
    421: {"description": "The server is not known by the name in the Host header.", "content": _TEXT},
    503: {"model": Problem, "description": "The catalog or a file cannot be read now; ask again later."},
}
"""What any request may get."""

CANNOT_BE_ASKED: Final[dict[str, Any]] = {"model": Problem, "description": "The question cannot be asked."}
NO_SUCH_VIDEO: Final[dict[str, Any]] = {
    "model": Problem,
    "description": "The catalog has no such video, or it failed (the detail names the reason), or it has no such part.",
}
IMAGE: Final[dict[str, Any]] = {"description": "The picture.", "content": {"image/webp": {}, "image/jpeg": {}}}
HEAT: Final[dict[str, Any]] = {"description": "The picture with the heat map.", "content": {"image/jpeg": {}}}
MEDIA: Final[dict[str, Any]] = {"description": "The whole file.", "content": {"video/*": {}}}
MEDIA_RANGE: Final[dict[str, Any]] = {
    "description": "The bytes that were asked for.",
    "content": {"video/*": {}},
}
NO_SUCH_RANGE: Final[dict[str, Any]] = {"description": "The file does not have this range of bytes."}

TOKENS: Final = [
    Depends(HTTPBearer(auto_error=False, description="The server's token, if it has one.")),
    Depends(APIKeyCookie(name=COOKIE, auto_error=False, description="The same, as `?token=` sets it once.")),
]
"""How requests carry a token. They only describe it: the guard before the application looks at it."""

_FAILURE_COLUMNS: Final = ("video_id", "uri", "stage", "reason", "message", "attempts", "first_seen", "last_seen")


def _none_if_empty(value: object) -> object:
    """Reads an empty field of a form as no condition."""
    return None if value == "" else value


_OrEmpty = BeforeValidator(_none_if_empty)

TimeS = Annotated[float, Field(ge=0, le=MOST_S, allow_inf_nan=False)]
"""A moment or a length in seconds."""


def asked_filters(
    label: Annotated[str, Query(description="One of the videos' labels, or their best label.")] = "",
    folder: Annotated[str, Query(description="Part of the URI, or a glob.")] = "",
    min_duration_s: Annotated[TimeS | None, _OrEmpty, Query(description="Shortest length in seconds.")] = None,
    max_duration_s: Annotated[TimeS | None, _OrEmpty, Query(description="Longest length in seconds.")] = None,
    since: Annotated[datetime.date | None, _OrEmpty, Query(description="First day of change (UTC).")] = None,
    until: Annotated[datetime.date | None, _OrEmpty, Query(description="Last day of change (UTC).")] = None,
    min_height: Annotated[
        Annotated[int, Field(ge=0, le=MOST_PIXELS)] | None, _OrEmpty, Query(description="Smallest height in pixels.")
    ] = None,
    status: Annotated[
        Literal["ok", "partial"] | None, _OrEmpty, Query(description="Whether all of it decoded, or only a part.")
    ] = None,
    region: Annotated[
        Sequence[Annotated[str, Field(max_length=MOST_REGION_CHARACTERS)]],
        Query(max_length=MOST_CONDITIONS, description="Least share of a picture that something fills: water>0.3."),
    ] = (),
) -> Filters:
    """Reads the filters of a request; an empty field of a form is no condition."""
    return filters_of(label, folder, min_duration_s, max_duration_s, since, until, min_height, status, region)


def question(
    filters: Annotated[Filters, Depends(asked_filters)],
    words: Annotated[str, Query(alias="q", description="Words in any language.")] = "",
    like: Annotated[str, Query(description="Id of a video whose likes are wanted.")] = "",
    time_s: Annotated[TimeS | None, Query(alias="t", description="Moment of that video in seconds.")] = None,
    top: Annotated[int, Query(ge=1, le=MOST, description="Number of videos.")] = TOP,
    picture: Annotated[
        str, Query(max_length=MOST_PICTURE_CHARACTERS, description="A picture, as the answer to a sent one names it.")
    ] = "",
) -> Question:
    """Reads a question from a request; words go before a picture, and this before a video."""
    if words.strip():
        return Question(words, filters=filters, top=top)
    return Question("", "" if picture else like, None if picture else time_s, filters, top, picture)


AskedText = Annotated[
    str, Query(min_length=1, max_length=MOST_CHARACTERS, description="A question in English or Chinese.")
]

AskedWords = Annotated[str, Query(min_length=1, max_length=MOST_WORDS, description="Words in any language.")]

Asked = Annotated[Question, Depends(question)]


class Api:
    """Answers in JSON. Its methods are the routes; their docstrings are the descriptions of the OpenAPI document."""

    def __init__(self, view: CatalogView, stills: Stills, places: Places) -> None:
        self._view = view
        self._stills = stills
        self._places = places

    def router(self) -> APIRouter:
        """Returns the routes."""
        router = APIRouter(tags=["catalog"], dependencies=TOKENS, responses=NOT_ANSWERED)
        asked: Described = {400: CANNOT_BE_ASKED}
        known: Described = {404: NO_SUCH_VIDEO}
        image: Described = {200: IMAGE, **known}
        media: Described = {200: MEDIA, 206: MEDIA_RANGE, 416: NO_SUCH_RANGE, **known}
        sent: Described = {413: {"model": Problem, "description": "The picture is too large."}, **asked}
        of_video = "/videos/{video_id}"
        add_get(router, "/search", self.search, response_model=list[FoundVideo], responses=asked)
        router.add_api_route(
            "/search/picture", self.search_picture, methods=["POST"], response_model=list[FoundVideo], responses=sent
        )
        add_get(router, "/ask", self.ask, response_model=Grounded)
        add_get(router, of_video, self.video, response_model=Video, responses=known)
        add_get(router, f"{of_video}/ask", self.ask_about, response_model=Grounded, responses=known)
        add_get(router, f"{of_video}/frames", self.frames, response_model=Frames, responses=known)
        add_get(router, f"{of_video}/scores", self.scores, response_model=Scores, responses={**asked, **known})
        add_get(router, f"{of_video}/thumbnails", self.thumbnails, response_model=list[Thumbnail], responses=known)
        add_get(router, f"{of_video}/poster", self.poster, response_class=Response, responses=image)
        add_get(router, f"{of_video}/picture", self.picture, response_class=Response, responses=image)
        unasked = {**asked, **known}
        add_get(router, f"{of_video}/where", self.where, response_model=FoundInPicture, responses=unasked)
        heat: Described = {200: HEAT, **unasked}
        add_get(router, f"{of_video}/where/picture", self.heat_map, response_class=Response, responses=heat)
        add_get(router, f"{of_video}/file", self.file, response_class=Response, responses=media)
        add_get(router, f"{of_video}/proxy", self.proxy, response_class=Response, responses=media)
        add_get(router, "/runs", self.runs, response_model=list[RunRecord])
        add_get(router, "/failures", self.failures, response_model=list[Failure])
        return router

    def search(self, asked: Asked) -> list[dict[str, Any]]:
        """Returns the videos that fit words, a picture, a video or a moment best, best first.

        `likely` is false for answers to words that are merely the nearest and probably do not show them.
        """
        if asked.is_empty:
            raise QuestionError("ask with q, with picture or with like")
        return _hits(answer(self._view.snapshot(), asked))

    def ask(self, q: AskedText) -> dict[str, Any]:
        """Returns the answer to a question about videos, with the rows that it is made of.

        It is `grounded` if there are such rows. Otherwise the question is declined, and nothing is cited.
        """
        return asked_about(self._view.snapshot(), q).as_json()

    def ask_about(self, video_id: str, q: AskedText) -> dict[str, Any]:
        """Returns the answer to a question that is about this video if it names none. See `ask`."""
        return asked_about(self._view.snapshot(), q, video_id).as_json()

    def search_picture(
        self,
        picture: UploadFile,
        filters: Annotated[Filters, Depends(asked_filters)],
        response: Response,
        top: Annotated[int, Query(ge=1, le=MOST)] = TOP,
    ) -> list[dict[str, Any]]:
        """Returns the videos that look like a picture (JPEG, PNG, WebP and others; at most 20 MiB), best first.

        The filters are those of `search`. The header `Content-Location` holds the address of the same search with
        `search`: it can be kept and sent, for the picture's embedding is in it. The server keeps nothing.
        """
        snapshot = self._view.snapshot()
        asked = question_of_picture(snapshot, sent_picture(self._stills, picture), top, filters)
        response.headers["Content-Location"] = address_of(asked, "/api/v1/search")
        return _hits(answer(snapshot, asked))

    def video(self, video_id: str) -> dict[str, Any]:
        """Returns a video's latest row, without its embedding, and whether browsers play it and it has a proxy.

        A video that failed has no row: the answer is 404, and its detail names the reason. See `failures`.
        """
        snapshot = self._view.snapshot()
        row = row_of(snapshot, video_id)
        return {**row, "playable": is_playable(row), "proxy": snapshot.proxy_of(row) is not None}

    def frames(
        self,
        video_id: str,
        offset: Annotated[int, Query(ge=0, le=MOST_FRAMES)] = 0,
        limit: Annotated[int, Query(ge=1, le=FRAMES_AT_ONCE)] = FRAMES_AT_ONCE,
    ) -> dict[str, Any]:
        """Returns times and labels of a video's sampled frames, in order of time."""
        snapshot = self._view.snapshot()
        names = ("pts", "time_s", "best_label", "best_label_score", "labels")
        columns = frames_of(snapshot, row_of(snapshot, video_id)["uri"], list(names))
        rows = zip(*(columns[name][offset : offset + limit] for name in names), strict=True)
        return {"total": len(columns["pts"]), "frames": [dict(zip(names, row, strict=True)) for row in rows]}

    def scores(self, video_id: str, q: Annotated[str, Query(min_length=1, description="Words.")]) -> dict[str, Any]:
        """Returns how well a video's moments fit some words: times in seconds, and cosines."""
        snapshot = self._view.snapshot()
        times_s, cosines = scores_over_time(snapshot, q, row_of(snapshot, video_id)["uri"])
        return {"time_s": times_s, "score": cosines}

    def thumbnails(self, video_id: str) -> list[dict[str, Any]]:
        """Returns times and sizes of a video's stored pictures, in order of time; ask for each with `picture`."""
        snapshot = self._view.snapshot()
        row_of(snapshot, video_id)
        names = ("pts", "time_s", "width", "height", "poster")
        return [{name: getattr(one, name) for name in names} for one in snapshot.thumbnails.of(video_id)]

    def poster(self, video_id: str) -> Response:
        """Returns the picture that stands for a video: a stored one (WebP), or the frame in its middle (JPEG)."""
        snapshot = self._view.snapshot()
        return _image(poster_of(snapshot, self._stills, row_of(snapshot, video_id)))

    def picture(
        self,
        video_id: str,
        t: Annotated[TimeS, Query(description="Start of the moment in seconds.")] = 0.0,
        end: Annotated[TimeS | None, Query(description="Its end: any picture until then will do.")] = None,
    ) -> Response:
        """Returns a picture of a moment.

        This is a stored one (WebP) between `t` and `end`, or one that is no further away than half the time between two
        stored ones. Otherwise it is the frame at `t` (JPEG, 320 x 180 pixels), drawn from the file. A file that cannot
        be decoded any more is shown by its nearest stored picture.
        """
        snapshot = self._view.snapshot()
        return _image(picture_at(snapshot, self._stills, row_of(snapshot, video_id), t, end))

    def where(self, video_id: str, q: AskedWords, t: TimeS = 0.0, end: TimeS | None = None) -> dict[str, Any]:
        """Returns where in a picture some words are: in the frame between `t` and `end` that fits them best.

        Without `end` it is the frame nearest to `t`. The video is decoded for it. The answer is 404 where it cannot be
        decoded, nothing in the picture speaks for the words, or the catalog has no feature map of its model
        (`reelbeam regions` adds one).
        """
        found = self._place(video_id, q, t, end)
        box, centroid = found.box._asdict(), dict(zip("xy", found.centroid, strict=True))
        return {"time_s": found.time_s, "share": found.share, "box": box, "centroid": centroid}

    def heat_map(self, video_id: str, q: AskedWords, t: TimeS = 0.0, end: TimeS | None = None) -> Response:
        """Returns the picture of `where` with a heat map over it (JPEG): bright where it speaks for the words."""
        return _image(Picture(self._place(video_id, q, t, end).jpeg, "image/jpeg"))

    def _place(self, video_id: str, words: str, start_s: float, end_s: float | None) -> FoundPlace:
        snapshot = self._view.snapshot()
        return self._places.find(snapshot, row_of(snapshot, video_id)["uri"], words, start_s, end_s)

    def file(self, video_id: str, part: AskedPart) -> Response:
        """Returns the file itself, or a range of its bytes."""
        snapshot = self._view.snapshot()
        row = row_of(snapshot, video_id)
        uri = row["uri"]
        if not snapshot.archives.hold(uri):
            raise HTTPException(404, "this file is not in the archive")
        try:
            return send_file(path_of_uri(uri), media_type_of(row), part, lambda real: snapshot.archives.hold(uri, real))
        except OSError as error:
            raise HTTPException(404, "this file cannot be read now") from error

    def proxy(self, video_id: str, part: AskedPart) -> Response:
        """Returns the small H.264 copy of a video that browsers do not play, or a range of its bytes."""
        snapshot = self._view.snapshot()
        path = snapshot.proxy_of(row_of(snapshot, video_id))
        if path is None:
            raise HTTPException(404, "this video has no proxy")
        try:
            return send_file(path, MEDIA_TYPES["mp4"], part)
        except OSError as error:
            raise HTTPException(404, "this proxy cannot be read now") from error

    def runs(self) -> list[dict[str, Any]]:
        """Returns the committed runs, oldest first."""
        return [msgspec.to_builtins(run) for run in self._view.snapshot().runs]

    def failures(self) -> list[dict[str, Any]]:
        """Returns the videos that fail, with reason and message."""
        return [{name: row[name] for name in _FAILURE_COLUMNS} for row in self._view.snapshot().failures]


def asked_about(snapshot: Snapshot, text: str, video_id: str = "") -> "DialogueAnswer":
    """Answers a question about videos.

    Args:
        snapshot: the catalog.
        text: the question.
        video_id: the video that is meant if the question names none; empty for none.

    Raises:
        HTTPException: the catalog has no such video.
    """
    from transforms.dialogue.conversation import Conversation  # compiles patterns that no other request needs

    uri = row_of(snapshot, video_id)["uri"] if video_id else None
    known = uri if uri in snapshot.evidence.videos else None  # not if it is gone from the archive
    return Conversation(snapshot.evidence, video=known).ask(text)


def row_of(snapshot: Snapshot, video_id: str) -> dict[str, Any]:
    """Returns a video's row.

    Raises:
        HTTPException: the catalog has no such video, or it failed, so it has no row but one of `failures`.
    """
    row = snapshot.video(video_id)
    if row is None:
        failure = snapshot.failure(video_id)
        if failure is not None:
            raise HTTPException(404, printable(f"this video failed: {failure['reason']}: {failure['message']}"))
        raise HTTPException(404, "the catalog has no such video")
    return row


def sent_picture(stills: Stills, picture: UploadFile) -> NDArray[np.uint8]:
    """Reads a picture that a request sends: upright RGB, uint8 [height, width, 3].

    Raises:
        HTTPException: it is too large or no picture, or too many are being read.
    """
    if picture.size is None or picture.size > UPLOAD_BYTES:
        raise HTTPException(413, TOO_LARGE)
    rgb = stills.read(picture.file)
    if rgb is None:
        raise HTTPException(400, "this is no picture that can be read")
    return rgb


def _image(picture: Picture | None) -> Response:
    if picture is None:
        raise HTTPException(404, "there is no picture, and none can be drawn")
    return Response(picture.data, media_type=picture.media_type, headers={"Cache-Control": "private, max-age=3600"})


def _hits(answer: Answer) -> list[dict[str, Any]]:
    return [
        {
            "video_id": hit.video_id,
            "uri": hit.uri,
            "score": hit.score,
            "cosine": hit.cosine,
            "relevance": hit.relevance,
            "likely": hit.likely,
            "duration_s": hit.duration_s,
            "ranges": [one._asdict() for one in hit.ranges],
            "best_label": hit.best_label,
            "best_label_score": hit.best_label_score,
            "labels": hit.labels,
        }
        for hit in answer.hits
    ]
