"""What runs inside a decoder child: one segment in, features or pictures out. Frames never leave it as objects."""

import os
import resource
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import mkstemp
from typing import Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from models.visual.bundle import ModelBundle
from models.visual.engine import Engine, open_engine
from models.visual.features import Features
from models.visual.spec import VisualSpec
from transforms.catalog import storage
from transforms.catalog.faults import fault_point
from transforms.video import bounds, fingerprint
from transforms.video.bounds import Bounds
from transforms.video.decode import DecodeReport, Sample, sample
from transforms.video.failures import REASONS, VideoError
from transforms.video.pixels import Orientation, Painter
from transforms.video.probe import VideoInfo, probe
from transforms.video.sampling import Sampling
from transforms.video.segments import Segment
from transforms.video.source import NO_MEMORY


@dataclass(frozen=True)
class ChildSettings:
    """What a decoder child is started with.

    Attributes:
        bundle: folder of the model bundle; None for a child that only probes.
        infers: whether the child runs the model too (LiteRT on a CPU); else it leaves pictures for the worker.
        sampling: how frames are chosen.
        top_labels: how many labels a frame keeps.
        spool: folder for pictures, where the child does not infer.
        memory_bytes: limit on the child's address space; 0 for none.
        bounds: what a video may claim.
        file_systems: options of Beam's file systems, see `storage.use_options`.
    """

    bundle: str | None
    infers: bool
    sampling: Sampling
    top_labels: int
    spool: str
    memory_bytes: int
    bounds: Bounds = bounds.DEFAULT
    file_systems: dict[str, Any] = field(default_factory=dict)


class FrameFeatures(NamedTuple):
    """Features of n sampled frames of D-dimensional embeddings and k top labels.

    Attributes:
        embeddings: float32 [n, D], as the model gives them.
        top_labels: int32 [n, k], indices into the model's labels, best first.
        top_scores: float32 [n, k].
    """

    embeddings: NDArray[np.float32]
    top_labels: NDArray[np.int32]
    top_scores: NDArray[np.float32]


@dataclass
class SegmentResult:
    """What a segment gave.

    Attributes:
        pts: int64 [n].
        time_s: float64 [n], seconds after the video's first frame.
        features: of the n frames; None while they wait in `pictures`.
        pictures: a .npy file of uint8 [n, height, width, channels], where the worker infers.
        report: what decoding met.
        rotation: degrees clockwise that turn the picture upright.
        decode_msec: time spent reading, decoding and painting.
        infer_msec: time spent in the model.
        failure: (stage, reason, message) of what stopped it early, or None.
    """

    pts: NDArray[np.int64]
    time_s: NDArray[np.float64]
    features: FrameFeatures | None
    pictures: str | None
    report: DecodeReport
    rotation: int
    decode_msec: float
    infer_msec: float
    failure: tuple[str, str, str] | None


class _State(NamedTuple):
    settings: ChildSettings
    spec: VisualSpec
    engine: Engine | None


_state: _State | None = None
_sampling: Sampling | None = None


def start(settings: ChildSettings) -> None:
    """Readies this process: memory limit, silence, bounds, the model."""
    global _state, _sampling
    _sampling = settings.sampling
    av.logging.set_level(None)
    # Codec libraries write to standard error on their own account; what matters comes back as a result.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    bounds.enforce(settings.bounds)
    storage.use_options(settings.file_systems)
    if settings.bundle is not None:
        bundle = ModelBundle.open(Path(settings.bundle))
        engine = open_engine(bundle, device="cpu") if settings.infers else None
        _state = _State(settings, bundle.spec, engine)
    if settings.memory_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (settings.memory_bytes, settings.memory_bytes))


def probe_video(path: str) -> VideoInfo | tuple[str, str, str]:
    """`VideoInfo`, or (stage, reason, message) of why there is none."""
    try:
        info = probe(path)
        if _sampling is not None and _sampling.kind == "rate" and info.duration_s:
            planned = _sampling.expected_samples(info.duration_s, info.fps or _sampling.value)
            bounds.in_force().check_frames("probe", planned)
        return info
    except VideoError as error:
        return error.stage, error.reason, error.message
    except MemoryError:
        return "probe", "too_large", NO_MEMORY


