"""What a visual model takes and gives: its preprocessing, labels and sizes."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import msgspec

from models.visual.errors import ModelError

Fit = Literal["crop", "pad", "squash"]
Colour = Literal["rgb", "grey"]

MAX_SIDE_PIXELS = 4096


@dataclass(frozen=True)
class Preprocessing:
    """From an upright picture to the model's input.

    Attributes:
        height: of the input, pixels.
        width: of the input, pixels.
        fit: ``crop`` keeps the picture's proportions and its centre; ``pad`` keeps all of it, on black;
            ``squash`` takes all of it, whatever its proportions.
        crop_fraction: with ``crop``, share of the shorter side that the input shows.
        colour: ``rgb`` (3 channels) or ``grey`` (1 channel).
        mean_filter: side in pixels of a box filter run over the input; 0 for none.
        mean: subtracted from the channels (0..255), inside the graph: one number, or one a channel.
        std: divided by after that, inside the graph: one number, or one a channel.

    Raises:
        ModelError: a value that makes no sense.
    """

    height: int = 224
    width: int = 224
    fit: Fit = "crop"
    crop_fraction: float = 0.875
    colour: Colour = "rgb"
    mean_filter: int = 0
    mean: tuple[float, ...] = (127.0,)
    std: tuple[float, ...] = (128.0,)

    def __post_init__(self) -> None:
        if not (0 < self.height <= MAX_SIDE_PIXELS and 0 < self.width <= MAX_SIDE_PIXELS):
            raise ModelError(f"an input of {self.height}x{self.width} pixels; sides are 1 to {MAX_SIDE_PIXELS}")
        if not 0 < self.crop_fraction <= 1:
            raise ModelError(f"a crop_fraction of {self.crop_fraction}; it is over 0 and at most 1")
        if not 0 <= self.mean_filter <= min(self.height, self.width):
            raise ModelError(f"a mean_filter of {self.mean_filter} pixels; it is 0 to the input's shorter side")
        if any(len(values) not in (1, self.channels) for values in (self.mean, self.std)):
            raise ModelError(f"mean and std have one number each, or {self.channels}: one a channel")
        if not all(value > 0 for value in self.std):
            raise ModelError(f"a std of {self.std}; every number must be over 0")

    @property
    def channels(self) -> int:
        """Channels of the input."""
        return 3 if self.colour == "rgb" else 1

    def changed(self, changes: Mapping[str, Any]) -> "Preprocessing":
        """With some fields as a user gave them in JSON.

        Raises:
            ModelError: a field that does not exist, or a value that does not fit it.
        """
        known = {field.name for field in fields(self)}
        if unknown := sorted(set(changes) - known):
            raise ModelError(f"no preprocessing is called {unknown[0]!r}; there are {', '.join(sorted(known))}")
        try:
            return msgspec.convert({**msgspec.to_builtins(self), **changes}, Preprocessing)
        except msgspec.ValidationError as error:
            raise ModelError(str(error)) from error


@dataclass(frozen=True)
class VisualSpec:
    """A visual model from outside.

    Attributes:
        name: for people and tables.
        preprocessing: how pictures become inputs.
        embedding_size: numbers in an embedding.
        labels: names of the classes, in the order of the scores; unique.
        seen_threshold: score from which a label counts as seen in a frame.
        thresholds: the same for each label, where a model has chosen its own; empty otherwise.
    """

    name: str
    preprocessing: Preprocessing
    embedding_size: int
    labels: tuple[str, ...]
    seen_threshold: float = 0.1
    thresholds: tuple[float, ...] = ()

    def threshold_of(self) -> dict[str, float]:
        """The score from which each label counts as seen."""
        thresholds = self.thresholds or (self.seen_threshold,) * len(self.labels)
        return dict(zip(self.labels, thresholds, strict=True))

    def to_json(self) -> bytes:
        """As JSON; `from_json` reads it back."""
        return msgspec.json.encode(self, order="deterministic")

    @classmethod
    def from_json(cls, data: bytes) -> "VisualSpec":
        """What `to_json` wrote."""
        return msgspec.json.decode(data, type=cls)
