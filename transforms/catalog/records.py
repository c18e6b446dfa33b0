"""The records of runs and packs: what decided a run's rows, what it counted, and what a pack holds."""

import hashlib
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final, NamedTuple

import msgspec

from models.visual.hedging import DEFAULT, Hedging
from transforms.video.content_hash import Mode
from transforms.video.sampling import Sampling

RECORD_VERSION: Final = 1
"""Version of the run record's layout; readers refuse a newer one."""

PACK_VERSION: Final = 2
"""Version of the pack record's layout. Releases that know no packs take it for a newer run record and refuse it."""


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run's rows and files; it is stored in the run's record.

    Attributes:
        model: name of the model as it was asked for.
        model_fingerprint: hash of its weights, preprocessing and precision.
        sampling: how frames were chosen, as on the command line.
        top_labels: labels kept for a frame and a video.
        embedding_dtype: ``float32`` or ``float16``.
        embedding_size: number of dimensions of an embedding.
        segment_seconds: length of a segment in seconds, as the text of a fraction; decides files, not rows.
        chunk_frames: number of sampled frames in a chunk, about; decides files, not rows.
        thumbnail_seconds: a thumbnail is kept for each stretch of a video of this many seconds, as the text of a
            fraction; ``0`` for no thumbnails. Decides no rows of other tables. Runs of earlier releases wrote none.
        thumbnail_height: height of the thumbnails in pixels.
        hedging: what decides best labels. Runs of earlier releases wrote none; they count as having the default, so
            that an update does not process an archive again.
        content_hash: which hashes of the files' content are taken (see `transforms.video.content_hash`); decides no
            rows but their column of that name. Runs of earlier releases took none.
        rows_fingerprint: see `models.visual.bundle.Fingerprints`; empty if it is the model's fingerprint.
        regions: ``maps`` if the run finds regions by the classifier's activation maps, or the folder of a segmentation
            model; empty if it finds none. Decides no rows of other tables. Runs of earlier releases found none.
        regions_model: name of what finds them.
        regions_fingerprint: of what finds them, see `models.regions.segmenter.Segmenter`.
        only_regions: whether the run only finds regions in videos that earlier runs decoded (`reelbeam regions`).
    """

    model: str
    model_fingerprint: str
    sampling: str
    top_labels: int
    embedding_dtype: str
    embedding_size: int
    segment_seconds: str = "60"
    chunk_frames: int = 2000
    thumbnail_seconds: str = "0"
    thumbnail_height: int = 160
    hedging: Hedging = DEFAULT
    content_hash: Mode = "none"
    rows_fingerprint: str = ""
    regions: str = ""
    regions_model: str = ""
    regions_fingerprint: str = ""
    only_regions: bool = False

    @property
    def has_thumbnails(self) -> bool:
        """Whether the run writes thumbnails."""
        return bool(Fraction(self.thumbnail_seconds))

    @property
    def thumbnails_key(self) -> tuple[str, int]:
        """Equal for two configurations that give the same thumbnails of the same rows."""
        return self.thumbnail_seconds, self.thumbnail_height

    def is_of(self, model: str) -> bool:
        """Tells whether this names the model: its name, the end of its path, or the beginning of its fingerprint."""
        if not model:
            return False
        fingerprints = (self.model_fingerprint, self.rows_fingerprint)
        return (
            self.model == model
            or self.model.endswith(f"/{model}")
            or any(one.startswith(model) for one in fingerprints)
        )

    @property
    def frame_sampling(self) -> Sampling:
        """The rule that chooses frames, from its text form."""
        return Sampling.parse(self.sampling)

    @property
    def rows_key(self) -> tuple[str, str, int, str, str]:
        """Equal for two configurations that give the same rows.

        Two things that must agree use it: which videos a night skips because an earlier one has their rows, and which
        rows readers see.
        """
        model = self.rows_fingerprint or self.model_fingerprint
        return model, self.sampling, self.top_labels, self.embedding_dtype, self.hedging.key


@dataclass(frozen=True)
class Counts:
    """Numbers of a run's inputs by outcome: discovered = skipped + ok + partial + failed + left + forgotten.

    Attributes:
        discovered: videos found in the archive.
        skipped: unchanged since an earlier run, or given up on; an earlier part of the same night is an earlier run.
        ok: complete.
        partial: some samples are missing.
        failed: no frames.
        gone: known to the catalog and no longer in the archive.
        given_up: skipped because they failed too often.
        left: new or changed, and not handed out when the run ended (`--until`, `--limit`, or a later part has them).
            Runs of earlier releases left none.
        moved: ok or partial, and not decoded: a video of another path that is gone had the same content.
        copied: ok or partial, and not decoded: a video of another path, which is still there, has the same content.
        forgotten: were ok, partial or failed, until `reelbeam forget` removed their rows.
    """

    discovered: int = 0
    skipped: int = 0
    ok: int = 0
    partial: int = 0
    failed: int = 0
    gone: int = 0
    given_up: int = 0
    left: int = 0
    moved: int = 0
    copied: int = 0
    forgotten: int = 0


@dataclass(frozen=True)
class RunRecord:
    """The contents of ``runs/<run_id>.json``.

    Attributes:
        run_id: sorts by time.
        started_at: UTC, ISO 8601.
        finished_at: UTC, ISO 8601.
        config: what decided the rows.
        archives: the archives as on the command line, local ones with absolute paths; of reelbeam 0.1 with relative
            ones too.
        counts: outcomes of the inputs.
        video_s: seconds of video decoded.
        frames: number of frames in the run's rows.
        elapsed_s: wall time in seconds; of a resumed run, that of the last start.
        metrics: Beam's counters and distributions by name.
        labels: the ten most frequent best labels of the processed videos, with the number of videos; in runs of earlier
            releases, the ten most frequent first labels.
        failures: number of processed videos that failed, by reason.
        files_sha256: hash of the run's `files` table.
        files_count: number of its rows.
        host: the machine that the driver ran on.
        runner: name of Beam's runner.
        version: version of reelbeam.
        record_version: version of this record's layout.
        ignored: files and folders of the archives that are no videos, by ending or by the rule that left them out; None
            for a run that listed no archive, and for those of reelbeam 0.1.
        follow_links: whether links that leave the archives were followed. Earlier releases did not record it.
        night: id of the night's first run. A command that commits as it goes writes several runs, the parts of a night.
            Empty for a run that is no part of one: see `night_id`.
        size_bytes: size of the files of the videos that were decoded or failed. Earlier releases did not record it.
    """

    run_id: str
    started_at: str
    finished_at: str
    config: RunConfig
    archives: list[str]
    counts: Counts
    video_s: float
    frames: int
    elapsed_s: float
    metrics: dict[str, Any]
    labels: dict[str, int]
    failures: dict[str, int]
    files_sha256: str
    files_count: int
    host: str
    runner: str
    version: str
    record_version: int = RECORD_VERSION
    ignored: dict[str, int] | None = None
    follow_links: bool = False
    night: str = ""
    size_bytes: int = 0

    @property
    def night_id(self) -> str:
        """The id of the night's first run; equal for all parts of a night."""
        return self.night or self.run_id

    @property
    def speed_x_realtime(self) -> float:
        """The speed relative to real time: seconds of video processed in a second."""
        return self.video_s / self.elapsed_s if self.elapsed_s else 0.0