def run_segment(segment: Segment, path: str) -> SegmentResult:
    """Decodes the segment's samples and, where this child infers, runs the model on each."""
    assert _state is not None, "start() has not run in this process"
    fault_point("decoder.before_segment")
    collector = _Inferring(_state) if _state.engine is not None else _Spooling(_state)
    report = DecodeReport()
    pts: list[int] = []
    time_s: list[float] = []
    failure = None
    began = time.perf_counter()
    try:
        for one in sample(path, segment.info, segment.window(_state.settings.sampling), report):
            collector.take(one)
            pts.append(one.pts)
            time_s.append(one.time_s)
    except VideoError as error:
        failure = (error.stage, error.reason, error.message)
    except MemoryError:
        failure = ("decode", "too_large", "decoding needs more memory than a decoder may take")
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
    )
    planned = segment.video.fingerprint
    return result if not planned or planned == fingerprint.current(path) else _of_changed_file(result, _state)


def _of_changed_file(result: SegmentResult, state: _State) -> SegmentResult:
    """The result without its frames: they may be of the file that was planned, of the new one, or of both."""
    if result.pictures is not None:
        os.truncate(result.pictures, 0)
    return replace(
        result,
        pts=result.pts[:0],
        time_s=result.time_s[:0],
        features=None if result.features is None else empty_features(state.spec, state.settings.top_labels),
        failure=("decode", "changed", REASONS["changed"]),
    )


def top(features: Features, k: int) -> FrameFeatures:
    """The k best labels of each frame, ties to the lower index."""
    k = min(k, features.scores.shape[1])
    order = np.argsort(-features.scores, axis=1, kind="stable")[:, :k].astype(np.int32)
    scores = np.take_along_axis(features.scores, order, axis=1).astype(np.float32)
    return FrameFeatures(features.embeddings.astype(np.float32), order, scores)


class _Collector:
    """Paints frames and does something with the pictures."""

    infer_msec = 0.0

    def __init__(self, state: _State) -> None:
        self.state = state
        self.rotation = 0
        self._painter = Painter(state.spec.preprocessing)
        self._count = 0

    def take(self, one: Sample) -> None:
        if not self._count:
            self.rotation = Orientation.of(one.frame).degrees
        self._count += 1
        bounds.in_force().check_frames("decode", self._count)
        bounds.in_force().check_picture("decode", one.frame.width, one.frame.height)
        self.keep(self._painter.paint(one.frame, one.pixel_aspect))

    def keep(self, picture: NDArray[np.uint8]) -> None:
        raise NotImplementedError

    def features(self) -> FrameFeatures | None:
        return None

    def pictures(self) -> str | None:
        return None


class _Inferring(_Collector):
    def __init__(self, state: _State) -> None:
        super().__init__(state)
        self._rows: list[FrameFeatures] = []

    def keep(self, picture: NDArray[np.uint8]) -> None:
        assert self.state.engine is not None
        began = time.perf_counter()
        self._rows.append(top(self.state.engine.infer(picture[np.newaxis]), self.state.settings.top_labels))
        self.infer_msec += (time.perf_counter() - began) * 1000

    def features(self) -> FrameFeatures:
        if not self._rows:
            return empty_features(self.state.spec, self.state.settings.top_labels)
        return FrameFeatures(*(np.concatenate(column) for column in zip(*self._rows, strict=True)))


class _Spooling(_Collector):
    def __init__(self, state: _State) -> None:
        super().__init__(state)
        handle, self._path = mkstemp(suffix=".frames", dir=state.settings.spool)
        self._file = open(handle, "wb")  # noqa: SIM115 - closed in pictures()

    def keep(self, picture: NDArray[np.uint8]) -> None:
        self._file.write(picture.tobytes())

    def pictures(self) -> str:
        self._file.close()
        return self._path


def empty_features(spec: VisualSpec, top_labels: int) -> FrameFeatures:
    """Features of no frames."""
    k = min(top_labels, len(spec.labels))
    return FrameFeatures(
        np.zeros((0, spec.embedding_size), np.float32),
        np.zeros((0, k), np.int32),
        np.zeros((0, k), np.float32),
    )
