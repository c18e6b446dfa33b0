"""What an index consists of, as one JSON file, and which index is the current one.

    index/<index_id>/manifest.json    shard files, model fingerprint, centre, kinds, measured recall
    index/<index_id>/shard-*...       what this build wrote; a manifest may name shards of earlier builds
    index/CURRENT                     the id of the index that answers

Files never change once written. CURRENT is replaced by a rename, so an interrupted build leaves the old index.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from models.retrieval.errors import IndexFormatError, MixedModelsError, NoIndexError

FORMAT_VERSION = 1
CURRENT = "CURRENT"

Kind = Literal["flat", "ivfpq"]
Level = Literal["frames", "videos"]
LEVELS: tuple[Level, Level] = ("frames", "videos")


@dataclass(frozen=True)
class ShardInfo:
    """One shard: its name (a path below the index folder, without endings), what it holds, whose vectors."""

    name: str
    videos: int
    frames: int
    size_bytes: int
    model_fingerprint: str

    def vectors(self, root: Path, level: Level) -> Path:
        """The file of its vectors."""
        return root / f"{self.name}.{level}.faiss"

    def rows(self, root: Path, level: Level) -> Path:
        """The table of its rows."""
        return root / f"{self.name}.{level}.parquet"


@dataclass(frozen=True)
class LevelInfo:
    """How one level (all frames, or all videos) is searched, and how well that was measured to do.

    `candidates` maps each shard's name to the file of its codes; both it and `quantiser` are empty for a flat
    level, whose recall is 1 by construction. `rows` counts the live ones.
    """

    kind: Kind
    rows: int
    recall_at_10: float = 1.0
    queries_measured: int = 0
    nprobe: int = 0
    rerank: int = 0
    quantiser: str = ""
    candidates: dict[str, str] | None = None


@dataclass(frozen=True)
class Manifest:
    """One index. `centre` has `embedding_size` numbers; `hidden` lists the numbers of superseded or gone videos.

    `next_video` is the first number no video had yet; `runs` names what the caller put in (catalog runs).
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

    def centre_vector(self) -> NDArray[np.float32]:
        """The centre as float32 [embedding_size]."""
        return np.asarray(self.centre, dtype=np.float32)

    def with_level(self, level: Level, info: LevelInfo) -> "Manifest":
        """The same index with one level's description replaced."""
        return replace(self, levels={**self.levels, level: info})

    def require_model(self, fingerprint: str) -> None:
        """Raise MixedModelsError unless the index was built from this model's vectors."""
        if fingerprint != self.model_fingerprint:
            raise MixedModelsError(
                f"the index holds vectors of model {self.model_fingerprint[:12]} ({self.model}), not of "
                f"{fingerprint[:12]}: search with the same model, or build the index again with --rebuild"
            )

    def to_json(self) -> str:
        """The manifest as JSON text."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote; IndexFormatError for anything else."""
        try:
            raw: dict[str, Any] = json.loads(text)
            if raw["format_version"] != FORMAT_VERSION:
                raise IndexFormatError(
                    f"the index has format {raw['format_version']}, this program reads {FORMAT_VERSION}: "
                    "build it again with --rebuild"
                )
            raw["levels"] = {level: LevelInfo(**info) for level, info in raw["levels"].items()}
            raw["shards"] = tuple(ShardInfo(**shard) for shard in raw["shards"])
            for name in ("centre", "hidden", "runs"):
                raw[name] = tuple(raw[name])
            return cls(**raw)
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise IndexFormatError(f"the index's manifest is damaged ({error}); build with --rebuild") from error


def write_whole(path: Path, text: str) -> None:
    """Write a small file so that readers see the old content or the new one, never part of it."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def read_manifest(root: Path, index_id: str | None = None) -> Manifest:
    """The manifest of an index below `root`, by default of the current one.

    Raises NoIndexError where nothing was built yet, IndexFormatError where files are damaged.
    """
    current = root / CURRENT
    if index_id is None and not current.is_file():
        raise NoIndexError(f"there is no index in {root}; build it first with `reelbeam index`")
    name = index_id or current.read_text(encoding="utf-8").strip()
    path = root / name / "manifest.json"
    if not path.is_file():
        raise IndexFormatError(f"{path} is missing, though {CURRENT} names it; build with --rebuild")
    return Manifest.from_json(path.read_text(encoding="utf-8"))


def publish_manifest(root: Path, manifest: Manifest) -> None:
    """Make this the index that answers: its manifest first, then CURRENT."""
    folder = root / manifest.index_id
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "manifest.json", manifest.to_json())
    write_whole(root / CURRENT, manifest.index_id + "\n")
