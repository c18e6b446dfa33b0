"""Colours of labels, as ``#rrggbb``."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Palette = tuple[str, ...]
"""One colour a label, in the order of the labels."""


def voc_palette(count: int) -> Palette:
    """Return the colours that Pascal VOC gives its classes, which tell neighbouring numbers apart.

    Every third bit of a class's number goes to one channel, from the highest bit of the channel down (the function
    ``VOClabelcolormap`` of the VOC development kit).
    """
    return tuple(_voc_colour(number) for number in range(count))


def _voc_colour(number: int) -> str:
    channels = [sum((number >> 3 * bit + channel & 1) << 7 - bit for bit in range(8)) for channel in range(3)]
    return colour_text(channels)


def colour_text(channels: Sequence[int]) -> str:
    """Return red, green and blue of 0..255 as ``#rrggbb``."""
    return "#" + "".join(f"{int(channel):02x}" for channel in channels)


def is_colour(text: str) -> bool:
    """Tell whether a text is a colour, ``#rrggbb``."""
    return len(text) == 7 and text[0] == "#" and all(digit in "0123456789abcdefABCDEF" for digit in text[1:])


def colours(palette: Palette) -> NDArray[np.uint8]:
    """Return a palette as an array uint8 [L, 3] of red, green and blue."""
    return np.array([list(bytes.fromhex(colour[1:])) for colour in palette], np.uint8).reshape(-1, 3)
