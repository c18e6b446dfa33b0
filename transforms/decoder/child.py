"""Functions that run inside a decoder child: they decode a segment and return features or write pictures to a file.

Decoded frames never leave the child as objects.
"""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from models.visual.bundle import ModelBundle
from models.visual.engines.opening import Engine, open_engine
from models.visual.features import Features
from models.visual.preprocess import finish
from models.visual.spec import VisualSpec
from transforms import storage
from transforms.decoder.memory_limit import limit_memory
from transforms.decoder.settings import DecoderSettings
from transforms.decoder.spool import SpoolError
from transforms.fault_points import fault_point
from transforms.video import bounds, content_hash, fingerprint, object_reader
from transforms.video.clip_windows import ClipAssembler, ClipClock
from transforms.video.content_hash import ContentHash
from transforms.video.decode import DecodeReport, Sample, sample
from transforms.video.failures import REASONS, Failure, VideoError
from transforms.video.pixels import Orientation, Painter
from transforms.video.probe import VideoInfo, probe
from transforms.video.reuse import Reuser
from transforms.video.sampling import Sampling
from transforms.video.segments import Segment
from transforms.video.source import NO_MEMORY
from transforms.video.thumbnails import Thumbnail, Thumbnailer

if TYPE_CHECKING:
    from transforms.decoder.regions import RegionFinder
    from transforms.video.regions import FoundRegion

NO_MEMORY_TO_DECODE = "decoding needs more memory than a decoder may take"


@dataclass(frozen=True)
class ChildSettings:
    """Settings of a decoder child.

    Attributes:
        bundle: folder of the model bundle; None for a child that only probes.
        infers: whether the child also runs the model (LiteRT on a CPU); otherwise it writes pictures for the worker.
        sampling: how frames are chosen.
        top_labels: number of labels to keep per frame.
        decoders: how children are run.
        thumbnail_height: height in pixels of the thumbnails that it makes of all frames; 0 for none.
        spool: folder for pictures, if the child does not run the model; the pool sets it.
        file_systems: options of Beam's file systems (see `storage.use_options`).
        regions: how regions are found (see `transforms.decoder.regions`); "" for none.
    """

    bundle: str | None
    infers: bool
    sampling: Sampling
    top_labels: int
    decoders: DecoderSettings
    thumbnail_height: int = 0
    spool: str = ""
    file_systems: dict[str, Any] = field(default_factory=dict)
    regions: str = ""


class FrameFeatures(NamedTuple):
    """Features of n sampled frames, or of n clips, of D-dimensional embeddings and k top labels.

    Attributes:
        embeddings: float32 [n, D], as the model returns them.
        top_labels: int32 [n, k], indices into the model's labels, best first.
        top_scores: float32 [n, k], the scores of these labels.
    """

    embeddings: NDArray[np.float32]
    top_labels: NDArray[np.int32]
    top_scores: NDArray[np.float32]


@dataclass
class SegmentResult:
    """Result of decoding a segment.

    Attributes:
        pts: int64 [n], presentation times in time-base units of the n sampled frames, or of the first frames of n
            clips.
        time_s: float64 [n], seconds after the video's first frame.
        features: of the n frames; None if the worker has to compute them from `pictures`.
        pictures: path of a file with the raw bytes of the model's n inputs, uint8 [n, *spec.input_shape]; None if the
            child runs the model.
        report: statistics and damage.
        rotation: clockwise rotation in degrees that makes the pictures upright.
        decode_msec: milliseconds spent reading, decoding and converting.
        infer_msec: milliseconds spent in the model.
        failure: what stopped it early; None if nothing did.
        thumbnails: of the n frames; empty if the child makes none.
        regions: those of each of the n frames; empty if the child finds none.
    """

    pts: NDArray[np.int64]
    time_s: NDArray[np.float64]
    features: FrameFeatures | None
    pictures: str | None
    report: DecodeReport
    rotation: int
    decode_msec: float
    infer_msec: float
    failure: Failure | None
    thumbnails: tuple[Thumbnail, ...] = ()
    regions: tuple[tuple["FoundRegion", ...], ...] = ()


class _State(NamedTuple):
    settings: ChildSettings
    spec: VisualSpec
    engine: Engine | None
    finder: "RegionFinder | None" = None


