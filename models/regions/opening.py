"""Opens a segmentation bundle: pictures in, regions out, whichever engine runs it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.regions.bundle import INPUT, OUTPUT, SegmentationBundle, read_bundle
from models.regions.segmenter import Region, View
from models.visual.spec import Preprocessing

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class DenseSegmenter:
    """Finds the regions of a picture with a segmentation model. Thread-safe.

    It runs one picture at a time, so that a mask never depends on other pictures.

    Attributes:
        name: Of the model.
        fingerprint: Of the model.
        labels: Names that regions can have: the model's without those that it ignores.
        preprocessing: How pictures become its input.
        bundle: The model.
    """

    def __init__(self, bundle: SegmentationBundle, run: Run) -> None:
        """Create it from a bundle.

        Args:
            bundle: The model.
            run: float32 [1, height, width, channels] in 0..255 -> probabilities float32 [1, height, width, L].
        """
        spec = bundle.spec
        self.bundle, self.name, self.fingerprint = bundle, spec.name, bundle.fingerprint
        self.labels = tuple(label for label in spec.labels if label not in spec.ignored)
        self.preprocessing: Preprocessing | None = spec.preprocessing
        self._run = run

    def probabilities(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute the probability float32 [height, width, L] of each label at each pixel of an input."""
        return np.asarray(self._run(picture[np.newaxis].astype(np.float32))[0])

    def label_map(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Compute the position uint8 [height, width] of the likeliest label at each pixel of an input."""
        return self.probabilities(picture).argmax(axis=-1).astype(np.uint8)

    def regions(self, view: View) -> Sequence[Region]:
        """Find the regions of a picture, best first: of each label the pixels where no other label is likelier.

        A region's score is the mean probability of its label over its pixels.
        """
        probabilities = self.probabilities(view.picture)
        likeliest, spec = probabilities.argmax(axis=-1), self.bundle.spec
        found = []
        for number in np.unique(likeliest).tolist():
            if (label := spec.labels[number]) not in spec.ignored:
                mask = likeliest == number
                found.append(Region(label, float(probabilities[..., number][mask].mean(dtype=np.float64)), mask))
        return sorted(found, key=lambda region: (-region.score, region.label))


def open_segmenter(folder: Path) -> DenseSegmenter:
    """Open the segmentation bundle in a folder; imports TensorFlow only if LiteRT cannot run it.

    Raises:
        ModelError: There is none.
    """
    bundle = read_bundle(folder)
    return DenseSegmenter(bundle, _litert(folder) if bundle.engine == "litert" else _tensorflow(folder))


def _litert(folder: Path) -> Run:
    from models.visual.engines.interpreters import Interpreters

    interpreters = Interpreters(folder / "model.tflite")
    with interpreters.lend() as interpreter:
        taken, given = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with interpreters.lend() as interpreter:
            interpreter.set_tensor(taken, images)
            interpreter.invoke()
            return np.asarray(interpreter.get_tensor(given))

    return run


def _tensorflow(folder: Path) -> Run:
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef.FromString((folder / "graph.pb").read_bytes())
    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
    pruned: Any = wrapped.prune(f"{INPUT}:0", f"{OUTPUT}:0")

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with tf.device("/CPU:0"):
            return np.asarray(pruned(tf.constant(images)))

    return run
