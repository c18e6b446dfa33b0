"""The target of a bundle: a device, and the precision of the arithmetic on it."""

import ctypes
from typing import Any, Literal, NamedTuple

Device = Literal["auto", "cpu", "gpu"]
Precision = Literal["auto", "float32", "bfloat16", "float16", "int8"]

TENSOR_CORES: tuple[int, int] = (7, 0)
"""Compute capability from which products in float16 are faster than in float32 (NVIDIA's Volta)."""


class Target(NamedTuple):
    """A device and a precision, neither of them ``auto``.

    Attributes:
        device: ``cpu`` or ``gpu``.
        precision: Of the arithmetic.
    """

    device: Literal["cpu", "gpu"]
    precision: Literal["float32", "bfloat16", "float16", "int8"]


def resolve(device: Device, precision: Precision) -> Target:
    """Resolve ``auto`` in what a user asked for.

    The device becomes this machine's GPU if TensorFlow can use one, else the CPU. The precision becomes float32 on a
    CPU, and on a GPU mixed float16 if that is faster. If a GPU is asked for on a machine without one (which launches
    remote workers), it is assumed to be new enough.
    """
    chosen = device if device != "auto" else ("gpu" if _gpu_capability() else "cpu")
    if precision != "auto":
        return Target(chosen, precision)
    if chosen == "cpu":
        return Target("cpu", "float32")
    return Target("gpu", "float16" if (_gpu_capability() or TENSOR_CORES) >= TENSOR_CORES else "float32")


def list_gpus(tf: Any) -> list[Any]:
    """List TensorFlow's GPUs, and make TensorFlow allocate their memory as needed instead of all at once."""
    gpus = list(tf.config.list_physical_devices("GPU"))
    for gpu in gpus:
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            break  # this process already uses it, with the growth that was set then
    return gpus


def _gpu_capability() -> tuple[int, int] | None:
    """Return the compute capability of the first GPU, or None; imports TensorFlow only if there is a GPU."""
    if not _driver_sees_gpu():
        return None
    import tensorflow as tf

    gpus = list_gpus(tf)
    return tf.config.experimental.get_device_details(gpus[0]).get("compute_capability") if gpus else None


def _driver_sees_gpu() -> bool:
    """Ask NVIDIA's driver for a GPU; this takes a millisecond, importing TensorFlow seconds."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
