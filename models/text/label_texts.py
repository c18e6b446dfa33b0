"""Texts of labels: the name of a label, other names, a description, and its name in another language.

A classifier's label alone ("hare") matches few of the words that people use. So several texts of a label are embedded:
its name, a list of its names, its name with the description, its name in a phrase, and name and phrase in another
language. Their vectors are averaged. Those of the other language have a weight of their own, low for queries in the
label's language and high for queries in the other language's script, because a text model puts texts of one language
nearer to each other than to their translations. `docs/retrieval.md` compares this with its alternatives.
"""

import csv
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.atomic_file import atomic_path
from models.errors import ReelbeamError
from models.text.spec import TextModel

_LIST_MARKS = str.maketrans("；", ";")

SHIPPED = "imagenet_label_vectors.npz"
"""The package's file of vectors; `models.text.shipped_vectors` makes it."""

NAMES_IN_A_ROW = 3
"""Most synonyms in the list of names."""

OTHER_LANGUAGE_WEIGHT = 0.25
"""Weight of the other language's names relative to one text in the label's own language."""

SAME_LANGUAGE_WEIGHT = 16.0
"""The same for queries in the other language's script; 12 to 24 perform about the same."""

OTHER_PHRASE = "视频里有{name}"
""""A video of" in Chinese, the language of the other names that this project ships."""


class LabelTextsError(ReelbeamError, ValueError):
    """A table of label texts cannot be read."""


class LabelText(NamedTuple):
    """The texts of one label.

    Attributes:
        name: The label.
        synonyms: Other names in the same language.
        description: What it is, in the same language, or "".
        other_names: Names in another language.
    """

    name: str
    synonyms: tuple[str, ...] = ()
    description: str = ""
    other_names: tuple[str, ...] = ()

    def texts(self) -> tuple[str, ...]:
        """Return the texts to embed in the label's own language, without those that are missing."""
        names = ", ".join((self.name, *self.synonyms[:NAMES_IN_A_ROW]))
        described = (f"{self.name}: {self.description}",) if self.description else ()
        return (self.name, names, *described, f"a video of {self.name}")

    def other_phrases(self) -> tuple[str, ...]:
        """Return the first of the other names in a phrase of its language; empty if there is none."""
        return tuple(OTHER_PHRASE.format(name=name) for name in self.other_names[:1])


def imagenet_label_texts() -> dict[str, LabelText]:
    """Return the texts of the 1,000 ImageNet classes that this project ships, by name."""
    table = files("models.visual").joinpath("imagenet_classes.tsv").read_text(encoding="utf-8")
    return _parsed(table, "imagenet_classes.tsv")


