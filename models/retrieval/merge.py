"""Many shards into few, and folders that nothing names any more away."""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from models.retrieval.build import Source
from models.retrieval.manifest import Manifest, ShardInfo, read_manifest
from models.retrieval.rows import VIDEO_COLUMNS, VideoFrames, first_frame_id
from models.retrieval.shards import ShardWriter, open_level, read_rows, shard_frames


def write_shards(
    root: Path,
    index_id: str,
    source: Source,
    videos: Iterable[VideoFrames],
    *,
    first_number: int = 0,
    columns: pa.Schema | None = None,
    frames_per_shard: int | None = None,
) -> list[ShardInfo]:
    """Number the videos and write them as shards of about `frames_per_shard` frames, one shard in memory at a time."""
    most = frames_per_shard or shard_frames(source.embedding_size)
    shards: list[ShardInfo] = []
    waiting = iter(enumerate(videos, start=first_number))
    pending = next(waiting, None)
    while pending is not None:
        name = f"{index_id}/shard-{len(shards):05d}"
        writer = ShardWriter(root, name, source.model_fingerprint, source.embedding_size, columns)
        with writer:
            while pending is not None and (not writer.frames or writer.frames < most):
                writer.add(*pending)
                pending = next(waiting, None)
        shards.append(writer.info)
    return shards


def stored_videos(root: Path, manifest: Manifest) -> Iterator[VideoFrames]:
    """Every video of an index that is not hidden, as it was put in (in half precision): what a merge writes anew."""
    hidden = set(manifest.hidden)
    for shard in manifest.shards:
        stored = open_level(root, shard, "frames")
        times = read_rows(root, shard, "frames")["time_s"].to_numpy()
        for row in read_rows(root, shard, "videos").to_pylist():
            if row["video"] not in hidden:
                edges = [first_frame_id(row["video"]), first_frame_id(row["video"] + 1)]
                first, after = stored.ids.searchsorted(edges)
                own = {name: value for name, value in row.items() if name not in VIDEO_COLUMNS.names}
                yield VideoFrames(
                    row["video_id"],
                    row["uri"],
                    row["duration_s"],
                    times[first:after],
                    stored.vectors[first:after],
                    own,
                )


def caller_columns(root: Path, manifest: Manifest) -> pa.Schema:
    """The schema of the caller's own columns over all shards; later shards may have more than earlier ones."""
    schemas = [read_rows(root, shard, "videos", None).schema for shard in manifest.shards]
    joined = pa.unify_schemas(schemas)
    return pa.schema([field for field in joined if field.name not in VIDEO_COLUMNS.names])


def remove_unreferenced(root: Path) -> list[str]:
    """Delete the folders of indexes that the current one takes no file from; their names.

    Readers that have such an index open keep their mapped files on POSIX; on Windows close them first.
    """
    manifest = read_manifest(root)
    files = [shard.name for shard in manifest.shards]
    for level in manifest.levels.values():
        files += [level.quantiser, *(level.candidates or {}).values()]
    named = {manifest.index_id, *(name.split("/", 1)[0] for name in files if name)}
    stale = sorted(folder.name for folder in root.iterdir() if folder.is_dir() and folder.name not in named)
    for name in stale:
        shutil.rmtree(root / name)
    return stale