@dataclass(frozen=True)
class PackRecord:
    """The contents of ``runs/<pack_id>.json``: runs whose rows `reelbeam compact` merged into few files.

    The records of the runs are in here, so that a catalog of a thousand nights has few files. The files of a pack have
    one more column, ``run_id``: the run that made the row.

    Attributes:
        pack_id: sorts after the ids of everything that it replaces.
        started_at: UTC, ISO 8601.
        finished_at: UTC, ISO 8601.
        records: of the runs whose rows it holds, oldest first; no run lies between them that it does not hold.
        replaces: ids of the runs and packs whose files it replaces.
        whole_since: id of the oldest run as of which the catalog's rows are still whole: rows that it or an earlier run
            superseded were dropped. Empty if none were.
        rows: number of rows by table.
        files_sha256: hash of the pack's `files` table.
        files_count: number of its rows.
        host: the machine that wrote it.
        version: version of reelbeam.
        record_version: version of this record's layout.
    """

    pack_id: str
    started_at: str
    finished_at: str
    records: list[RunRecord]
    replaces: list[str]
    whole_since: str
    rows: dict[str, int]
    files_sha256: str
    files_count: int
    host: str
    version: str
    record_version: int = PACK_VERSION


class Holder(NamedTuple):
    """A folder of each table with the rows of one run, or a pack of them.

    Attributes:
        holder_id: id of the run or the pack; it names the folders.
        runs: records of the runs, oldest first. All of them are older than those of the next holder.
        pack: the pack's record; None for a run with files of its own.
    """

    holder_id: str
    runs: tuple[RunRecord, ...]
    pack: PackRecord | None = None


@dataclass(frozen=True)
class StartedRun:
    """A started run: the contents of ``work/run=<run_id>/run.json``.

    Attributes:
        run_id: as in `RunRecord`.
        started_at: as in `RunRecord`.
        config: as in `RunRecord`.
        archives: as in `RunRecord`.
        follow_links: as in `RunRecord`.
        night: as in `RunRecord`.
        interrupted: ids of nights that were interrupted and that this run's night goes on with.
    """

    run_id: str
    started_at: str
    config: RunConfig
    archives: list[str] = field(default_factory=list)
    follow_links: bool = False
    night: str = ""
    interrupted: list[str] = field(default_factory=list)

    @property
    def nights(self) -> list[str]:
        """The ids of this run's night and of those that it goes on with."""
        return [*self.interrupted, self.night or self.run_id]


class Versioned(msgspec.Struct):
    """The part of a record that tells whether the rest can be read."""

    record_version: int
    pack_id: str = ""


def group_of(config: RunConfig) -> str:
    """Returns the part of a packed file's name that tells runs apart whose rows are made differently."""
    made = repr((config.rows_key, config.embedding_size))
    return hashlib.sha256(made.encode()).hexdigest()[:12]


def encoded_run(record: RunRecord) -> bytes:
    """Returns the JSON of a run's record, for people too: one field a line."""
    return msgspec.json.format(msgspec.json.encode(_with_speed(record)), indent=2)


def encoded_pack(record: PackRecord) -> bytes:
    """Returns the JSON of a pack's record, in one line: it holds the records of many runs."""
    content = {**msgspec.to_builtins(record), "records": [_with_speed(one) for one in record.records]}
    return msgspec.json.encode(content)


def _with_speed(record: RunRecord) -> dict[str, Any]:
    return {**msgspec.to_builtins(record), "speed_x_realtime": record.speed_x_realtime}
