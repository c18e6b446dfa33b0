"""What a visual model takes and gives: its preprocessing, labels and sizes."""

from dataclasses import dataclass
from typing import Literal

import msgspec

Fit = Literal["crop", "pad", "squash"]
Colour = Literal["rgb", "grey"]


@dataclass(frozen=True)
class Preprocessing:
    """From an upright picture to the model's input.

    Attributes:
        height: of the input, pixels.
        width: of the input, pixels.
        fit: ``crop`` keeps the picture's proportions and its centre; ``pad`` keeps all of it, on black; ``squash`` takes
            all of it, whatever its proportions.
        crop_fraction: with ``crop``, share of the shorter side that the input shows.
        colour: ``rgb`` (3 channels) or ``grey`` (1 channel).
        mean_filter: side in pixels of a box filter run over the input; 0 for none.
        mean: subtracted from each channel (0..255), inside the graph.
        std: divided by after that, inside the graph.
    """

    height: int = 224
    width: int = 224
    fit: Fit = "crop"
    crop_fraction: float = 0.875
    colour: Colour = "rgb"
    mean_filter: int = 0
    mean: tuple[float, ...] = (127.0,)
    std: tuple[float, ...] = (128.0,)

    @property
    def channels(self) -> int:
        """Channels of the input."""
        return 3 if self.colour == "rgb" else 1


@dataclass(frozen=True)
class VisualSpec:
    """A visual model from outside.

    Attributes:
        name: for people and tables.
        preprocessing: how pictures become inputs.
        embedding_size: numbers in an embedding.
        labels: names of the classes, in the order of the scores; unique.
        seen_threshold: score from which a label counts as seen in a frame.
    """

    name: str
    preprocessing: Preprocessing
    embedding_size: int
    labels: tuple[str, ...]
    seen_threshold: float = 0.1

    def to_json(self) -> bytes:
        """As JSON; `from_json` reads it back."""
        return msgspec.json.encode(self, order="deterministic")

    @classmethod
    def from_json(cls, data: bytes) -> "VisualSpec":
        """What `to_json` wrote."""
        return msgspec.json.decode(data, type=cls)
