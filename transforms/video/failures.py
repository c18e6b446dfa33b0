"""Failures of videos: reason codes for programs, with a message for people."""

from typing import Final, NamedTuple

REASONS: Final[dict[str, str]] = {
    "empty_file": "the file has no bytes",
    "not_a_video": "no demuxer that is allowed here recognises the file",
    "no_video_stream": "the file opens but holds no video stream",
    "unsupported_codec": "no decoder here for the video stream's codec",
    "encrypted": "the video stream is encrypted",
    "no_frames": "the stream decodes to no frame at all",
    "truncated": "the file ends before its header says it does",
    "corrupt": "some or all frames do not decode",
    "unreadable": "the file could not be read",
    "changed": "the file changed or vanished between planning and decoding",
    "too_large": "a bound on size, streams, rate or duration was exceeded",
    "deadline": "decoding did not finish in time and was stopped",
    "decoder_crash": "the decoder process died",
    "bad_features": "the model gave numbers that are not finite or beyond 65,504",
}
"""Meaning of each reason code that tables may hold."""


class Failure(NamedTuple):
    """Why a video, or a segment of it, gave nothing or too little.

    It is stored as an array of three strings.

    Attributes:
        stage: step that failed: ``probe``, ``decode`` or ``infer``.
        reason: one of the keys of `REASONS`.
        message: one line for a person; may be empty.
    """

    stage: str
    reason: str
    message: str


class VideoError(ValueError):
    """One video, or one segment of it, cannot be processed; the run goes on.

    Attributes:
        stage: step that failed: ``probe``, ``decode`` or ``infer``.
        reason: one of the keys of `REASONS`.
        message: one line for a person; by default the meaning of the reason.

    Raises:
        KeyError: the reason is unknown.
    """

    def __init__(self, stage: str, reason: str, message: str = "") -> None:
        if reason not in REASONS:
            raise KeyError(f"unknown reason code {reason!r}")
        self.stage = stage
        self.reason = reason
        self.message = one_line(message) or REASONS[reason]
        super().__init__(stage, reason, self.message)

    @property
    def failure(self) -> Failure:
        """The same as a value, to be sent or stored."""
        return Failure(self.stage, self.reason, self.message)

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


def one_line(text: str, limit: int = 300) -> str:
    """Returns `text` as one printable line of at most `limit` characters, so that it cannot break a log or a table."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())[:limit]


def reason_of(error: object) -> str:
    """Returns what FFmpeg says about an error, without its number and the name of the function that met it."""
    return one_line(getattr(error, "strerror", None) or str(error))


def bad_features(bad_frames: int, frames: int) -> Failure:
    """Returns the failure of a video for which the model gave unusable numbers in `bad_frames` of `frames` frames."""
    return Failure("infer", "bad_features", f"{REASONS['bad_features']}, for {bad_frames} of {frames} frames")
