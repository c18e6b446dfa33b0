"""The specification of a segmentation model, and the sidecar that a user writes for one, ``<model>.spec.json``.

    {"labels": ["background", "cat", "dog"], "preprocessing": {"fit": "squash", "mean": [127.5], "std": [127.5]},
     "activation": "softmax", "ignored": ["background"], "palette": {"cat": "#800000"}}

Only ``labels`` is needed. ``preprocessing`` has the fields of `models.visual.spec.Preprocessing`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from models.regions.mask_folder import IGNORED
from models.regions.palettes import Palette, is_colour, voc_palette
from models.visual.errors import ModelError
from models.visual.sidecar import sidecar_of, sidecar_path
from models.visual.spec import Preprocessing

Activation = Literal["softmax", "sigmoid", "none"]

BACKGROUND: Final = "background"
"""Name of the label of pixels that show nothing."""


@dataclass(frozen=True)
class SegmentationSpec:
    """The interface of a segmentation model.

    Attributes:
        name: For people and tables.
        preprocessing: How pictures become inputs.
        labels: Names of the classes, in the order of the model's output; unique.
        ignored: Labels that are no regions, such as the background.
        palette: A colour for each label.
    """

    name: str
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    ignored: tuple[str, ...]
    palette: Palette


class SegmentationSidecar(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The contents of a segmentation model's ``<model>.spec.json``.

    Attributes:
        labels: Names of the classes, in the order of the output.
        preprocessing: Fields of `Preprocessing` that differ from the default, which pads to the model's input size.
        activation: What turns the output into probabilities: ``softmax``, ``sigmoid``, or ``none`` if it gives
            probabilities already. By default this is found out: see `models.regions.dense_model.find_activation`.
        ignored: Labels that are no regions.
        palette: Colours of labels, ``#rrggbb``; the others have those of Pascal VOC.
    """

    labels: tuple[str, ...] | None = None
    preprocessing: dict[str, Any] = {}
    activation: Activation | None = None
    ignored: tuple[str, ...] = (BACKGROUND,)
    palette: dict[str, str] = {}


def read_segmentation_sidecar(path: Path) -> SegmentationSidecar:
    """Read the sidecar of the segmentation model at `path`; an empty one if there is none.

    Raises:
        ModelError: It cannot be read, or has an unknown field.
    """
    return sidecar_of(path, SegmentationSidecar)


def spec_of(path: Path, sidecar: SegmentationSidecar, usual: Preprocessing, classes: int) -> SegmentationSpec:
    """Make the spec of the model at `path` with `classes` outputs.

    A model with one output, as for one kind of thing before a background, needs one label.

    Args:
        path: The model.
        sidecar: Its sidecar.
        usual: The preprocessing, unless the sidecar says otherwise.
        classes: Number of channels of the output.

    Raises:
        ModelError: The labels are missing or do not fit, or another field does not.
    """
    file, labels = sidecar_path(path), sidecar.labels
    if not labels:
        raise ModelError(f'{path} has no labels: write {file} with {{"labels": [...]}}, one name for each of {classes}')
    if len(labels) != classes or len(set(labels)) != classes:
        raise ModelError(f"{file} names {len(set(labels))} different labels for {classes} classes")
    if classes >= IGNORED:
        raise ModelError(f"{path} has {classes} classes; a mask holds at most {IGNORED - 1}")
    _check(file, sidecar)
    try:
        preprocessing = usual.changed(sidecar.preprocessing)
    except ModelError as error:
        raise ModelError(f"{file}: {error}") from error
    every = (BACKGROUND, *labels) if classes == 1 else labels
    defaults = voc_palette(len(every))
    palette = tuple(sidecar.palette.get(label, default) for label, default in zip(every, defaults, strict=True))
    ignored = tuple(label for label in sidecar.ignored if label in every)
    return SegmentationSpec(path.name.removesuffix(".keras"), preprocessing, every, ignored, palette)


def _check(file: Path, sidecar: SegmentationSidecar) -> None:
    known = {*(sidecar.labels or ()), BACKGROUND}
    if unknown := sorted({*sidecar.ignored, *sidecar.palette} - known):
        raise ModelError(f"{file} has no label {unknown[0]!r}, which ignored or palette names")
    if wrong := sorted(colour for colour in sidecar.palette.values() if not is_colour(colour)):
        raise ModelError(f"{file}: the colour is {wrong[0]!r}; write it as #rrggbb")