_state: _State | None = None
_sampling: Sampling | None = None


def start(settings: ChildSettings) -> None:
    """Prepares this process: silences it, sets its bounds and its memory limit, and opens the model.

    Raises:
        ModelError: the model cannot be opened.
    """
    global _state, _sampling
    fault_point("decoder.before_start")
    _sampling = settings.sampling
    av.logging.set_level(None)
    # Codec libraries write to standard error by themselves; everything that matters is part of the result.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    bounds.enforce(settings.decoders.bounds)
    storage.use_options(settings.file_systems)
    if settings.bundle is not None:
        bundle = ModelBundle.open(Path(settings.bundle))
        finder = _open_finder(bundle, settings.regions) if settings.regions else None
        engine = open_engine(bundle, device="cpu") if settings.infers and finder is None else None
        _state = _State(settings, bundle.spec, engine, finder)
    if settings.decoders.memory_bytes:
        limit_memory(settings.decoders.memory_bytes)


def _open_finder(bundle: ModelBundle, regions: str) -> "RegionFinder":
    # Imported here, because children that find no regions need nothing of it.
    from transforms.decoder.regions import RegionFinder

    return RegionFinder(bundle, regions)


def probe_video(path: str, segment_s: Fraction | None = None) -> VideoInfo | Failure:
    """Probes a video and checks how many frames its sampling would take; runs inside a child.

    Args:
        path: the video file.
        segment_s: length of its segments in seconds; None if it is not to be cut (see `probe`).

    Returns:
        What the headers say, or why the video cannot be processed.
    """
    fault_point("decoder.before_probe")
    try:
        info = probe(path, segment_s)
        if _sampling is not None and _sampling.kind in ("rate", "clips") and info.duration_s:
            planned = _sampling.expected_samples(info.duration_s, info.fps or _sampling.value)
            bounds.in_force().check_frames("probe", planned)
        return info
    except VideoError as error:
        return error.failure
    except MemoryError:
        return Failure("probe", "too_large", NO_MEMORY)


def hash_content(path: str, full: bool) -> ContentHash | Failure:
    """Hashes a file's content; runs inside a child, so that a file that cannot be read in time costs only itself.

    Args:
        path: the file.
        full: whether to read all of it.

    Returns:
        The hashes, or why the file cannot be read.
    """
    fault_point("decoder.before_hash")
    try:
        return content_hash.of_file(path, full=full)
    except OSError as error:
        return Failure("probe", "unreadable", str(error))


def run_segment(segment: Segment, path: str, pictures: str = "0.frames") -> SegmentResult:
    """Decodes the samples of a segment, and runs the model on each if this child does so; runs inside a child.

    Args:
        segment: what to decode.
        path: of the video file.
        pictures: name of the file in the spool folder to write pictures to, if this child does not run the model.

    Returns:
        The frames decoded before any failure, and the failure. No frames if the file changed since it was planned.

    Raises:
        SpoolError: the file of pictures cannot be written.
    """
    assert _state is not None, "start() has not run in this process"
    fault_point("decoder.before_segment")
    keeper = _keeper(_state, pictures)
    window = segment.window(_state.settings.sampling)
    collector = _Collector(_state, keeper, window.clips)
    report = DecodeReport()
    failure: Failure | None = None
    began = time.perf_counter()
    try:
        with object_reader.planned(path, segment.video.fingerprint):
            for one in sample(path, segment.info, window, report):
                collector.take(one)
            collector.finish()
    except VideoError as error:
        failure = error.failure
    except MemoryError:
        failure = Failure("decode", "too_large", NO_MEMORY_TO_DECODE)
    except SpoolError:
        raise
    except Exception as error:  # whatever a library raises for one frame, the frames before it are good
        failure = Failure("decode", "decoder_crash", f"the decoder process failed: {type(error).__name__}: {error}")
    took_msec = (time.perf_counter() - began) * 1000
    result = SegmentResult(
        np.array([row.pts for row in collector.rows], np.int64),
        np.array([row.time_s for row in collector.rows], np.float64),
        features=keeper.features(),
        pictures=keeper.pictures(),
        report=report,
        rotation=collector.rotation,
        decode_msec=took_msec - keeper.infer_msec,
        infer_msec=keeper.infer_msec,
        failure=failure,
        thumbnails=tuple(row.thumbnail for row in collector.rows if row.thumbnail is not None),
        regions=tuple(keeper.regions),
    )
    planned = segment.video.fingerprint
    return result if not planned or planned == fingerprint.current(path) else _of_changed_file(result, _state)


