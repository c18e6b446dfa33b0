"""Engines: what runs a model. Pictures in, features out; which engine runs is not the caller's concern."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.visual.bundle import ModelBundle
from models.visual.features import Features
from models.visual.spec import VisualSpec
from models.visual.target import Device


class Engine(Protocol):
    """Runs one model.

    Attributes:
        spec: of the model.
        batch_size: pictures that it runs at once.
    """

    spec: VisualSpec
    batch_size: int

    def infer(self, images: NDArray[np.uint8]) -> Features:
        """Features of uint8 pictures [n, height, width, channels]; a picture's never depend on its neighbours."""
        ...


def open_engine(bundle: ModelBundle, *, device: Device = "auto", batch_size: int | None = None) -> Engine:
    """An engine for a bundle: LiteRT where the bundle has its graph and no GPU is asked for, else TensorFlow.

    Args:
        bundle: the model.
        device: ``gpu`` and ``cpu`` insist; ``auto`` takes what the bundle was made for.
        batch_size: pictures that TensorFlow takes at once; LiteRT takes one at a time, which is faster on a
            CPU.
    """
    if bundle.engine == "litert" and device != "gpu":
        from models.visual.litert_engine import LiteRtEngine

        return LiteRtEngine(bundle)
    from models.visual.tensorflow_engine import TensorFlowEngine

    return TensorFlowEngine(bundle, device=device, batch_size=batch_size)
