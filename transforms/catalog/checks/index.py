"""Checks that the current index agrees with the tables that it was built from: the same videos, frame by frame."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.retrieval.errors import NoIndexError, RetrievalError
from models.retrieval.ivfpq import load_quantiser
from models.retrieval.manifest import CURRENT, LEVELS, Manifest, ShardInfo, sum_of
from models.retrieval.rows import videos_of
from models.retrieval.shards import open_level, read_rows
from models.retrieval.vectors import StoredVectors, read_mapped
from transforms import storage
from transforms.catalog.checks.findings import Finding
from transforms.catalog.database import BoundedDatabase
from transforms.catalog.index.stored import StoredIndex
from transforms.catalog.reading.frames import FrameReader, embeddings_of
from transforms.catalog.reading.live_videos import IndexedVideo, LiveVideos
from transforms.catalog.runs import MODELS_INDEXES, Catalog, CatalogError
from transforms.catalog.schemas import SchemaError

LISTED = 10
"""Most findings of one kind that are listed one by one."""


def verify_index(catalog: Catalog, database: BoundedDatabase) -> Iterator[Finding]:
    """Yields what is wrong with a catalog's current index and those of named models, as far as there are some.

    An index is compared with the tables as of the newest run that it was built from, so it need not contain later
    nights.

    Args:
        catalog: the catalog.
        database: where videos are compared; the tables ``places`` and those of `LiveVideos` are replaced.
    """
    for one in catalog.with_each_index():
        try:
            index = StoredIndex(one.index_folder)
        except CatalogError as error:
            yield Finding.of("index", storage.join(MODELS_INDEXES, one.model or ""), error)
        else:
            yield from _verify(one, index, database)


def _verify(catalog: Catalog, index: StoredIndex, database: BoundedDatabase) -> Iterator[Finding]:
    where = index.folder.removeprefix(catalog.path(""))
    try:
        manifest = index.manifest()
    except NoIndexError:
        return
    except (RetrievalError, OSError, ValueError) as error:
        yield Finding.of("index", f"{where}/{CURRENT}", error)
        return
    name = f"{where}/{manifest.index_id}/manifest.json"
    known = set(catalog.run_ids())
    for run_id in manifest.runs:
        if run_id not in known:
            yield Finding.of("index", name, f"was built from run {run_id}, which is not in the catalog")
            return
    with index.temporary_copy({}) as root:
        check = _IndexCheck(catalog, root, manifest, where, name, database)
        yield from check.check_sums(index)
        if index.is_local or not check.damaged:
            yield from check.read_shards()
            yield from check.check_candidates()
        if not check.damaged:
            yield from check.compare()


_PLACES: Final = """
CREATE OR REPLACE TABLE places (video_id VARCHAR, run_id VARCHAR, shard INTEGER, first BIGINT, after BIGINT)
"""
"""The frames of a video in the index: the rows [first, after) of a shard."""

_TWICE: Final = "SELECT video_id FROM places GROUP BY video_id HAVING count(*) > 1 ORDER BY video_id"

_EXTRA: Final = "SELECT video_id FROM places ANTI JOIN live USING (video_id) ORDER BY video_id"

_INDEXED: Final = "video_id IN (SELECT video_id FROM places)"

_OPEN_SHARDS: Final = 8
"""Shards that are open at once; the tables name videos in about the order in which the index has them."""


@dataclass
class _IndexCheck:
    """Checks an index.

    Attributes:
        catalog: the catalog.
        root: the local folder of the index.
        manifest: the index.
        where: its folder below the catalog.
        name: of the manifest below the catalog.
        database: where the places of its videos are kept.
        damaged: whether something cannot be read.
    """

    catalog: Catalog
    root: Path
    manifest: Manifest
    where: str
    name: str
    database: BoundedDatabase
    damaged: bool = False

    def __post_init__(self) -> None:
        self.database.execute(_PLACES)
        self._shard = lru_cache(_OPEN_SHARDS)(self._opened)

    def check_sums(self, index: StoredIndex) -> Iterator[Finding]:
        """Reads every file and compares it with its checksum; files on an object store are copied to `root` for that.

        Copies that searches keep on this machine are not taken: what counts is what is stored.
        """
        for name in sorted(self.manifest.files):
            wanted = self.manifest.files[name]
            try:
                if not index.is_local:
                    _copy(storage.join(index.folder, name), self.root / name)
                found = sum_of(self.root / name)
            except OSError as error:
                yield self._damage(f"{self.where}/{name}", error)
                continue
            if found != wanted:
                yield self._damage(f"{self.where}/{name}", "is not the file that was written: its checksum differs")

    def read_shards(self) -> Iterator[Finding]:
        """Opens every shard and records the place of each video that can be found."""
        for number, shard in enumerate(self.manifest.shards):
            try:
                yield from self._read_shard(number, shard)
            except (RetrievalError, OSError, pa.ArrowException) as error:
                yield self._damage(f"{self.where}/{shard.name}", error)
        for (video_id,) in self.database.execute(_TWICE):
            yield self._damage(self.name, f"video {video_id} can be found twice")
        ((frames, videos),) = self.database.execute("SELECT sum(after - first), count(*) FROM places")
        for level, count in (("frames", int(frames or 0)), ("videos", videos)):
            said = self.manifest.levels[level].rows  # type: ignore[index]
            if not self.damaged and count != said:
                yield Finding.of("index", self.name, f"says {said} {level}, its shards hold {count} that can be found")

    def _read_shard(self, number: int, shard: ShardInfo) -> Iterator[Finding]:
        path = f"{self.where}/{shard.name}"
        files = [file for level in LEVELS for file in (shard.vectors(self.root, level), shard.rows(self.root, level))]
        size_bytes = sum(file.stat().st_size for file in files)
        if size_bytes != shard.size_bytes:
            yield self._damage(path, f"its files have {size_bytes} bytes, not {shard.size_bytes}")
        if shard.model_fingerprint != self.manifest.model_fingerprint:
            yield self._damage(path, f"holds vectors of another model, {shard.model_fingerprint}")
        frames, videos = (open_level(self.root, shard, level) for level in LEVELS)
        times = read_rows(self.root, shard, "frames", ["id"])
        rows = read_rows(self.root, shard, "videos", ["video", "video_id", "run_id"])
        if not np.array_equal(times["id"].to_numpy(), frames.ids):
            yield self._damage(path, "its frames' table and vectors have different ids")
        if not np.array_equal(rows["video"].to_numpy(), videos.ids):
            yield self._damage(path, "its videos' table and vectors have different ids")
        self._place(number, videos_of(frames.ids), rows)

    def _place(self, number: int, owners: NDArray[np.int64], rows: pa.Table) -> None:
        """Notes where the frames of the videos of a shard are that can be found."""
        rows = rows.filter(pc.invert(pc.is_in(rows["video"], pa.array(self.manifest.hidden, pa.int64()))))
        numbers = rows["video"].to_numpy()
        first, after = (np.searchsorted(owners, numbers + side) for side in (0, 1))
        columns = {"video_id": rows["video_id"], "run_id": rows["run_id"], "first": first, "after": after}
        self.database.insert("places", columns, shard=number)

    def _opened(self, number: int) -> tuple[NDArray[np.float64], StoredVectors]:
        """Returns the times and the vectors of the frames of a shard."""
        shard = self.manifest.shards[number]
        times_s = read_rows(self.root, shard, "frames", ["time_s"])["time_s"].to_numpy()
        return times_s, open_level(self.root, shard, "frames")

    def check_candidates(self) -> Iterator[Finding]:
        """Opens the files that an approximate level searches first."""
        for level in self.manifest.levels.values():
            if not level.quantiser:
                continue
            try:
                load_quantiser(self.root / level.quantiser)
            except (RetrievalError, OSError, ValueError) as error:
                yield self._damage(f"{self.where}/{level.quantiser}", error)
            for path in (level.candidates or {}).values():
                try:
                    read_mapped(self.root / path)
                except RetrievalError as error:
                    yield self._damage(f"{self.where}/{path}", error)

    def _damage(self, path: str, problem: object) -> Finding:
        self.damaged = True
        return Finding.of("index", path, problem)

    def compare(self) -> Iterator[Finding]:
        """Compares the index with the tables: videos, their runs, frames and numbers."""
        try:
            newest = self.manifest.runs[-1] if self.manifest.runs else None
            with LiveVideos(self.catalog, at=newest, database=self.database) as live:
                yield from self._compare_videos(live)
                yield from self._compare_frames(live)
        except (CatalogError, SchemaError, OSError, pa.ArrowException):
            return  # damage to the tables, which their own check reports

    def _compare_videos(self, live: LiveVideos) -> Iterator[Finding]:
        reader = FrameReader(["time_s", "embedding"])
        absent = live.where(f"NOT {_INDEXED}")
        # A video without usable rows cannot be indexed.
        lost = sorted(video.video_id for video in absent if len(reader.usable_rows(video.rows)))
        extra = [video_id for (video_id,) in live.database.execute(_EXTRA)]
        for video_id in lost[:LISTED]:
            yield Finding.of("index", self.name, f"video {video_id} is in the tables and not in the index")
        for video_id in extra[:LISTED]:
            yield Finding.of("index", self.name, f"video {video_id} is in the index and not in the tables")
        if len(lost) + len(extra) > len(lost[:LISTED]) + len(extra[:LISTED]):
            yield Finding.of("index", self.name, f"{len(lost)} videos are missing and {len(extra)} too many")

    def _compare_frames(self, live: LiveVideos) -> Iterator[Finding]:
        reader = FrameReader(["time_s", "embedding"])
        for video, place in live.beside("places"):
            problem = self._difference(video, place, reader)
            if problem:
                yield Finding.of("index", self.name, f"video {video.video_id} {problem}")

    def _difference(self, video: IndexedVideo, place: dict[str, Any], reader: FrameReader) -> str | None:
        if place["run_id"] != video.run_id:
            return f"has rows of run {place['run_id']}, and newer ones in run {video.run_id}"
        rows, here = reader.usable_rows(video.rows), slice(place["first"], place["after"])
        if len(rows) != here.stop - here.start:
            return f"has {here.stop - here.start} frames, {len(rows)} in the tables"
        times_s, stored = self._shard(place["shard"])
        if not np.array_equal(rows["time_s"].to_numpy(), times_s[here]):
            return "has frames at other times than the tables"
        embeddings = embeddings_of(rows["embedding"]).astype(np.float16)
        if not np.array_equal(embeddings, stored.vectors[here]):
            return "has other embeddings than the tables"
        return None


def _copy(source: str, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    with storage.open_read(source) as read, target.open("wb") as written:
        shutil.copyfileobj(read, written, 1 << 20)
