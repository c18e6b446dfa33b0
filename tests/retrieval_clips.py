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


ABSENT = (
    "a penguin on the ice", "an elephant in the savanna", "a castle on a hill", "a volcano erupting",
    "a submarine under water", "someone playing the accordion", "a goldfish in a bowl", "a bowl of strawberries",
    "an airliner taking off", "the inside of a church", "a basketball game", "people with umbrellas in the rain",
    "a spider in its web", "a steam locomotive at a station", "a lighthouse by the sea", "a snowplow clearing a road",
    "a dentist treating a patient", "an orchestra on a stage", "two people playing chess",
    "a scientist at a microscope", "fireworks in the night sky", "a football match in a stadium",
    "someone knitting a sweater", "a glass blower at work", "a wedding dress", "a sailing boat on a lake",
    "a butterfly on a flower", "a fire engine with its siren", "a hot air balloon", "a windmill in the fields",
    "a man playing the violin", "a dolphin jumping", "a field of sunflowers", "a crane at a building site",
    "a barber cutting hair", "a parrot in the jungle",
)  # fmt: skip
"""Things that are in none of the captioned clips; written before any score was seen."""

ABSENT_CHINESE = (
    "\u51b0\u4e0a\u7684\u4f01\u9e45", "\u8349\u539f\u4e0a\u7684\u5927\u8c61", "\u5c71\u4e0a\u7684\u57ce\u5821",
    "\u706b\u5c71\u7206\u53d1", "\u62c9\u624b\u98ce\u7434\u7684\u4eba", "\u4e00\u7897\u8349\u8393",
    "\u8d77\u98de\u7684\u5ba2\u673a", "\u6559\u5802\u5185\u90e8", "\u7bee\u7403\u6bd4\u8d5b",
    "\u6d77\u8fb9\u7684\u706f\u5854", "\u4e0b\u56fd\u9645\u8c61\u68cb", "\u591c\u7a7a\u4e2d\u7684\u70df\u82b1",
    "\u70ed\u6c14\u7403", "\u8df3\u8dc3\u7684\u6d77\u8c5a", "\u663e\u5fae\u955c", "\u5a5a\u7eb1",
)  # fmt: skip
"""The same in Chinese: a penguin on ice, elephants, a castle, a volcano and others."""

PRESENT_CHINESE = {
    "\u5f39\u94a2\u7434\u7684\u732b": "TZ860P4iTaM_15_28.avi",
    "\u73a9\u800d\u7684\u718a\u732b": "ufFT2BWh3BQ_0_8.avi", "\u6c34\u4e0a\u7684\u9ed1\u5929\u9e45": "black-swan.mp4",
    "\u5750\u7740\u7684\u68d5\u718a": "brown-bear.mp4", "\u8349\u5730\u4e0a\u7684\u725b": "cow-walking.mp4",
    "\u6563\u6b65\u7684\u72d7": "dog-walking.mp4", "\u6c99\u6ee9\u4e0a\u5954\u8dd1\u7684\u9a6c": "horse-running.mp4",
    "\u5486\u54ee\u7684\u72ee\u5b50": "lion-roaring.mp4", "\u51b2\u6d6a\u7684\u4eba": "man-surfing.mp4",
    "\u5154\u5b50\u5403\u897f\u74dc": "rabbit-watermelon.mp4",
    "\u9a91\u81ea\u884c\u8f66\u7684\u5b69\u5b50": "child-riding.mp4",
    "\u6469\u6258\u8f66\u7279\u6280": "klteYv1Uv9A_27_33.avi",
    "\u5265\u867e\u7684\u53a8\u5e08": "PeUHy0A1GF0_114_121.avi",
    "\u73a9\u6ed1\u677f\u7684\u7537\u4eba": "skateboard-man.mp4", "\u7b11\u7684\u5a74\u513f": "3qqEKTPxLNs_1_15.avi",
    "\u770b\u62f3\u51fb\u6bd4\u8d5b\u7684\u732b": "5HAf_INrFy0_3_25.gif",
    "\u516c\u8def\u4e0a\u884c\u9a76\u7684\u6c7d\u8f66": "778mkceE0UQ_40_46.avi",
    "\u7528\u624b\u62ac\u8d77\u5361\u8f66": "qvg9eM4Hmzk_4_10.avi",
}  # fmt: skip
"""What some of the clips show, in Chinese, written before any score was seen; and the clip."""
