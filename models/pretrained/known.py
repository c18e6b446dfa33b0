"""The table of models that have a name: ``known.tsv``.

Parameters of keras-hub's presets are those of the metadata that keras-hub installs (without a classifier's last layer).
Those of `keras.applications`, and their embedding sizes, were counted on the built networks. Embedding sizes of the
other presets are those of the papers: CLIP (arXiv:2103.00020, table 20), SigLIP (arXiv:2303.15343), ViT
(arXiv:2010.11929, table 1) and timm's configuration of EfficientNetV2 rw_t. Licences are those under
which the weights were first published: by their authors' repositories, and by the documentation of Keras 2.

Presets that this project cannot use are left out: a graph file holds at most 2 GB, which excludes CLIP's H, g and bigG
and SigLIP 2's giant; backbones that were trained on ImageNet-21k have no classes; keras-hub's configuration of the
EfficientNetV2 presets rw_s and rw_m lacks the size of their last layer, so that they do not load; and MedSigLIP and
MetaCLIP 2 have licences that restrict what they may be used for. keras-hub's ``segformer_b1_cityscapes_1024`` points to
another preset's weights. keras-hub has no ConvNeXt: its and most EfficientNetV2 weights come from `keras.applications`.
SegFormer's presets are in, although they may not be used commercially: keras-hub converted them from NVIDIA's
checkpoints, and the NVIDIA Source Code License for SegFormer (section 3.3) allows research and evaluation only. The
model cards of keras-hub's copies say MIT; the table names the licence of the weights' authors. DeepLabV3+ was trained
by keras-hub's authors, on Pascal VOC and SBD; its model card says Apache 2.0.
"""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal, get_args

from models.suggestions import suggest
from models.visual.errors import ModelError

Source = Literal["package", "keras-hub preset", "keras.applications"]
Task = Literal["classes", "joint", "text", "segmentation"]


@dataclass(frozen=True)
class KnownModel:
    """A model that has a name.

    Attributes:
        name: For ``--model``; a text model's is for ``--text-model``, a segmentation model's for ``--regions``.
        source: Where its weights come from: a ``package`` that is installed with this one, a ``keras-hub preset``, or
            ``keras.applications``.
        task: ``classes`` sees ImageNet's classes; ``joint`` has an image and a text tower, so words are compared with
            frames directly; ``text`` reads words only; ``segmentation`` finds where in a frame something is.
        parameters: Number of its parameters; None if it is unknown.
        embedding_size: Length of its vectors; 0 if it has none.
        licence: Of its weights.
        about: What it was trained on.
    """

    name: str
    source: Source
    task: Task
    parameters: int | None
    embedding_size: int
    licence: str
    about: str


@cache
def known_models() -> dict[str, KnownModel]:
    """Return all models by name, in the order of the table."""
    table = files("models.pretrained").joinpath("known.tsv").read_text(encoding="utf-8")
    rows = csv.DictReader(table.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    return {row["name"]: _read(row) for row in rows}


def _read(row: dict[str, str]) -> KnownModel:
    source: Source = next(one for one in get_args(Source) if one == row["source"])
    task: Task = next(one for one in get_args(Task) if one == row["task"])
    parameters = int(row["parameters"]) if row["parameters"] else None
    return KnownModel(
        row["name"], source, task, parameters, int(row["embedding_size"]), row["licence"], row["about"]
    )  # fmt: skip


def preset_names() -> list[str]:
    """Return the names of the keras-hub presets that give embeddings."""
    models = known_models().items()
    return [name for name, model in models if model.source == "keras-hub preset" and model.task != "segmentation"]


def segmentation_names() -> list[str]:
    """Return the names of the segmentation models."""
    return [name for name, model in known_models().items() if model.task == "segmentation"]


def find_known(name: str) -> KnownModel:
    """Find a model by name.

    Raises:
        ModelError: There is none; the message suggests the nearest names.
    """
    models = known_models()
    if name not in models:
        nearest = suggest(name, models, count=3) or [one for one in models if name.lower() in one.lower()][:3]
        hint = f"did you mean {', '.join(nearest)}?" if nearest else "`reelbeam models` lists all"
        raise ModelError(f"unknown model {name!r}; {hint}")
    return models[name]
