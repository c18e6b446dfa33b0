"""Makes thumbnails: whole upright pictures with square pixels, as small image files.

Every sampled frame gets one, because only the whole video tells which ones stay. These are JPEG files, which take
little time. The few that stay become WebP files, which take little space. Measured on 425 frames of real clips, 160
pixels high (the second row on 203 of them):

| file                                                   | bytes  | PSNR    | CPU     |
|--------------------------------------------------------|--------|---------|---------|
| JPEG, quality 85: of every frame                       | 8,315  | 37.6 dB | 0.14 ms |
| WebP, quality 34, level 2, from the JPEG               | 2,899  | 30.9 dB | 2.1 ms  |
| WebP, quality 40, OpenCV (level 4), from the JPEG      | 2,705  | 32.4 dB | 3.1 ms  |
| JPEG, quality 50 with own tables                       | 3,949  | 34.1 dB | 0.19 ms |

The quality of those kept was then chosen so that film in clips of 10 s takes 2 MB an hour (docs/measurements.md).
On 292 frames of other real clips, compared with the JPEG:

| file                                                   | bytes  | PSNR    | SSIM   | CPU    |
|--------------------------------------------------------|--------|---------|--------|--------|
| WebP, quality 34, level 2: earlier releases            | 2,107  | 34.2 dB | 0.944  | 1.5 ms |
| WebP, quality 26, level 2: those kept                  | 1,848  | 33.4 dB | 0.934  | 1.4 ms |
| WebP, quality 30, level 4                              | 1,826  | 33.9 dB | 0.940  | 3.0 ms |
"""

import contextlib
from fractions import Fraction
from typing import Final, NamedTuple

import cv2
import numpy as np
from av import CodecContext, VideoFrame
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

from models.visual.preprocess import scaled_size
from models.visual.spec import Preprocessing
from transforms.video.decode import Sample
from transforms.video.failures import VideoError
from transforms.video.pixels import Painter

WIDEST: Final = 4
"""A picture that is more than this many times as wide as high gets a thumbnail of this width and less height."""

_JPEG: Final = (cv2.IMWRITE_JPEG_QUALITY, 85)
_WEBP: Final = {"quality": "26", "compression_level": "2"}
"""OpenCV takes only a quality; its level of compression takes half as much time again."""


class Thumbnail(NamedTuple):
    """A small picture: its size in pixels and its image file."""

    width: int
    height: int
    image: bytes


class Thumbnailer:
    """Makes the thumbnails of a video's frames.

    Args:
        height: height of the thumbnails in pixels.
        preprocessing: of the model whose pictures are made from the same frames.
    """

    def __init__(self, height: int, preprocessing: Preprocessing) -> None:
        self._whole = Preprocessing(height, WIDEST * height, fit="pad")
        self._painter = Painter(self._whole)
        self._model_distorts = preprocessing.fit == "squash"

    def make(self, one: Sample, upright: NDArray[np.uint8]) -> Thumbnail:
        """Makes the thumbnail of a frame.

        Args:
            one: the frame.
            upright: what `Painter.upright` made of it for the model, RGB uint8 [h, w, 3]. If it is large enough, the
                thumbnail is made from it: scaling the frame itself again would take five times as long.

                It is used too if the scaler cannot make a picture as small as a thumbnail: no frame is lost for one.
        """
        height, width = scaled_size(upright.shape[0], upright.shape[1], self._whole)
        if self._model_distorts or _may_be_cut(upright) or height > upright.shape[0] or width > upright.shape[1]:
            with contextlib.suppress(VideoError):
                return _encoded(self._painter.upright(one.frame, one.pixel_aspect, one.is_field))
        # Below half the size a linear scaler would leave out pixels.
        method = cv2.INTER_LINEAR if 2 * height >= upright.shape[0] else cv2.INTER_AREA
        return _encoded(cv2.resize(upright, (width, height), interpolation=method).astype(np.uint8, copy=False))


def _may_be_cut(upright: NDArray[np.uint8]) -> bool:
    """Tells whether a picture may be only the middle of a strip (see `Painter`)."""
    return max(upright.shape[:2]) > WIDEST * min(upright.shape[:2])


def _encoded(rgb: NDArray[np.uint8]) -> Thumbnail:
    _, file = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), _JPEG)
    return Thumbnail(rgb.shape[1], rgb.shape[0], file.tobytes())


def as_webp(image: bytes) -> bytes:
    """Turns a JPEG file that `Thumbnailer` made into a WebP file of a third of its size."""
    picture = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    # By default swscale starts a thread for each core, which takes longer than a picture this small.
    frame = VideoFrame.from_ndarray(picture.astype(np.uint8, copy=False), format="bgr24").reformat(
        format="yuv420p", threads=1
    )
    encoder = CodecContext.create("libwebp", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = (
        frame.width,
        frame.height,
        "yuv420p",
        Fraction(1),
    )
    encoder.options = _WEBP
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def size_of(image: bytes) -> tuple[int, int] | None:
    """Decodes an image file and returns its width and height in pixels; None if it cannot be decoded."""
    picture = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR) if image else None
    return None if picture is None else (picture.shape[1], picture.shape[0])
