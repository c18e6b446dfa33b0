"""Real clips through the project's own decoding and default model, one frame a second."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from models.retrieval.rows import VideoFrames
from models.visual.bundle import ModelBundle
from models.visual.engines.opening import Engine, open_engine
from transforms.video.decode import DecodeReport, sample
from transforms.video.packets import Window
from transforms.video.pixels import Painter
from transforms.video.probe import probe
from transforms.video.sampling import Sampling

CAPTIONED = Path(__file__).parents[2] / "shared" / "data" / "captioned"


class Model(NamedTuple):
    bundle: ModelBundle
    engine: Engine


def open_model(bundle: ModelBundle) -> Model:
    return Model(bundle, open_engine(bundle, device="cpu"))


def embed_clip(path: Path, model: Model, rate: str = "1fps") -> VideoFrames:
    info, sampling = probe(str(path)), Sampling.parse(rate)
    clock = sampling.clock(info.time_base, info.duration_s)
    window = Window(sampling, clock, 0, None, 0, None)
    painter = Painter(model.bundle.spec.preprocessing)
    taken = [
        (one.time_s, painter.paint(one.frame, one.pixel_aspect, one.is_field))
        for one in sample(str(path), info, window, DecodeReport())
    ]
    times = np.asarray([time_s for time_s, _ in taken], dtype=np.float64)
    embeddings = model.engine.infer(np.stack([picture for _, picture in taken])).embeddings
    duration_s = float(info.duration_s) if info.duration_s is not None else None
    return VideoFrames(path.name, path.as_uri(), duration_s, times, embeddings)
