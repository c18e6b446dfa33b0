"""Writes what an evaluation of a segmentation model found: a page for people, figures and a table for machines."""

import csv
import io
from typing import Final

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from models.regions.mask_folder import IGNORED
from models.regions.palettes import colours
from pipelines.jobs.evaluate_masks import JudgedPicture, MaskEvaluation
from pipelines.pages.segmentation import WorstPicture, render_segmentation
from transforms import storage

WORST: Final = 24
"""Pictures on the page."""

THUMBNAIL_WIDTH: Final = 240
"""Width in pixels of each of the three pictures of a thumbnail."""

TINT: Final = 0.6
"""Share of a label's colour in a pixel that has the label."""

WEBP_QUALITY: Final = 80


def write_segmentation_report(evaluation: MaskEvaluation, folder: str) -> None:
    """Writes ``report.html``, ``figures.json`` and ``pictures.csv`` into a folder, on any file system.

    Raises:
        StorageError: the folder cannot be written.
        MaskError: a picture can no longer be read.
    """
    worst = [_worst(evaluation, one) for one in evaluation.judged[:WORST]]
    spec = evaluation.examiner.spec
    files = {
        "report.html": render_segmentation(
            evaluation.figures, worst, dict(zip(spec.labels, spec.palette, strict=True))
        ),
        "figures.json": msgspec.json.format(msgspec.json.encode(evaluation.figures)).decode(),
        "pictures.csv": _pictures(evaluation),
    }
    for name, text in files.items():
        storage.write_atomically(storage.join(folder, name), text.encode())


def _worst(evaluation: MaskEvaluation, judged: JudgedPicture) -> WorstPicture:
    picture, targets, predicted = evaluation.examiner.masks(judged.picture)
    spec = evaluation.examiner.spec
    rgb = picture if picture.shape[2] == 3 else np.repeat(picture, 3, axis=2)
    ignored = [spec.labels.index(label) for label in spec.ignored]
    palette = colours(spec.palette)
    row = np.hstack([rgb, tinted(rgb, targets, palette, ignored), tinted(rgb, predicted, palette, ignored)])
    return WorstPicture(judged.picture.name, judged.iou, _thumbnail(row))


def tinted(
    rgb: NDArray[np.uint8], mask: NDArray[np.uint8], palette: NDArray[np.uint8], ignored: list[int]
) -> NDArray[np.uint8]:
    """Lays the colours of a mask over a picture; where a mask is not judged, the picture becomes grey.

    Args:
        rgb: uint8 [h, w, 3].
        mask: uint8 [h, w], positions in the palette.
        palette: uint8 [L, 3].
        ignored: positions that get no colour.
    """
    shown = rgb.astype(np.float32)
    coloured = (mask != IGNORED) & ~np.isin(mask, ignored)
    shown[coloured] = (1 - TINT) * shown[coloured] + TINT * palette[mask[coloured]]
    shown[mask == IGNORED] = 128
    return np.round(shown).astype(np.uint8)


def _thumbnail(row: NDArray[np.uint8]) -> bytes:
    height = max(1, round(row.shape[0] * 3 * THUMBNAIL_WIDTH / row.shape[1]))
    small = cv2.resize(row, (3 * THUMBNAIL_WIDTH, height), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".webp", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_WEBP_QUALITY, WEBP_QUALITY])
    return bytes(data.tobytes())


def _pictures(evaluation: MaskEvaluation) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["picture", "mean_iou"])
    writer.writerows([one.picture.name, f"{one.iou:.6f}"] for one in evaluation.judged)
    return text.getvalue()
