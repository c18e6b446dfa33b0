"""Reads the rows of a catalog that answers are made of."""

import glob
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from models.computed_once import computed_once
from models.retrieval.errors import NoIndexError
from transforms.archive.subtitles import name_words
from transforms.catalog.duplicates import read_duplicates, read_record
from transforms.catalog.reading.latest import latest_frames, latest_videos, runs_to_read, shown_actions
from transforms.catalog.reading.regions import latest_regions, runs_with_regions
from transforms.catalog.runs import Catalog
from transforms.dialogue.things import Things
from transforms.retrieval.filters import Filters
from transforms.retrieval.relevance import LIKELY
from transforms.retrieval.search import CatalogSearch, Hit

COLUMNS: Final = (
    "title", "container", "codec", "width", "height", "fps", "duration_s", "size_bytes", "modified", "frames_sampled",
    "status", "labels", "label_ranges", "best_label", "best_label_score",
)  # fmt: skip
"""Columns of `videos` that answers are made of."""

LABELS: Final = ("labels", "label_ranges")
"""Columns of these that take most room."""

BATCH_ROWS: Final = 1024

MOST_HITS: Final = 1000
"""Videos that a search for an answer returns at most."""

MOST_LABELLED: Final = 100
"""Videos at most whose frames are read for a thing that no video shows best or most."""

NEAR: Final = 5
"""Videos that are like another one, in an answer."""


@dataclass(frozen=True)
class Stretch:
    """A time range of a video in which something is seen.

    Attributes:
        start_s: time of its first frame, in seconds after the video's first.
        end_s: time at which its last frame ends.
        name: the label, or broader name, with the highest score in it.
        score: the highest score of a frame in it.
        kind: the rows that say so: ``label``, ``best_label``, ``action`` or ``search``.
    """

    start_s: float
    end_s: float
    name: str
    score: float
    kind: str


@dataclass(frozen=True)
class Frame:
    """A sampled frame: its time range in seconds, the scores of its labels, and its best label."""

    start_s: float
    end_s: float
    labels: dict[str, float]
    best_label: str | None
    best_label_score: float


