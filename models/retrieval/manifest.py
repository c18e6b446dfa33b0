"""The manifest of an index, a JSON file that names all its parts; and the file that names the current index.

    index/<index_id>/manifest.json    shard files, model fingerprint, centre, kinds, measured recall
    index/<index_id>/shard-*...       what this build wrote; a manifest may name shards of earlier builds
    index/CURRENT                     the id of the index that answers

Files never change once written. CURRENT is replaced by a rename, so an interrupted build leaves the old index. The
manifest notes the size and the checksum of each file, so that a copy on another machine can be checked.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from models.atomic_file import atomic_path
from models.retrieval.errors import IndexFormatError, MixedModelsError, NoIndexError

FORMAT_VERSION = 1
CURRENT = "CURRENT"

Kind = Literal["flat", "ivfpq"]
Level = Literal["frames", "videos"]
LEVELS: tuple[Level, Level] = ("frames", "videos")


@dataclass(frozen=True)
class FileSum:
    """What tells whether a file is the one that was written.

    Attributes:
        size_bytes: Its length.
        sha256: In hex.
    """

    size_bytes: int
    sha256: str


def sum_of(path: Path) -> FileSum:
    """Read a file and return its size and checksum.

    Raises:
        OSError: The file is missing or cannot be read.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileSum(file.tell(), digest)


@dataclass(frozen=True)
class ShardInfo:
    """One shard of an index.

    Attributes:
        name: Its path relative to the index folder, without suffixes.
        videos: Number of its videos.
        frames: Number of its frames.
        size_bytes: Size of its files.
        model_fingerprint: Of the visual model that gave its vectors.
    """

    name: str
    videos: int
    frames: int
    size_bytes: int
    model_fingerprint: str

    def vectors(self, root: Path, level: Level) -> Path:
        """Return the path of the file of its vectors."""
        return root / self.vectors_name(level)

    def rows(self, root: Path, level: Level) -> Path:
        """Return the path of the table of its rows."""
        return root / self.rows_name(level)

    def vectors_name(self, level: Level) -> str:
        """Return the name of the file of its vectors relative to the index folder."""
        return f"{self.name}.{level}.faiss"

    def rows_name(self, level: Level) -> str:
        """Return the name of the table of its rows relative to the index folder."""
        return f"{self.name}.{level}.parquet"

    def file_names(self) -> list[str]:
        """Return the names of its files relative to the index folder."""
        return [name for level in LEVELS for name in (self.vectors_name(level), self.rows_name(level))]


@dataclass(frozen=True)
class LevelInfo:
    """How one level (all frames, or all videos) is searched, and the recall that was measured.

    Attributes:
        kind: ``flat`` for an exact search, ``ivfpq`` for an approximate one.
        rows: Number of live rows.
        recall_at_10: Measured recall@10; 1 for a flat level.
        queries_measured: Number of queries that it was measured with.
        nprobe: Inverted lists to probe; 0 for a flat level.
        rerank: Candidates to score exactly; 0 for a flat level.
        quantiser: File of the quantiser, relative to the index folder; "" for a flat level.
        candidates: Maps the name of each shard to the file of its codes; None or empty for a flat level.
    """

    kind: Kind
    rows: int
    recall_at_10: float = 1.0
    queries_measured: int = 0
    nprobe: int = 0
    rerank: int = 0
    quantiser: str = ""
    candidates: dict[str, str] | None = None

    def file_names(self) -> list[str]:
        """Return the names of its quantiser's files and of its codes, relative to the index folder."""
        return [*quantiser_files(self.quantiser), *(self.candidates or {}).values()]


def quantiser_files(name: str) -> list[str]:
    """Return the names of the files of a quantiser: its own and that of its centre; none for the name ""."""
    return [name, str(Path(name).with_suffix(".centre.npy"))] if name else []


