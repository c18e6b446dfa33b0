"""What the JSON API answers: the models that its OpenAPI document describes."""

import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

Time = datetime.datetime
Status = Literal["ok", "partial"]


class Described(BaseModel):
    """A model whose fields are described by the texts below them."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class Label(Described):
    """A label with its score."""

    label: str
    score: float
    """Higher is surer."""


class FoundRange(Described):
    """A time range that fits a question."""

    start_s: float
    """Seconds after the first frame."""
    end_s: float
    """Seconds after the first frame."""
    score: float
    """Best score in the range: a cosine."""


class FoundVideo(Described):
    """A video that answers a question."""

    video_id: str
    uri: str
    score: float
    """What the answers are ranked by: the cosine, for words plus what their fit with the video's labels adds."""
    cosine: float
    """Cosine of the question and the video's frames."""
    relevance: float | None
    """Probability (0 to 1) that it shows the words; null for pictures and videos."""
    likely: bool
    """False if it is merely the nearest and probably does not show the words."""
    duration_s: float | None
    """Length in seconds."""
    ranges: list[FoundRange]
    """Best first."""
    best_label: str | None
    """The name to show: a label, or a broader name. Null if nothing can be said."""
    best_label_score: float | None
    """Its score."""
    labels: list[Label]
    """Best first, at most five."""


class Range(Described):
    """A time range."""

    start_s: float
    """Seconds after the first frame."""
    end_s: float
    """Seconds after the first frame."""


class LabelRanges(Described):
    """When a label is seen."""

    label: str
    ranges: list[Range]


class Video(Described):
    """The latest row of a video in the catalog."""

    video_id: str
    uri: str
    size_bytes: int | None
    modified: Time | None
    """Time of the file's last change."""
    fingerprint: str | None
    """Tells versions of the file apart."""
    title: str | None
    """Title that the file holds."""
    container: str | None
    """FFmpeg's name of the container."""
    stream: int | None
    """Number of the video stream that was decoded."""
    codec: str | None
    """FFmpeg's name of the codec."""
    width: int | None
    """Pixels, upright."""
    height: int | None
    """Pixels, upright."""
    rotation: int | None
    """Degrees by which the stored pictures are turned to be upright."""
    fps: float | None
    """Frames a second."""
    duration_s: float | None
    """Length in seconds."""
    frames_sampled: int | None
    """Frames that the catalog has."""
    coverage: float | None
    """Share of the wanted frames that decoded: 0 to 1."""
    status: Status | None
    """Whether all of it decoded, or only a part."""
    error: str | None
    """Reason code, if only a part decoded."""
    message: str | None
    """What it means, in one line."""
    best_label: str | None
    """The name to show: a label, or a broader name. Null if nothing can be said."""
    best_label_score: float | None
    """Its score."""
    labels: list[Label] | None
    """Best first."""
    label_ranges: list[LabelRanges] | None
    """When each label is seen."""
    model: str | None
    """Name of the model that made the row."""
    sampling: str | None
    """How frames were chosen."""
    processed_at: Time | None
    run_id: str
    """The run that made the row."""
    gone: bool
    """Whether the archive no longer has the file."""
    playable: bool
    """Whether current browsers play the file, by its container and codec."""
    proxy: bool
    """Whether there is a small H.264 copy."""


class Frame(Described):
    """A sampled frame."""

    pts: int
    """Time stamp in units of the stream."""
    time_s: float
    """Seconds after the first frame."""
    best_label: str | None
    """The name to show: a label, or a broader name. Null if nothing can be said."""
    best_label_score: float | None
    """Its score."""
    labels: list[Label] | None
    """Best first."""


class Frames(Described):
    """Some of a video's sampled frames."""

    total: int
    """Number of all its sampled frames."""
    frames: list[Frame]
    """In order of time."""


class Scores(Described):
    """How well a video's moments fit some words; both lists have one value a moment."""

    time_s: list[float]
    """Seconds after the first frame."""
    score: list[float]
    """Cosines."""


class Box(Described):
    """A rectangle in a picture, in fractions of its width and height."""

    x: float
    """Left edge."""
    y: float
    """Upper edge."""
    width: float
    height: float


class Point(Described):
    """A point in a picture, in fractions of its width and height."""

    x: float
    y: float


class FoundInPicture(Described):
    """Where in a picture some words are, as the model's last feature map tells it."""

    time_s: float
    """Of the picture, in seconds after the first frame."""
    share: float
    """Of the whole picture."""
    box: Box
    """The smallest rectangle around it."""
    centroid: Point
    """Its centre of mass."""


class Thumbnail(Described):
    """A stored picture."""

    pts: int
    """Time stamp in units of the stream."""
    time_s: float
    """Seconds after the first frame."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    poster: bool
    """Whether it stands for the video."""


class Failure(Described):
    """The latest failure of a video."""

    video_id: str
    uri: str
    stage: str
    """Step that failed: `probe`, `decode` or `infer`."""
    reason: str
    """Reason code."""
    message: str | None
    """What it means, in one line."""
    attempts: int
    """Nights on which it failed."""
    first_seen: Time
    last_seen: Time


class Citation(Described):
    """A row, or a part of one, that an answer is made of."""

    uri: str
    start_s: float
    """Seconds after the first frame; 0 for what is true of the whole video."""
    end_s: float | None
    """Seconds after the first frame; null if the length is unknown."""
    kind: str
    """Which rows: `label`, `best_label`, `action`, `search`, `technical`, `words`, `near` or `duplicate`."""
    text: str
    """What the row says."""
    score: float | None
    """The row's score; null where it has none."""


class Answer(Described):
    """The answer to a question about videos."""

    answer: str
    grounded: bool
    """Whether it is made of rows; false if the question is declined."""
    citations: list[Citation]
    """The rows."""


class Problem(Described):
    """Why a request is not answered."""

    detail: str
    """One line for a person."""
