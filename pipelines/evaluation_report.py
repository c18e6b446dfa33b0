"""Writing an evaluation down: a page for people, figures for machines, every clip's scores for whoever asks why."""

import csv
import io
from pathlib import Path
from typing import Any

import cv2
import msgspec

from models.heads import report, saved
from models.heads.errors import HeadError
from models.heads.labels_table import Example
from models.visual.spec import Preprocessing
from models.visual.user_model import is_head
from pipelines.evaluating import Evaluation
from transforms.video.still import picture_at

THUMBNAIL = Preprocessing(180, 320, fit="pad", crop_fraction=1.0)
JPEG_QUALITY = 80


def write_report(evaluation: Evaluation, folder: Path) -> None:
    """Writes ``report.html``, ``figures.json`` and ``scores.csv``.

    Raises:
        HeadError: the folder cannot be written.
    """
    figures, judged = evaluation.figures, evaluation.judged
    clips = [_clip(evaluation, int(i)) for i in report.worst_first(judged)[: report.WORST]]
    page = report.render(
        figures, judged, clips, f"How good is {Path(figures['model']).name}", _learned(figures["model"])
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.html").write_text(page, encoding="utf-8")
        (folder / "figures.json").write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
        (folder / "scores.csv").write_text(_scores(evaluation), encoding="utf-8")
    except OSError as error:
        raise HeadError(f"cannot write the report to {folder}: {error.strerror}") from error


def _learned(model: str) -> dict[str, Any] | None:
    path = Path(model)
    return saved.read(path).training if path.is_file() and is_head(path) else None


def _clip(evaluation: Evaluation, index: int) -> report.Clip:
    judged, example = evaluation.judged, evaluation.examples[index]
    best = int(judged.scores[index].argmax())
    return report.Clip(
        example.uri,
        _part(example),
        " and ".join(example.labels),
        judged.labels[best],
        float(judged.scores[index, best]),
        _thumbnail(example.uri, evaluation.middles_s[index]),
    )


def _part(example: Example) -> str:
    if not example.start_s and example.end_s == float("inf"):
        return ""
    return f", from {example.start_s:g} s to " + (
        "its end" if example.end_s == float("inf") else f"{example.end_s:g} s"
    )


def _thumbnail(uri: str, time_s: float) -> str | None:
    picture = picture_at(uri, time_s, THUMBNAIL)
    if picture is None:
        return None
    done, data = cv2.imencode(
        ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )
    return report.data_uri(data.tobytes(), "jpeg") if done else None


def _scores(evaluation: Evaluation) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["uri", "start_s", "end_s", "group", "truth", *evaluation.judged.labels])
    for example, scores in zip(evaluation.examples, evaluation.judged.scores, strict=True):
        end_s = "" if example.end_s == float("inf") else example.end_s
        truth = "|".join(example.labels)
        writer.writerow([example.uri, example.start_s, end_s, example.group, truth, *(f"{s:.6f}" for s in scores)])
    return text.getvalue()