@dataclass(frozen=True)
class Manifest:
    """One index.

    Attributes:
        index_id: Id of the index.
        created_at: Time of the build, ISO 8601.
        model: Name of the visual model.
        model_fingerprint: Fingerprint of the visual model.
        sampling: How the frames were sampled.
        sample_period_s: Time from one sampled frame to the next, seconds.
        embedding_size: Length D of the vectors.
        centre: D numbers.
        levels: How each level is searched.
        shards: The shards.
        hidden: Numbers of the videos that were replaced or are gone.
        next_video: The first number that no video has had yet.
        runs: Names of what the caller put in (catalog runs).
        format_version: Version of this layout.
        files: Sizes and checksums of its files by their names relative to the index folder; an index that an earlier
            release built has none.
    """

    index_id: str
    created_at: str
    model: str
    model_fingerprint: str
    sampling: str
    sample_period_s: float
    embedding_size: int
    centre: tuple[float, ...]
    levels: dict[Level, LevelInfo]
    shards: tuple[ShardInfo, ...]
    hidden: tuple[int, ...]
    next_video: int
    runs: tuple[str, ...]
    format_version: int = FORMAT_VERSION
    files: dict[str, FileSum] = field(default_factory=dict, compare=False)

    def file_names(self) -> list[str]:
        """Return the names of all its files relative to the index folder, without its own."""
        names = [name for shard in self.shards for name in shard.file_names()]
        return names + [name for level in self.levels.values() for name in level.file_names()]

    def folders(self) -> set[str]:
        """Return the names of the folders below the index folder that hold its files and itself."""
        return {self.index_id, *(name.split("/", 1)[0] for name in self.file_names())}

    def with_files(self, files: Mapping[str, FileSum]) -> "Manifest":
        """Return the same index with the sizes and checksums of more files noted."""
        return replace(self, files={**self.files, **files})

    def with_sums(self, root: Path) -> "Manifest":
        """Return the same index with the sizes and checksums of exactly its own files.

        Args:
            root: The index folder, where files that are not noted yet are read.
        """
        return replace(self, files={name: self.files.get(name) or sum_of(root / name) for name in self.file_names()})

    def centre_vector(self) -> NDArray[np.float32]:
        """Return the centre as float32 [embedding_size]."""
        return np.asarray(self.centre, dtype=np.float32)

    def with_level(self, level: Level, info: LevelInfo) -> "Manifest":
        """Return the same index with the description of one level replaced."""
        return replace(self, levels={**self.levels, level: info})

    def require_model(self, fingerprint: str) -> None:
        """Check that the index was built from this model's vectors.

        Raises:
            MixedModelsError: It was not.
        """
        if fingerprint != self.model_fingerprint:
            raise MixedModelsError(
                f"the index holds vectors of model {self.model_fingerprint[:12]} ({self.model}), not of "
                f"{fingerprint[:12]}: search with the same model, or build the index again"
            )

    def to_json(self) -> str:
        """Encode the manifest as JSON."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Decode what `to_json` wrote.

        Raises:
            IndexFormatError: The text is anything else, or of another format version.
        """
        try:
            raw: dict[str, Any] = json.loads(text)
            if raw["format_version"] != FORMAT_VERSION:
                raise IndexFormatError(
                    f"the index has format {raw['format_version']}, this program reads {FORMAT_VERSION}: "
                    "build the index again"
                )
            raw["levels"] = {level: LevelInfo(**info) for level, info in raw["levels"].items()}
            raw["shards"] = tuple(ShardInfo(**shard) for shard in raw["shards"])
            raw["files"] = {name: FileSum(**one) for name, one in raw.get("files", {}).items()}
            for name in ("centre", "hidden", "runs"):
                raw[name] = tuple(raw[name])
            return cls(**raw)
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise IndexFormatError(f"the index's manifest is damaged ({error}); build the index again") from error


def write_whole(path: Path, text: str, fence: Callable[[], None]) -> None:
    """Write a small text file atomically.

    Args:
        path: The file to write.
        text: Its content.
        fence: Is called before the file is renamed to `path`; it may raise to prevent that.
    """
    with atomic_path(path, fence) as part:
        part.write_text(text, encoding="utf-8")


def current_index_id(root: Path) -> str:
    """The id of the index that answers.

    Raises:
        NoIndexError: nothing was built yet.
    """
    current = root / CURRENT
    if not current.is_file():
        raise NoIndexError(f"there is no index in {root}; build it first with `reelbeam index`")
    return current.read_text(encoding="utf-8").strip()


def read_manifest(root: Path, index_id: str | None = None) -> Manifest:
    """Read the manifest of an index.

    Args:
        root: The index folder.
        index_id: Id of the index; None for the current one.

    Raises:
        NoIndexError: No index was built yet.
        IndexFormatError: A file is missing or damaged.
    """
    name = index_id or current_index_id(root)
    path = root / name / "manifest.json"
    if not path.is_file():
        raise IndexFormatError(f"{path} is missing, though {CURRENT} names it; build the index again")
    return Manifest.from_json(path.read_text(encoding="utf-8"))


def publish_manifest(root: Path, manifest: Manifest, fence: Callable[[], None] = lambda: None) -> None:
    """Make this the index that answers: note its files' checksums, write its manifest, then CURRENT.

    Args:
        root: The index folder.
        manifest: The index.
        fence: Is called before each file takes effect; it raises if another builder may have taken over the folder.
    """
    fence()
    folder = root / manifest.index_id
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "manifest.json", manifest.with_sums(root).to_json(), fence)
    write_whole(root / CURRENT, manifest.index_id + "\n", fence)


def remove_unreferenced(root: Path) -> list[str]:
    """Delete the folders of which the current index uses no file, and temporary files of killed builds.

    On POSIX, readers that have such an index open keep their mapped files; on Windows they must close them first.

    Returns:
        Names of the deleted folders, sorted.

    Raises:
        NoIndexError: There is no current index.
        IndexFormatError: Its manifest is missing or damaged.
    """
    named = read_manifest(root).folders()
    stale = sorted(folder.name for folder in root.iterdir() if folder.is_dir() and folder.name not in named)
    for name in stale:
        shutil.rmtree(root / name)
    for part in root.glob(".*.tmp-*"):
        part.unlink(missing_ok=True)
    return stale