class VideoRows(Mapping[str, dict[str, Any]]):
    """The rows of `videos` by uri, as a table in memory: a row becomes a dict only when it is asked for.

    Args:
        table: rows with `COLUMNS`, ``uri`` and ``gone``; those of gone videos are left out.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table.filter(pc.invert(table["gone"]))
        self._numbers = {uri: number for number, uri in enumerate(self._table["uri"].to_pylist())}

    def __getitem__(self, uri: str) -> dict[str, Any]:
        row: dict[str, Any] = self._table.slice(self._numbers[uri], 1).to_pylist()[0]
        return row

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def __contains__(self, uri: object) -> bool:
        return uri in self._numbers

    def scanned(self) -> Iterator[dict[str, Any]]:
        """Yields all rows, by uri, without the columns `LABELS`; a few at a time are in memory."""
        for batch in self._table.drop_columns(list(LABELS)).to_batches(max_chunksize=BATCH_ROWS):
            yield from batch.to_pylist()

    def with_labels(self, labels: frozenset[str], most: int) -> list[str]:
        """Returns the uris of the videos whose stored labels have one of some labels, by the highest score first."""
        lists = self._table["labels"].combine_chunks()
        flat = pc.list_flatten(lists)
        wanted = pc.is_in(pc.struct_field(flat, "label"), pa.array(sorted(labels), pa.string()))
        found = pa.table(
            {
                "row": pc.list_parent_indices(lists).filter(wanted),
                "score": pc.struct_field(flat, "score").filter(wanted),
            }
        )
        best = found.group_by("row").aggregate([("score", "max")])
        best = best.sort_by([("score_max", "descending"), ("row", "ascending")]).slice(0, most)
        uris: list[str] = self._table["uri"].take(best["row"]).to_pylist()
        return uris

    def labels(self) -> set[str]:
        """Returns all labels and best labels of the rows."""
        flat = pc.struct_field(pc.list_flatten(self._table["labels"]), "label")
        return {*pc.unique(flat).to_pylist(), *pc.unique(self._table["best_label"]).to_pylist()} - {None}


class Evidence:
    """The latest rows of a catalog's videos, read once; gone videos are left out.

    Args:
        catalog: the catalog.
        open_search: opens its index; called at most once, and only if a question needs it.
        at: a run id; later runs are left out.
    """

    def __init__(self, catalog: Catalog, open_search: Callable[[], CatalogSearch], at: str | None = None) -> None:
        self._catalog = catalog
        self._at = at
        self._open_search = open_search
        self.videos = VideoRows(latest_videos(catalog, COLUMNS, at))
        hedging = runs_to_read(catalog, at)[-1].config.hedging if len(self.videos) else None
        self.floor = hedging.floor if hedging is not None else 1.0
        self.things = Things(self.videos.labels(), dict(hedging.parents) if hedging is not None else {})
        self._frames: dict[str, list[Frame]] = {}

    @computed_once
    def search(self) -> CatalogSearch | None:
        """The open index; None if there is none yet."""
        try:
            return self._open_search()
        except NoIndexError:
            return None

    @property
    def finds_words(self) -> bool:
        """Whether the index can be searched in words, and says how relevant an answer is."""
        search = self.search
        return search is not None and search.bundle.joint_preset is None and bool(search.bundle.label_sets())

    def hits(self, words: str, uri: str | None = None) -> list[Hit]:
        """Returns the videos that show what is asked for in words with a relevance of `LIKELY` or more, best first.

        Args:
            words: what should be seen.
            uri: only this video.

        Raises:
            RetrievalError: the index is damaged.
            TextModelError: the text model cannot be loaded.
        """
        search = self.search
        if search is None or not self.finds_words:
            return []
        filters = None if uri is None else Filters(uri=glob.escape(uri))
        found = search.find(search.words(words), top_k=MOST_HITS, filters=filters, min_relevance=LIKELY)
        return [hit for hit in found if hit.uri in self.videos and uri in (None, hit.uri)]

    def near(self, uri: str) -> list[Hit]:
        """Returns the videos whose stored embeddings are nearest to a video's; empty if it has none."""
        search = self.search
        query = search.indexed(uri) if search is not None else None
        if search is None or query is None:
            return []
        hits = search.find(query, top_k=NEAR + 1)
        return [hit for hit in hits if hit.uri != uri and hit.uri in self.videos][:NEAR]

    def copies(self, uri: str) -> list[dict[str, Any]]:
        """Returns the rows of `duplicates` of a video, without what is repeated in many; empty if none were looked for.

        Raises:
            CatalogError: the table of duplicates is damaged.
        """
        if read_record(self._catalog) is None:
            return []
        rows = read_duplicates(self._catalog).to_pylist()
        return [row for row in rows if uri in (row["one_uri"], row["other_uri"]) and row["kind"] != "repeated"]

    def words_of(self, uri: str) -> str:
        """Returns the words that come with a video: file name, title and, if there is an index, subtitles."""
        indexed = self._indexed_words.get(uri)
        return indexed if indexed else ". ".join(one for one in (name_words(uri), self.videos[uri]["title"]) if one)

    @computed_once
    def _indexed_words(self) -> dict[str, str]:
        if self.search is None:
            return {}
        index = self.search.index
        words = {row["video"]: row["words"] for row in index.rows(["video", "words"]).to_pylist()}
        pairs = zip(index.table["video"].to_pylist(), index.table["uri"].to_pylist(), strict=True)
        return {uri: words[number] for number, uri in pairs if words.get(number)}

    def frames(self, uri: str) -> list[Frame]:
        """Returns a video's sampled frames in order of time.

        Raises:
            CatalogError: a file is missing or damaged.
        """
        kept = self._frames.get(uri)
        if kept is None:
            columns = ["time_s", "labels", "best_label", "best_label_score"]
            tables = latest_frames(self._catalog, columns, self._at, uri)
            rows = sorted((row for part in tables for row in part.to_pylist()), key=lambda row: row["time_s"])
            kept = _frames(rows, self.videos[uri]["duration_s"])
            self._frames = {uri: kept}  # of the last video only: several questions in a row are about the same
        return kept

    def shown_for_a_while(self, thing: str) -> list[tuple[str, list[Stretch]]]:
        """Returns the videos with time ranges in which they surely show a thing, with these; the index is not asked.

        Frames are read of the `MOST_LABELLED` videos that have the thing as a label with the highest score.

        Raises:
            CatalogError: a file is missing or damaged.
        """
        labels = self.things.labels_of(thing)
        uris = self.videos.with_labels(labels, MOST_LABELLED) if labels else []
        return [(uri, found) for uri in uris if (found := self._sure(self._by_rows(uri, labels)))]

    def _by_rows(self, uri: str, labels: frozenset[str]) -> list[Stretch]:
        """Returns the ranges in which a video shows one of some labels: those of actions, else runs of frames."""
        acted = [one for one in self.acted(uri) if one.name in labels]
        return acted or (list(_runs(self.frames(uri), self._score_in(uri, labels))) if labels else [])

    def _sure(self, found: Iterable[Stretch]) -> list[Stretch]:
        return [one for one in found if one.kind == "action" or one.score >= self.floor]

    def stretches(self, uri: str, thing: str) -> list[Stretch]:
        """Returns the time ranges in which a video shows a thing, in order of time.

        If the thing is an action that is found in the video, its ranges are those of the table `actions`.

        If the thing is a label, or a broader name of labels, a frame counts if a range of the video's row holds it, or
        if the labels' scores in it add up to the floor of best labels. A range of frames counts if one of them reaches
        the floor, or if the search finds the video relevant. Otherwise the ranges are those of the search.

        Args:
            uri: the video.
            thing: words, in English or Chinese.

        Raises:
            CatalogError: a file is missing or damaged.
            RetrievalError: the index is damaged.
        """
        found = self._by_rows(uri, self.things.labels_of(thing))
        sure = self._sure(found)
        if found and len(sure) == len(found):
            return found
        hits = self.hits(thing, uri)
        if not hits:
            return sure
        relevance = hits[0].relevance or 0.0
        by_search = [Stretch(one.start_s, one.end_s, thing, relevance, "search") for one in hits[0].ranges]
        return found or sorted(by_search, key=lambda one: one.start_s)

    def acted(self, uri: str) -> list[Stretch]:
        """Returns the ranges of a video's actions that are sure enough, in order of time.

        Raises:
            CatalogError: a file is missing or damaged.
        """
        rows = self._actions.filter(pc.equal(self._actions["uri"], uri)).to_pylist()
        return [Stretch(row["start_s"], row["end_s"], row["label"], row["score"], "action") for row in rows]

    @computed_once
    def _actions(self) -> pa.Table:
        return shown_actions(self._catalog, self._at)

    def regions(self, uri: str, thing: str) -> list[dict[str, Any]]:
        """Returns a video's regions of a thing in order of time: label, time_s, score, share and centroid.

        Raises:
            CatalogError: a file is missing or damaged.
        """
        labels = self.things.labels_of(thing)
        if not labels or not self._has_regions:
            return []
        parts = latest_regions(self._catalog, ["label", "share", "centroid"], self._at, uri)
        rows = [row for part in parts for row in part.to_pylist() if row["label"] in labels]
        return sorted(rows, key=lambda row: (row["time_s"], row["label"]))

    @computed_once
    def _has_regions(self) -> bool:
        return bool(runs_with_regions(self._catalog, self._at))

    def _score_in(self, uri: str, labels: frozenset[str]) -> Callable[[Frame], tuple[str, float] | None]:
        """Returns a function that gives the best of some labels in a frame and the sum of their scores."""
        ranges = [
            (one["start_s"], one["end_s"])
            for row in self.videos[uri]["label_ranges"] or ()
            if row["label"] in labels
            for one in row["ranges"]
        ]

        def score(frame: Frame) -> tuple[str, float] | None:
            scores = {label: frame.labels[label] for label in labels if label in frame.labels}
            total = min(1.0, math.fsum(scores.values()))
            seen = total >= self.floor or any(start <= frame.start_s <= end for start, end in ranges)
            return (max(scores, key=lambda label: (scores[label], label)), total) if seen and scores else None

        return score

    def scenes(self, uri: str) -> list[Stretch]:
        """Returns the stretches of frames with the same best label, in order of time; unsure frames are left out.

        Raises:
            CatalogError: a file is missing or damaged.
        """
        return list(_runs(self.frames(uri), _best_of, "best_label"))


