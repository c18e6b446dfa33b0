"""Joint image and text models (CLIP, SigLIP) of keras-hub: words and pictures in one space.

A model is the folder of a keras-hub preset, as `reelbeam models get` or `save_to_preset` writes it: configuration,
weights, tokenizer and image converter. Radford et al. 2021 (arXiv:2103.00020); Zhai et al. 2023 (arXiv:2303.15343).
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.computed_once import computed_once
from models.pretrained.sums import fingerprint_of_folder
from models.text.spec import TextModelError

_BATCH = 32
_NO_PICTURE = np.zeros((1, 1, 1, 3), np.float32)
"""Stands for the pictures where only words are prepared: SigLIP's preprocessor takes no None."""

_FAMILIES = {"CLIPBackbone": "CLIPPreprocessor", "SigLIPBackbone": "SigLIPPreprocessor"}


def is_joint_preset(folder: Path) -> bool:
    """Tell whether `folder` is a keras-hub preset of a joint model; reads only its configuration."""
    return _class_of(folder) in _FAMILIES


class Towers(NamedTuple):
    """A joint model in memory.

    Attributes:
        backbone: keras-hub's backbone with both towers.
        preprocessor: keras-hub's preprocessor of texts and images.
    """

    backbone: Any
    preprocessor: Any


def load_towers(folder: Path) -> Towers:
    """Load a preset.

    Raises:
        TextModelError: keras-hub is not installed, or the folder is not a joint model's preset or cannot be loaded.
    """
    family = _class_of(folder)
    if family not in _FAMILIES:
        raise TextModelError(f"{folder} is no keras-hub preset of CLIP or SigLIP (save one with save_to_preset)")
    try:
        import keras_hub
    except ImportError as error:
        raise TextModelError("a joint model needs the package keras-hub: pip install 'reelbeam[models]'") from error
    try:
        backbone = keras_hub.models.Backbone.from_preset(str(folder))
        preprocessor = getattr(keras_hub.models, _FAMILIES[family]).from_preset(str(folder))
    except (ValueError, OSError, KeyError) as error:
        raise TextModelError(f"the preset in {folder} cannot be loaded: {error}") from error
    return Towers(backbone, preprocessor)


class JointTextModel:
    """The text tower of a joint model. Its vectors are queries for frames that the same preset has embedded.

    Thread-safe: one call runs at a time, on as many threads as TensorFlow uses.
    """

    name = "joint"
    joint = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._one_call = Lock()

    @computed_once
    def fingerprint(self) -> str:
        """Fingerprint of the preset's files, the same for both towers."""
        return f"joint-{fingerprint_of_folder(self.folder)}"

    @computed_once
    def embedding_size(self) -> int:
        """Length of the text vectors and of the image tower's embeddings."""
        return int(self.encode_queries(["a"]).shape[1])

    @computed_once
    def _towers(self) -> Towers:
        return load_towers(self.folder)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts as float32 [n, embedding_size], rows of length one.

        Raises:
            TextModelError: The preset cannot be loaded.
        """
        parts = [self._encode(list(texts[at : at + _BATCH])) for at in range(0, len(texts), _BATCH)]
        return np.concatenate(parts) if parts else np.empty((0, self.embedding_size), dtype=np.float32)

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts like `encode_queries`: these models make no difference."""
        return self.encode_queries(texts)

    def logit_scale_and_bias(self) -> tuple[float, float | None]:
        """Return the factor of a cosine in the model's logits, and what is added, which is None for CLIP.

        Raises:
            TextModelError: The preset cannot be loaded.
        """
        scale, bias = _temperature(self._towers.backbone)
        return scale, bias if hasattr(self._towers.backbone, "siglip_head") else None

    def _encode(self, texts: list[str]) -> NDArray[np.float32]:
        with self._one_call:
            tokens = self._towers.preprocessor({"prompts": texts, "images": _NO_PICTURE})["token_ids"]
            vectors = np.asarray(self._towers.backbone.get_text_embeddings(tokens), dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class ImageTower(NamedTuple):
    """The part of a joint model that a visual model needs.

    The zero-shot scores of a picture are softmax(unit(embedding) @ kernel + bias).

    Attributes:
        embed: Maps a float32 tensor [n, side, side, 3] in 0..255 to raw embeddings [n, D]; it includes normalisation.
        side: Side of the pictures, pixels.
        embedding_size: D.
        kernel: float32 [D, L], the labels' text vectors times the model's logit scale.
        bias: The model's logit bias.
    """

    embed: Callable[[Any], Any]
    side: int
    embedding_size: int
    kernel: NDArray[np.float32]
    bias: float


def load_image_tower(folder: Path, labels: Sequence[str]) -> ImageTower:
    """Load the image tower, with `labels` as classes ("a photo of a {label}").

    Raises:
        TextModelError: The preset cannot be loaded.
    """
    towers = load_towers(folder)
    converter, backbone = towers.preprocessor.image_converter, towers.backbone
    scale = np.asarray(1.0 if converter.scale is None else converter.scale, dtype=np.float32)
    offset = np.asarray(0.0 if converter.offset is None else converter.offset, dtype=np.float32)
    text = JointTextModel(folder)
    text.__dict__["_towers"] = towers  # so that the weights are not loaded twice
    words = text.encode_queries([f"a photo of a {label}" for label in labels])
    logit_scale, bias = _temperature(backbone)
    return ImageTower(
        embed=lambda images: backbone.get_vision_embeddings(images * scale + offset),
        side=int(backbone.vision_encoder.image_shape[0]),
        embedding_size=words.shape[1],
        kernel=np.ascontiguousarray(words.T) * np.float32(logit_scale),
        bias=bias,
    )


def _temperature(backbone: Any) -> tuple[float, float]:
    """Return exp(logit scale) and logit bias of a model's head; CLIP has no bias, so it is 0."""
    head = getattr(backbone, "clip_head", None) or backbone.siglip_head
    bias = getattr(head, "logit_bias", None)
    return float(np.exp(np.asarray(head.logit_scale))), 0.0 if bias is None else float(np.asarray(bias))


def _class_of(folder: Path) -> str:
    config = folder / "config.json"
    if not config.is_file():
        return ""
    try:
        described = json.loads(config.read_text(encoding="utf-8"))
    except ValueError:
        return ""
    return str(described.get("class_name", "")) if isinstance(described, dict) else ""
