"""Describes a video, and asks and answers questions about it."""

from collections.abc import Iterator
from typing import Any, Final

from transforms.dialogue.answers import Answerer, Said, shown
from transforms.dialogue.conversation import Answer, answer_of
from transforms.dialogue.evidence import Evidence
from transforms.dialogue.questions import FIRST_PLACEHOLDER, Language, parse

THINGS_ASKED: Final = 5
"""Things in a video that are asked about, in the order in which they are seen."""

_VIDEO: Final = chr(FIRST_PLACEHOLDER)

GENERAL: Final[dict[Language, tuple[str, ...]]] = {
    "en": (
        "What does {video} show?",
        "What is shown first in {video}?",
        "What is shown last in {video}?",
        "How long is {video}?",
        "What resolution does {video} have?",
    ),
    "zh": (
        "{video}里有什么？",
        "{video}开头是什么？",
        "{video}结尾是什么？",
        "{video}有多长？",
        "{video}的分辨率是多少？",
    ),
}
"""Questions about every video; the answers to those of `DESCRIBED` make up its description."""

DESCRIBED: Final = 4

ABOUT_THINGS: Final[dict[Language, tuple[str, ...]]] = {
    "en": (
        "When does the {thing} first appear in {video}?",
        "How often does the {thing} appear in {video}?",
        "How long is the {thing} visible in {video}?",
        "What comes after the {thing} in {video}?",
    ),
    "zh": (
        "{thing}什么时候第一次出现在{video}里？",
        "{thing}在{video}里出现了几次？",
        "{thing}在{video}里出现了多久？",
        "{video}里{thing}之后是什么？",
    ),
}


def dialogue_about(evidence: Evidence, uri: str, language: Language) -> dict[str, Any]:
    """Returns a description of a video, and questions about it with their answers.

    Args:
        evidence: the rows.
        uri: the video.
        language: of the questions and answers.

    Returns:
        ``video_id``, ``uri``, ``description`` (text) and ``turns``: ``question`` beside the fields of an `Answer`. What
        no row answers is not asked.

    Raises:
        CatalogError: a file of the catalog is missing or damaged.
    """
    turns = [
        {"question": question.replace(_VIDEO, shown(uri)), **answer.as_json()}
        for question in _questions(evidence, uri, language)
        if (answer := _answered(evidence, uri, question)).grounded
    ]
    general = {question.format(video=shown(uri)) for question in GENERAL[language][:DESCRIBED]}
    said = dict.fromkeys(turn["answer"] for turn in turns if turn["question"] in general)
    return {
        "video_id": evidence.videos[uri]["video_id"],
        "uri": uri,
        "description": " ".join(said),
        "turns": turns,
    }


def _questions(evidence: Evidence, uri: str, language: Language) -> Iterator[str]:
    yield from (question.format(video=_VIDEO) for question in GENERAL[language])
    names = dict.fromkeys(one.name for one in evidence.scenes(uri))
    for name in list(names)[:THINGS_ASKED]:
        thing = evidence.things.shown(name, language)
        yield from (question.format(video=_VIDEO, thing=thing) for question in ABOUT_THINGS[language])


def _answered(evidence: Evidence, uri: str, question: str) -> Answer:
    said: list[Said] = Answerer(evidence).answer(parse(question.strip("?？")), [uri])
    return answer_of(said)
