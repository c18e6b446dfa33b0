"""Checks what a language model says against the sentence that it was given to word.

A sentence is kept only if one of the given sentences says the same or more. Every number and time in it must be there,
in the same order and role (the beginning of a range is not its end), and beside the same name where several numbers are
alike. Names of videos and labels must be there in the same order. Every other word must be there too, or be one of a
small list of words that claim nothing. So a new noun, number, comparison or negation is enough to drop a sentence.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from transforms.dialogue.wording import PHRASES

ALIAS: Final = r"(?:VIDEO|TEXT)\d+"
"""Matches what stands for a name of a video, or a text of the archive, in what a model is given."""

NEUTRAL: Final = frozenset(
    "the a an this that it its is are was were be been in of on by for with and which where there here has have can "
    "you we see seen show shows shown showing appear appears appeared appearing visible video clip file footage "
    "at s second seconds sec as also thing score labelled labeled called named".split()
)
"""Words that claim nothing by themselves."""

NEUTRAL_CHINESE: Final = frozenset("的在中里是有了会可以看到见出现显示这该视频段秒个为，")

_ROLES: Final = {
    "at": "start", "from": "start", "until": "end", "till": "end", "to": "end", "of": "", "for": "length",
    "的": "start", "从": "start", "在": "start", "到": "end", "了": "length",
}  # fmt: skip
"""What a time is, by the word before it."""

_TOKEN: Final = re.compile(
    rf"(?P<alias>{ALIAS})|(?P<time>\d+(?::\d+)+)|(?P<number>\d+(?:\.\d+)?)|(?P<han>[\u4e00-\u9fff])"
    r"|(?P<word>[^\W\d_]+(?:['’-][^\W\d_]+)*)|(?P<dash>[-–—~])"
    r"|(?P<mark>[ \t,.;:()'\"“”!?，。；：（）！？、*])|(?P<other>.)",
    re.DOTALL,
)
_SENTENCE: Final = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])\s*|\n+")


@dataclass(frozen=True)
class Number:
    """A number in a sentence: its value, what it is a number of, and the video and the name before it.

    What the end of a range stands beside is the word or time before it.
    """

    value: float
    kind: str
    anchor: str


@dataclass(frozen=True)
class Claims:
    """What a sentence claims.

    Attributes:
        numbers: its numbers and times, in order.
        aliases: what it names by an alias, in order.
        names: the words in it that no pattern of answers holds: things and labels, in order.
        words: all its words, in lower case.
        odd: whether it holds a character that no answer has.
    """

    numbers: tuple[Number, ...]
    aliases: tuple[str, ...]
    names: tuple[str, ...]
    words: frozenset[str]
    odd: bool


def sentences_of(text: str) -> list[str]:
    """Cuts a text into sentences."""
    return [part.strip(" -*\t") for part in _SENTENCE.split(text) if part.strip(" -*\t")]


@cache
def _pattern_words() -> frozenset[str]:
    """Returns the words of the patterns that name something: what else their sentences hold are the names."""
    patterns = (re.sub(r"\{\w+\}", " ", text) for pair in PHRASES.values() for text in pair if "{" in text)
    return frozenset(
        found[0].lower() for text in patterns for found in _TOKEN.finditer(text) if found["word"] or found["han"]
    )


def claims_of(sentence: str) -> Claims:
    """Returns what a sentence claims."""
    tokens = [(found.lastgroup or "", found[0].lower().replace("’", "'")) for found in _TOKEN.finditer(sentence)]
    telling = [token for token in tokens if token[0] != "mark"]
    numbers, names, aliases = [], [], []
    for place, (group, text) in enumerate(telling):
        if group == "alias":
            aliases.append(text)
        elif group in ("word", "han") and text not in _pattern_words() and not _is_neutral(text):
            names.append(text)
        elif group in ("time", "number"):
            kind = _kind(telling, place)
            anchor = telling[place - 2][1] if kind == "time end" else " ".join((*aliases[-1:], *names[-1:]))
            numbers.append(Number(_value(text), kind, anchor))
    words = frozenset(text for group, text in telling if group in ("word", "han"))
    return Claims(tuple(numbers), tuple(aliases), tuple(names), words, any(group == "other" for group, _ in tokens))


def _is_neutral(word: str) -> bool:
    return word in NEUTRAL or word in NEUTRAL_CHINESE


def _value(text: str) -> float:
    value = 0.0
    for part in text.split(":"):
        value = 60 * value + float(part)
    return value


def _kind(tokens: Sequence[tuple[str, str]], place: int) -> str:
    """Tells what a number is a number of: a time in a role, a duration, or what the words around it say."""
    group, _ = tokens[place]
    before = tokens[place - 1] if place else ("", "")
    after = tokens[place + 1] if place + 1 < len(tokens) else ("", "")
    in_seconds = group == "number" and after[1] in ("s", "sec", "second", "seconds", "秒")
    if group == "number" and not in_seconds:
        return "score" if before[1] in ("score", "分") else "plain"
    if before[0] == "dash" and place > 1 and tokens[place - 2][0] == "time":
        return "time end"
    if after[0] == "dash":
        return "time start"
    role = _ROLES.get(before[1], "")
    return "length" if in_seconds and role in ("", "length") else f"time {role}".strip()


def supported(said: Claims, given: Claims) -> bool:
    """Tells whether one given sentence says all that another claims, which must claim something."""
    allowed = given.words | NEUTRAL | NEUTRAL_CHINESE
    return bool(
        not said.odd
        and (said.numbers or said.names or said.aliases)
        and said.words <= allowed
        and _is_within(
            [(one.value, one.kind) for one in said.numbers], [(one.value, one.kind) for one in given.numbers]
        )
        and all(_is_beside_its_name(one, given) for one in said.numbers)
        and _is_within(said.aliases, given.aliases)
        and _is_within(said.names, given.names)
    )


def _is_within(some: Sequence[object], every: Sequence[object]) -> bool:
    """Tells whether a sequence is what is left of another one if members are left out."""
    rest = iter(every)
    return all(one in rest for one in some)


def _is_beside_its_name(number: Number, given: Claims) -> bool:
    """Tells whether a number stands behind the name that it stands behind in the given sentence.

    It need not where no other number there is of its kind.
    """
    alike = [one for one in given.numbers if one.kind == number.kind]
    return len({one.value for one in alike}) == 1 or number in alike


def says_all(said: Claims, given: Claims) -> bool:
    """Tells whether a supported sentence leaves out no time, number, name of a video or first name of a given one."""
    wanted = [(one.value, one.kind) for one in given.numbers if one.kind != "score"]
    there = [(one.value, one.kind) for one in said.numbers]
    return _is_within(wanted, there) and said.aliases == given.aliases and set(said.names) >= set(given.names[:1])
