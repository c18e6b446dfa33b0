"""Evaluates the ranges of actions that a localization head finds: mean average precision at temporal IoUs."""

from collections.abc import Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from models.heads.labels_table import LabelRow
from models.heads.range_metrics import LIMITS, Ranges, average_precision, mean_average_precision
from models.visual.bundle import ModelBundle
from pipelines.jobs.work_folder import work_folder
from transforms import storage
from transforms.catalog.bundles import copy_bundle
from transforms.catalog.reading.labelled_videos import LabelledVideo, batches, videos_with_ranges
from transforms.catalog.runs import Catalog
from transforms.collect import Collect, read_collected
from transforms.find_ranges import FindRanges, FoundRanges


def evaluate_ranges(
    catalog: Catalog, rows: Sequence[LabelRow], bundle: ModelBundle, options: PipelineOptions
) -> dict[str, Any]:
    """Finds the ranges in the labelled videos and judges them; videos whose split is ``train`` are left out.

    Args:
        catalog: the catalog with the videos' embeddings.
        rows: the labels.
        bundle: of a localization head.
        options: Beam's.

    Returns:
        ``map`` by temporal IoU, ``per_class`` with the same for each class and its number of labelled ranges, and the
        numbers of ``videos`` and ``labelled`` ranges.

    Raises:
        LabelsError: the catalog does not have a video.
    """
    videos = [one for one in videos_with_ranges(catalog, rows) if one[1].example.split != "train"]
    found = _find(catalog, [labelled for labelled, _ in videos], bundle, options)
    return figures_of(found, {whole.example.uri: whole.ranges for _, whole in videos})


def figures_of(found: Ranges, truth: Ranges) -> dict[str, Any]:
    """Returns the figures of found ranges, ready for JSON; see `evaluate_ranges`."""
    labels = sorted({one.label for ranges in truth.values() for one in ranges})
    labelled = {label: sum(one.label == label for ranges in truth.values() for one in ranges) for label in labels}
    return {
        "videos": len(truth),
        "labelled": sum(labelled.values()),
        "map": {str(limit): mean_average_precision(found, truth, limit) for limit in LIMITS},
        "per_class": {
            label: {
                "labelled": labelled[label],
                "ap": {str(limit): average_precision(found, truth, label, limit) for limit in LIMITS},
            }
            for label in labels
        },
    }


def _find(catalog: Catalog, videos: Sequence[LabelledVideo], bundle: ModelBundle, options: PipelineOptions) -> Ranges:
    with work_folder(catalog, "evaluation") as folder:
        shared, results = storage.join(folder, bundle.path.name), storage.join(folder, "ranges.json")
        copy_bundle(str(bundle.path), shared)
        with beam.Pipeline(options=options) as pipeline:
            _ = (
                pipeline
                | "Batches" >> beam.Create(list(batches(videos)))
                | "Spread batches" >> beam.Reshuffle()
                | FindRanges(shared)
                | Collect(results)
            )
        return {one.uri: one.ranges for one in read_collected(results, FoundRanges)}
