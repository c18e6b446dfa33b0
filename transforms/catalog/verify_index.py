"""Checks that the current index agrees with the tables that it was built from: the same videos, frame by frame."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.retrieval.errors import NoIndexError, RetrievalError
from models.retrieval.ivfpq import load_quantiser
from models.retrieval.manifest import CURRENT, LEVELS, Manifest, ShardInfo, sum_of
from models.retrieval.rows import videos_of
from models.retrieval.shards import open_level, read_rows
from models.retrieval.vectors import StoredVectors, read_mapped
from transforms import storage
from transforms.catalog.findings import Finding
from transforms.catalog.frames import FrameReader, embeddings_of
from transforms.catalog.index_source import IndexedVideo, live_videos
from transforms.catalog.runs import MODELS_INDEXES, Catalog, CatalogError
from transforms.catalog.schemas import SchemaError
from transforms.catalog.stored_index import StoredIndex

LISTED = 10
"""Most findings of one kind that are listed one by one."""


def verify_index(catalog: Catalog) -> Iterator[Finding]:
    """Yields what is wrong with a catalog's current index and those of named models, as far as there are some.

    An index is compared with the tables as of the newest run that it was built from, so it need not contain later
    nights.
    """
    for one in catalog.with_each_index():
        try:
            index = StoredIndex(one.index_folder)
        except CatalogError as error:
            yield Finding.of("index", storage.join(MODELS_INDEXES, one.model or ""), error)
        else:
            yield from _verify(one, index)


def _verify(catalog: Catalog, index: StoredIndex) -> Iterator[Finding]:
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
        check = _IndexCheck(catalog, root, manifest, where, name)
        yield from check.check_sums(index)
        if index.is_local or not check.damaged:
            yield from check.read_shards()
            yield from check.check_candidates()
        if not check.damaged:
            yield from check.compare()


@dataclass
class _Place:
    """The place of a video's frames in the index: the rows [first, after) of a shard."""

    run_id: str
    shard: int
    first: int
    after: int


@dataclass
class _IndexCheck:
    catalog: Catalog
    root: Path
    manifest: Manifest
    where: str
    name: str
    damaged: bool = False
    vectors: list[StoredVectors] = field(default_factory=list)
    times: list[NDArray[np.float64]] = field(default_factory=list)
    places: dict[str, _Place] = field(default_factory=dict)

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
        live = sum(place.after - place.first for place in self.places.values())
        for level, count in (("frames", live), ("videos", len(self.places))):
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
        times = read_rows(self.root, shard, "frames", ["id", "time_s"])
        rows = read_rows(self.root, shard, "videos", ["video", "video_id", "run_id"])
        if not np.array_equal(times["id"].to_numpy(), frames.ids):
            yield self._damage(path, "its frames' table and vectors have different ids")
        if not np.array_equal(rows["video"].to_numpy(), videos.ids):
            yield self._damage(path, "its videos' table and vectors have different ids")
        self.vectors.append(frames)
        self.times.append(times["time_s"].to_numpy())
        yield from self._place(number, path, videos_of(frames.ids), rows)

    def _place(self, number: int, path: str, owners: NDArray[np.int64], rows: pa.Table) -> Iterator[Finding]:
        hidden = set(self.manifest.hidden)
        for row in rows.to_pylist():
            if row["video"] in hidden:
                continue
            if row["video_id"] in self.places:
                yield self._damage(path, f"video {row['video_id']} can be found twice")
            first, after = np.searchsorted(owners, [row["video"], row["video"] + 1])
            self.places[row["video_id"]] = _Place(row["run_id"], number, int(first), int(after))

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
            live = live_videos(self.catalog, at=self.manifest.runs[-1] if self.manifest.runs else None)
            yield from self._compare_videos(live)
            yield from self._compare_frames(live)
        except (CatalogError, SchemaError, OSError, pa.ArrowException):
            return  # damage to the tables, which their own check reports

    def _compare_videos(self, live: dict[str, IndexedVideo]) -> Iterator[Finding]:
        reader = FrameReader(["time_s", "embedding"])
        absent = sorted(live.keys() - self.places.keys())
        # A video without usable rows cannot be indexed.
        lost = [video_id for video_id in absent if len(reader.usable_rows(live[video_id].rows))]
        extra = sorted(self.places.keys() - live.keys())
        for video_id in lost[:LISTED]:
            yield Finding.of("index", self.name, f"video {video_id} is in the tables and not in the index")
        for video_id in extra[:LISTED]:
            yield Finding.of("index", self.name, f"video {video_id} is in the index and not in the tables")
        if len(lost) + len(extra) > len(lost[:LISTED]) + len(extra[:LISTED]):
            yield Finding.of("index", self.name, f"{len(lost)} videos are missing and {len(extra)} too many")

    def _compare_frames(self, live: dict[str, IndexedVideo]) -> Iterator[Finding]:
        reader = FrameReader(["time_s", "embedding"])
        for video_id, video in live.items():
            place = self.places.get(video_id)
            if place is not None:
                problem = self._difference(video, place, reader)
                if problem:
                    yield Finding.of("index", self.name, f"video {video_id} {problem}")

    def _difference(self, video: IndexedVideo, place: _Place, reader: FrameReader) -> str | None:
        if place.run_id != video.run_id:
            return f"has rows of run {place.run_id}, and newer ones in run {video.run_id}"
        rows = reader.usable_rows(video.rows)
        here = slice(place.first, place.after)
        if len(rows) != place.after - place.first:
            return f"has {place.after - place.first} frames, {len(rows)} in the tables"
        if not np.array_equal(rows["time_s"].to_numpy(), self.times[place.shard][here]):
            return "has frames at other times than the tables"
        embeddings = embeddings_of(rows["embedding"]).astype(np.float16)
        if not np.array_equal(embeddings, self.vectors[place.shard].vectors[here]):
            return "has other embeddings than the tables"
        return None


def _copy(source: str, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    with storage.open_read(source) as read, target.open("wb") as written:
        shutil.copyfileobj(read, written, 1 << 20)
