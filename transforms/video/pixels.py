"""From a decoded frame to the picture a model takes: scaled, turned upright, cropped; uint8 all the way."""

from fractions import Fraction
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from models.visual.preprocess import finish, scaled_size
from models.visual.spec import Preprocessing

INTERPOLATION = "AREA"


class Painter:
    """Turns frames into model pictures; keeps the scaler between frames, because making one costs a millisecond."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.preprocessing = preprocessing
        self._reformatter = VideoReformatter()

    def paint(self, frame: VideoFrame, pixel_aspect: Fraction | None = None) -> NDArray[np.uint8]:
        """The picture [height, width, channels] uint8 of a frame, upright and with square pixels.

        Args:
            frame: as decoded.
            pixel_aspect: width over height of one pixel; None for square ones.
        """
        orientation = Orientation.of(frame)
        wide = frame.width * (pixel_aspect or 1)
        upright = (wide, frame.height) if orientation.transposed else (frame.height, wide)
        height, width = scaled_size(max(1, round(upright[0])), max(1, round(upright[1])), self.preprocessing)
        if orientation.transposed:
            height, width = width, height
        small = self._reformatter.reformat(frame, width, height, "rgb24", interpolation=INTERPOLATION, threads=1)
        return finish(orientation.apply(np.asarray(small.to_ndarray(), np.uint8)), self.preprocessing)


class Orientation:
    """How a stored picture is turned for display: the display matrix (ISO/IEC 14496-12, 8.3.2) in quarter turns."""

    def __init__(self, transposed: bool, flip_x: bool, flip_y: bool) -> None:
        self.transposed = transposed
        self.flip_x = flip_x
        self.flip_y = flip_y

    @classmethod
    def of(cls, frame: VideoFrame) -> "Orientation":
        """Reads a frame's display matrix; angles between quarter turns go to the nearest."""
        data: Any = frame.side_data.get("DISPLAYMATRIX")
        if data is None:
            return cls(False, False, False)
        a, b, _, c, d = np.frombuffer(bytes(data), dtype="<i4", count=5).tolist()
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, flip_x=a < 0, flip_y=d < 0)
        return cls(True, flip_x=c < 0, flip_y=b < 0)

    @property
    def degrees(self) -> int:
        """Clockwise turn in degrees that makes the picture upright; a mirrored one counts as its turn alone."""
        if self.transposed:
            return 90 if self.flip_x else 270
        return 180 if self.flip_y else 0

    def apply(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture [h, w, 3] turned for display."""
        if self.transposed:
            picture = picture.transpose(1, 0, 2)
        if self.flip_x:
            picture = picture[:, ::-1]
        if self.flip_y:
            picture = picture[::-1]
        return np.ascontiguousarray(picture)
