"""Writes an evaluation's report: a page for people, figures for machines, and the scores of every clip."""

import csv
import io
from pathlib import Path
from typing import Any

import cv2
import msgspec

from models.heads import report, saved
from models.heads.labels_table import Example
from models.visual.spec import Preprocessing
from pipelines.jobs.evaluate import Evaluation
from transforms import storage
from transforms.catalog.bundles import local_model
from transforms.storage import path_of_uri
from transforms.video.stills import picture_at

THUMBNAIL = Preprocessing(180, 320, fit="pad", crop_fraction=1.0)
JPEG_QUALITY = 80


def write_report(evaluation: Evaluation, folder: str) -> None:
    """Writes ``report.html``, ``figures.json`` and ``scores.csv`` into a folder, on any file system.

    Raises:
        StorageError: the folder cannot be written.
    """
    figures, predictions = evaluation.figures, evaluation.predictions
    clips = [_clip(evaluation, int(i)) for i in report.worst_first(predictions)[: report.WORST]]
    page = report.render(
        figures, predictions, clips, f"How good is {Path(figures['model']).name}", _learned(figures["model"])
    )
    files = {
        "report.html": page.encode(),
        "figures.json": msgspec.json.format(msgspec.json.encode(figures)),
        "scores.csv": _scores(evaluation).encode(),
    }
    for name, data in files.items():
        storage.write_atomically(storage.join(folder, name), data)


def _learned(model: str) -> dict[str, Any] | None:
    if not storage.exists(model):
        return None  # the name of a model, or a file that is no longer there
    path = Path(local_model(model))
    return saved.read(path).training if saved.is_head(path) else None


def _clip(evaluation: Evaluation, index: int) -> report.Clip:
    predictions, example = evaluation.predictions, evaluation.examples[index]
    best = int(predictions.scores[index].argmax())
    return report.Clip(
        example.uri,
        _part(example),
        " and ".join(example.labels),
        predictions.labels[best],
        float(predictions.scores[index, best]),
        _thumbnail(example.uri, evaluation.middles_s[index]),
    )


def _part(example: Example) -> str:
    if not example.start_s and example.end_s == float("inf"):
        return ""
    return f", from {example.start_s:g} s to " + (
        "its end" if example.end_s == float("inf") else f"{example.end_s:g} s"
    )


def _thumbnail(uri: str, time_s: float) -> str | None:
    picture = picture_at(path_of_uri(uri), time_s, THUMBNAIL)
    if picture is None:
        return None
    done, data = cv2.imencode(
        ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )
    return report.data_uri(data.tobytes(), "jpeg") if done else None


def _scores(evaluation: Evaluation) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["uri", "start_s", "end_s", "group", "truth", *evaluation.predictions.labels])
    for example, scores in zip(evaluation.examples, evaluation.predictions.scores, strict=True):
        end_s = "" if example.end_s == float("inf") else example.end_s
        truth = "|".join(example.labels)
        writer.writerow([example.uri, example.start_s, end_s, example.group, truth, *(f"{s:.6f}" for s in scores)])
    return text.getvalue()
