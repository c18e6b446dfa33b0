"""Searching a catalog: open it once, keep it in memory, ask it in words, with a picture or with a video.

    search = CatalogSearch.open("/catalog")
    for hit in search.find(search.words("a dog on a skateboard"), top_k=5):
        print(hit.score, hit.uri, hit.ranges)

Nothing of TensorFlow is imported unless a picture or a video is asked with and the model needs it.
"""

import datetime
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.retrieval.errors import RetrievalError
from models.retrieval.moments import Moment
from models.retrieval.scoring import Metric
from models.retrieval.videos import VideoHit, VideoIndex
from models.retrieval.words import JointWords, LabelSet, WordSpace
from models.text.joint import JointTextModel
from models.text.label_texts import imagenet_label_texts, label_vectors, read_label_texts, texts_of
from models.text.registry import DEFAULT_TEXT_MODEL, open_text_model
from models.text.spec import TextModel
from models.visual.bundle import ModelBundle, cache_folder, fingerprint_of_model
from models.visual.target import TARGETS
from transforms.catalog.runs import Catalog

RERANKED = 200
"""How many of the best videos by sight are ranked again where words that come with videos count too."""

LABELS_SHOWN = 5
QUERY_FRAMES = 16


@dataclass(frozen=True)
class Query:
    """A question, ready to be compared.

    Attributes:
        direction: float32 [D], a unit vector among the centred frame embeddings.
        text: the words it was asked in, or None.
    """

    direction: NDArray[np.float32]
    text: str | None = None


@dataclass(frozen=True)
class Filters:
    """Which videos count at all; every field that is not None must hold.

    Attributes:
        label: among the video's labels.
        uri: a glob over the whole uri, or over its end after a slash.
        min_duration_s: seconds at least.
        max_duration_s: seconds at most.
        since: modified on this day or later (UTC).
        until: modified on this day or earlier (UTC).
        min_height: pixels at least.
    """

    label: str | None = None
    uri: str | None = None
    min_duration_s: float | None = None
    max_duration_s: float | None = None
    since: datetime.date | None = None
    until: datetime.date | None = None
    min_height: int | None = None

    @property
    def are_set(self) -> bool:
        """Whether any filter is."""
        return self != Filters()


class Hit(NamedTuple):
    """One answer.

    Attributes:
        score: cosine similarity, or distance for the euclidean metric.
        video_id: of the video.
        uri: where it is.
        ranges: where in it, best first, seconds from its first frame.
        labels: its labels with their scores, best first.
        duration_s: its length, or None.
    """

    score: float
    video_id: str
    uri: str
    ranges: tuple[Moment, ...]
    labels: list[dict[str, Any]]
    duration_s: float | None


