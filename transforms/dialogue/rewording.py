"""Lets a language model word an answer, and keeps of what it says only what the answer says too.

The model is given the plain sentences of the answer. No text of the archive is sent: names of videos, titles and
subtitles are replaced by VIDEO1, TEXT1 and so on, so nothing that an archive holds can instruct the model.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from transforms.dialogue.answers import Said
from transforms.dialogue.checks import ALIAS, claims_of, says_all, sentences_of, supported
from transforms.dialogue.mentions import name_of
from transforms.dialogue.questions import language_of
from transforms.storage import printable

INSTRUCTIONS: Final = (
    "You word facts about videos for a person. Say what the facts say, one sentence for each fact, in the language of "
    "the question. Keep every number, time and name as it is, in the same order. Add nothing, guess nothing, give no "
    "opinion. VIDEO1, TEXT1 and the like are names: keep them as they are."
)

Complete = Callable[[Sequence[dict[str, str]]], str]
"""Returns a model's answer to messages with ``role`` and ``content``."""

_QUOTED: Final = re.compile(r"“[^”]*”")
_NOTE: Final = (
    "(Left out: {count} of the language model's sentences, which the rows do not support.)",
    "（语言模型有{count}句话没有记录支持，已略去。）",
)


@dataclass(frozen=True)
class Rewording:
    """Words answers with a language model.

    Attributes:
        complete: asks the model.
    """

    complete: Complete

    def __call__(self, question: str, said: Sequence[Said]) -> str:
        """Returns the answer in the model's words where they are supported, in plain words elsewhere.

        If a sentence of the model was left out because it claims more than the rows, the answer says so.

        Args:
            question: what was asked.
            said: the sentences of the answer, all of them grounded.

        Raises:
            EndpointError: the model does not answer.
        """
        aliases = aliases_of(said)
        given = [aliased(one.text, aliases) for one in said]
        reply = self.complete(messages(aliased(question, aliases), given))
        worded, dropped = checked(reply, given)
        text = " ".join(dict.fromkeys(named(one, aliases) for one in worded))
        note = _NOTE[language_of(question) == "zh"].format(count=dropped)
        return f"{text} {note}" if dropped else text


def messages(question: str, given: Sequence[str]) -> list[dict[str, str]]:
    """Returns what is sent to the model for a question and sentences, both with aliases."""
    facts = "\n".join(f"- {one}" for one in given)
    return [
        {"role": "system", "content": INSTRUCTIONS},
        {"role": "user", "content": f"Question: {question}\nFacts:\n{facts}"},
    ]


def checked(reply: str, given: Sequence[str]) -> tuple[list[str], int]:
    """Checks a model's reply.

    Args:
        reply: what the model says.
        given: the sentences that it was to word.

    Returns:
        For each given sentence the model's wording of all of it, or the given one if it has none; and the number of the
        model's sentences that no given sentence supports.
    """
    claims = [claims_of(one) for one in given]
    replies = [(one, claims_of(one)) for one in sentences_of(reply)]
    kept = [(text, said) for text, said in replies if any(supported(said, one) for one in claims)]
    worded = [
        next((text for text, said in kept if supported(said, one) and says_all(said, one)), plain)
        for plain, one in zip(given, claims, strict=True)
    ]
    return worded, len(replies) - len(kept)


def aliases_of(said: Sequence[Said]) -> dict[str, str]:
    """Returns the alias of each quoted text of the archive, and of each name of a video, in some sentences."""
    texts = dict.fromkeys(quoted for one in said for quoted in _QUOTED.findall(one.text))
    names = dict.fromkeys(printable(name_of(cite.uri)) for one in said for cite in one.citations)
    names |= dict.fromkeys(printable(name_of(one.video)) for one in said if one.video)
    aliases = {text: f"TEXT{number}" for number, text in enumerate(texts, start=1)}
    return aliases | {name: f"VIDEO{number}" for number, name in enumerate(names, start=1)}


def aliased(text: str, aliases: dict[str, str]) -> str:
    """Replaces texts and names by their aliases in one pass, the longest first: no alias is ever taken for a name."""
    if not aliases:
        return text
    longest = sorted(aliases, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, longest)), lambda found: aliases[found[0]], text)


def named(text: str, aliases: dict[str, str]) -> str:
    """Puts the texts and names back in the place of their aliases."""
    names = {alias: name for name, alias in aliases.items()}
    return re.sub(ALIAS, lambda found: names.get(found[0], found[0]), text)
