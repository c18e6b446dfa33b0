"""What a bundle is made for: a device, and the precision of its arithmetic there."""

import ctypes
from itertools import product
from typing import Any, Literal, NamedTuple

Device = Literal["auto", "cpu", "gpu"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]

TENSOR_CORES: tuple[int, int] = (7, 0)
"""Compute capability from which float16 products are faster than float32's (NVIDIA's Volta)."""


TARGETS: tuple[tuple[Precision, Device], ...] = tuple(product(("float32", "bfloat16", "float16"), ("cpu", "gpu")))
"""Every precision on every device."""


class Target(NamedTuple):
    """A device and a precision, neither of them ``auto``."""

    device: Literal["cpu", "gpu"]
    precision: Literal["float32", "bfloat16", "float16"]


def resolve(device: Device, precision: Precision) -> Target:
    """The target for what a user asked for.

    ``auto`` takes this machine's GPU where TensorFlow can use one, else the CPU; float32 on a CPU, and on a
    GPU mixed float16 where it is faster than float32. A GPU asked for on a machine without one (a launcher of
    remote workers) is taken to be new enough.
    """
    chosen = device if device != "auto" else ("gpu" if _gpu_capability() else "cpu")
    if precision != "auto":
        return Target(chosen, precision)
    if chosen == "cpu":
        return Target("cpu", "float32")
    return Target("gpu", "float16" if (_gpu_capability() or TENSOR_CORES) >= TENSOR_CORES else "float32")


def list_gpus(tf: Any) -> list[Any]:
    """TensorFlow's GPUs, told to take memory as they need it rather than all at once."""
    gpus = list(tf.config.list_physical_devices("GPU"))
    for gpu in gpus:
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            break  # this process already uses it, with the growth that was set then
    return gpus


def _gpu_capability() -> tuple[int, int] | None:
    """Compute capability of TensorFlow's first GPU, or None; imports TensorFlow only where there is a GPU."""
    if not _driver_sees_gpu():
        return None
    import tensorflow as tf

    gpus = list_gpus(tf)
    return tf.config.experimental.get_device_details(gpus[0]).get("compute_capability") if gpus else None


def _driver_sees_gpu() -> bool:
    """Asks NVIDIA's driver itself: a millisecond, where importing TensorFlow takes seconds."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
