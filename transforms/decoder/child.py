"""Functions that run inside a decoder child: they decode a segment and return features or write pictures to a file.

Decoded frames never leave the child as objects.
"""

import contextlib
import os
import time
from collections.abc import Iterator
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
from transforms.video import bounds, content_hash, fingerprint
from transforms.video.content_hash import ContentHash
from transforms.video.decode import DecodeReport, Sample, sample
from transforms.video.failures import REASONS, Failure, VideoError
from transforms.video.pixels import Orientation, Painter
from transforms.video.probe import VideoInfo, probe
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
        regions: how regions are found, if the child runs the model (see `transforms.decoder.regions`); "" for none.
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
    """Features of n sampled frames of D-dimensional embeddings and k top labels.

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
        pts: int64 [n], presentation times of the n sampled frames in time-base units.
        time_s: float64 [n], seconds after the video's first frame.
        features: of the n frames; None if the worker has to compute them from `pictures`.
        pictures: path of a file with the raw bytes of uint8 [n, height, width, channels]; None if the child runs the
            model.
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
        if _sampling is not None and _sampling.kind == "rate" and info.duration_s:
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
    collector = _collector(_state, pictures)
    report = DecodeReport()
    pts: list[int] = []
    time_s: list[float] = []
    failure: Failure | None = None
    began = time.perf_counter()
    try:
        for one in sample(path, segment.info, segment.window(_state.settings.sampling), report):
            collector.take(one)
            pts.append(one.pts)
            time_s.append(one.time_s)
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
        np.array(pts, np.int64),
        np.array(time_s, np.float64),
        features=collector.features(),
        pictures=collector.pictures(),
        report=report,
        rotation=collector.rotation,
        decode_msec=took_msec - collector.infer_msec,
        infer_msec=collector.infer_msec,
        failure=failure,
        thumbnails=tuple(collector.thumbnails),
        regions=tuple(collector.regions),
    )
    planned = segment.video.fingerprint
    return result if not planned or planned == fingerprint.current(path) else _of_changed_file(result, _state)


def _collector(state: _State, pictures: str) -> "_Collector":
    if state.finder is not None:
        return _Finding(state)
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


class _Collector:
    """Converts frames to pictures and thumbnails; subclasses decide what to do with the pictures."""

    infer_msec = 0.0

    def __init__(self, state: _State) -> None:
        self.state = state
        self.rotation = 0
        self.thumbnails: list[Thumbnail] = []
        self.regions: list[tuple[FoundRegion, ...]] = []
        self._painter = Painter(state.spec.preprocessing)
        height = state.settings.thumbnail_height
        self._thumbnailer = Thumbnailer(height, state.spec.preprocessing) if height else None
        self._count = 0

    def take(self, one: Sample) -> None:
        """Converts a sample to a picture and keeps it.

        Raises:
            VideoError: a bound is exceeded, or the frame cannot be converted.
            SpoolError: the picture cannot be written.
        """
        if not self._count:
            self.rotation = Orientation.of(one.frame).degrees
        self._count += 1
        bounds.in_force().check_frames("decode", self._count)
        bounds.in_force().check_picture("decode", one.frame.width, one.frame.height)
        upright = self._painter.upright(one.frame, one.pixel_aspect, one.is_field)
        thumbnail = None if self._thumbnailer is None else self._thumbnailer.make(one, upright)
        self.keep(finish(upright, self.state.spec.preprocessing), one)
        if thumbnail is not None:
            self.thumbnails.append(thumbnail)
        fault_point("decoder.after_picture")

    def keep(self, picture: NDArray[np.uint8], one: Sample) -> None:
        """Keeps a picture uint8 [height, width, channels] of a frame, or its features."""
        raise NotImplementedError

    def features(self) -> FrameFeatures | None:
        """Returns the features of all pictures; None if they were not computed."""
        return None

    def pictures(self) -> str | None:
        """Returns the path of the finished file of pictures; None if they were not written."""
        return None


class _Inferring(_Collector):
    """Runs the model on each picture."""

    def __init__(self, state: _State) -> None:
        super().__init__(state)
        self._rows: list[FrameFeatures] = []

    def keep(self, picture: NDArray[np.uint8], one: Sample) -> None:
        assert self.state.engine is not None
        began = time.perf_counter()
        self._rows.append(top(self.state.engine.infer(picture[np.newaxis]), self.state.settings.top_labels))
        self.infer_msec += (time.perf_counter() - began) * 1000

    def features(self) -> FrameFeatures:
        if not self._rows:
            return empty_features(self.state.spec, self.state.settings.top_labels)
        return FrameFeatures(*(np.concatenate(column) for column in zip(*self._rows, strict=True)))


class _Finding(_Inferring):
    """Runs the model on each picture and finds its regions."""

    def keep(self, picture: NDArray[np.uint8], one: Sample) -> None:
        assert self.state.finder is not None
        began = time.perf_counter()
        looked = self.state.finder.look(one, picture)
        self._rows.append(top(looked.features, self.state.settings.top_labels))
        self.regions.append(looked.regions)
        self.infer_msec += (time.perf_counter() - began) * 1000


class _Spooling(_Collector):
    """Writes the pictures to a file in the spool folder."""

    def __init__(self, state: _State, name: str) -> None:
        super().__init__(state)
        self._path = os.path.join(state.settings.spool, name)
        with _spool_errors(self._path):
            self._file = open(self._path, "xb")  # noqa: SIM115 - closed in pictures()

    def keep(self, picture: NDArray[np.uint8], one: Sample) -> None:
        with _spool_errors(self._path):
            self._file.write(picture.tobytes())

    def pictures(self) -> str:
        with _spool_errors(self._path):
            self._file.close()
        return self._path


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
