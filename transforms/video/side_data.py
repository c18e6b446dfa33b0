"""Finds side data of decoded frames, also if a frame carries side data that PyAV does not know."""

from typing import Any

from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame


def find(frame: VideoFrame, name: str) -> Any:
    """Returns the frame's side data of the type `name`; None if it has none.

    PyAV looks up the type of every entry of a frame, and raises ValueError for types of a newer FFmpeg (views of
    spatial video, LCEVC, EXIF). `_name_unknown_types` gives these a name.
    """
    return frame.side_data.get(name)


def _name_unknown_types(kind: type[Type], value: object) -> Type:
    member: Any = object.__new__(kind)
    member._name_, member._value_ = f"TYPE_{value}", value
    return member


Type._missing_ = classmethod(_name_unknown_types)  # type: ignore[assignment, method-assign]