def _keeper(state: _State, pictures: str) -> "_Keeper":
    if state.finder is not None:
        return _Finding(state) if state.settings.infers else _SpoolingAndFinding(state, pictures)
    return _Inferring(state) if state.engine is not None else _Spooling(state, pictures)


def _of_changed_file(result: SegmentResult, state: _State) -> SegmentResult:
    """Removes the frames from a result, because they may come from the planned file, the new one, or both."""
    if result.pictures is not None:
        os.truncate(result.pictures, 0)
    return replace(
        result,
        pts=result.pts[:0],
        time_s=result.time_s[:0],
        features=None if result.features is None else empty_features(state.spec, state.settings.top_labels),
        failure=Failure("decode", "changed", REASONS["changed"]),
        thumbnails=(),
        regions=(),
    )


def top(features: Features, k: int) -> FrameFeatures:
    """Keeps the best labels of each frame; of equal scores, the lower index comes first.

    Scores that are not finite come first, so that they are noticed however few labels are kept.

    Args:
        features: of n frames.
        k: labels to keep per frame; all if the model has fewer.
    """
    k = min(k, features.scores.shape[1])
    descending = np.where(np.isfinite(features.scores), -features.scores, -np.inf)
    order = np.argsort(descending, axis=1, kind="stable")[:, :k].astype(np.int32)
    scores = np.take_along_axis(features.scores, order, axis=1).astype(np.float32)
    return FrameFeatures(features.embeddings.astype(np.float32), order, scores)


class _Row(NamedTuple):
    """A row of the result: the time of a sampled frame, or of the first frame of a clip, and its thumbnail."""

    pts: int
    time_s: float
    thumbnail: Thumbnail | None


_Part = tuple[_Row, NDArray[np.uint8]]
"""What a clip holds of each frame: the row that would begin with it, and its picture."""


class _Collector:
    """Converts frames to pictures and thumbnails, puts the pictures of clips together, and hands them to a keeper."""

    def __init__(self, state: _State, keeper: "_Keeper", clips: ClipClock | None) -> None:
        self.rotation = 0
        self.rows: list[_Row] = []
        self._keeper = keeper
        self._assembler: ClipAssembler[_Part] | None = None if clips is None else ClipAssembler(clips)
        self._preprocessing = state.spec.preprocessing
        self._painter = Painter(state.spec.preprocessing)
        height = state.settings.thumbnail_height
        self._thumbnailer = Thumbnailer(height, state.spec.preprocessing) if height else None
        self._count = 0

    def take(self, one: Sample) -> None:
        """Converts a sample to a picture, and keeps it or the clips that it completes.

        Raises:
            VideoError: a bound is exceeded, or the frame cannot be converted.
            SpoolError: the picture cannot be written.
        """
        if not self._count:
            self.rotation = Orientation.of(one.frame).degrees
        is_row = self._assembler is None or one.tick is not None
        self._count += is_row
        bounds.in_force().check_frames("decode", self._count)
        bounds.in_force().check_picture("decode", one.frame.width, one.frame.height)
        upright = self._painter.upright(one.frame, one.pixel_aspect, one.is_field)
        thumbnail = self._thumbnailer.make(one, upright) if self._thumbnailer is not None and is_row else None
        row, picture = _Row(one.pts, one.time_s, thumbnail), finish(upright, self._preprocessing)
        if self._assembler is None:
            self._keep(row, picture, one)
        else:
            self._keep_clips(self._assembler.add(one.t, one.tick, (row, picture)))
        fault_point("decoder.after_picture")

    def finish(self) -> None:
        """Keeps the clips that the video's end cuts short.

        Raises:
            SpoolError: a clip cannot be written.
        """
        if self._assembler is not None:
            self._keep_clips(self._assembler.finish())

    def _keep_clips(self, clips: Iterable[list[_Part]]) -> None:
        for clip in clips:
            self._keep(clip[0][0], np.stack([picture for _, picture in clip]), None)

    def _keep(self, row: _Row, given: NDArray[np.uint8], one: Sample | None) -> None:
        self._keeper.keep(given, one)
        self.rows.append(row)


