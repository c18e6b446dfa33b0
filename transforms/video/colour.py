"""Interprets the colour description of a frame (ITU-T H.273), and converts the pictures that the scaler cannot.

The scaler (libswscale) refuses rare matrices and does not convert PQ and HLG. Frames with a rare matrix are only scaled
by it; the matrix is then applied to the small picture, as H.273 and BT.2100 define it. PQ and HLG are converted to
standard pictures by `hdr`.

Files often carry wrong numbers, because encoders store what they are told without converting anything. A rare matrix is
therefore applied only if the rest of the frame's description agrees with it (`_agrees`). Otherwise, and for reserved
and unknown numbers, the frame is treated as if it named no matrix: PQ and HLG then have BT.2020's, and others BT.601's,
which is the scaler's default.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from transforms.video import hdr
from transforms.video.hdr import HLG, PQ
from transforms.video.primaries import BT2020, CHROMATICITIES, XYZ, Doubles, Floats, inverse, product, xyz_of


class Matrix(IntEnum):
    """Matrix coefficients of H.273, as far as this module names them."""

    RGB = 0
    UNSPECIFIED = 2
    BT601 = 5
    YCGCO = 8
    BT2020 = 9
    BT2020_CL = 10
    ST2085 = 11
    DERIVED = 12
    DERIVED_CL = 13
    ICTCP = 14
    YCGCO_RE = 16
    YCGCO_RO = 17


SCALER_MATRICES: Final = frozenset({Matrix.RGB, 1, Matrix.UNSPECIFIED, 4, Matrix.BT601, 6, 7, Matrix.BT2020})
"""Matrices that libswscale converts. It applies RGB to RGB formats only, and BT.601 to other formats tagged as RGB."""

BT709_CURVES: Final = frozenset({1, 6, 14, 15})
"""Transfer characteristics whose curve is BT.709's."""

_UNSPECIFIED: Final = 2
"""Number of unspecified transfer characteristics and primaries."""

_LOSSLESS_BITS: Final[dict[int, int]] = {Matrix.YCGCO_RE: 2, Matrix.YCGCO_RO: 1}
"""Additional bits of the components of lossless YCgCo, compared with its RGB."""

_RGB_OF_LMS: Final = inverse([[1688, 2146, 262], [683, 2951, 462], [99, 309, 3688]]) * 4096
_LMS_OF_ICTCP: Final = {
    PQ: inverse([[2048, 2048, 0], [6610, -13613, 7003], [17933, -17390, -543]]) * 4096,
    HLG: inverse([[2048, 2048, 0], [3625, -7465, 3840], [9500, -9212, -288]]) * 4096,
}
"""Inverses of the matrices in BT.2100, table 7."""


@dataclass(frozen=True)
class Coding:
    """How the components of a frame encode colours; numbers are those of ITU-T H.273.

    Attributes:
        matrix: matrix coefficients to apply, which may differ from the frame's; `Matrix.RGB` for RGB and grey formats.
        transfer: transfer characteristics.
        primaries: colour primaries.
        full_range: whether all codes are used; otherwise black and white are at 16 and 235 of 255.
        bits: bits of one component.
    """

    matrix: int
    transfer: int
    primaries: int
    full_range: bool
    bits: int

    @classmethod
    def of(cls, frame: VideoFrame) -> "Coding":
        """Reads the description of `frame`, and replaces a matrix that cannot be right."""
        tagged = cls(
            frame.colorspace,
            frame.color_trc,
            frame.color_primaries,
            full_range=frame.color_range == 2 or frame.format.name.startswith("yuvj"),
            bits=frame.format.components[0].bits,
        )
        return cls(tagged._true_matrix(frame), tagged.transfer, tagged.primaries, tagged.full_range, tagged.bits)

    @property
    def is_hdr(self) -> bool:
        """Whether the frame has a high dynamic range (PQ or HLG)."""
        return self.transfer in (PQ, HLG)

    @property
    def is_plain(self) -> bool:
        """Whether the scaler alone can convert the frame."""
        return self.matrix in SCALER_MATRICES and not self.is_hdr

    def _true_matrix(self, frame: VideoFrame) -> int:
        if frame.format.is_rgb or len(frame.format.components) < 3:
            return Matrix.RGB
        known = self.matrix in SCALER_MATRICES and not (self.is_hdr and self.matrix in (Matrix.RGB, Matrix.UNSPECIFIED))
        if known or self._agrees(has_whole_chroma(frame)):
            return self.matrix
        return Matrix.BT2020 if self.is_hdr else Matrix.BT601

    def _agrees(self, whole_chroma: bool) -> bool:
        """Returns whether the rest of the description and the format are plausible for the matrix.

        YCgCo is made from RGB, without subsampling. Files with subsampling that really use it name their primaries and
        transfer characteristics too; those that name YCgCo alone were only seen where nothing had been converted.
        """
        match self.matrix:
            case Matrix.YCGCO:
                return whole_chroma or _UNSPECIFIED not in (self.transfer, self.primaries)
            case Matrix.YCGCO_RE | Matrix.YCGCO_RO:
                return whole_chroma and self.full_range and self.bits >= 8 + _LOSSLESS_BITS[self.matrix]
            case Matrix.BT2020_CL:
                return self.transfer in BT709_CURVES
            case Matrix.DERIVED:
                return self.primaries in CHROMATICITIES
            case Matrix.DERIVED_CL:
                return self.primaries in CHROMATICITIES and self.transfer in BT709_CURVES
            case Matrix.ST2085:
                return self.transfer == PQ
            case Matrix.ICTCP:
                return self.is_hdr
            case _:
                return False