class CatalogSearch:
    """An open catalog. Thread-safe for searching; index files are memory-mapped."""

    def __init__(
        self,
        catalog: Catalog,
        index: VideoIndex,
        bundle: ModelBundle,
        text_model: TextModel,
        label_texts: Path | None = None,
    ) -> None:
        self.catalog = catalog
        self.index = index
        self.bundle = bundle
        self._text_model = text_model
        self._label_texts = label_texts

    @classmethod
    def open(
        cls,
        root: str,
        *,
        text_model: str = DEFAULT_TEXT_MODEL,
        text_weights: Path | None = None,
        label_texts: Path | None = None,
    ) -> "CatalogSearch":
        """Opens a catalog's current index.

        Args:
            root: the catalog's folder.
            text_model: a name of `models.text.registry`.
            text_weights: its weights, where it does not carry its own.
            label_texts: a table of texts for the model's own classes (see `models.text.label_texts`).

        Raises:
            CatalogError: there is no catalog.
            RetrievalError: there is no index, or it is damaged.
            TextModelError: the text model cannot be had.
        """
        catalog = Catalog.open(root)
        index = VideoIndex.open(Path(catalog.path("index")))
        bundle = ModelBundle.open(Path(catalog.model_folder(index.manifest.model_fingerprint)))
        return cls(catalog, index, bundle, open_text_model(text_model, text_weights), label_texts)

    def words(self, text: str) -> Query:
        """A question in words, in any language that the text model knows.

        Raises:
            RetrievalError: no words, or a model whose classes cannot carry them.
        """
        return Query(self._word_space.directions([text])[0], text)

    def image(self, path: str) -> Query:
        """A question by a picture.

        Raises:
            RetrievalError: it cannot be read.
        """
        import cv2

        from models.visual.preprocess import preprocess

        try:
            data = np.fromfile(path, np.uint8)
            picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
        except (OSError, cv2.error) as error:
            raise RetrievalError(f"cannot read the picture {path}: {error}") from error
        if picture is None:
            raise RetrievalError(f"{path} is no picture that can be read")
        rgb = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8)
        return self.pictures(preprocess(rgb, self.bundle.spec.preprocessing)[np.newaxis])

    def video(self, path: str) -> Query:
        """A question by a video: the mean of frames spread over it.

        Raises:
            RetrievalError: it gives no frame.
        """
        from transforms.video.query_video import query_pictures

        return self.pictures(query_pictures(path, self.bundle.spec.preprocessing, QUERY_FRAMES))

    def pictures(self, pictures: NDArray[np.uint8]) -> Query:
        """A question by model inputs, uint8 [n, height, width, channels]."""
        return Query(self.index.direction(self._engine.infer(pictures).embeddings))

    def find(
        self,
        query: Query,
        *,
        top_k: int = 10,
        metric: Metric = "cosine",
        filters: Filters | None = None,
        text_weight: float = 0.0,
    ) -> list[Hit]:
        """The best videos for a question, best first.

        Args:
            query: from `words`, `image` or `video`.
            top_k: how many.
            metric: ``cosine`` similarity or ``euclidean`` distance of unit vectors.
            filters: which videos count.
            text_weight: share (0..1) that the words coming with a video have in its score, for questions in words and
                videos that have any; only with the cosine.

        Raises:
            RetrievalError: an unknown label, or a text weight where it cannot be used.
        """
        filters = filters or Filters()
        allowed = self._allowed(filters) if filters.are_set else None
        if allowed is not None and not len(allowed):
            return []
        if not text_weight:
            return [_hit(hit) for hit in self.index.search(query.direction, top_k, metric, allowed)]
        return self._fused(query, top_k, metric, allowed, text_weight)

    def _fused(
        self, query: Query, top_k: int, metric: Metric, allowed: NDArray[np.int64] | None, text_weight: float
    ) -> list[Hit]:
        if query.text is None or metric != "cosine":
            raise RetrievalError("--text-weight is for questions in words, with the cosine")
        hits = self.index.search(query.direction, max(top_k, RERANKED), metric, allowed)
        asked = open_text_model(DEFAULT_TEXT_MODEL).encode_queries([query.text])[0]  # as the words were read
        fused = [hit._replace(score=_fuse(hit, asked, text_weight)) for hit in hits]
        fused.sort(key=lambda hit: (-hit.score, hit.video_id))
        return [_hit(hit) for hit in fused[:top_k]]

    def _allowed(self, filters: Filters) -> NDArray[np.int64]:
        table = self.index.table
        keep = np.ones(len(table), bool)
        if filters.label is not None:
            keep &= self._has_label(table, filters.label)
        if filters.uri is not None:
            keep &= np.array([_matches(uri, filters.uri) for uri in table["uri"].to_pylist()], bool)
        for column, least, most in (
            ("duration_s", filters.min_duration_s, filters.max_duration_s),
            ("height", filters.min_height, None),
        ):
            values = table[column].to_numpy(zero_copy_only=False).astype(np.float64)
            keep &= values >= least if least is not None else True
            keep &= values <= most if most is not None else True
        days = pc.cast(table["modified"], pa.date32())
        if filters.since is not None:
            keep &= pc.greater_equal(days, filters.since).to_numpy(zero_copy_only=False)
        if filters.until is not None:
            keep &= pc.less_equal(days, filters.until).to_numpy(zero_copy_only=False)
        return table["video"].to_numpy()[keep]

    def _has_label(self, table: pa.Table, label: str) -> NDArray[np.bool_]:
        if label not in self.bundle.spec.labels:
            import difflib

            nearest = difflib.get_close_matches(label, self.bundle.spec.labels, n=1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise RetrievalError(f"the model has no label {label!r}{hint}")
        return np.array([any(one["label"] == label for one in row) for row in table["labels"].to_pylist()], bool)

    @cached_property
    def _engine(self) -> Any:
        from models.visual.engine import open_engine

        return open_engine(self.bundle, device="cpu")

    @cached_property
    def _word_space(self) -> WordSpace | JointWords:
        if isinstance(self._text_model, JointTextModel):
            self._require_tower_of(self._text_model.folder)
            return JointWords(self._text_model)
        classifier = self.bundle.classifier()
        if classifier is None:
            raise RetrievalError(
                f"{self.bundle.spec.name} has no linear class weights to carry words: ask with --image or --video"
            )
        tables = [read_label_texts(self._label_texts)] if self._label_texts is not None else []
        texts = texts_of(self.bundle.spec.labels, [*tables, imagenet_label_texts()])
        vectors = label_vectors(texts, self._text_model, cache_folder() / "texts")
        return WordSpace(self._text_model, [LabelSet(vectors, classifier[0])])

    def _require_tower_of(self, preset: Path) -> None:
        """A text tower's vectors mean nothing but beside those of the image tower it was trained with."""
        made = [fingerprint_of_model(str(preset), precision, device=device) for precision, device in TARGETS]
        if self.bundle.fingerprint not in made:
            raise RetrievalError(
                f"the index holds vectors of {self.bundle.spec.name}, not of {preset}: classify with --model {preset}"
            )


def _hit(hit: VideoHit) -> Hit:
    labels = hit.row["labels"][:LABELS_SHOWN]
    return Hit(hit.score, hit.video_id, hit.uri, hit.ranges, labels, hit.row["duration_s"])


def _fuse(hit: VideoHit, asked: NDArray[np.float32], weight: float) -> float:
    """The score by sight, mixed with how well the words that come with the video fit, where there are any."""
    vector = hit.row["words_vector"]
    if vector is None:
        return hit.score
    return (1 - weight) * hit.score + weight * float(np.dot(asked, np.asarray(vector, np.float32)))


def _matches(uri: str, pattern: str) -> bool:
    return fnmatchcase(uri, pattern) or fnmatchcase(uri, f"*/{pattern}")
