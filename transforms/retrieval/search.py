"""Searches a catalog: opens its index once, keeps it in memory, and answers queries in words, by picture or by video.

The public API is `reelbeam.Catalog.search` and `reelbeam.Catalog.similar`.

TensorFlow is imported only if a query is a picture or a video and the model needs it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.cache import cache_folder
from models.computed_once import computed_once
from models.retrieval.errors import RetrievalError
from models.retrieval.label_mixtures import LabelMixtures
from models.retrieval.moments import Moment
from models.retrieval.scoring import Metric, unit
from models.retrieval.videos import VideoHit, VideoIndex
from models.retrieval.words import JointWords, LabelSet, Meaning, WordSpace
from models.text.concepts import concept_vectors, imagenet_concepts
from models.text.joint import JointTextModel
from models.text.label_texts import imagenet_label_texts, label_vectors, read_label_texts, texts_of
from models.text.registry import DEFAULT_TEXT_MODEL, JOINT_TEXT_MODEL, open_text_model
from models.text.spec import TextModel
from models.visual.backbone import fingerprint_of_key
from models.visual.bundle import ModelBundle
from models.visual.features import usable
from models.visual.registry import find
from transforms import storage
from transforms.catalog.bundles import local_bundle
from transforms.catalog.index.copy import IndexFiles
from transforms.catalog.index.stored import StoredIndex
from transforms.catalog.reading.latest import latest_videos
from transforms.catalog.runs import Catalog
from transforms.retrieval.filters import Filters, matching
from transforms.retrieval.pictures import pictures_in, read_picture, require_pictures
from transforms.retrieval.region_frames import RegionFrames, Times, with_regions
from transforms.retrieval.relevance import FEW_VIDEOS, LIKELY, Evidence, relevance
from transforms.storage import path_of_uri

RERANKED = 200
"""Number of the visually best videos that are ranked again if the words of a video count too."""

LABELS_SHOWN = 5
"""Number of labels in a `Hit`."""

QUERY_FRAMES = 16
"""Number of frames that stand for a query video."""

TYPICAL_VIDEOS = 500
"""Number of videos that tell what score is usual for a query."""

LABEL_WEIGHT = 2.0
"""Weight of how well words fit a video's labels, beside the cosine, for queries in the labels' language.

