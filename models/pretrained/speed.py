"""Measures how fast a model is on this machine, and remembers it."""

import os
import platform
import time
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from models.atomic_file import atomic_path
from models.cache import cache_folder
from models.pretrained.known import find_known
from models.visual.bundle import ModelBundle, prepare
from models.visual.engines.opening import open_engine
from models.visual.errors import ModelError

_MEASURED_S = 3.0
"""Least time that a measurement takes; what runs once before is not counted."""


class Speed(msgspec.Struct, frozen=True):
    """A measured speed.

    Attributes:
        frames_per_s: Frames in a second, of a single process.
        device: ``cpu`` or ``gpu``.
        threads: Threads that computed: one with LiteRT, all cores with TensorFlow; 0 on a GPU.
        fingerprint: Of the bundle that was measured.
        machine: The processor and its number of cores; a speed of another machine is not believed.
    """

    frames_per_s: float
    device: Literal["cpu", "gpu"]
    threads: int
    fingerprint: str
    machine: str


def measure_by_name(name: str) -> Speed:
    """Measure a model that has a name, prepared as a night on this machine would, and remember its speed.

    Raises:
        ModelError: There is no such model, it does not see pictures, or its weights are not here.
    """
    task = find_known(name).task
    if task == "text":
        raise ModelError(f"{name} reads words only; a model that sees pictures has a speed in frames")
    if task == "segmentation":
        raise ModelError(f"{name} finds regions; only the speed of classifiers is measured")
    speed = measure(prepare(name))
    remember(name, speed)
    return speed


def measure(bundle: ModelBundle) -> Speed:
    """Measure a bundle on random pictures, as one process of a night runs it.

    Raises:
        ModelError: The bundle is for a GPU and there is none.
    """
    engine = open_engine(bundle)
    shape = (engine.batch_size, *bundle.spec.input_shape)
    pictures = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    engine.infer(pictures)
    frames, began = 0, time.perf_counter()
    while (elapsed_s := time.perf_counter() - began) < _MEASURED_S or not frames:
        engine.infer(pictures)
        frames += len(pictures)
    return Speed(frames / elapsed_s, bundle.device, _threads(bundle), bundle.fingerprint, this_machine())


def _threads(bundle: ModelBundle) -> int:
    if bundle.device == "gpu":
        return 0
    return 1 if bundle.engine == "litert" else os.cpu_count() or 1


def this_machine() -> str:
    """Describe the processor and the number of its cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def remember(name: str, speed: Speed) -> None:
    """Keep the speed of a model for `remembered`.

    Raises:
        OSError: The cache cannot be written.
    """
    file = _file(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(file) as part:
        part.write_bytes(msgspec.json.encode(speed))


def remembered(name: str) -> Speed | None:
    """Return the speed of a model that was measured on this machine; None if it was not."""
    try:
        speed = msgspec.json.decode(_file(name).read_bytes(), type=Speed)
    except (OSError, msgspec.MsgspecError):
        return None
    return speed if speed.machine == this_machine() else None


def _file(name: str) -> Path:
    return cache_folder() / "speeds" / f"{name}.json"
