"""Searching a catalog: open it once, keep it in memory, ask it in words, with a picture or with a video.

    search = CatalogSearch.open("/catalog")
    for hit in search.find(search.words("a dog on a skateboard"), top_k=5):
        print(hit.score, hit.uri, hit.ranges)

Nothing of TensorFlow is imported unless a picture or a video is asked with and the model needs it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
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
from transforms.catalog import storage
from transforms.catalog.runs import Catalog
from transforms.video_filters import Filters, matching

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
        if not storage.is_local(root):
            raise RetrievalError(f"cannot search in {root}: an index is memory-mapped; copy or mount the catalog first")
        catalog = Catalog.open(root)
        index = VideoIndex.open(Path(catalog.path("index")), leave_out=("words", "words_vector"))
        bundle = ModelBundle.open(Path(catalog.model_folder(index.manifest.model_fingerprint)))
        return cls(catalog, index, bundle, open_text_model(text_model, text_weights), label_texts)

    def words(self, text: str) -> Query:
        """A question in words, in any language that the text model knows.

        Raises:
            RetrievalError: no words, or a model whose classes cannot carry them.
        """
        return self.many_words([text])[0]

    def many_words(self, texts: Sequence[str]) -> list[Query]:
        """Questions in words, as `words` gives them one by one; together they are read several times as fast."""
        directions = self._word_space.directions(texts)
        return [Query(direction, text) for direction, text in zip(directions, texts, strict=True)]

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
        allowed = self._allowed(filters)
        ranked = self._ranked(query, top_k, metric, allowed, text_weight)
        return [_hit(self.index.hit(query.direction, number, score, metric)) for score, number in ranked]

    def ranking(self, query: Query, *, text_weight: float = 0.0) -> list[str]:
        """URIs of all videos, best first, as `find` would give them."""
        uris = dict(zip(self.index.table["video"].to_pylist(), self.index.table["uri"].to_pylist(), strict=True))
        return [uris[number] for _, number in self._ranked(query, len(uris), "cosine", None, text_weight)]

    def _ranked(
        self, query: Query, top_k: int, metric: Metric, allowed: NDArray[np.int64] | None, text_weight: float
    ) -> list[tuple[float, int]]:
        """(score, video number) of the best videos, best first."""
        if not text_weight:
            return self.index.rank(query.direction, top_k, allowed)
        if query.text is None or metric != "cosine":
            raise RetrievalError("--text-weight is for questions in words, with the cosine")
        by_sight = self.index.rank(query.direction, max(top_k, RERANKED), allowed)
        asked = self._words_model.encode_queries([query.text])[0]
        fused = [(self._fused(score, number, asked, text_weight), number) for score, number in by_sight]
        return sorted(fused, key=lambda scored: -scored[0])[:top_k]

    def _fused(self, score: float, number: int, asked: NDArray[np.float32], weight: float) -> float:
        """The score by sight, mixed with how well the words that come with the video fit, where there are any."""
        vector = self._words_vectors.get(number)
        return score if vector is None else (1 - weight) * score + weight * float(np.dot(asked, vector))

    def _allowed(self, filters: Filters | None) -> NDArray[np.int64] | None:
        if filters is None or not filters.are_set:
            return None
        return matching(self.index.table, filters, self.bundle.spec.labels)

    @cached_property
    def _words_model(self) -> TextModel:
        """What read the words that come with videos."""
        if self._text_model.name == DEFAULT_TEXT_MODEL:
            return self._text_model
        return open_text_model(DEFAULT_TEXT_MODEL)

    @cached_property
    def _words_vectors(self) -> dict[int, NDArray[np.float32]]:
        """Vectors of the words that come with videos, by number; read only where they count."""
        rows = self.index.rows(["video", "words_vector"]).to_pylist()
        return {row["video"]: np.asarray(row["words_vector"], np.float32) for row in rows if row["words_vector"]}

    @cached_property
    def _engine(self) -> Any:
        from models.visual.engine import open_engine

        return open_engine(self.bundle, device="cpu")

    @cached_property
    def _word_space(self) -> WordSpace | JointWords:
        if isinstance(self._text_model, JointTextModel):
            self._require_tower_of(self._text_model.folder)
            return JointWords(self._text_model)
        sets = self.bundle.label_sets()
        if not sets:
            raise RetrievalError(
                f"{self.bundle.spec.name} has no linear class weights to carry words: ask with --image or --video"
            )
        tables = [read_label_texts(self._label_texts)] if self._label_texts is not None else []
        tables.append(imagenet_label_texts())
        folder = cache_folder() / "texts"
        texts = [texts_of(labels, tables) for labels, _ in sets]
        vectors = [label_vectors(one, self._text_model, folder) for one in texts]
        kernels = [kernel for _, (kernel, _) in sets]
        return WordSpace(self._text_model, [LabelSet(*one) for one in zip(vectors, kernels, strict=True)])

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
