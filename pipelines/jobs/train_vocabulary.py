"""Trains a head on a vocabulary and a few labelled clips: the words are the start, the clips correct it."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions
from numpy.typing import NDArray

from models.heads.errors import LabelsError
from models.heads.feature_set import FeatureSet
from models.heads.labels_table import LabelRow
from models.heads.saved import check_name, save
from models.heads.splits import linked_groups
from models.suggestions import suggest
from models.vocabulary.few_shot import learn
from models.vocabulary.head import learned_head
from models.vocabulary.table import NONE_OF_THESE, Vocabulary
from models.vocabulary.text_weights import text_weights
from pipelines.jobs.train_head import gather, learnable
from pipelines.jobs.vocabulary import read_vocabulary
from pipelines.jobs.work_folder import work_folder
from transforms.catalog.bundles import written_locally
from transforms.catalog.reading.labelled_videos import (
    catalog_bundle,
    check_some,
    labelled_videos,
    newest_config,
    read_labels,
)
from transforms.catalog.runs import Catalog


@dataclass(frozen=True)
class VocabularyRequest:
    """The request for training; see `reelbeam train --help`."""

    catalog: str
    vocabulary: str
    labels: str
    output: str
    model: str | None = None


@dataclass(frozen=True)
class VocabularySummary:
    """The result of a training.

    Attributes:
        output: the saved file.
        labels: names of the classes.
        clips: number of labelled clips of each class that has some.
        frames: number of their frames.
        sampling: how these frames were chosen.
        by_words: share of the clips whose best class is right, by the words alone; None if no clip shows a class.
        by_both: the same by words and clips, each clip judged by a head that was learned without its group.
        temperature: the logits are divided by this.
        trust: one line that says how far the words alone can be trusted.
        elapsed_s: wall time in seconds.
    """

    output: str
    labels: tuple[str, ...]
    clips: dict[str, int]
    frames: int
    sampling: str
    by_words: float | None
    by_both: float | None
    temperature: float
    trust: str
    elapsed_s: float


def run_vocabulary_training(request: VocabularyRequest, options: PipelineOptions) -> VocabularySummary:
    """Trains a head on a vocabulary and on a catalog's features of labelled clips, and saves it.

    Args:
        request: what to do.
        options: Beam's.

    Raises:
        CatalogError: there is no catalog, or a file of it is damaged.
        LabelsError: a table cannot be read, or the table of labels cannot be used.
        VocabularyError: the vocabulary cannot be used.
        HeadError: the labelled parts have no frames, or the file cannot be written.
        ModelError: the model that made the features is missing.
    """
    began = time.monotonic()
    check_name(request.output)
    vocabulary, rows = read_vocabulary(request.vocabulary), read_labels(request.labels)
    _check_labels(rows, vocabulary, request.vocabulary)
    catalog = Catalog.open(request.catalog, request.model)
    config = newest_config(catalog)
    bundle = catalog_bundle(catalog, config)
    videos = [video for video in map(learnable, labelled_videos(catalog, rows)) if video.examples]
    check_some(videos)
    words = text_weights(vocabulary, bundle)
    with TemporaryDirectory(prefix="reelbeam-train-") as local, work_folder(catalog, "training") as shared:
        features = gather(videos, shared, Path(local) / "features.f32", options)
        clips = [sequence.astype(np.float64) for sequence in features.sequences()]
        groups = linked_groups([example.group for example in features.examples], features.content_keys())
    targets = targets_of(features, vocabulary)
    learned = learn(words, clips, targets, list(map(str, groups)))
    by_words = np.stack([clip.mean(axis=0) for clip in clips]) @ words.kernel + words.bias
    summary = VocabularySummary(
        output=request.output,
        labels=tuple(text.name for text in vocabulary),
        clips={text.name: int(n) for text, n in zip(vocabulary, targets.sum(axis=0), strict=True) if n},
        frames=int(features.lengths.sum()),
        sampling=config.sampling,
        by_words=_right(by_words, targets),
        by_both=_right(learned.held_out, targets),
        temperature=learned.temperature,
        trust=words.trust,
        elapsed_s=time.monotonic() - began,
    )
    facts = {name: value for name, value in asdict(summary).items() if name not in ("output", "elapsed_s", "labels")}
    with written_locally(request.output) as path:
        save(*learned_head(vocabulary, bundle, learned, config.sampling, facts), path)
    return summary


def targets_of(features: FeatureSet, vocabulary: Vocabulary) -> NDArray[np.float64]:
    """Returns float64 [examples, L]: 1 where an example shows a class of the vocabulary, else 0."""
    shown = [set(example.labels) for example in features.examples]
    return np.array([[text.name in labels for text in vocabulary] for labels in shown], np.float64)


def _check_labels(rows: Sequence[LabelRow], vocabulary: Vocabulary, path: str) -> None:
    names = [text.name for text in vocabulary]
    for row in rows:
        if row.label not in (*names, NONE_OF_THESE):
            near = suggest(row.label, names)
            hint = f" (is it {near[0]!r}?)" if near else ""
            raise LabelsError(f"line {row.line}: {path} has no class {row.label!r}{hint}; add it there, or correct it")


def _right(logits: NDArray[np.float64], targets: NDArray[np.float64]) -> float | None:
    """Returns the share of clips whose best class they show, among those that show any."""
    some = np.flatnonzero(targets.any(axis=1))
    return float(targets[some, logits[some].argmax(axis=1)].mean()) if len(some) else None