class _Keeper:
    """Keeps the model's inputs, or what the model makes of them."""

    infer_msec = 0.0

    def __init__(self) -> None:
        self.regions: list[tuple[FoundRegion, ...]] = []

    def keep(self, given: NDArray[np.uint8], one: Sample | None) -> None:
        """Keeps an input of the model, uint8 [*spec.input_shape], or its features; `one` is the frame of a picture."""
        raise NotImplementedError

    def features(self) -> FrameFeatures | None:
        """Returns the features of all inputs; None if they were not computed."""
        return None

    def pictures(self) -> str | None:
        """Returns the path of the finished file of inputs; None if they were not written."""
        return None


class _Inferring(_Keeper):
    """Runs the model on each input, or takes the features of an earlier frame (see `transforms.video.reuse`)."""

    def __init__(self, state: _State) -> None:
        super().__init__()
        self.state = state
        self._rows: list[FrameFeatures] = []
        self._reuser: Reuser[FrameFeatures] = Reuser(state.settings.sampling.reuse_below)

    def keep(self, given: NDArray[np.uint8], one: Sample | None) -> None:
        assert self.state.engine is not None
        began = time.perf_counter()
        tick = one.tick if one is not None else None
        row = self._reuser.find(tick, given)
        if row is None:
            row = top(self.state.engine.infer(given[np.newaxis]), self.state.settings.top_labels)
            self._reuser.note(tick, given, row)
        self._rows.append(row)
        self.infer_msec += (time.perf_counter() - began) * 1000

    def features(self) -> FrameFeatures:
        if not self._rows:
            return empty_features(self.state.spec, self.state.settings.top_labels)
        return FrameFeatures(*(np.concatenate(column) for column in zip(*self._rows, strict=True)))


class _Finding(_Inferring):
    """Runs the model on each picture and finds its regions."""

    def keep(self, given: NDArray[np.uint8], one: Sample | None) -> None:
        assert self.state.finder is not None and one is not None, "clips have no regions"
        began = time.perf_counter()
        looked = self.state.finder.look(one, given)
        assert looked.features is not None
        self._rows.append(top(looked.features, self.state.settings.top_labels))
        self.regions.append(looked.regions)
        self.infer_msec += (time.perf_counter() - began) * 1000


class _Spooling(_Keeper):
    """Writes the inputs to a file in the spool folder."""

    def __init__(self, state: _State, name: str) -> None:
        super().__init__()
        self._path = os.path.join(state.settings.spool, name)
        with _spool_errors(self._path):
            self._file = open(self._path, "xb")  # noqa: SIM115 - closed in pictures()

    def keep(self, given: NDArray[np.uint8], one: Sample | None) -> None:
        with _spool_errors(self._path):
            self._file.write(given.tobytes())

    def pictures(self) -> str:
        with _spool_errors(self._path):
            self._file.close()
        return self._path


class _SpoolingAndFinding(_Spooling):
    """Finds the regions of each picture and writes it to a file, so that the worker runs the model on it."""

    def __init__(self, state: _State, name: str) -> None:
        super().__init__(state, name)
        self._finder = state.finder

    def keep(self, given: NDArray[np.uint8], one: Sample | None) -> None:
        assert self._finder is not None and one is not None, "clips have no regions"
        super().keep(given, one)
        began = time.perf_counter()
        self.regions.append(self._finder.look(one, given).regions)
        self.infer_msec += (time.perf_counter() - began) * 1000


@contextlib.contextmanager
def _spool_errors(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpoolError(f"cannot write the temporary file {path}: {error.strerror or error}") from error


def empty_features(spec: VisualSpec, top_labels: int) -> FrameFeatures:
    """Returns features of zero frames, with the same dtypes and columns as those of `top`."""
    k = min(top_labels, len(spec.labels))
    return FrameFeatures(
        np.zeros((0, spec.embedding_size), np.float32),
        np.zeros((0, k), np.int32),
        np.zeros((0, k), np.float32),
    )
