"""Frames whose colours are coded in every way of ITU-T H.273, made from light by the equations of the standards."""

from collections.abc import Callable

import cv2
import numpy as np
from av.video.frame import VideoFrame

Array = np.ndarray

PQ, HLG = 16, 18
WHITE_NITS = 203.0

BT2020_OF_BT709 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
"""BT.2087, light."""

XYZ_OF_BT2020 = np.array([[0.6370, 0.1446, 0.1689], [0.2627, 0.6780, 0.0593], [0.0, 0.0281, 1.0610]])
"""BT.2020 and H.273, light."""

LMS_OF_BT2020 = np.array([[1688, 2146, 262], [683, 2951, 462], [99, 309, 3688]]) / 4096
"""BT.2100, table 6."""


def pq(nits: Array) -> Array:
    """Signals of light in nits (SMPTE ST 2084)."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    y = (np.clip(nits, 0, 10_000) / 10_000) ** m1
    return ((c1 + c2 * y) / (1 + c3 * y)) ** m2


def hlg(scene: Array) -> Array:
    """Signals of scene light 0..1 (BT.2100, table 5)."""
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    scene = np.clip(scene, 0, 1)
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene, 1) - b) + c)


def hlg_scene(nits: Array) -> Array:
    """Scene light of what a screen of 1,000 nits shows [..., 3] (the inverse OOTF, BT.2020 primaries)."""
    shown = nits / 1000
    luminance = np.maximum((shown @ XYZ_OF_BT2020[1])[..., None], 1e-6)
    return shown * luminance ** (1 / 1.2 - 1)


def nits_of(picture: Array, white_nits: float = WHITE_NITS) -> Array:
    """BT.2020 light of a standard picture uint8 [h, w, 3] on a screen of gamma 2.4 whose white is `white_nits`."""
    return np.maximum((picture / 255) ** 2.4 @ BT2020_OF_BT709.T, 0) * white_nits


def signal(nits: Array, transfer: int) -> Array:
    """R'G'B' of BT.2020 light, PQ or HLG."""
    return pq(nits) if transfer == PQ else hlg(hlg_scene(nits))


def ycbcr(rgb: Array, red: float, blue: float) -> Array:
    """Luma and chroma with weights of red and blue (H.273, equations for non-constant luminance)."""
    luma = red * rgb[..., 0] + (1 - red - blue) * rgb[..., 1] + blue * rgb[..., 2]
    return np.stack([luma, (rgb[..., 2] - luma) / (2 - 2 * blue), (rgb[..., 0] - luma) / (2 - 2 * red)], axis=-1)


def ycgco(rgb: Array) -> Array:
    r, g, b = np.moveaxis(rgb, -1, 0)
    return np.stack([(r + 2 * g + b) / 4, (2 * g - r - b) / 4, (r - b) / 2], axis=-1)


def ycgco_lossless(rgb: Array, bits: int) -> Array:
    """The lifting steps of H.273 on RGB of 8 bits, as shares of components of `bits`."""
    r, g, b = np.moveaxis(np.rint(rgb * 255).astype(int), -1, 0)
    co = r - b
    t = b + (co >> 1)
    cg = g - t
    return np.stack([t + (cg >> 1), cg, co], axis=-1) / (2**bits - 1)


def ictcp(nits: Array, transfer: int) -> Array:
    """BT.2100, table 7, of BT.2020 light."""
    light = nits if transfer == PQ else hlg_scene(nits)
    l, m, s = np.moveaxis((pq if transfer == PQ else hlg)(light @ LMS_OF_BT2020.T), -1, 0)  # noqa: E741
    if transfer == PQ:
        chroma = (6610 * l - 13613 * m + 7003 * s, 17933 * l - 17390 * m - 543 * s)
    else:
        chroma = (3625 * l - 7465 * m + 3840 * s, 9500 * l - 9212 * m - 288 * s)
    return np.stack([(l + m) / 2, chroma[0] / 4096, chroma[1] / 4096], axis=-1)


def st2085(nits: Array) -> Array:
    """Y'D'zD'x of BT.2020 light (SMPTE ST 2085)."""
    x, y, z = np.moveaxis(pq(nits @ XYZ_OF_BT2020.T), -1, 0)
    return np.stack([y, (0.986566 * z - y) / 2, (x - 0.991902 * y) / 2], axis=-1)


def bt2020_curve(light: Array) -> Array:
    light = np.maximum(light, 0)
    return np.where(light < 0.0181, 4.5 * light, 1.0993 * light**0.45 - 0.0993)


def constant_luminance(rgb: Array) -> Array:
    """BT.2020's Y'cC'bcC'rc of R'G'B' with its curve."""
    light = np.where(rgb < 4.5 * 0.0181, rgb / 4.5, ((rgb + 0.0993) / 1.0993) ** (1 / 0.45))
    luma = bt2020_curve(light @ np.array([0.2627, 0.6780, 0.0593]))
    blue, red = rgb[..., 2] - luma, rgb[..., 0] - luma
    blue = blue / np.where(blue <= 0, 1.9404, 1.5816)
    red = red / np.where(red <= 0, 1.7184, 0.9936)
    return np.stack([luma, blue, red], axis=-1)


