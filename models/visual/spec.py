"""The specification of a visual model: its preprocessing, labels and sizes."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import msgspec

from models.visual.clip_spec import ClipSpec
from models.visual.errors import ModelError

Fit = Literal["crop", "pad", "squash"]
Colour = Literal["rgb", "grey"]

MAX_SIDE_PIXELS = 4096
"""Largest side of a model's input."""


@dataclass(frozen=True)
class Preprocessing:
    """How an upright picture becomes the model's input.

    Attributes:
        height: Of the input, pixels.
        width: Of the input, pixels.
        fit: ``crop`` keeps the picture's proportions and its centre; ``pad`` keeps all of it, with black margins;
            ``squash`` keeps all of it but not its proportions.
        crop_fraction: With ``crop``, the share of the shorter side that the input shows.
        colour: ``rgb`` (3 channels) or ``grey`` (1 channel).
        mean_filter: Side in pixels of a box filter applied to the input; 0 for none.
        mean: Subtracted from the channels (0..255), inside the graph: one number, or one a channel.
        std: Divided by after that, inside the graph: one number, or one a channel.

    Raises:
        ModelError: A value is out of its range.
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
            raise ModelError(f"the input is {self.height}x{self.width} pixels; sides are 1 to {MAX_SIDE_PIXELS}")
        if not 0 < self.crop_fraction <= 1:
            raise ModelError(f"crop_fraction is {self.crop_fraction}; it must be above 0 and at most 1")
        if not 0 <= self.mean_filter <= min(self.height, self.width):
            raise ModelError(f"mean_filter is {self.mean_filter} pixels; it must be 0 to the input's shorter side")
        if any(len(values) not in (1, self.channels) for values in (self.mean, self.std)):
            raise ModelError(f"mean and std must have one number each, or {self.channels}, one a channel")
        if not all(value > 0 for value in self.std):
            raise ModelError(f"std is {self.std}; every number must be above 0")

    @property
    def channels(self) -> int:
        """Number of channels of the input."""
        return 3 if self.colour == "rgb" else 1

    def changed(self, changes: Mapping[str, Any]) -> "Preprocessing":
        """Return a copy with some fields as a user gave them in JSON.

        Raises:
            ModelError: A field does not exist, or its value has the wrong type or range.
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
    """The interface of a visual model.

    Attributes:
        name: For people and tables.
        preprocessing: How pictures become inputs.
        embedding_size: Length D of an embedding.
        labels: Names of the classes, in the order of the scores; unique.
        seen_threshold: Score from which a label counts as seen in a frame.
        thresholds: The same for each label, if the model has its own; empty otherwise.
        clip: Which frames an input holds; None for a model that looks at single pictures.
    """

    name: str
    preprocessing: Preprocessing
    embedding_size: int
    labels: tuple[str, ...]
    seen_threshold: float = 0.1
    thresholds: tuple[float, ...] = ()
    clip: ClipSpec | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input: (height, width, channels), or (frames, height, width, channels) for a clip model."""
        p = self.preprocessing
        picture = (p.height, p.width, p.channels)
        return picture if self.clip is None else (self.clip.frames, *picture)

    def threshold_of(self) -> dict[str, float]:
        """Return the score from which each label counts as seen, by label."""
        thresholds = self.thresholds or (self.seen_threshold,) * len(self.labels)
        return dict(zip(self.labels, thresholds, strict=True))

    def to_json(self) -> bytes:
        """Encode as JSON; `from_json` decodes it."""
        told = msgspec.to_builtins(self)
        # Keys of models hold this text: those of models of pictures stay what they were before there were clip models.
        if self.clip is None:
            del told["clip"]
        return msgspec.json.encode(told)

    @classmethod
    def from_json(cls, data: bytes) -> "VisualSpec":
        """Decode what `to_json` wrote."""
        return msgspec.json.decode(data, type=cls)
