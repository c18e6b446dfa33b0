"""Finds the labels that words mean: a label itself, another name of it, its Chinese name, or a broader name."""

from collections.abc import Iterable, Mapping
from typing import Final

from models.heads.hierarchy import ancestors_of
from models.text.label_texts import LabelText, imagenet_label_texts
from models.visual.hedging import group_names_zh, imagenet_parents
from transforms.dialogue.questions import Language

_IRREGULAR: Final = {
    "people": "person",
    "men": "man",
    "women": "woman",
    "children": "child",
    "mice": "mouse",
    "geese": "goose",
}


class Things:
    """The names of a catalog's labels.

    Args:
        labels: the labels that rows of the catalog have.
        parents: the parent of each name of the user's own hierarchy; empty for the project's own of ImageNet's classes.
    """

    def __init__(self, labels: Iterable[str], parents: Mapping[str, str]) -> None:
        texts = imagenet_label_texts()
        self._parents = dict(parents) or imagenet_parents()
        self._texts = texts
        self._labels: dict[str, set[str]] = {}
        self._others: dict[str, set[str]] = {}
        for label in labels:
            self._add(label, texts.get(label))

    def _add(self, label: str, text: LabelText | None) -> None:
        below = ancestors_of(label, self._parents)
        for name in (label, *below):
            self._labels.setdefault(_plain(name), set()).add(label)
            if name in group_names_zh():
                self._others.setdefault(group_names_zh()[name], set()).add(label)
        for name in (*text.synonyms, *text.other_names) if text is not None else ():
            self._others.setdefault(_plain(name), set()).add(label)

    def labels_of(self, words: str) -> frozenset[str]:
        """Returns the labels that words mean; empty if they are no name of any."""
        for names in (self._labels, self._others):
            for form in _forms(words):
                if form in names:
                    return frozenset(names[form])
        return frozenset()

    def names_of(self, name: str) -> frozenset[str]:
        """Returns a label, or a broader name, with all names above it."""
        return frozenset((name, *ancestors_of(name, self._parents)))

    def shown(self, name: str, language: Language) -> str:
        """Returns how a label or a broader name is called in a language; itself if it has no name there."""
        if language == "en":
            return name
        text = self._texts.get(name)
        return (text.other_names[0] if text is not None and text.other_names else "") or group_names_zh().get(
            name, name
        )


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").lower().split())


def _forms(words: str) -> Iterable[str]:
    """Yields words, and their singular."""
    plain = _plain(words)
    yield plain
    first, _, last = plain.rpartition(" ")
    for ending, instead in (("ies", "y"), ("es", ""), ("s", "")):
        if last.endswith(ending) and len(last) > len(ending) + 1:
            yield f"{first} {last.removesuffix(ending)}{instead}".strip()
    if last in _IRREGULAR:
        yield f"{first} {_IRREGULAR[last]}".strip()