def coded(
    components: Array,
    matrix: int,
    transfer: int = 2,
    primaries: int = 2,
    pixels: str = "yuv444p10le",
    full: bool = False,
) -> VideoFrame:
    """A frame of luma 0..1 and chroma -0.5..0.5 [h, w, 3], with even sides."""
    height, width = components.shape[:2]
    frame = VideoFrame(width, height, pixels)
    bits = frame.format.components[0].bits
    kind = np.uint8 if bits == 8 else np.uint16
    step = 2 ** (bits - 8)
    spans = (2**bits - 1,) * 3 if full else (219 * step, 224 * step, 224 * step)
    offsets = (0 if full else 16 * step, 128 * step, 128 * step)
    for plane, values, span, offset in zip(frame.planes, np.moveaxis(components, -1, 0), spans, offsets, strict=True):
        small = cv2.resize(values, (plane.width, plane.height), interpolation=cv2.INTER_AREA)
        lines = np.zeros((plane.height, plane.line_size // kind().itemsize), kind)
        lines[:, : plane.width] = np.clip(np.rint(small * span + offset), 0, 2**bits - 1)
        plane.update(lines.tobytes())
    frame.colorspace, frame.color_trc, frame.color_primaries = matrix, transfer, primaries
    frame.color_range = 2 if full else 1
    return frame


RARE: dict[str, Callable[[Array], VideoFrame]] = {
    "YCgCo": lambda picture: coded(ycgco(picture / 255), 8),
    "YCgCo, 8 bits": lambda picture: coded(ycgco(picture / 255), 8, pixels="yuv444p"),
    "YCgCo, full range": lambda picture: coded(ycgco(picture / 255), 8, full=True),
    "YCgCo, full range by format": lambda picture: coded(ycgco(picture / 255), 8, pixels="yuvj444p", full=True),
    "YCgCo, subsampled": lambda picture: coded(ycgco(picture / 255), 8, 1, 1, "yuv420p"),
    "YCgCo-Re": lambda picture: coded(ycgco_lossless(picture / 255, 10), 16, full=True),
    "YCgCo-Ro": lambda picture: coded(ycgco_lossless(picture / 255, 9), 17, pixels="yuv444p9le", full=True),
    "constant luminance": lambda picture: coded(constant_luminance(picture / 255), 10, 14, 9),
    "by primaries": lambda picture: coded(ycbcr(picture / 255, 0.2627, 0.0593), 12, 14, 9),
    "by primaries, BT.709's": lambda picture: coded(ycbcr(picture / 255, 0.2126, 0.0722), 12, 1, 1),
    "by primaries, constant luminance": lambda picture: coded(constant_luminance(picture / 255), 13, 14, 9),
}
"""Ways to code a standard picture uint8 [h, w, 3] that the scaler does not know."""

HDR: dict[str, Callable[[Array], VideoFrame]] = {
    "PQ": lambda nits: coded(ycbcr(pq(nits), 0.2627, 0.0593), 9, PQ, 9),
    "PQ, 4:2:0": lambda nits: coded(ycbcr(pq(nits), 0.2627, 0.0593), 9, PQ, 9, "yuv420p10le"),
    "PQ, full range": lambda nits: coded(ycbcr(pq(nits), 0.2627, 0.0593), 9, PQ, 9, full=True),
    "PQ, no matrix": lambda nits: coded(ycbcr(pq(nits), 0.2627, 0.0593), 2, PQ, 2),
    "PQ, unknown matrix": lambda nits: coded(ycbcr(pq(nits), 0.2627, 0.0593), 99, PQ, 9),
    "PQ, ICtCp": lambda nits: coded(ictcp(nits, PQ), 14, PQ, 9, "yuv444p12le"),
    "PQ, ST 2085": lambda nits: coded(st2085(nits), 11, PQ, 10, "yuv444p12le"),
    "PQ, by primaries": lambda nits: coded(ycbcr(pq(nits), 0.2627, 0.0593), 12, PQ, 9),
    "PQ, YCgCo": lambda nits: coded(ycgco(pq(nits)), 8, PQ, 9, "yuv444p12le"),
    "PQ, BT.709's primaries": lambda nits: coded(
        ycbcr(pq(np.maximum(nits @ np.linalg.inv(BT2020_OF_BT709).T, 0)), 0.2126, 0.0722), 1, PQ, 1
    ),
    "HLG": lambda nits: coded(ycbcr(signal(nits, HLG), 0.2627, 0.0593), 9, HLG, 9),
    "HLG, 4:2:0": lambda nits: coded(ycbcr(signal(nits, HLG), 0.2627, 0.0593), 9, HLG, 9, "yuv420p10le"),
    "HLG, ICtCp": lambda nits: coded(ictcp(nits, HLG), 14, HLG, 9, "yuv444p12le"),
}
"""Ways to code BT.2020 light in nits [h, w, 3] of high dynamic range."""
