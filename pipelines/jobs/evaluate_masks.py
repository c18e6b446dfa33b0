"""Measures a segmentation model on pictures with masks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.regions.bundle import prepare_segmenter
from models.regions.errors import MaskError
from models.regions.iou import Counts, figures_of, mean_iou, pixel_counts
from models.regions.mask_folder import (
    IGNORED,
    LABELS_FILE,
    MaskedPicture,
    MaskFolder,
    open_mask_folder,
    read_masks,
)
from models.regions.opening import DenseSegmenter, open_segmenter


@dataclass(frozen=True)
class JudgedPicture:
    """A picture with the figures of its mask.

    Attributes:
        picture: the files.
        iou: mean intersection over union of the classes that the picture shows or is taken for.
        counts: int64 [L, L], see `models.regions.iou.pixel_counts`.
    """

    picture: MaskedPicture
    iou: float
    counts: Counts


@dataclass(frozen=True)
class MaskEvaluation:
    """A measured segmentation model.

    Attributes:
        figures: shares and counts, ready for JSON.
        judged: the pictures, worst first.
        segmenter: the model.
        examiner: what measured it.
    """

    figures: dict[str, Any]
    judged: tuple[JudgedPicture, ...]
    examiner: "Examiner"


class Examiner:
    """Compares the masks of a folder with those that a model predicts, in the model's input.

    Attributes:
        folder: the pictures and masks.
        segmenter: the model.
        spec: its inputs and outputs.
    """

    def __init__(self, folder: MaskFolder, segmenter: DenseSegmenter) -> None:
        """Creates it from a folder and a model.

        Raises:
            MaskError: the folder names a label that the model does not know.
        """
        self.folder, self.segmenter, self.spec = folder, segmenter, segmenter.bundle.spec
        labels = self.spec.labels
        if unknown := [name for name in folder.labels.names if name not in labels]:
            known = f"it knows {', '.join(labels)}"
            raise MaskError(f"the model has no label {unknown[0]!r}, as {folder.path / LABELS_FILE} does; {known}")
        self._positions = np.full(256, IGNORED, np.uint8)
        self._positions[: len(folder.labels.names)] = [labels.index(name) for name in folder.labels.names]

    def masks(self, picture: MaskedPicture) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
        """Returns a picture as the model sees it, uint8 [h, w, c], its true and its predicted mask, uint8 [h, w].

        Raises:
            MaskError: the picture or its mask cannot be used.
        """
        read = read_masks(self.folder, [picture], self.spec.preprocessing)
        return read.pictures[0], self._positions[read.targets[0]], self.segmenter.label_map(read.pictures[0])

    def judge(self, picture: MaskedPicture) -> JudgedPicture:
        """Counts the pixels of a picture.

        Raises:
            MaskError: the picture or its mask cannot be used.
        """
        _, targets, predicted = self.masks(picture)
        counts = pixel_counts(targets, predicted, len(self.spec.labels))
        return JudgedPicture(picture, mean_iou(counts), counts)


def run_mask_evaluation(masks: Path, model: str) -> MaskEvaluation:
    """Measures a model on the pictures of a folder that it did not learn from.

    Pixels are compared in the model's input, where the predicted masks are made.

    Args:
        masks: the folder of pictures and masks.
        model: a segmentation model, as `models.regions.bundle.prepare_segmenter` takes it.

    Raises:
        MaskError: the pictures or masks cannot be used, or the model learned from all of them.
        ModelError: the model cannot be opened.
    """
    folder, segmenter = open_mask_folder(masks), open_segmenter(prepare_segmenter(model))
    examiner = Examiner(folder, segmenter)
    learned = set(segmenter.bundle.training.keys)
    pictures = [one for one in folder.pictures if one.key() not in learned]
    if not pictures:
        raise MaskError(f"{model} was trained on all pictures of {masks}; evaluate it on others")
    judged = [examiner.judge(one) for one in pictures]
    figures = {
        "model": model,
        "fingerprint": segmenter.fingerprint,
        "masks": str(masks),
        "pictures": len(judged),
        "left_out": len(folder.pictures) - len(judged),
        **figures_of(np.sum([one.counts for one in judged], axis=0), examiner.spec.labels),
    }
    return MaskEvaluation(figures, tuple(sorted(judged, key=_worst_first)), examiner)


def _worst_first(one: JudgedPicture) -> tuple[float, str]:
    return (one.iou if np.isfinite(one.iou) else 1.0, one.picture.name)
