"""A conversation about the videos of a catalog: questions in, grounded answers out."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from transforms.dialogue.answers import Answerer, Citation, Context, Said
from transforms.dialogue.evidence import Evidence
from transforms.dialogue.limits import MOST_CHARACTERS, MOST_PARTS
from transforms.dialogue.mentions import UnknownVideoError, find_mentions
from transforms.dialogue.questions import parse, parts_of
from transforms.dialogue.wording import phrase

Reword = Callable[[str, Sequence[Said]], str]
"""Words an answer anew, from the question and the sentences with what they are made of."""


@dataclass(frozen=True)
class Answer:
    """An answer.

    Attributes:
        answer: the text.
        grounded: whether it is made of rows; False if the question was declined.
        citations: the rows; none of a declined question.
    """

    answer: str
    grounded: bool
    citations: tuple[Citation, ...]

    def as_json(self) -> dict[str, Any]:
        """Returns it as values of JSON."""
        return asdict(self)


class Conversation:
    """Answers one question after the other; later ones may leave out what earlier ones named.

    Args:
        evidence: the rows of the catalog.
        reword: words grounded answers anew; None to leave them as they are.
        video: the video that is talked about from the start; None for none.
    """

    def __init__(self, evidence: Evidence, reword: Reword | None = None, video: str | None = None) -> None:
        self._answerer = Answerer(evidence, Context(video or ""))
        self._reword = reword

    def ask(self, text: str) -> Answer:
        """Answers a question.

        Raises:
            CatalogError: a file of the catalog is missing or damaged.
            RetrievalError: the index is damaged.
            EndpointError: the language model does not answer.
        """
        said = self._said(text[:MOST_CHARACTERS])
        return answer_of(said, None if self._reword is None else partial(self._reword, text))

    def _said(self, text: str) -> list[Said]:
        try:
            mentions = find_mentions(text, list(self._answerer.evidence.videos))
        except UnknownVideoError as error:
            return [Said(str(error))]
        parts = [parse(part) for part in parts_of(mentions.text)][:MOST_PARTS]
        if not parts:
            return [Said(phrase("cannot", "en"))]
        return [one for part in parts for one in self._answerer.answer(part, mentions.named(part.videos))]


def answer_of(said: Sequence[Said], reword: Callable[[Sequence[Said]], str] | None = None) -> Answer:
    """Makes an answer of sentences; it is declined if none of them is grounded.

    Args:
        said: one sentence or more.
        reword: words those that are grounded; None to leave them as they are.
    """
    grounded = [one for one in said if one.citations]
    if not grounded:
        return Answer(said[0].text, False, ())
    worded = reword(grounded) if reword is not None else _joined(grounded)
    left = [one for one in said if not one.citations]
    citations = tuple(dict.fromkeys(cite for one in grounded for cite in one.citations))
    return Answer(" ".join(filter(None, (worded, _joined(left)))), True, citations)


def _joined(said: Sequence[Said]) -> str:
    return " ".join(dict.fromkeys(one.text for one in said))
