"""Why a video, or a part of it, gave nothing: short reason codes with a message for people."""

from typing import Final

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
    "bad_features": "the model gave numbers that are not finite",
}
"""Every reason code the tables may hold, with what it means."""


class VideoError(ValueError):
    """One video, or one segment of it, could not be processed; the input's fault, never the run's.

    Attributes:
        stage: where it happened: ``probe``, ``decode`` or ``infer``.
        reason: one of the keys of `REASONS`.
        message: one line for a person.
    """

    def __init__(self, stage: str, reason: str, message: str = "") -> None:
        if reason not in REASONS:
            raise KeyError(f"unknown reason code {reason!r}")
        self.stage = stage
        self.reason = reason
        self.message = one_line(message) or REASONS[reason]
        super().__init__(stage, reason, self.message)

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


def one_line(text: str, limit: int = 300) -> str:
    """`text` as one printable line of at most `limit` characters, so that it cannot break a log or a table."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())[:limit]
