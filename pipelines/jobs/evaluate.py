"""Evaluates a classifier: a Beam job scores the labelled parts of a catalog, and this process computes the figures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions

from models.heads import saved
from models.heads.errors import HeadError, LabelsError
from models.heads.evaluation import Predictions, evaluate
from models.heads.hierarchy import parse_hierarchy, roll_up
from models.heads.labels_table import Example, has_parts
from models.visual.bundle import ModelBundle, prepare
from pipelines.jobs.evaluate_ranges import evaluate_ranges
from pipelines.jobs.work_folder import work_folder
from transforms import storage
from transforms.catalog.bundles import copy_bundle, local_model
from transforms.catalog.reading.labelled_videos import (
    LabelledVideo,
    batches,
    catalog_bundle,
    check_some,
    labelled_videos,
    newest_config,
    read_labels,
    read_table,
)
from transforms.catalog.records import RunConfig
from transforms.catalog.runs import Catalog
from transforms.collect import Collect, read_collected
from transforms.score_examples import ScoredExample, ScoreExamples, ScoreSettings


@dataclass(frozen=True)
class EvaluationRequest:
    """The request for an evaluation; see `reelbeam evaluate --help`."""

    catalog: str
    labels: str
    model: str | None
    hierarchy: str | None
    wanted_precision: float


@dataclass(frozen=True)
class Evaluation:
    """The figures of an evaluation and the scores behind them.

    Attributes:
        figures: ready for JSON.
        predictions: the examples' scores and truth.
        examples: the labelled parts in the same order.
        middles_s: seconds at which their middle frames are shown.
    """

    figures: dict[str, Any]
    predictions: Predictions
    examples: list[Example]
    middles_s: list[float]


def run_evaluation(request: EvaluationRequest, options: PipelineOptions) -> Evaluation:
    """Scores the labelled parts and judges the scores; parts whose split is ``train`` are left out.

    If the table labels parts of videos, the ranges that a localization head finds are judged as well.

    Raises:
        CatalogError, LabelsError, HeadError, ModelError: see there.
    """
    rows = read_labels(request.labels)
    parents = parse_hierarchy(read_table(request.hierarchy), request.hierarchy) if request.hierarchy else None
    catalog = Catalog.open(request.catalog)
    config = newest_config(catalog)
    videos = [_kept_out(video) for video in labelled_videos(catalog, rows)]
    videos = [video for video in videos if video.examples]
    check_some(videos)
    settings, bundle, about = _scorer(request, catalog, config)
    named = {row.group for row in rows} - {""}
    examples = [example for video in videos for example in video.examples]
    targets = _targets(examples, settings.labels)
    scored = _score(catalog, videos, settings, options)
    thresholds = tuple(bundle.spec.threshold_of()[label] for label in settings.labels)
    predictions = Predictions(
        settings.labels,
        np.array([one.scores for one in scored]),
        np.array([one.raw_scores for one in scored]),
        targets,
        [example.uri for example in examples],
        [example.group if example.group in named else "" for example in examples],
        settings.multi_label or any(len(example.labels) > 1 for example in examples),
        thresholds,
    )
    figures: dict[str, Any] = {
        "model": request.model or config.model,
        "catalog": request.catalog,
        "frames": sum(one.frames for one in scored),
        "temperature": settings.temperature,
        "note": _note(about, config),
        **evaluate(predictions, request.wanted_precision),
    }
    if bundle.finds_ranges and has_parts(rows):
        figures["ranges"] = evaluate_ranges(catalog, rows, bundle, options)
    if parents is not None:
        figures["hierarchy"] = evaluate(_rolled_up(predictions, parents), request.wanted_precision)
    return Evaluation(figures, predictions, examples, [one.middle_s for one in scored])


def _kept_out(video: LabelledVideo) -> LabelledVideo:
    return replace(video, examples=tuple(example for example in video.examples if example.split != "train"))


def _scorer(
    request: EvaluationRequest, catalog: Catalog, config: RunConfig
) -> tuple[ScoreSettings, ModelBundle, saved.SavedHead | None]:
    """Chooses how to score the catalog's rows: by a head on their embeddings, or by their stored labels."""
    made_by = catalog_bundle(catalog, config)
    if request.model is None:
        return ScoreSettings(None, made_by.spec.labels, 1.0, False), made_by, None
    model = local_model(request.model)
    bundle = prepare(model, precision=made_by.precision, device=made_by.device)
    about = saved.read(Path(model)) if model.endswith(".keras") else None
    temperature, multi_label = (about.temperature, about.multi_label) if about else (1.0, False)
    if bundle.has_head and bundle.backbone.fingerprint == made_by.backbone.fingerprint:
        return ScoreSettings(str(bundle.path), bundle.spec.labels, temperature, multi_label), bundle, about
    if bundle.fingerprint == made_by.fingerprint:
        return ScoreSettings(None, bundle.spec.labels, temperature, multi_label), bundle, about
    if bundle.has_head:
        raise HeadError(
            f"{request.model} takes the features of {bundle.backbone.model} {bundle.backbone.fingerprint[:12]}, and "
            f"{catalog.root} holds those of {made_by.backbone.model} {made_by.backbone.fingerprint[:12]}"
        )
    raise HeadError(
        f"{catalog.root} was classified with {config.model}: classify it with --model {request.model} first"
    )


def _targets(examples: Sequence[Example], labels: Sequence[str]) -> np.ndarray:
    strange = sorted({label for example in examples for label in example.labels} - set(labels))
    if strange:
        raise LabelsError(
            f"the model has no class {', '.join(map(repr, strange[:3]))}; it has {', '.join(labels[:8])}"
            + (f" and {len(labels) - 8} more" if len(labels) > 8 else "")
        )
    return np.array([[float(label in example.labels) for label in labels] for example in examples])


def _score(
    catalog: Catalog, videos: list[LabelledVideo], settings: ScoreSettings, options: PipelineOptions
) -> list[ScoredExample]:
    parts = list(batches(videos))
    counts = [sum(len(video.examples) for video in part) for part in parts]
    firsts = [int(first) for first in np.cumsum([0, *counts])]
    with work_folder(catalog, "evaluation") as folder:
        if settings.bundle is not None:
            shared = storage.join(folder, Path(settings.bundle).name)
            copy_bundle(settings.bundle, shared)
            settings = replace(settings, bundle=shared)
        results = storage.join(folder, "scores.json")
        with beam.Pipeline(options=options) as pipeline:
            _ = (
                pipeline
                | "Batches" >> beam.Create(list(zip(firsts, parts, strict=False)))
                | "Spread batches" >> beam.Reshuffle()
                | ScoreExamples(settings)
                | Collect(results)
            )
        unique = {one.number: one for one in read_collected(results, ScoredExample)}
    return [unique[number] for number in range(firsts[-1])]


def _note(about: saved.SavedHead | None, config: RunConfig) -> str:
    if about is None or about.content or about.sampling == config.sampling:
        return ""
    return f"the classifier learned from frames at {about.sampling}, and the catalog holds frames at {config.sampling}"


def _rolled_up(predictions: Predictions, parents: dict[str, str]) -> Predictions:
    labels, scores = roll_up(predictions.labels, predictions.scores, parents, predictions.multi_label)
    _, raw_scores = roll_up(predictions.labels, predictions.raw_scores, parents, predictions.multi_label)
    _, targets = roll_up(predictions.labels, predictions.targets, parents, multi_label=True)
    return replace(
        predictions,
        labels=labels,
        scores=scores,
        raw_scores=raw_scores,
        targets=targets,
        thresholds=(0.5,) * len(labels),
    )
