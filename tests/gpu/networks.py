"""Networks on a device through Keras, with JAX or PyTorch below it, in three kinds of arithmetic.

Nothing here imports a framework before a backend is opened.
"""

import importlib
import importlib.util
import os
import statistics
import time
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from models.errors import ReelbeamError
from models.visual.spec import Preprocessing
from tests.gpu import vision_transformer
from tests.gpu.feeding import Step

Precision = Literal["float32", "tf32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "tf32", "bfloat16")
"""``float32``: products of float32 numbers, unrounded. ``tf32``: their inputs are rounded to 11 significant bits on NVIDIA's
tensor cores; on another device it is float32. ``bfloat16``: activations and kernels are bfloat16, sums are the device's."""

JAX_PRECISIONS: dict[Precision, str] = {"float32": "highest", "tf32": "tensorfloat32", "bfloat16": "default"}
POLICIES: dict[Precision, str] = {"float32": "float32", "tf32": "float32", "bfloat16": "mixed_bfloat16"}

DEFAULT = "efficientnet_lite0"
NETWORKS = (DEFAULT, *vision_transformer.SIZES)
INPUT = Preprocessing(224, 224)
"""Of all networks here."""

COMPARED = 4
"""Pictures on which a network is compared with itself in float32 on the CPU."""

GROUP_S = 0.02
"""Batches are timed in groups that take at least this long, because reading the clock and waiting take time too."""

LEAST_GROUPS = 3


class NoBackend(ReelbeamError):
    """Neither JAX nor PyTorch can be used."""


class Backend(Protocol):
    """A framework below Keras, and the device that it runs on.

    Attributes:
        name: ``jax`` or ``torch``.
        device_name: as the framework calls it.
        on_gpu: whether the device is a GPU.
    """

    name: str
    device_name: str
    on_gpu: bool

    def step(self, network: str, precision: Precision, batch_size: int) -> Step:
        """Compiles a network for a batch size."""
        ...

    def reference(self, network: str, batch_size: int) -> Step:
        """The same in float32 on the CPU."""
        ...


def installed(name: str) -> bool:
    """Whether a package can be imported."""
    return importlib.util.find_spec(name) is not None


def open_backend(device: Literal["auto", "cpu"]) -> Backend:
    """Opens JAX, or PyTorch where JAX is not installed; called before anything imports Keras.

    Args:
        device: ``auto`` takes a GPU if the framework can use one.

    Raises:
        NoBackend: Neither is installed, or Keras is not.
    """
    found = [name for name in ("jax", "torch") if installed(name)]
    if not found or not installed("keras"):
        raise NoBackend("this benchmark needs Keras, and JAX or PyTorch: pip install keras jax")
    os.environ["KERAS_BACKEND"] = found[0]
    return JaxBackend(device) if found[0] == "jax" else TorchBackend(device)


def _build(network: str, policy: str) -> Any:
    """Builds the Keras model: float32 [n, 224, 224, 3] in 0..255 -> (embedding, scores)."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        if network in vision_transformer.SIZES:
            return vision_transformer.build(network)
        return importlib.import_module("models.visual.architectures.efficientnet_lite").build(network)
    finally:
        keras.config.set_dtype_policy(before)


class JaxBackend:
    """JAX: each step is compiled by XLA for its batch size."""

    name = "jax"

    def __init__(self, device: Literal["auto", "cpu"]) -> None:
        if device == "cpu":
            os.environ["JAX_PLATFORMS"] = "cpu"
        # TensorFlow's engine runs on the same GPU afterwards, in another process.
        os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.6")
        import jax

        self._cpu = jax.devices("cpu")[0]
        self._device = jax.devices()[0]
        self.device_name, self.on_gpu = self._device.device_kind, self._device.platform == "gpu"
        self._built: dict[tuple[str, str], Any] = {}

    def step(self, network: str, precision: Precision, batch_size: int) -> Step:
        return _JaxStep(self._model(network, POLICIES[precision]), precision, batch_size, self._device)

    def reference(self, network: str, batch_size: int) -> Step:
        return _JaxStep(self._model(network, "float32"), "float32", batch_size, self._cpu)

    def _model(self, network: str, policy: str) -> Any:
        import jax

        if (network, policy) not in self._built:
            # Building runs hundreds of small operations, which a GPU would compile one by one.
            with jax.default_device(self._cpu):
                self._built[network, policy] = _build(network, policy)
        return self._built[network, policy]


class _JaxStep:
    def __init__(self, model: Any, precision: Precision, batch_size: int, device: Any) -> None:
        import jax
        import jax.numpy as jnp

        def run(trained: Any, others: Any, pictures: Any) -> Any:
            outputs, _ = model.stateless_call(trained, others, pictures.astype(jnp.float32), training=False)
            return [output.astype(jnp.float32) for output in outputs]

        self.batch_size, self._device = batch_size, device
        trained = [_stored(variable.value, precision) for variable in model.trainable_variables]
        others = [variable.value for variable in model.non_trainable_variables]
        self._weights = jax.device_put((trained, others), device)
        shape = (batch_size, INPUT.height, INPUT.width, INPUT.channels)
        with jax.default_matmul_precision(JAX_PRECISIONS[precision]), jax.default_device(device):
            pictures = jax.ShapeDtypeStruct(shape, jnp.uint8, sharding=jax.sharding.SingleDeviceSharding(device))
            self._compiled = jax.jit(run).lower(*self._weights, pictures).compile()

    def put(self, pictures: NDArray[np.uint8]) -> Any:
        import jax

        return jax.device_put(pictures, self._device)

    def start(self, on_device: Any) -> Any:
        return self._compiled(*self._weights, on_device)

    def wait(self, outputs: Any) -> NDArray[np.float32]:
        import jax

        embeddings, _ = jax.block_until_ready(outputs)
        return np.asarray(embeddings)


def _stored(value: Any, precision: Precision) -> Any:
    """Converts kernels once to the numbers in which Keras' mixed precision would convert them for every batch."""
    return value.astype("bfloat16") if precision == "bfloat16" and value.ndim >= 2 else value


class TorchBackend:
    """PyTorch without compilation: Keras' layers run one by one."""

    name = "torch"

    def __init__(self, device: Literal["auto", "cpu"]) -> None:
        import torch

        self.on_gpu = device == "auto" and torch.cuda.is_available()
        self._device = "cuda" if self.on_gpu else "cpu"
        self.device_name = torch.cuda.get_device_name(0) if self.on_gpu else "cpu"
        self._built: dict[tuple[str, str, str], Any] = {}

    def step(self, network: str, precision: Precision, batch_size: int) -> Step:
        model = self._model(network, POLICIES[precision], self._device)
        return _TorchStep(model, precision, batch_size, self._device)

    def reference(self, network: str, batch_size: int) -> Step:
        return _TorchStep(self._model(network, "float32", "cpu"), "float32", batch_size, "cpu")

    def _model(self, network: str, policy: str, device: str) -> Any:
        import keras

        if (network, policy, device) not in self._built:
            with keras.device(device):
                self._built[network, policy, device] = _build(network, policy)
        return self._built[network, policy, device]


class _TorchStep:
    def __init__(self, model: Any, precision: Precision, batch_size: int, device: str) -> None:
        self.batch_size, self._model, self._device = batch_size, model, device
        self._tf32 = precision == "tf32"

    def put(self, pictures: NDArray[np.uint8]) -> Any:
        import torch

        return torch.from_numpy(pictures).to(self._device, non_blocking=True)

    def start(self, on_device: Any) -> Any:
        import keras
        import torch

        torch.backends.cuda.matmul.allow_tf32 = self._tf32
        torch.backends.cudnn.allow_tf32 = self._tf32
        with torch.inference_mode(), keras.device(self._device):
            return self._model(on_device.float(), training=False)

    def wait(self, outputs: Any) -> NDArray[np.float32]:
        embedding: NDArray[np.float32] = outputs[0].float().cpu().numpy()
        return embedding


@dataclass(frozen=True)
class NetworkRate:
    """How fast a network runs pictures that are on the device already.

    Attributes:
        frames_per_s: of the median group of batches.
        spread: of the groups' times, (largest - least) / median.
        batch_msec: time of one batch, of several in a row.
        difference: relative difference (norm) of the embeddings from those in float32 on the CPU.
    """

    frames_per_s: float
    spread: float
    batch_msec: float
    difference: float


def some_pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Random pictures, uint8 [count, 224, 224, 3]: blocks of colour, so that not all look alike to a network."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 14, 14, INPUT.channels), np.uint8)
    return np.ascontiguousarray(coarse.repeat(16, axis=1).repeat(16, axis=2))


def embeddings_of(step: Step, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Embeddings [n, D] of at most a batch of pictures."""
    batch = np.zeros((step.batch_size, *pictures.shape[1:]), np.uint8)
    batch[: len(pictures)] = pictures
    return step.wait(step.start(step.put(batch)))[: len(pictures)]


def measure_network(step: Step, reference: NDArray[np.float32], seconds: float) -> NetworkRate:
    """Times batches for about so long.

    Args:
        step: the network.
        reference: float32 [COMPARED, D], the embeddings of ``some_pictures(COMPARED)`` in float32 on the CPU.
        seconds: after warming up; at least `LEAST_GROUPS` groups of batches are timed.
    """
    pictures = some_pictures(min(COMPARED, step.batch_size))
    difference = relative_difference(embeddings_of(step, pictures), reference[: len(pictures)])
    inputs = [step.put(some_pictures(step.batch_size, seed)) for seed in (1, 2)]
    batches = max(1, round(GROUP_S / _time_s(step, inputs, 1)))
    deadline_s = time.monotonic() + seconds
    times_s: list[float] = []
    while len(times_s) < LEAST_GROUPS or time.monotonic() < deadline_s:
        times_s.append(_time_s(step, inputs, batches) / batches)
    median_s = statistics.median(times_s)
    spread = (max(times_s) - min(times_s)) / median_s
    return NetworkRate(step.batch_size / median_s, spread, median_s * 1000, difference)


def _time_s(step: Step, inputs: list[Any], batches: int) -> float:
    """Seconds of a few batches in a row, until all embeddings are back."""
    began_s = time.perf_counter()
    outputs = [step.start(inputs[number % len(inputs)]) for number in range(batches)]
    for output in outputs:
        step.wait(output)
    return time.perf_counter() - began_s


def relative_difference(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    """Norm of the difference over the norm of `theirs`; infinite if a number is not finite."""
    difference = float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
    return difference if np.isfinite(difference) else float("inf")


def is_out_of_memory(error: Exception) -> bool:
    """Whether a framework's error means that the batch does not fit into the device's memory."""
    return "RESOURCE_EXHAUSTED" in str(error) or type(error).__name__ == "OutOfMemoryError"
