"""Finds the sampled frames in which something fills a given share of the picture, such as ``water>0.3``."""

import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from cachetools import LRUCache
from numpy.typing import NDArray

from models.retrieval.errors import RetrievalError
from models.suggestions import suggest
from transforms.catalog.reading.regions import latest_regions
from transforms.catalog.runs import Catalog

KEPT: Final = 16
"""Answers that are kept."""

MOST_CONDITIONS: Final = 8
"""Conditions of one question."""

LABELS_NAMED: Final = 8
"""Labels that a message names, at most."""

EXAMPLE: Final = "water>0.3"

Times = NDArray[np.float64]
"""float64 [n], ascending: seconds after the first frame of a video."""


class RegionCondition(NamedTuple):
    """What must fill how much of a picture.

    Attributes:
        label: what must be there.
        share: of the whole picture, 0..1.
        inclusive: whether exactly this share is enough.
    """

    label: str
    share: float
    inclusive: bool

    @classmethod
    def parse(cls, text: str) -> "RegionCondition":
        """Reads ``LABEL>SHARE`` or ``LABEL>=SHARE``.

        Raises:
            RetrievalError: it is none of them, or the share is not from 0 to 1.
        """
        found = re.fullmatch(r"\s*(.*?\S)\s*(>=|>)\s*([0-9.eE+-]+)\s*", text, re.DOTALL)
        share = _number(found[3]) if found else math.nan
        if found is None or not 0 <= share <= 1:
            raise RetrievalError(
                f"cannot read the region {text!r}: write a label and the least share of the picture, 0 to 1, as in "
                f"{EXAMPLE!r} or 'water>=0.3'"
            )
        return cls(found[1], share, found[2] == ">=")

    def holds(self, regions: pa.Table) -> NDArray[np.bool_]:
        """Tells which rows with the columns ``label`` and ``share`` meet it, bool [n]."""
        compare = pc.greater_equal if self.inclusive else pc.greater
        met = pc.and_(pc.equal(regions["label"], self.label), compare(regions["share"], self.share))
        return pc.fill_null(met, False).to_numpy(zero_copy_only=False)


class RegionFrames:
    """Looks through the regions of a catalog as of one run; answers are kept. Any number of threads may ask.

    Args:
        readable: gives the catalog when it is read; may raise a `CatalogError` where it cannot be.
        run_id: later runs are left out.
    """

    def __init__(self, readable: Callable[[], Catalog], run_id: str) -> None:
        self._readable = readable
        self._run_id = run_id
        self._kept: LRUCache[tuple[str, ...], Mapping[str, Times]] = LRUCache(KEPT)
        self._changing = threading.Lock()

    def where(self, texts: Sequence[str]) -> Mapping[str, Times]:
        """Returns the times of the sampled frames in which all conditions hold together, by video id.

        Args:
            texts: one condition or more; see `RegionCondition.parse`.

        Raises:
            RetrievalError: a condition cannot be read, there are too many, or no region has its label.
            CatalogError: a file is missing or damaged.
        """
        if len(texts) > MOST_CONDITIONS:
            raise RetrievalError(f"ask for at most {MOST_CONDITIONS} regions at once, not {len(texts)}")
        key = tuple(texts)
        with self._changing:
            kept = self._kept.get(key)
        if kept is None:
            kept = self._found([RegionCondition.parse(text) for text in texts])
            with self._changing:
                self._kept[key] = kept
        return kept

    def _found(self, conditions: Sequence[RegionCondition]) -> Mapping[str, Times]:
        labels: set[str] = set()
        met: list[set[tuple[str, float]]] = [set() for _ in conditions]
        for part in self._parts():
            labels.update(part["label"].unique().drop_null().to_pylist())
            for condition, frames in zip(conditions, met, strict=True):
                rows = part.filter(condition.holds(part))
                frames.update(zip(rows["video_id"].to_pylist(), rows["time_s"].to_pylist(), strict=True))
        for condition in conditions:
            _require_label(condition.label, labels)
        return _by_video(reduce(set.intersection, met))

    def _parts(self) -> Iterator[pa.Table]:
        return latest_regions(self._readable(), ["label", "share"], self._run_id)


def with_regions(videos: pa.Table, found: Mapping[str, Times]) -> pa.Table:
    """Returns a table of videos with the column ``regions_met``: whether a frame of the video is among those found."""
    met = pc.is_in(videos["video_id"], pa.array(list(found), pa.string()))
    return videos.append_column("regions_met", met)


def _by_video(frames: set[tuple[str, float]]) -> dict[str, Times]:
    times: dict[str, list[float]] = {}
    for video_id, time_s in sorted(frames):
        times.setdefault(video_id, []).append(time_s)
    return {video_id: np.array(every) for video_id, every in times.items()}


def _require_label(label: str, labels: set[str]) -> None:
    if not labels:
        raise RetrievalError("the catalog has no regions yet: run `reelbeam regions` first")
    if label not in labels:
        nearest = suggest(label, sorted(labels))
        hint = f"; did you mean {nearest[0]!r}?" if nearest else f"; regions have {_some(sorted(labels))}"
        raise RetrievalError(f"no region has the label {label!r}{hint}")


def _some(labels: Sequence[str]) -> str:
    """Names the first few labels, and how many there are besides."""
    names = ", ".join(map(repr, labels[:LABELS_NAMED]))
    more = len(labels) - LABELS_NAMED
    return f"{names} and {more} more" if more > 0 else names


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
