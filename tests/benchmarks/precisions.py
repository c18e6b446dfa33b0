"""What a smaller engine would gain and cost: LiteRT in float32, float16 weights, dynamic range and full int8.

    python -m tests.benchmarks.precisions

CPU milliseconds a picture on one thread, and how often the best label is float32's, on frames of the real videos in
../shared/data (300 of them; 100 others calibrate int8). "Sure" are those whose best score is at least 0.3.
"""

import itertools
import time
import warnings
from collections.abc import Iterator

import av
import numpy as np
from rich.console import Console
from rich.table import Table

from models.visual import registry
from models.visual.export import _frozen
from tests.benchmarks import generated_archive
from tests.benchmarks.agreement import SURE
from tests.peers.pictures import decode

KINDS = ("float32", "float16", "dynamic range", "int8")
FRAMES_A_VIDEO = 12
CALIBRATION, TESTED = 100, 300


def real_pictures() -> np.ndarray:
    """Sampled frames of real clips as the model takes them, shuffled: uint8 [n, 224, 224, 3]."""
    clips = generated_archive.real_clips(generated_archive.REAL_EVERY) + sorted(
        (generated_archive.SHARED / "captioned").rglob("*.avi")
    )
    found = list(itertools.chain.from_iterable(map(_frames, clips)))
    return np.random.default_rng(0).permutation(np.stack(found))


def _frames(clip: object) -> Iterator[np.ndarray]:
    try:
        for picture in itertools.islice(decode(str(clip)), FRAMES_A_VIDEO):
            yield picture.pixels
    except (av.FFmpegError, TypeError):
        return  # the peers' decoding cannot read it


def convert(kind: str, calibration: np.ndarray) -> bytes:
    """The default model as LiteRT's format."""
    import tensorflow as tf

    frozen = _frozen(registry.find("efficientnet_lite0", None).load(), batch=1)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    if kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind == "int8":
        converter.representative_dataset = lambda: ([picture[None].astype(np.float32)] for picture in calibration)
    with warnings.catch_warnings(action="ignore"):
        return converter.convert()


def run(blob: bytes, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """(embeddings [n, 1280], scores [n, 1000], CPU milliseconds a picture)."""
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
    embeddings, scores = (np.stack(column) for column in zip(*results, strict=True))
    return embeddings, scores, msec


def main() -> None:
    """Prints the table."""
    pictures = real_pictures()
    calibration, tested = pictures[:CALIBRATION], pictures[CALIBRATION : CALIBRATION + TESTED]
    table = Table("engine", "MB", "CPU ms", "same top-1", "where sure", "cosine (least)", title=f"{len(tested)} frames")
    reference: tuple[np.ndarray, np.ndarray] | None = None
    for kind in KINDS:
        blob = convert(kind, calibration)
        embeddings, scores, msec = run(blob, tested)
        reference = reference or (embeddings, scores)
        same = scores.argmax(axis=1) == reference[1].argmax(axis=1)
        sure = reference[1].max(axis=1) >= SURE
        norms = np.linalg.norm(embeddings, axis=1) * np.linalg.norm(reference[0], axis=1)
        cosine = (embeddings * reference[0]).sum(axis=1) / norms
        shares = (f"{same.mean():.3f}", f"{same[sure].mean():.3f}", f"{cosine.mean():.4f} ({cosine.min():.3f})")
        table.add_row(kind, f"{len(blob) / 1e6:.1f}", f"{msec:.2f}", *shares)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
