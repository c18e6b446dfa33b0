"""The project's TensorFlow engine, in a process of its own: memory growth, XLA and mixed precision as a worker has them."""

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Literal

from models.errors import ReelbeamError
from tests.gpu.networks import DEFAULT, installed, some_pictures

NOT_INSTALLED = "TensorFlow is not installed"
CALLS = 5


@dataclass(frozen=True)
class EngineRate:
    """How fast the engine runs pictures that are in this machine's memory; median of a few batches.

    Attributes:
        device: ``gpu`` or ``cpu``; XLA compiles on a GPU only.
        precision: of the bundle; float16 and bfloat16 are the project's mixed precision.
        asked_batch_size: pictures at once.
        batch_size: the same at the end: the engine halves it when memory runs out.
        frames_per_s: pictures a second.
        peak_bytes: largest memory that TensorFlow took on the GPU so far; None on a CPU.
    """

    device: str
    precision: str
    asked_batch_size: int
    batch_size: int
    frames_per_s: float
    peak_bytes: int | None


class EngineFailed(ReelbeamError):
    """The engine could not be measured."""


def measure_engine(
    device: Literal["auto", "cpu"], rows: Sequence[tuple[str, int]], seconds: float
) -> Iterator[EngineRate]:
    """Measures rows of (precision, batch size); yields each when it is done, until the time is over.

    Raises:
        EngineFailed: TensorFlow is not installed, or the engine cannot be opened.
    """
    if not installed("tensorflow"):
        raise EngineFailed(NOT_INSTALLED)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_measure, args=(theirs, device, list(rows)), daemon=True)
    child.start()
    theirs.close()
    deadline_s = time.monotonic() + seconds
    try:
        while ours.poll(max(0.0, deadline_s - time.monotonic())):
            message = ours.recv()
            if isinstance(message, str):
                raise EngineFailed(message)
            if message is None:
                return
            yield message
    except EOFError:
        raise EngineFailed("its process died") from None
    finally:
        child.terminate()
        child.join()


def _measure(parent: Connection, device: str, rows: list[tuple[str, int]]) -> None:
    """Runs in the process."""
    import tensorflow as tf

    from models.visual.engines.target import list_gpus

    chosen: Literal["gpu", "cpu"] = "gpu" if device == "auto" and list_gpus(tf) else "cpu"
    try:
        for precision, batch_size in rows:
            parent.send(_rate(tf, chosen, precision, batch_size))
        parent.send(None)
    except ReelbeamError as error:
        parent.send(str(error))


def _rate(tf: object, device: Literal["gpu", "cpu"], precision: str, batch_size: int) -> EngineRate:
    from models.visual.bundle import prepare
    from models.visual.engines.tensorflow import TensorFlowEngine

    bundle = prepare(DEFAULT, precision=precision, device=device)
    engine = TensorFlowEngine(bundle, device=device, batch_size=batch_size)
    pictures = some_pictures(batch_size)
    engine.infer(pictures)
    times_s = []
    for _ in range(CALLS):
        began_s = time.perf_counter()
        engine.infer(pictures)
        times_s.append(time.perf_counter() - began_s)
    peak_bytes = tf.config.experimental.get_memory_info("GPU:0")["peak"] if device == "gpu" else None
    rate = batch_size / sorted(times_s)[CALLS // 2]
    return EngineRate(device, precision, batch_size, engine.batch_size, rate, peak_bytes)
