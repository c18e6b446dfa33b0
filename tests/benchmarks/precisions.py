"""What a smaller engine would gain and cost: LiteRT in float32, float16 weights, dynamic range and int8.

    python -m tests.benchmarks.precisions

"int8" is what `--precision int8` runs; "int8, converter's own" leaves everything to TensorFlow's converter, with the
ranges of 100 frames of the same clips. All figures are of frames of the real videos in ../shared/data:

- CPU milliseconds a picture on one thread, and float32's over it, of `TURNS` turns that alternate the least.
- Agreement with float32 on the captioned and the longer clips, each clip counted alike, and on the clips of one fixed
  camera. "Sure" are frames whose best score is at least 0.3.
- Top-1 on the clips of which a person said what they show, each clip counted alike (`SHOWN`).
- Lost top-1: what float32's score says of another best label. It is weighted so that float32's best scores are
  distributed as on ImageNet's held-out stills (`tests/held_out_stills.py`), as most frames are less sure.
"""

import itertools
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import av
import numpy as np
from rich.console import Console
from rich.table import Table

from models.visual import registry
from models.visual.engines.target import Target
from models.visual.export import _frozen, _in_int8
from models.visual.export import convert as convert_as_offered
from models.visual.labels import imagenet_labels
from tests import held_out_stills
from tests.benchmarks.agreement import SURE
from tests.benchmarks.generated_archive import SHARED
from tests.peers.pictures import decode

MODEL: Final = "efficientnet_lite0"
CONVERTERS_OWN: Final = "int8, converter's own"
KINDS: Final = ("float32", "float16", "dynamic range", CONVERTERS_OWN, "int8")
RATE, FRAMES_A_CLIP = 2, 60
CALIBRATION, FIXED_CAMERA, TURNS = 100, 150, 3
BINS: Final = np.linspace(0, 1, 11)

CATS: Final = {"tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat"}
CARS: Final = {"convertible", "sports car", "racer", "cab", "limousine", "beach wagon", "jeep", "minivan", "pickup"}
SHOWN: Final[dict[str, set[str]]] = {
    "5HAf_INrFy0_3_25": {"television", "boxer"},
    "778mkceE0UQ_40_46": CARS,
    "TZ860P4iTaM_15_28": CATS | {"upright", "grand piano"},
    "UXs3eq68ZjE_250_255": {"hot pot", "Crock Pot", "caldron", "wok"},
    "WTf5EgVY5uU_124_128": {"frying pan", "wok"},
    "klteYv1Uv9A_27_33": {"moped", "motor scooter"},
    "qvg9eM4Hmzk_4_10": {"pickup"},
    "ufFT2BWh3BQ_0_8": {"giant panda"},
    "black-swan": {"black swan"},
    "brown-bear": {"brown bear"},
    "car-moving": CARS,
    "car-turn": CARS,
    "child-riding": {"tricycle", "mountain bike"},
    "cow-walking": {"ox"},
    "dog-walking": {"golden retriever", "Labrador retriever", "clumber"},
    "horse-running": {"sorrel"},
    "lion-roaring": {"lion"},
    "rabbit-watermelon": {"hare", "wood rabbit", "Angora"},
}
"""Classes that are right for a clip's frames, by the clip's name."""


class Frames(NamedTuple):
    """Inputs of the model uint8 [n, 224, 224, 3], and the clip of each [n]."""

    pictures: np.ndarray
    clips: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """Weights with which each clip counts alike."""
        _, number, counts = np.unique(self.clips, return_inverse=True, return_counts=True)
        weights = 1 / counts[number]
        return weights / weights.sum()


def frames_of(clips: list[Path], rate: int = RATE, most: int = FRAMES_A_CLIP) -> Frames:
    """Sampled frames of clips."""
    found = [(picture, clip.stem) for clip in clips for picture in itertools.islice(_frames(clip, rate), most)]
    pictures, names = zip(*found, strict=True)
    return Frames(np.stack(pictures), np.array(names))


def _frames(clip: Path, rate: int) -> Iterator[np.ndarray]:
    try:
        for picture in decode(str(clip), rate):
            yield picture.pixels
    except (av.FFmpegError, TypeError):
        return  # the peers' decoding cannot read it


def convert(kind: str, calibration: np.ndarray) -> bytes:
    """The default model as LiteRT's format."""
    import tensorflow as tf

    model = registry.find(MODEL, None).load()
    with warnings.catch_warnings(action="ignore"):
        if kind == "int8":
            return convert_as_offered(_frozen(_in_int8(model, Target("cpu", "int8")), batch=1), kind)
        frozen = _frozen(model, batch=1)
        if kind in ("float32", "float16"):
            return convert_as_offered(frozen, kind)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if kind == CONVERTERS_OWN:
            converter.representative_dataset = lambda: ([one[None].astype(np.float32)] for one in calibration)
        blob: bytes = converter.convert()
        return blob


