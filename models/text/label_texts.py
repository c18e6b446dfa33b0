"""What a label looks like in words: its name, other names, a description, its name in another language.

A classifier's label alone ("hare") matches few of the words people use. A label's texts are embedded one by one: its
name, its names in a row, its name with the description, its name in a phrase, and the same name and phrase in another
language. Their vectors are averaged, those of the other language with a weight of their own: small for queries in the
label's language, large for queries written in the other's script, because a text model puts texts of one language
nearer to each other than to their translations. `docs/index.md` has what this and its alternatives were measured to do.
"""

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.text.spec import TextModel

_SHIPPED = "imagenet_label_vectors.npz"
_LIST_MARKS = str.maketrans("；", ";")

NAMES_IN_A_ROW = 3

OTHER_LANGUAGE_WEIGHT = 0.25
"""What the other language's names count beside each text of the label's own language."""

SAME_LANGUAGE_WEIGHT = 16.0
"""The same, for queries written in the other language's script: 12 to 24 do about the same."""

OTHER_PHRASE = "视频里有{name}"
"""What "a video of" is in the language of the project's own other names, which is Chinese."""


class LabelTextsError(ValueError):
    """A table of label texts that cannot be read."""


class LabelText(NamedTuple):
    """One label's texts; all but the name may be missing."""

    name: str
    synonyms: tuple[str, ...] = ()
    description: str = ""
    other_names: tuple[str, ...] = ()  # in other languages

    def texts(self) -> tuple[str, ...]:
        """The texts to embed in the label's own language; what is missing is left out."""
        names = ", ".join((self.name, *self.synonyms[:NAMES_IN_A_ROW]))
        described = (f"{self.name}: {self.description}",) if self.description else ()
        return (self.name, names, *described, f"a video of {self.name}")

    def other_phrases(self) -> tuple[str, ...]:
        """The first of the other names in a phrase of their language, or nothing."""
        return tuple(OTHER_PHRASE.format(name=name) for name in self.other_names[:1])


def imagenet_label_texts() -> dict[str, LabelText]:
    """The project's own texts of the 1,000 ImageNet classes, by name."""
    table = files("models.visual").joinpath("imagenet_classes.tsv").read_text(encoding="utf-8")
    return _parsed(table, "imagenet_classes.tsv")


def read_label_texts(path: Path) -> dict[str, LabelText]:
    """A user's own table, by label name.

    Tab-separated with a header that names the columns: `name`, and any of `synonyms` and `zh` (several separated
    by semicolons) and `description`; other columns are left alone. Raises LabelTextsError where the file cannot
    be read, has no `name`, or names a label twice.
    """
    try:
        return _parsed(path.read_text(encoding="utf-8-sig"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise LabelTextsError(f"{path}: cannot be read as UTF-8 text ({error})") from error


def texts_of(labels: Sequence[str], tables: Sequence[Mapping[str, LabelText]]) -> list[LabelText]:
    """Each label's texts from the first table that has it; a label in none stands for itself, its words apart."""
    return [next((table[label] for table in tables if label in table), LabelText(_spaced(label))) for label in labels]


def _spaced(label: str) -> str:
    return " ".join(label.replace("_", " ").split()) or label


def label_vectors(texts: Sequence[LabelText], model: TextModel, cache_dir: Path) -> NDArray[np.float32]:
    """Two vectors of length one a label, float32 [2, len(texts), d]: for queries in the labels' language, and for
    queries in the other names'.

    Taken from what the package ships (the ImageNet classes with the default text model), else from `cache_dir`,
    else worked out and kept there; both are found by the texts' content, so changed texts are never missed.
    """
    key = content_key(texts, model)
    shipped = _shipped(key)
    if shipped is not None:
        return shipped
    cached = cache_dir / f"label-vectors-{key[:32]}.npy"
    if not cached.is_file():
        cached.parent.mkdir(parents=True, exist_ok=True)
        part = cached.with_suffix(".part.npy")
        np.save(part, embed_labels(texts, model))
        part.replace(cached)
    return np.load(cached)


def content_key(texts: Sequence[LabelText], model: TextModel) -> str:
    """sha256, hex, of all that the vectors depend on."""
    weights = [OTHER_LANGUAGE_WEIGHT, SAME_LANGUAGE_WEIGHT]
    used = [(text.texts(), text.other_names, text.other_phrases()) for text in texts]
    content = json.dumps([model.fingerprint, weights, used], ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()


def embed_labels(texts: Sequence[LabelText], model: TextModel) -> NDArray[np.float32]:
    """The vectors worked out, float32 [2, len(texts), d]: about 8 ms for each different text."""
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
    """Whether most letters of a text are Chinese characters: the script of the project's own other names."""
    letters = [c for c in text if c.isalpha()]
    return sum("\u4e00" <= c <= "\u9fff" for c in letters) * 2 > len(letters)


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    return vector / np.float32(np.linalg.norm(vector))


def _shipped(key: str) -> NDArray[np.float32] | None:
    resource = files("models.text").joinpath(_SHIPPED)
    if not resource.is_file():
        return None
    with as_file(resource) as path, np.load(path) as stored:
        if str(stored["key"]) != key:
            return None
        halves = stored["vectors"].astype(np.float32)
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


def ship(target: Path) -> None:
    """Write the file that the package ships: the ImageNet classes under the default text model."""
    from models.text.registry import open_text_model

    model, texts = open_text_model(), list(imagenet_label_texts().values())
    vectors = embed_labels(texts, model).astype(np.float16)
    np.savez(target, vectors=vectors, key=np.array(content_key(texts, model)))


if __name__ == "__main__":
    ship(Path(__file__).with_name(_SHIPPED))
