"""Colour primaries of ITU-T H.273, and matrix products of pixels that are identical on every machine."""

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

BT709: Final = 1
BT2020: Final = 9
XYZ: Final = 10
"""Colours are CIE XYZ itself (SMPTE ST 428-1)."""

_D65, _C, _DCI = (0.3127, 0.3290), (0.310, 0.316), (0.314, 0.351)

CHROMATICITIES: Final = {
    BT709: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _D65),
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), _C),
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), _D65),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    8: ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), _C),
    BT2020: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _DCI),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), _D65),
}
"""Chromaticities (x, y) of red, green, blue and white, by number of the primaries (H.273, table 2)."""


@cache
def xyz_of(primaries: int) -> Doubles:
    """Returns the float64 matrix [3, 3] that converts RGB light to CIE XYZ (SMPTE RP 177).

    White is not adapted to D65: the tint of another white remains.

    Args:
        primaries: a number of ITU-T H.273; numbers without chromaticities count as BT.2020.
    """
    if primaries == XYZ:
        return np.eye(3)
    *colours, white = (
        np.array([x / y, 1, (1 - x - y) / y]) for x, y in CHROMATICITIES.get(primaries, CHROMATICITIES[BT2020])
    )
    columns = np.stack(colours, axis=1)
    return columns * np.linalg.solve(columns, white)


def inverse(matrix: ArrayLike) -> Doubles:
    """Returns the inverse of a matrix [3, 3] as float64."""
    return np.linalg.inv(np.asarray(matrix, np.float64)).astype(np.float64)


def product(matrix: Doubles, pixels: Floats) -> Floats:
    """Multiplies `matrix` [n, 3] with each of `pixels` [..., 3].

    Sums are taken in a fixed order; BLAS, whose order depends on the machine, would round differently.

    Returns:
        float32 [..., n].
    """
    rows = matrix.astype(np.float32)
    return np.stack([pixels[..., 0] * a + pixels[..., 1] * b + pixels[..., 2] * c for a, b, c in rows], axis=-1)
