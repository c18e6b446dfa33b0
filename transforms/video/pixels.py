"""Converts decoded frames to model pictures: one field, scaled, standard colours, upright, cropped."""

from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from models.visual.preprocess import finish, resize, scaled_size, seen_part
from models.visual.spec import Preprocessing
from transforms.video import side_data
from transforms.video.colour import SCALER_MATRICES, Coding, Matrix, picture
from transforms.video.failures import VideoError
from transforms.video.fields import first_field, progressive

INTERPOLATION = "AREA"
"""Scaling method of libswscale."""

FORMATS_THAT_ABORT = frozenset({"yaf32le", "yaf32be"})
"""Pixel formats for which libswscale aborts the process (a failed assertion) instead of returning an error."""

STRIP_ASPECT = 128
"""A picture whose long side is more than this many times its short side is a strip. The scaler refuses to shrink a side
to a 256th, and enlarging a strip until its short side fits the model would take gigabytes."""


class Painter:
    """Converts frames to model pictures. Keeps its scaler between frames, because creating one takes a millisecond.

    Attributes:
        preprocessing: size, cropping and colours of the pictures.
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.preprocessing = preprocessing
        self._reformatter = VideoReformatter()

    def paint(
        self, frame: VideoFrame, pixel_aspect: Fraction | None = None, is_field: bool = False
    ) -> NDArray[np.uint8]:
        """Converts one frame to an upright picture with square pixels, the model's input.

        Args:
            frame: as decoded.
            pixel_aspect: width over height of one pixel of the whole picture; None for square pixels.
            is_field: whether the frame is a single field of a picture that is twice as high.

        Returns:
            uint8 [height, width, channels].

        Raises:
            VideoError: ``unsupported_codec``, the scaler cannot convert such a frame.
        """
        return finish(self.upright(frame, pixel_aspect, is_field), self.preprocessing)

    def upright(
        self, frame: VideoFrame, pixel_aspect: Fraction | None = None, is_field: bool = False
    ) -> NDArray[np.uint8]:
        """Converts one frame to the scaled upright picture from which `finish` cuts the model's input.

        Arguments and errors are those of `paint`.

        Returns:
            RGB uint8 [h, w, 3] of the `scaled_size`: the whole picture, but of a strip only the middle if the model
            sees no more.
        """
        orientation = Orientation.of(frame)
        high, wide = Fraction(frame.height * (2 if is_field else 1)), frame.width * (pixel_aspect or Fraction(1))
        try:
            one = _at_one_moment(frame, is_field)
            if max(high, wide) > STRIP_ASPECT * min(high, wide):
                scaled = self._scaled_strip(one, high, wide, orientation.transposed)
            else:
                height, width = self._target(high, wide, orientation.transposed)
                scaled = self._scaled(one, width, height)
        except (av.FFmpegError, ValueError) as error:
            raise _cannot_convert(frame, error) from error
        return orientation.apply(scaled)

    def seen_part(
        self, frame: VideoFrame, pixel_aspect: Fraction | None = None, is_field: bool = False
    ) -> tuple[float, float, float, float]:
        """Returns the part of the upright picture that `paint` shows, as `models.visual.preprocess.seen_part`."""
        high, wide = Fraction(frame.height * (2 if is_field else 1)), frame.width * (pixel_aspect or Fraction(1))
        upright = (wide, high) if Orientation.of(frame).transposed else (high, wide)
        return seen_part(max(1, round(upright[0])), max(1, round(upright[1])), self.preprocessing)

    def video_frame(
        self, frame: VideoFrame, pixel_aspect: Fraction | None = None, is_field: bool = False
    ) -> VideoFrame:
        """Converts one frame to the picture of `paint`, as an encoder takes it.

        The picture is made without a detour through RGB where no rotation and no rare colours need one, which takes a
        third of the time.

        Arguments and errors are those of `paint`.

        Returns:
            A frame of format yuv420p with BT.601's matrix in the limited range. Most videos that need this have that
            matrix, and the scaler's conversion from one matrix to another makes pictures darker by 1 or 2 of 255.
        """
        if not self._scales_directly(frame, pixel_aspect, is_field):
            picture = self.paint(frame, pixel_aspect, is_field)
            rgb = VideoFrame.from_ndarray(picture, format="rgb24")
            return self._as_yuv(rgb, rgb.width, rgb.height, Matrix.RGB)
        try:
            one = _at_one_moment(frame, is_field)
            return self._as_yuv(one, self.preprocessing.width, self.preprocessing.height, Coding.of(one).matrix)
        except (av.FFmpegError, ValueError) as error:
            raise _cannot_convert(frame, error) from error

    def _scales_directly(self, frame: VideoFrame, pixel_aspect: Fraction | None, is_field: bool) -> bool:
        """Tells whether the scaler alone makes the picture of `paint` from the frame."""
        high, wide = Fraction(frame.height * (2 if is_field else 1)), frame.width * (pixel_aspect or Fraction(1))
        is_strip = max(high, wide) > STRIP_ASPECT * min(high, wide)
        is_yuv = len(frame.format.components) >= 3 and not frame.format.is_rgb
        whole = self.preprocessing.fit == "squash" and Orientation.of(frame).is_upright
        return whole and is_yuv and not is_strip and Coding.of(frame).is_plain

    def _as_yuv(self, frame: VideoFrame, width: int, height: int, matrix: int) -> VideoFrame:
        return self._reformatter.reformat(
            frame,
            width,
            height,
            "yuv420p",
            src_colorspace=matrix,
            dst_colorspace=Colorspace.ITU601,
            dst_color_range=ColorRange.MPEG,
            interpolation=INTERPOLATION,
            threads=1,
        )

    def _target(self, high: Fraction, wide: Fraction, transposed: bool) -> tuple[int, int]:
        """Returns (height, width) to scale a picture to, before rotation.

        Args:
            high: height before rotation, in square pixels.
            wide: width before rotation, in square pixels.
            transposed: whether rotation swaps height and width.
        """
        upright = (wide, high) if transposed else (high, wide)
        height, width = scaled_size(max(1, round(upright[0])), max(1, round(upright[1])), self.preprocessing)
        return (width, height) if transposed else (height, width)

    def _scaled_strip(self, frame: VideoFrame, high: Fraction, wide: Fraction, transposed: bool) -> NDArray[np.uint8]:
        """Scales a strip without FFmpeg; only its middle if the crop shows no more."""
        whole = self._scaled(frame, frame.width, frame.height)
        seen = _middle(whole) if self.preprocessing.fit == "crop" else whole
        high *= Fraction(seen.shape[0], whole.shape[0])
        wide *= Fraction(seen.shape[1], whole.shape[1])
        return resize(seen, *self._target(high, wide, transposed))

    def _scaled(self, frame: VideoFrame, width: int, height: int) -> NDArray[np.uint8]:
        """Scales a frame and converts it to standard RGB uint8 [height, width, 3], without rotation."""
        if frame.format.name in FORMATS_THAT_ABORT:
            raise ValueError("no conversion to RGB")
        coding = Coding.of(frame)
        if coding.is_plain:
            return self._reformat(frame, width, height, "rgb24", coding.matrix)
        if coding.matrix in SCALER_MATRICES:
            return picture(self._reformat(frame, width, height, "rgb48le", coding.matrix), coding)
        # The scaler only scales here and converts no colours, so any matrix that it knows will do.
        return picture(self._reformat(frame, width, height, "yuv444p16le", Matrix.BT2020), coding)

    def _reformat(self, frame: VideoFrame, width: int, height: int, pixels: str, matrix: int) -> NDArray[Any]:
        """Scales a frame and converts its pixel format, as if it had `matrix`."""
        small = self._reformatter.reformat(
            frame,
            width,
            height,
            pixels,
            src_colorspace=matrix,
            dst_colorspace=matrix,
            interpolation=INTERPOLATION,
            threads=1,
        )
        return np.asarray(small.to_ndarray())


def _cannot_convert(frame: VideoFrame, error: Exception) -> VideoError:
    what = f"{frame.width} x {frame.height} pixels of format {frame.format.name}, matrix {frame.colorspace}"
    return VideoError("decode", "unsupported_codec", f"cannot convert a frame of {what}: {error}")


def _at_one_moment(frame: VideoFrame, is_field: bool) -> VideoFrame:
    if not frame.interlaced_frame:
        return frame
    return progressive(frame) if is_field or frame.height < 2 else first_field(frame)


def _middle(strip: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns the middle of a strip [h, w, 3], at most `STRIP_ASPECT` times as long as it is wide."""
    height, width = (min(side, STRIP_ASPECT * min(strip.shape[:2])) for side in strip.shape[:2])
    top, left = (strip.shape[0] - height) // 2, (strip.shape[1] - width) // 2
    return strip[top : top + height, left : left + width]