def read_label_texts(path: Path) -> dict[str, LabelText]:
    """Read a user's table of label texts; returns the texts by label name.

    The table is tab-separated with a header: `name`, and any of `synonyms` and `zh` (several names separated by
    semicolons) and `description`. Other columns are ignored.

    Raises:
        LabelTextsError: The file cannot be read, has no column `name`, or has a label twice.
    """
    try:
        return _parsed(path.read_text(encoding="utf-8-sig"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise LabelTextsError(f"{path}: cannot be read as UTF-8 text ({error})") from error


def texts_of(labels: Sequence[str], tables: Sequence[Mapping[str, LabelText]]) -> list[LabelText]:
    """Return each label's texts from the first table that has it; the words of the label itself if none has it."""
    return [next((table[label] for table in tables if label in table), LabelText(_spaced(label))) for label in labels]


def _spaced(label: str) -> str:
    return " ".join(label.replace("_", " ").split()) or label


def label_vectors(texts: Sequence[LabelText], model: TextModel, cache_dir: Path) -> NDArray[np.float32]:
    """Return two vectors of length one for each label, float32 [2, len(texts), d].

    The first is for queries in the labels' language, the second for queries in the other names' language. They come
    from the package (ImageNet classes with the default text model), else from `cache_dir`, else they are computed and
    cached. Both are looked up by the content of the texts, so changed texts are always computed anew.

    Args:
        texts: The labels' texts.
        model: The text model.
        cache_dir: Folder of cached vectors; created if needed.

    Raises:
        TextModelError: The text model cannot be loaded.
        OSError: The cache cannot be written.
    """
    return kept_vectors("vectors", content_key(texts, model), cache_dir, lambda: embed_labels(texts, model))


def kept_vectors(
    name: str, key: str, cache_dir: Path, compute: Callable[[], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Return vectors of texts from the package, else from `cache_dir`, else compute and cache them.

    Args:
        name: What they are in the package's file.
        key: The sha256, in hex, of everything that they depend on.
        cache_dir: Folder of cached vectors; created if needed.
        compute: Computes them, float32 [..., d], rows of length one.

    Raises:
        OSError: The cache cannot be written.
    """
    shipped = _shipped(name, key)
    if shipped is not None:
        return shipped
    cached = cache_dir / f"label-{name}-{key[:32]}.npy"
    if not cached.is_file():
        cached.parent.mkdir(parents=True, exist_ok=True)
        vectors = compute()
        with atomic_path(cached) as part:
            np.save(part, vectors)
    return np.load(cached)


def content_key(texts: Sequence[LabelText], model: TextModel) -> str:
    """Compute the sha256, in hex, of everything that the vectors depend on."""
    weights = [OTHER_LANGUAGE_WEIGHT, SAME_LANGUAGE_WEIGHT]
    used = [(text.texts(), text.other_names, text.other_phrases()) for text in texts]
    content = json.dumps([model.fingerprint, weights, used], ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()


def embed_labels(texts: Sequence[LabelText], model: TextModel) -> NDArray[np.float32]:
    """Compute the vectors, float32 [2, len(texts), d]; this takes about 8 ms for each distinct text."""
    unique = sorted({text for label in texts for text in (*label.texts(), *label.other_names, *label.other_phrases())})
    vectors = dict(zip(unique, model.encode_passages(unique), strict=True))
    return np.stack(
        [
            np.stack([_label_vector(label, vectors, weight) for label in texts])
            for weight in (OTHER_LANGUAGE_WEIGHT, SAME_LANGUAGE_WEIGHT)
        ]
    )


def _label_vector(
    label: LabelText, vectors: Mapping[str, NDArray[np.float32]], other_weight: float
) -> NDArray[np.float32]:
    total = np.sum([_unit(vectors[text]) for text in label.texts()], axis=0)
    if label.other_names:
        kinds = (label.other_names, label.other_phrases())
        other = np.sum([_unit(np.mean([vectors[text] for text in kind], axis=0)) for kind in kinds], axis=0)
        total = total + other_weight * _unit(other)
    return _unit(total).astype(np.float32)


def in_other_script(text: str) -> bool:
    """Tell whether most letters of a text are Chinese characters, the script of the other names that ship."""
    letters = [c for c in text if c.isalpha()]
    return sum("\u4e00" <= c <= "\u9fff" for c in letters) * 2 > len(letters)


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    return vector / np.float32(np.linalg.norm(vector))


def _shipped(name: str, key: str) -> NDArray[np.float32] | None:
    resource = files("models.text").joinpath(SHIPPED)
    if not resource.is_file():
        return None
    with as_file(resource) as path, np.load(path) as stored:
        if str(stored[f"{name}_key"]) != key:
            return None
        halves = stored[name].astype(np.float32)
    return halves / np.linalg.norm(halves, axis=-1, keepdims=True)


def _parsed(table: str, source: str) -> dict[str, LabelText]:
    rows = csv.DictReader(table.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    if "name" not in (rows.fieldnames or ()):
        raise LabelTextsError(f"{source}: its first line must name the columns, one of them `name`")
    labels: dict[str, LabelText] = {}
    for number, row in enumerate(rows, start=2):
        name = (row["name"] or "").strip()
        if not name or name in labels:
            raise LabelTextsError(f"{source}, line {number}: {'no name' if not name else f'{name!r} comes twice'}")
        labels[name] = LabelText(name, _many(row, "synonyms"), _one(row, "description"), _many(row, "zh"))
    return labels


def _one(row: Mapping[str, Any], column: str) -> str:
    return (row.get(column) or "").strip()


def _many(row: Mapping[str, Any], column: str) -> tuple[str, ...]:
    parts = (part.strip() for part in _one(row, column).translate(_LIST_MARKS).split(";"))
    return tuple(dict.fromkeys(part for part in parts if part))
