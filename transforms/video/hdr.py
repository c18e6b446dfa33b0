"""Converts pictures of high dynamic range (PQ and HLG) to the standard range that models are trained on.

Shown as a standard picture, a PQ or HLG picture looks washed out, because most of its codes stand for light that
ordinary screens do not show. This module converts samples to light, compresses light above white, and keeps the rest:

1. PQ: the EOTF of SMPTE ST 2084 (BT.2100, table 4). HLG: the inverse OETF, and the OOTF for a screen of 1,000 nits with
   a system gamma of 1.2 (BT.2100, table 5).
2. Primaries are converted to BT.709's through CIE XYZ; colours outside of BT.709 are clipped.
3. The EETF of BT.2390, 5.4.1, takes 1,000 nits to 203, the reference white of BT.2408. The brightest channel decides
   for all three, which keeps the hue. Light above 1,000 nits is clipped.
4. The inverse of BT.1886's EOTF, gamma 2.4, gives the codes of a standard picture.

The mastering metadata of a file is not used: only some packets carry it, and a row must not depend on where decoding
starts. All curves are looked up in tables that are computed in double precision, so that all machines agree.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from transforms.video.primaries import BT709, Doubles, Floats, inverse, product, xyz_of

PQ: Final = 16
"""Transfer characteristics of SMPTE ST 2084 in ITU-T H.273."""

HLG: Final = 18
"""Transfer characteristics of hybrid log-gamma in ITU-T H.273."""

PEAK_NITS: Final = 1000.0
"""Brightest light that is distinguished: the peak of HLG's nominal screen, and of most screens that PQ is graded on."""

WHITE_NITS: Final = 203.0
"""Light of reference white (BT.2408); it becomes white in the standard picture."""

GAMMA: Final = 2.4
"""Gamma of a standard screen (BT.1886)."""


def pq_nits(signal: Doubles) -> Doubles:
    """Converts PQ signals from 0 to 1 to light in nits (EOTF of SMPTE ST 2084)."""
    power = signal ** (32 / 2523)
    return 10_000 * (np.maximum(power - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * power)) ** (8192 / 1305)


def pq_signal(nits: Doubles) -> Doubles:
    """Converts light in nits to PQ signals from 0 to 1; the inverse of `pq_nits`."""
    power = (nits / 10_000) ** (1305 / 8192)
    return ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)


def hlg_scene_light(signal: Doubles) -> Doubles:
    """Converts HLG signals from 0 to 1 to scene light from 0 to 1 (inverse OETF of BT.2100)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)


def compressed(nits: Doubles) -> Doubles:
    """Compresses light of at most `PEAK_NITS` to at most `WHITE_NITS` by the EETF of BT.2390; black stays black."""
    peak, target = pq_signal(np.array([PEAK_NITS, WHITE_NITS]))
    signal, highest = pq_signal(nits) / peak, target / peak
    knee = 1.5 * highest - 0.5
    t = np.maximum(signal - knee, 0) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * highest
    return pq_nits(np.where(signal < knee, signal, spline) * peak)


def light(signal: Floats, transfer: int) -> Floats:
    """Converts a PQ or HLG signal to light.

    Args:
        signal: float32 [..., 3]; values outside 0 to 1 are clipped.
        transfer: `PQ` or `HLG`.

    Returns:
        float32 [..., 3] from 0 to 1: relative to `PEAK_NITS` for PQ, to the scene's brightest light for HLG.
    """
    return _LIGHT_OF_CODE[transfer][np.rint(np.clip(signal, 0, 1) * 65535).astype(np.uint16)]


def standard_picture(linear: Floats, transfer: int, primaries: int) -> NDArray[np.uint8]:
    """Converts RGB light to a BT.709 picture.

    Args:
        linear: float32 [h, w, 3] as `light` returns it.
        transfer: `PQ`, or `HLG` for scene light.
        primaries: of the RGB light, a number of ITU-T H.273.

    Returns:
        RGB uint8 [h, w, 3].
    """
    to_xyz = xyz_of(primaries)
    if transfer == HLG:
        luminance = product(to_xyz[1:2], linear)
        linear = linear * _HLG_GAIN[_step(luminance)]
    linear = np.clip(product(inverse(xyz_of(BT709)) @ to_xyz, linear), 0, 1)
    linear = linear * _WHITE_GAIN[_step(linear.max(axis=-1, keepdims=True))]
    return _CODE[_step(linear)]


def _step(linear: Floats) -> NDArray[np.intp]:
    return np.rint(np.sqrt(np.clip(linear, 0, 1)) * _STEPS).astype(np.intp)


_STEPS = 4095
_LIGHT = (np.arange(_STEPS + 1) / _STEPS) ** 2  # finer steps in dark parts, like the codes of a picture
_LIGHT[0] = _LIGHT[1] / 4  # middle of what rounds to step 0, because gains are not defined at 0
_SIGNAL = np.arange(65536) / 65535
_LIGHT_OF_CODE = {
    PQ: np.minimum(pq_nits(_SIGNAL) / PEAK_NITS, 1).astype(np.float32),
    HLG: hlg_scene_light(_SIGNAL).astype(np.float32),
}
_HLG_GAIN = (_LIGHT**0.2).astype(np.float32)
_WHITE_GAIN = (compressed(_LIGHT * PEAK_NITS) / (_LIGHT * WHITE_NITS)).astype(np.float32)
_CODE = np.rint(255 * _LIGHT ** (1 / GAMMA)).astype(np.uint8)
