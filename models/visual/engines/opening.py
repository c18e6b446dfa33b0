"""Opens the engine that runs a bundle: pictures in, features out, whichever engine it is."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.visual.bundle import ModelBundle
from models.visual.engines.target import Device
from models.visual.features import Features
from models.visual.spec import VisualSpec


class Engine(Protocol):
    """Runs one model.

    Attributes:
        spec: Of the model.
        batch_size: Number of pictures, or of clips, that it runs at once.
    """

    spec: VisualSpec
    batch_size: int

    def infer(self, images: NDArray[np.uint8]) -> Features:
        """Compute the features of n inputs, uint8 [n, *spec.input_shape]; they do not depend on other inputs."""
        ...


def open_engine(bundle: ModelBundle, *, device: Device = "auto", batch_size: int | None = None) -> Engine:
    """Open an engine for a bundle: LiteRT if the bundle has its graph and no GPU is asked for, else TensorFlow.

    Args:
        bundle: The model.
        device: ``gpu`` and ``cpu`` force a device; ``auto`` takes the one the bundle was made for.
        batch_size: Number of pictures, or of clips, that TensorFlow runs at once; LiteRT runs one at a time, which is
            faster on a CPU.

    Raises:
        ModelError: A GPU is asked for and TensorFlow can use none.
    """
    if bundle.engine == "litert" and device != "gpu":
        from models.visual.engines.litert import LiteRtEngine

        return LiteRtEngine(bundle)
    from models.visual.engines.tensorflow import TensorFlowEngine

    return TensorFlowEngine(bundle, device=device, batch_size=batch_size)