For queries in the other names' language it is 0: there it found nothing more.
"""


UNWANTED_WEIGHT = 0.5
"""How much what is not wanted counts, relative to what is wanted (docs/retrieval.md has the measurement)."""


@dataclass(frozen=True)
class Query:
    """A query as a vector.

    Attributes:
        direction: float32 [D], a unit vector in the space of the centred frame embeddings.
        text: the words of the query; None for a picture or a video.
        meaning: what the words mean to the classifier's labels; None for a picture, a video, several parts or a joint
            model.
        label_fits: float64 [L], cosines of the words with the texts of the classifier's labels, where the labels of a
            video count too; None where they do not.
    """

    direction: NDArray[np.float32]
    text: str | None = None
    meaning: Meaning | None = None
    label_fits: NDArray[np.float64] | None = None


class Hit(NamedTuple):
    """A video that answers a query.

    Attributes:
        score: what the answers are ranked by: the cosine, for words plus what their fit with the video's labels adds,
            and with what a text weight does; or the distance for the euclidean metric.
        video_id: id of the video.
        uri: place of the video.
        ranges: time ranges that fit the query, best first, in seconds from the first frame; with a filter of regions,
            of the frames in which it holds.
        labels: the `LABELS_SHOWN` best labels as ``{"label": ..., "score": ...}``, best first.
        duration_s: length in seconds; None if it is unknown.
        cosine: cosine similarity of the query and the video's frames, whatever the score is.
        best_label: the name to show: a label, or a broader name; None if nothing can be said, or if an earlier release
            built the index.
        best_label_score: its score; None without it.
        relevance: probability (0 to 1) that the video shows what was asked for in words; None for a picture, a video
            or a joint model, whose cosines it was not calibrated for.
        likely: whether the relevance is at least `LIKELY`; True if there is none, or if the archive has fewer than
            `FEW_VIDEOS` videos.
    """

    score: float
    video_id: str
    uri: str
    ranges: tuple[Moment, ...]
    labels: list[dict[str, Any]]
    duration_s: float | None
    cosine: float
    best_label: str | None = None
    best_label_score: float | None = None
    relevance: float | None = None
    likely: bool = True


class CatalogSearch:
    """An open catalog whose index can be searched from several threads. Index files are memory-mapped."""

    def __init__(
        self,
        catalog: Catalog,
        index: VideoIndex,
        bundle: ModelBundle,
        text_model: TextModel,
        label_texts: Path | None = None,
        files: IndexFiles | None = None,
    ) -> None:
        self.catalog = catalog
        self._files = files  # a copy of the index is not removed from this machine's disk while this lives
        self.index = index
        self.bundle = bundle
        self._text_model = text_model
        self._label_texts = label_texts
        self._statuses: tuple[str, pa.Array] | None = None
        self._regions: tuple[str, RegionFrames] | None = None

    @classmethod
    def open(
        cls,
        root: str,
        *,
        model: str | None = None,
        text_model: str | None = None,
        text_weights: Path | None = None,
        label_texts: Path | None = None,
    ) -> "CatalogSearch":
        """Opens a catalog's current index.

        Args:
            root: the catalog's folder, a path or URI. Of an index on an object store, this machine keeps a copy.
            model: whose index and rows, as of `Catalog`; None for the catalog's own index.
            text_model: a name of `models.text.registry`; None for the one that belongs to the index: the text tower of
                a joint model, else the default.
            text_weights: the folder of a joint model's preset, to use instead of the one in the catalog.
            label_texts: a table of texts for the visual model's classes (see `models.text.label_texts`).

        Raises:
            CatalogError: there is no catalog.
            RetrievalError: its index is missing or damaged, or there is no room for a copy of it on this machine.
            StorageError: a file cannot be read, or copied to this machine.
            TextModelError: the text model cannot be loaded.
        """
        catalog = Catalog.open(root, model)
        opened = StoredIndex(catalog.index_folder).open(leave_out=("words", "words_vector"))
        bundle = ModelBundle.open(
            local_bundle(catalog.model_folder(opened.index.manifest.model_fingerprint), whole=True)
        )
        words = _text_model(bundle, text_model, text_weights)
        return cls(catalog, opened.index, bundle, words, label_texts, opened.files)

    @property
    def is_current(self) -> bool:
        """Whether the catalog's current index is still the one that was opened."""
        return StoredIndex(self.catalog.index_folder).current_id() == self.index.manifest.index_id

    def words(self, text: str) -> Query:
        """Makes a query of words, in any language that the text model knows.

        Raises:
            RetrievalError: the text is empty, or the visual model's classes cannot express words.
            LabelTextsError: the table of label texts cannot be read.
        """
        return self.many_words([text])[0]

    def many_words(self, texts: Sequence[str]) -> list[Query]:
        """Makes queries of several texts at once, several times as fast as `words` one by one. Errors as `words`."""
        space = self._word_space
        if isinstance(space, JointWords):
            return [Query(direction, text) for direction, text in zip(space.directions(texts), texts, strict=True)]
        meanings = space.meanings(texts)
        return [_query_of(meaning, text) for meaning, text in zip(meanings, texts, strict=True)]

    def image(self, path: str) -> Query:
        """Makes a query of a picture file, or of all pictures in a folder, each of which counts the same.

        Raises:
            RetrievalError: a file cannot be read, the folder has no picture, or the model gives no usable numbers.
            OSError: the folder cannot be listed.
        """
        return self.combined([self.picture(read_picture(one)) for one in pictures_in(path)])

    def picture(self, rgb: NDArray[np.uint8]) -> Query:
        """Makes a query of an upright RGB picture, uint8 [height, width, 3] of any size. Errors as `pictures`."""
        return self.embedding(self.embedding_of(rgb))

    def embedding_of(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Returns the embedding, float32 [D], of an upright RGB picture as of `picture`.

        Raises:
            RetrievalError: the catalog's model looks at clips, or gives no usable numbers.
        """
        from models.visual.preprocess import preprocess

        require_pictures(self.bundle.spec)
        embedding: NDArray[np.float32] = self._usable_embeddings(
            preprocess(rgb, self.bundle.spec.preprocessing)[np.newaxis]
        )[0]
        return embedding

    def embedding(self, embedding: NDArray[np.float32]) -> Query:
        """Makes a query of a picture's embedding, float32 [D], as `embedding_of` returns it.

        Raises:
            RetrievalError: it is the mean of the archive, which no video is more like than others.
        """
        direction = self.index.direction(embedding)
        if not direction.any():
            raise RetrievalError("this picture has no direction: it is exactly the mean of the archive")
        return Query(direction)

    def indexed(self, uri: str) -> Query | None:
        """Makes a query of a video's stored embedding; returns None if the index does not hold the video."""
        number = self._number_of(uri)
        return None if number is None else Query(self.index.videos.directions_of(np.array([number]))[0])

    def moment(self, uri: str, time_s: float) -> Query:
        """Makes a query of the frame of a video that is nearest to a time.

        Args:
            uri: of a video of the index, whose stored frame is taken; or any video file, which is decoded.
            time_s: seconds after the video's first frame.

        Raises:
            RetrievalError: the file gives no picture at or after that time, or the model no usable numbers.
        """
        number = self._number_of(uri)
        if number is not None:
            return Query(self.index.direction_at(number, time_s))
        given = self._input_at(path_of_uri(uri), time_s)
        if given is None:
            what = "clip" if self.bundle.spec.clip else "picture"
            raise RetrievalError(f"cannot search with {uri}: it gives no {what} at {time_s:g} s")
        return self.pictures(given[np.newaxis])

    def _input_at(self, path: str, time_s: float) -> NDArray[np.uint8] | None:
        from transforms.video.stills import clip_at, picture_at

        spec = self.bundle.spec
        if spec.clip is not None:
            return clip_at(path, time_s, spec.preprocessing, spec.clip)
        return picture_at(path, time_s, spec.preprocessing)

    def combined(self, wanted: Sequence[Query], unwanted: Sequence[Query] = ()) -> Query:
        """Makes one query of several parts: words, pictures, videos and moments in any mix.

        The direction is the mean of the wanted parts' directions less `UNWANTED_WEIGHT` times that of the unwanted
        ones. Cosines of pictures are spread wider over an archive than those of words, so each direction is divided by
        the standard deviation of its cosines first: each part counts the same.

        Args:
            wanted: what the videos should show; one part or more.
            unwanted: what they should not show.

        Raises:
            ValueError: there is no wanted part.
        """
        if not wanted:
            raise ValueError("a query needs something that is wanted")
        if len(wanted) == 1 and not unwanted:
            return wanted[0]
        direction = self._mean_of(wanted)
        if unwanted:
            direction = direction - UNWANTED_WEIGHT * self._mean_of(unwanted)
        texts = [one.text for one in wanted if one.text is not None]
        return Query(unit(direction), texts[0] if len(texts) == 1 else None, None, _combined_fits(wanted, unwanted))

    def _mean_of(self, parts: Sequence[Query]) -> NDArray[np.float64]:
        return np.mean([part.direction.astype(np.float64) / self._spread_of(part) for part in parts], axis=0)

    def _spread_of(self, query: Query) -> float:
        """Returns the standard deviation of a query's cosines over the archive; 1 if there are too few videos."""
        rows = self._typical_rows
        spread = float(np.std(np.einsum("nd,d->n", rows, query.direction))) if len(rows) >= FEW_VIDEOS else 0.0
        return spread or 1.0

    def _number_of(self, uri: str) -> int | None:
        """Returns the number of a video in the index, or None if the index does not hold it."""
        row: int = pc.index(self.index.table["uri"], uri).as_py()
        if row < 0:
            return None
        number: int = self.index.table["video"][row].as_py()
        return number

    def video(self, path: str) -> Query:
        """Makes a query of a video file: the mean of `QUERY_FRAMES` frames, or as many clips, spread over it.

        Raises:
            RetrievalError: no frame can be decoded, or the model gives no usable numbers for any.
        """
        from transforms.video.failures import VideoError

        try:
            given = self._inputs_of(path_of_uri(path))
        except VideoError as error:
            why = storage.reason_of(error.__cause__) if isinstance(error.__cause__, OSError) else str(error)
            raise RetrievalError(f"cannot search with {path}: {why}") from error
        if not given:
            raise RetrievalError(f"cannot search with {path}: it gives no frame")
        return self.pictures(np.stack(given))

    def _inputs_of(self, path: str) -> list[NDArray[np.uint8]]:
        from transforms.video.stills import spread_clips, spread_pictures

        spec = self.bundle.spec
        if spec.clip is not None:
            return spread_clips(path, spec.preprocessing, spec.clip, QUERY_FRAMES)
        return spread_pictures(path, spec.preprocessing, QUERY_FRAMES)

    def pictures(self, pictures: NDArray[np.uint8]) -> Query:
        """Makes a query of the mean of n of the model's inputs, uint8 [n, *spec.input_shape].

        Raises:
            RetrievalError: the model gives no usable numbers for any of them.
        """
        return Query(self.index.direction(self._usable_embeddings(pictures)))

    def _usable_embeddings(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Returns the usable embeddings, float32 [n, D], of preprocessed pictures. Errors as `pictures`."""
        embeddings: NDArray[np.float32] = self._engine.infer(pictures).embeddings
        embeddings = embeddings[usable(embeddings)]
        if not len(embeddings):
            raise RetrievalError(f"{self.bundle.spec.name} gives numbers that are not finite or beyond 65,504 for it")
        return embeddings

    def find(
        self,
        query: Query,
        *,
        top_k: int = 10,
        metric: Metric = "cosine",
        filters: Filters | None = None,
        text_weight: float = 0.0,
        min_relevance: float = 0.0,
    ) -> list[Hit]:
        """Returns the videos that fit a query best, best first.

        Args:
            query: from `words`, `image`, `video` or another method that makes queries.
            top_k: the largest number of videos to return.
            metric: ``cosine`` similarity or ``euclidean`` distance of unit vectors.
            filters: which videos may be returned; None for all.
            text_weight: weight (0 to 1) in the score of the words that come with a video: file name, title, subtitles.
                Only for queries in words with the cosine. The score of a video without words is unchanged.
            min_relevance: leaves out those of the `top_k` best videos that are less relevant. Only for queries in
                words.

        Raises:
            RetrievalError: the model or no region has the filter's label, a value is out of its range, a text weight is
                given for a picture, a video or the euclidean metric, or a relevance for what has none.
        """
        if top_k < 1 or metric not in get_args(Metric) or not 0 <= text_weight <= 1:
            raise RetrievalError(
                f"cannot search with top_k={top_k}, metric={metric!r}, text_weight={text_weight}: they are 1 or more, "
                f"{' or '.join(map(repr, get_args(Metric)))}, and 0 to 1"
            )
        if min_relevance:
            _require_relevance(query, min_relevance)
        within_s = self._region_times(filters)
        ranked = self._ranked(query, top_k, metric, self._allowed(filters, within_s), text_weight)
        found = self.index.hits(query.direction, ranked, metric, within_s)
        hits = [_hit(hit) for hit in found] if query.meaning is None else self._judged(query, query.meaning, found)
        return [hit for hit in hits if hit.relevance is None or hit.relevance >= min_relevance]

    def frame_scores(self, query: Query, uri: str) -> tuple[NDArray[np.float64], NDArray[np.float32]] | None:
        """Scores all stored frames of one video, in order of time.

        Args:
            query: as of `find`.
            uri: of the video.

        Returns:
            Times float64 [n] in seconds after the first frame, and cosines float32 [n]; None if the index does not hold
            the video.

        Raises:
            IndexFormatError: the index is damaged.
        """
        number = self._number_of(uri)
        return None if number is None else self.index.frame_scores(query.direction, number)

    def typical_score(self, query: Query) -> float:
        """Returns the cosine that a video has which does not fit a query: most videos do not.

        This is the median cosine of the mean frames of `TYPICAL_VIDEOS` videos spread over the index; NaN if it is
        empty.
        """
        rows = self._typical_rows
        return float(np.median(np.einsum("nd,d->n", rows, query.direction))) if len(rows) else float("nan")

    @computed_once
    def _typical_rows(self) -> NDArray[np.float32]:
        """Unit vectors of the mean frames of some videos, float32 [n, D]."""
        numbers = self.index.table["video"].to_numpy()
        spread = np.linspace(0, len(numbers) - 1, min(len(numbers), TYPICAL_VIDEOS)).astype(int)
        return self.index.videos.directions_of(numbers[spread])

    def ranking(self, query: Query, *, text_weight: float = 0.0) -> list[str]:
        """Returns the URIs of all videos in the order in which `find` would return them. Errors as `find`."""
        uris = dict(zip(self.index.table["video"].to_pylist(), self.index.table["uri"].to_pylist(), strict=True))
        return [uris[number] for _, number in self._ranked(query, len(uris), "cosine", None, text_weight)]

    def _ranked(
        self, query: Query, top_k: int, metric: Metric, allowed: NDArray[np.int64] | None, text_weight: float
    ) -> list[tuple[float, int]]:
        """Returns (score, video number) of the best videos, best first."""
        added = self._added(query) if metric == "cosine" else None
        if not text_weight:
            return self.index.rank(query.direction, top_k, allowed, added)
        if query.text is None or metric != "cosine":
            raise RetrievalError("a text weight is only for queries in words, with the cosine")
        by_sight = self.index.rank(query.direction, max(top_k, RERANKED), allowed, added)
        asked = self._words_model.encode_queries([query.text])[0]
        fused = [(self._fused(score, number, asked, text_weight), number) for score, number in by_sight]
        return sorted(fused, key=lambda scored: -scored[0])[:top_k]

    def _added(self, query: Query) -> NDArray[np.float64] | None:
        """Returns what the fit of the words with each video's labels adds to its cosine; None for nothing."""
        if query.label_fits is None or self._mixtures is None:
            return None
        return LABEL_WEIGHT * self._mixtures.fits(query.label_fits)

    def evidence(self, query: Query, meaning: Meaning, found: Sequence[VideoHit]) -> Evidence:
        """Gathers what tells how relevant answers are to a query in words."""
        overlaps = None
        if self._mixtures is not None:
            rows = self.index.rows_of(np.array([hit.row["video"] for hit in found], np.int64))
            overlaps = self._mixtures.overlaps(meaning.shares, rows)
        cosines = np.array([hit.cosine for hit in found])
        return Evidence(cosines, self.typical_score(query), overlaps, meaning.other_language)

    def _judged(self, query: Query, meaning: Meaning, found: Sequence[VideoHit]) -> list[Hit]:
        """Makes hits with their relevance."""
        few = len(self.index.table) < FEW_VIDEOS
        estimates = relevance(self.evidence(query, meaning, found)).tolist()
        return [_hit(hit, one, few or one >= LIKELY) for hit, one in zip(found, estimates, strict=True)]

    @computed_once
    def _mixtures(self) -> LabelMixtures | None:
        """The stored labels as mixes of the labels that words are read by; None if they are a head's."""
        space = self._word_space
        if isinstance(space, JointWords) or self.bundle.has_head:
            return None
        return LabelMixtures(self.index.table["labels"], self.bundle.spec.labels, space.label_vectors[0])

    def _fused(self, score: float, number: int, asked: NDArray[np.float32], weight: float) -> float:
        """Returns the weighted mean of a visual score and the similarity of the video's words, if it has words."""
        vector = self._words_vectors.get(number)
        return score if vector is None else (1 - weight) * score + weight * float(np.dot(asked, vector))

    def _allowed(self, filters: Filters | None, region_times: Mapping[str, Times] | None) -> NDArray[np.int64] | None:
        if filters is None or not filters.are_set:
            return None
        table = self.index.table
        if region_times is not None:
            table = with_regions(table, region_times)
        if filters.status is not None:
            table = table.append_column("status", self._statuses_at(self.catalog.run_ids()[-1]))
        return matching(table, filters, self.bundle.spec.labels)

    def _region_times(self, filters: Filters | None) -> Mapping[str, Times] | None:
        """Returns the times of the frames in which the filter of regions holds, by video id; None without one."""
        if filters is None or not filters.regions:
            return None
        return self._regions_at(self.catalog.run_ids()[-1]).where(filters.regions)

    def _regions_at(self, run_id: str) -> RegionFrames:
        """The regions of the catalog, kept until there is a newer run."""
        known = self._regions
        if known is None or known[0] != run_id:
            known = self._regions = run_id, RegionFrames(lambda: self.catalog, run_id)
        return known[1]

    def _statuses_at(self, run_id: str) -> pa.Array:
        """The status of each row of the index's table, which has none; null for a video that the catalog dropped.

        It is kept until there is a newer run: an open index may outlive nights.
        """
        known = self._statuses
        if known is None or known[0] != run_id:
            videos = latest_videos(self.catalog, ["status"], run_id)
            rows = pc.index_in(self.index.table["video_id"].combine_chunks(), videos["video_id"].combine_chunks())
            known = self._statuses = run_id, videos["status"].combine_chunks().take(rows)
        return known[1]

    @computed_once
    def _words_model(self) -> TextModel:
        """The text model that made the index's vectors of the words that come with videos."""
        if self._text_model.name == DEFAULT_TEXT_MODEL:
            return self._text_model
        return open_text_model(DEFAULT_TEXT_MODEL)

    @computed_once
    def _words_vectors(self) -> dict[int, NDArray[np.float32]]:
        """Vectors of the words that come with videos, by video number; read on first use only."""
        rows = self.index.rows(["video", "words_vector"]).to_pylist()
        return {row["video"]: np.asarray(row["words_vector"], np.float32) for row in rows if row["words_vector"]}

    @computed_once
    def _engine(self) -> Any:
        from models.visual.engines.opening import open_engine

        return open_engine(self.bundle, device="cpu")

    @computed_once
    def _word_space(self) -> WordSpace | JointWords:
        if isinstance(self._text_model, JointTextModel):
            self._require_tower_of(self._text_model.folder)
            return JointWords(self._text_model)
        sets = self.bundle.label_sets()
        if not sets:
            raise RetrievalError(
                f"{self.bundle.spec.name} has no linear class weights, so it cannot be searched in words: search with "
                "a picture or a video"
            )
        tables = [read_label_texts(self._label_texts)] if self._label_texts is not None else []
        tables.append(imagenet_label_texts())
        folder = cache_folder() / "texts"
        texts = [texts_of(labels, tables) for labels, _ in sets]
        vectors = [label_vectors(one, self._text_model, folder) for one in texts]
        kernels = [kernel for _, (kernel, _) in sets]
        every = [label for labels, _ in sets for label in labels]
        concepts = concept_vectors(imagenet_concepts(), every, self._text_model, folder)
        return WordSpace(self._text_model, [LabelSet(*one) for one in zip(vectors, kernels, strict=True)], concepts)

    def _require_tower_of(self, preset: Path) -> None:
        """Raises a `RetrievalError` unless the index was made with the image tower of the preset whose text tower asks.

        Vectors of a text tower can be compared only with those of the image tower that it was trained with.
        """
        if preset == self.bundle.joint_preset:
            return
        if self.bundle.backbone.fingerprint != fingerprint_of_key(find(str(preset)).key):
            raise RetrievalError(
                f"the index holds vectors of {self.bundle.spec.name}, not of {preset}: "
                f"classify the archive with the model {preset}"
            )


def _text_model(bundle: ModelBundle, name: str | None, weights: Path | None) -> TextModel:
    """Opens the text model that is named, else the one that belongs to the bundle's embeddings."""
    if name is not None or weights is not None:
        return open_text_model(name or JOINT_TEXT_MODEL, weights)
    if bundle.lacks_joint_preset:
        raise RetrievalError(
            f"{bundle.spec.name} is a joint model, and this catalog is of a release that kept no text tower: search "
            f"with the text model joint and the weights {bundle.backbone.model}; the next night that finds new videos "
            "keeps it in the catalog"
        )
    if bundle.joint_preset is not None:
        return open_text_model(JOINT_TEXT_MODEL, bundle.joint_preset)
    return open_text_model(DEFAULT_TEXT_MODEL)


def _hit(hit: VideoHit, estimate: float | None = None, likely: bool = True) -> Hit:
    labels = hit.row["labels"][:LABELS_SHOWN]
    best = hit.row.get("best_label"), hit.row.get("best_label_score")
    duration_s = hit.row["duration_s"]
    return Hit(hit.score, hit.video_id, hit.uri, hit.ranges, labels, duration_s, hit.cosine, *best, estimate, likely)


def _require_relevance(query: Query, least: float) -> None:
    if not 0 <= least <= 1:
        raise RetrievalError(f"a relevance of {least} cannot be reached: it is from 0 to 1")
    if query.meaning is None:
        raise RetrievalError(
            "a least relevance is only for queries in words, without a joint model: others have no relevance"
        )


def _query_of(meaning: Meaning, text: str) -> Query:
    """Makes a query of words. Stored labels help words in the labels' own language only (docs/retrieval.md)."""
    return Query(meaning.direction, text, meaning, None if meaning.other_language else meaning.fits)


def _combined_fits(wanted: Sequence[Query], unwanted: Sequence[Query]) -> NDArray[np.float64] | None:
    """Combines the fits of the parts with the labels, as `CatalogSearch.combined` does their directions."""
    known = [(one.label_fits, 1 / len(wanted)) for one in wanted if one.label_fits is not None]
    known += [(one.label_fits, -UNWANTED_WEIGHT / len(unwanted)) for one in unwanted if one.label_fits is not None]
    return sum((weight * fits for fits, weight in known), np.zeros(len(known[0][0]))) if known else None