def _best_of(frame: Frame) -> tuple[str, float] | None:
    return None if frame.best_label is None else (frame.best_label, frame.best_label_score)


def _frames(rows: Sequence[dict[str, Any]], duration_s: float | None) -> list[Frame]:
    """Makes frames of rows in order of time; each lasts until the next, the last one as long as the one before."""
    times = [row["time_s"] for row in rows]
    last_s = times[-1] + (times[-1] - times[-2] if len(times) > 1 else 1.0) if times else 0.0
    ends = [*times[1:], max(times[-1], min(last_s, duration_s or last_s))] if times else []
    return [
        Frame(
            row["time_s"],
            end_s,
            {one["label"]: one["score"] for one in row["labels"]},
            row["best_label"],
            row["best_label_score"] or 0.0,
        )
        for row, end_s in zip(rows, ends, strict=True)
    ]


def _runs(
    frames: Sequence[Frame], judge: Callable[[Frame], tuple[str, float] | None], kind: str = "label"
) -> Iterator[Stretch]:
    """Yields the runs of frames that a function gives a name for.

    Best labels are cut where the name changes; the labels of one thing are not.
    """
    current: list[tuple[Frame, str, float]] = []
    for frame in frames:
        judged = judge(frame)
        if current and (judged is None or (kind == "best_label" and judged[0] != current[-1][1])):
            yield _stretch(current, kind)
            current = []
        if judged is not None:
            current.append((frame, *judged))
    if current:
        yield _stretch(current, kind)


def _stretch(run: Sequence[tuple[Frame, str, float]], kind: str) -> Stretch:
    _, name, score = max(run, key=lambda one: one[2])
    return Stretch(run[0][0].start_s, run[-1][0].end_s, name, score, kind)


def open_evidence(catalog: str, model: str | None = None) -> Evidence:
    """Opens a catalog for questions.

    Args:
        catalog: its folder, a path or URI.
        model: whose rows and index, as of `Catalog`; None for that of the newest run.

    Raises:
        CatalogError: there is no catalog, or a file of it is missing or damaged.
        StorageError: the folder cannot be listed.
    """
    return Evidence(Catalog.open(catalog, model), lambda: CatalogSearch.open(catalog, model=model))
