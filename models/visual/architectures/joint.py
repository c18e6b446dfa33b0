"""The image tower of a joint image and text model as a visual model: a keras-hub preset of CLIP or SigLIP.

Its embeddings have length one and are in the space of the preset's text tower, so words are queries directly (see
`models.text.joint`). Its labels are zero-shot: the classes of ``<preset>.spec.json`` (see `models.visual.sidecar`), or
ImageNet's.
"""

from pathlib import Path
from typing import Any

import numpy as np

from models.pretrained.sums import fingerprint_of_folder
from models.text.joint import is_joint_preset, load_image_tower
from models.text.spec import TextModelError
from models.visual.errors import ModelError
from models.visual.labels import imagenet_labels
from models.visual.loaded import LoadedModel
from models.visual.sidecar import read_sidecar, sidecar_path
from models.visual.spec import Preprocessing, VisualSpec

__all__ = ["is_joint_preset", "key", "load"]


def key(folder: Path) -> str:
    """Return a key of everything that decides the model's numbers: the preset's files and the labels."""
    sidecar = sidecar_path(folder)
    return f"joint|{fingerprint_of_folder(folder)}|{sidecar.read_text(encoding='utf-8') if sidecar.exists() else ''}"


def load(folder: Path) -> LoadedModel:
    """Load the image tower.

    Raises:
        ModelError: The preset cannot be loaded, or keras-hub is not installed.
    """
    sidecar = read_sidecar(folder)
    labels = sidecar.labels or imagenet_labels()
    try:
        tower = load_image_tower(folder, labels)
    except TextModelError as error:
        raise ModelError(str(error)) from error
    plain = Preprocessing(tower.side, tower.side, crop_fraction=1.0, mean=(0.0,), std=(1.0,))
    spec = VisualSpec(folder.name, plain.changed(sidecar.preprocessing), tower.embedding_size, labels)
    bias = np.full(len(labels), tower.bias, np.float32)

    def function(images: Any) -> tuple[Any, Any]:
        import tensorflow as tf

        embedding = tf.math.l2_normalize(tower.embed(images), axis=-1)
        return embedding, tf.nn.softmax(tf.linalg.matmul(embedding, tower.kernel) + bias)

    return LoadedModel(spec, function, (tower.kernel, bias))