class Orientation:
    """How to rotate a stored picture for display: the display matrix (ISO/IEC 14496-12, 8.3.2) in quarter turns.

    Attributes:
        transposed: whether height and width are swapped, before flipping.
        flip_x: whether left and right are swapped.
        flip_y: whether top and bottom are swapped.
    """

    def __init__(self, transposed: bool, flip_x: bool, flip_y: bool) -> None:
        self.transposed = transposed
        self.flip_x = flip_x
        self.flip_y = flip_y

    @classmethod
    def of(cls, frame: VideoFrame) -> "Orientation":
        """Reads a frame's display matrix; rounds other angles to the nearest quarter turn."""
        data: Any = side_data.find(frame, "DISPLAYMATRIX")
        if data is None:
            return cls(False, False, False)
        a, b, _, c, d = np.frombuffer(bytes(data), dtype="<i4", count=5).tolist()
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, flip_x=a < 0, flip_y=d < 0)
        return cls(True, flip_x=c < 0, flip_y=b < 0)

    @property
    def is_upright(self) -> bool:
        """Whether the stored picture needs no rotation and no mirroring."""
        return not (self.transposed or self.flip_x or self.flip_y)

    @property
    def degrees(self) -> int:
        """Clockwise rotation in degrees that makes the picture upright; mirroring is not part of it."""
        if self.transposed:
            return 90 if self.flip_x else 270
        return 180 if self.flip_y else 0

    def apply(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Rotates and mirrors a picture uint8 [h, w, 3] for display."""
        if self.transposed:
            picture = picture.transpose(1, 0, 2)
        if self.flip_x:
            picture = picture[:, ::-1]
        if self.flip_y:
            picture = picture[::-1]
        return np.ascontiguousarray(picture)