class Outputs(NamedTuple):
    """Embeddings [n, 1280] and scores [n, 1000]."""

    embeddings: np.ndarray
    scores: np.ndarray

    @property
    def best(self) -> np.ndarray:
        """The number of the best label of each picture."""
        return self.scores.argmax(axis=1)


def run(blob: bytes, pictures: np.ndarray) -> tuple[Outputs, float]:
    """What an engine makes of pictures, and its CPU milliseconds a picture."""
    from ai_edge_litert.interpreter import Interpreter

    engine = Interpreter(model_content=blob, num_threads=1)
    engine.allocate_tensors()
    at = engine.get_input_details()[0]["index"]
    outputs = [one["index"] for one in engine.get_output_details()]
    results = []
    began = time.process_time()
    for picture in pictures:
        engine.set_tensor(at, picture[None].astype(np.float32))
        engine.invoke()
        results.append([engine.get_tensor(index)[0] for index in outputs])
    msec = (time.process_time() - began) * 1000 / len(pictures)
    return Outputs(*(np.stack(column) for column in zip(*results, strict=True))), msec


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The cosine of each row with that of the other."""
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray((one * other).sum(axis=1) / norms)


def as_sure_as_stills(best_scores: np.ndarray) -> np.ndarray:
    """Weights with which frames' best scores are distributed as those of the held-out stills."""
    stills = np.histogram(held_out_stills.read(MODEL).top_scores[:, 0], BINS)[0]
    number = np.clip(np.digitize(best_scores, BINS) - 1, 0, len(BINS) - 2)
    weights = (stills / np.maximum(np.bincount(number, minlength=len(stills)), 1))[number]
    return np.asarray(weights / weights.sum())


def right_share(frames: Frames, outputs: Outputs) -> float:
    """Top-1 on the clips of `SHOWN`, each counted alike."""
    names = imagenet_labels()
    known = np.array([clip in SHOWN for clip in frames.clips])
    right = [names[best] in SHOWN[clip] for best, clip in zip(outputs.best[known], frames.clips[known], strict=True)]
    return float(Frames(frames.pictures[known], frames.clips[known]).weights @ np.array(right))


def cells(frames: Frames, outputs: Outputs, reference: Outputs) -> list[str]:
    """Agreement on the clips, top-1, and lost top-1."""
    same, score = outputs.best == reference.best, reference.scores.max(axis=1)
    lost = score - reference.scores[np.arange(len(score)), outputs.best]
    cosine = cosines(outputs.embeddings, reference.embeddings)
    return [
        f"{frames.weights @ same:.3f}",
        f"{same[score >= SURE].mean():.3f}",
        f"{frames.weights @ cosine:.4f} ({cosine.min():.3f})",
        f"{right_share(frames, outputs):.3f}",
        f"{100 * (as_sure_as_stills(score) @ lost):.2f}",
    ]


def main() -> None:
    """Prints the table."""
    clips = frames_of(sorted(p for p in (SHARED / "captioned").rglob("*.*") if p.suffix != ".json"))
    longer = frames_of(sorted((SHARED / "longer").glob("*.mp4")))
    varied = Frames(*(np.concatenate(parts) for parts in zip(clips, longer, strict=True)))
    fixed = frames_of(sorted((SHARED / "tank").rglob("*.mp4"))[::2], rate=1, most=1)
    rng = np.random.default_rng(0)
    calibration = varied.pictures[rng.permutation(len(varied.pictures))[:CALIBRATION]]
    blobs = {kind: convert(kind, calibration) for kind in KINDS}
    on_clips = {kind: run(blob, varied.pictures)[0] for kind, blob in blobs.items()}
    on_fixed = {kind: run(blob, fixed.pictures[:FIXED_CAMERA])[0] for kind, blob in blobs.items()}
    turns = [{kind: run(blob, varied.pictures[:100])[1] for kind, blob in blobs.items()} for _ in range(TURNS)]
    msec = {kind: min(turn[kind] for turn in turns) for kind in KINDS}
    heads = ("same label", "where sure", "cosine (least)", "top-1", "lost top-1, points", "fixed camera: same label")
    table = Table("engine", "MB", "CPU ms", "times less", *heads, title=f"{len(varied.pictures)} frames of clips")
    for kind, blob in blobs.items():
        cost = (f"{len(blob) / 1e6:.1f}", f"{msec[kind]:.2f}", f"{msec['float32'] / msec[kind]:.2f}")
        same = (on_fixed[kind].best == on_fixed["float32"].best).mean()
        table.add_row(kind, *cost, *cells(varied, on_clips[kind], on_clips["float32"]), f"{same:.3f}")
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
