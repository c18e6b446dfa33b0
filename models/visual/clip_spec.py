"""Which frames a clip model looks at: their number, how far apart they are, and how often a clip begins."""

from dataclasses import dataclass
from fractions import Fraction

from models.visual.errors import ModelError

MAX_CLIP_FRAMES = 256
"""Largest number of frames of a clip; a child holds them all at once."""


@dataclass(frozen=True)
class ClipSpec:
    """The clips of a model whose input is [batch, frames, height, width, channels].

    Rates and lengths are texts of exact numbers ("8", "0.5", "30000/1001"), so that times never depend on rounding.

    Attributes:
        frames: Number of frames of a clip, 2 to `MAX_CLIP_FRAMES`.
        rate: Frames per second within a clip.
        stride_s: Seconds from the beginning of a clip to that of the next one.

    Raises:
        ModelError: A value is out of its range or no number.
    """

    frames: int
    rate: str
    stride_s: str

    def __post_init__(self) -> None:
        if not 2 <= self.frames <= MAX_CLIP_FRAMES:
            raise ModelError(f"a clip of {self.frames} frames; it must have 2 to {MAX_CLIP_FRAMES}")
        for name in ("rate", "stride_s"):
            object.__setattr__(self, name, exact_text(_positive(name, getattr(self, name))))

    @property
    def fps(self) -> Fraction:
        """Frames per second within a clip."""
        return Fraction(self.rate)

    @property
    def stride(self) -> Fraction:
        """Seconds from the beginning of a clip to that of the next one."""
        return Fraction(self.stride_s)

    @property
    def span_s(self) -> Fraction:
        """Seconds from a clip's first frame to its last one."""
        return (self.frames - 1) / self.fps

    def __str__(self) -> str:
        return f"clips of {self.frames} frames at {self.rate} fps, one every {self.stride_s} s"


def exact_text(value: Fraction) -> str:
    """Write a number as a decimal if that is exact, else as a fraction."""
    decimal = f"{float(value):.12g}"
    return decimal if "e" not in decimal and Fraction(decimal) == value else str(value)


def exact_number(text: str) -> Fraction:
    """Read a decimal or a fraction of two decimals.

    Raises:
        ValueError: The text is neither.
        ZeroDivisionError: It divides by zero.
    """
    numerator, _, denominator = text.partition("/")
    return Fraction(numerator) / Fraction(denominator or "1")


def _positive(name: str, text: str) -> Fraction:
    try:
        value = exact_number(text)
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    if value <= 0:
        raise ModelError(f"the clip's {name} is {text!r}; it must be a number above 0, such as 8, 0.5 or 30000/1001")
    return value