def has_whole_chroma(frame: VideoFrame) -> bool:
    """Returns whether chroma has as many samples as luma (4:4:4)."""
    return frame.format.chroma_width() == frame.width and frame.format.chroma_height() == frame.height


def picture(scaled: NDArray[np.uint16], coding: Coding) -> NDArray[np.uint8]:
    """Converts a scaled picture that is not plain (see `Coding.is_plain`) to a standard one.

    Args:
        scaled: uint16 [h, w, 3]: RGB if the scaler knows the matrix, otherwise luma and two chroma components in the
            frame's own range.
        coding: of the frame.

    Returns:
        RGB uint8 [h, w, 3] with BT.709's primaries and curve.
    """
    if coding.matrix in SCALER_MATRICES:
        signal = scaled.astype(np.float32) / np.float32(65535)
    else:
        signal = _signal(_components(scaled, coding), coding)
    if not coding.is_hdr:
        return np.rint(np.clip(signal, 0, 1) * 255).astype(np.uint8)
    linear = hdr.light(signal, coding.transfer)
    if coding.matrix == Matrix.ICTCP:
        linear = product(_RGB_OF_LMS, linear)
    return hdr.standard_picture(linear, coding.transfer, XYZ if coding.matrix == Matrix.ST2085 else coding.primaries)


def _components(scaled: NDArray[np.uint16], coding: Coding) -> Floats:
    """Returns luma from 0 to 1 and chroma from -0.5 to 0.5, from codes that the scaler shifted to 16 bits."""
    black, luma_span, chroma_span = 16 * 256, 219 * 256, 224 * 256
    if coding.full_range:
        # Lossless YCgCo uses only the lowest codes for luma: those of its RGB.
        span = (2 ** (coding.bits - _LOSSLESS_BITS.get(coding.matrix, 0)) - 1) * 2 ** (16 - coding.bits)
        black, luma_span, chroma_span = 0, span, span
    offsets = np.array([black, 32768, 32768], np.float32)
    spans = np.array([luma_span, chroma_span, chroma_span], np.float32)
    return np.divide(scaled - offsets, spans, dtype=np.float32)


def _signal(components: Floats, coding: Coding) -> Floats:
    """Converts luma and chroma [h, w, 3] to R'G'B' (ICtCp: to L'M'S', ST 2085: to X'Y'Z')."""
    match coding.matrix:
        case Matrix.YCGCO:
            return product(np.array([[1, -1, 1], [1, 1, 0], [1, -1, -1]]), components)
        case Matrix.YCGCO_RE | Matrix.YCGCO_RO:  # differences are not halved
            return product(np.array([[1, -0.5, 0.5], [1, 0.5, 0], [1, -0.5, -0.5]]), components)
        case Matrix.ICTCP:
            return product(_LMS_OF_ICTCP[coding.transfer], components)
        case Matrix.ST2085:
            return product(np.array([[0.991902, 0, 2], [1, 0, 0], [1 / 0.986566, 2 / 0.986566, 0]]), components)
        case Matrix.DERIVED:
            red, green, blue = _luma_weights(coding)
            row = [1, -2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green]
            return product(np.array([[1, 0, 2 * (1 - red)], row, [1, 2 * (1 - blue), 0]]), components)
        case _:
            return _constant_luminance(components, _luma_weights(coding))


def _luma_weights(coding: Coding) -> Doubles:
    """Returns the shares of red, green and blue in luminance, from the primaries (H.273, 8.3)."""
    return xyz_of(BT2020 if coding.matrix == Matrix.BT2020_CL else coding.primaries)[1]


def _constant_luminance(components: Floats, weights: Doubles) -> Floats:
    """Converts constant-luminance luma and chroma to R'G'B' (BT.2020, table 4)."""
    luma, for_blue, for_red = np.moveaxis(components.astype(np.float64), -1, 0)
    of_red, of_green, of_blue = weights.tolist()
    red, blue = _beside_luma(luma, for_red, of_red), _beside_luma(luma, for_blue, of_blue)
    green = (_bt709_light(luma) - of_red * _bt709_light(red) - of_blue * _bt709_light(blue)) / of_green
    return np.stack([red, _bt709(green), blue], axis=-1).astype(np.float32)


def _beside_luma(luma: Doubles, chroma: Doubles, share: float) -> Doubles:
    """Returns R' or B' of a constant-luminance signal; `share` is the weight of red or blue in luminance."""
    below, above = _bt709(np.array([1 - share, share]))
    return luma + 2 * chroma * np.where(chroma < 0, below, 1 - above)


def _bt709(linear: Doubles) -> Doubles:
    """Applies the curve (OETF) of BT.709 and BT.2020 to light from 0 to 1."""
    linear = np.maximum(linear, 0)
    return np.where(linear < 0.0181, 4.5 * linear, 1.0993 * linear**0.45 - 0.0993)


def _bt709_light(signal: Doubles) -> Doubles:
    """Inverts `_bt709`."""
    signal = np.maximum(signal, 0)
    return np.where(signal < 4.5 * 0.0181, signal / 4.5, ((signal + 0.0993) / 1.0993) ** (1 / 0.45))
