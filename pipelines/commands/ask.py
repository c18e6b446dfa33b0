"""`reelbeam ask`: answers questions about the videos of a catalog."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from pipelines.commands.model_to_read import model_to_read
from pipelines.terminal.errors import cannot_run
from pipelines.terminal.json_text import json_text
from pipelines.terminal.units import clock

if TYPE_CHECKING:
    from transforms.dialogue.answers import Citation
    from transforms.dialogue.conversation import Answer, Reword

CITATIONS_SHOWN = 5
"""Citations that are shown below an answer; --json has all."""


@click.command("ask")
@click.argument("question", nargs=-1)
@click.option("--catalog", required=True, metavar="FOLDER", help="The catalog's folder.")
@model_to_read
@click.option("--chat", is_flag=True, help="Ask several questions, one a line; later ones may say less.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each question.")
@click.option(
    "--llm-url",
    metavar="URL",
    help="An OpenAI-compatible endpoint (llama.cpp, Ollama, vLLM) that words the answers; its key: REELBEAM_LLM_KEY.",
)
@click.option("--llm-model", default="default", show_default=True, metavar="NAME", help="The model of --llm-url.")
def command(question: tuple[str, ...], **chosen: Any) -> None:
    """Ask about the videos of a catalog, in English or Chinese.

    Every answer is made of rows of the catalog and cites them. A question that they cannot answer is declined.
    """
    text = " ".join(question).strip()
    if not text and not chosen["chat"]:
        raise click.UsageError('ask a question: reelbeam ask --catalog FOLDER "when does the dog appear in skate.mp4?"')
    with cannot_run():
        from transforms.dialogue.conversation import Conversation
        from transforms.dialogue.evidence import open_evidence
        from transforms.storage import absolute

        reword = _reword(chosen["llm_url"], chosen["llm_model"])
        evidence = open_evidence(absolute(chosen["catalog"]), chosen["model"])
        conversation = Conversation(evidence, reword)
        for one in _questions(text, chosen["chat"]):
            _print(conversation.ask(one), chosen["as_json"])


def _reword(url: str | None, model: str) -> "Reword | None":
    if url is None:
        return None
    from transforms.dialogue.endpoint import Endpoint
    from transforms.dialogue.rewording import Rewording

    return Rewording(Endpoint.of(url, model).complete)


def _questions(text: str, chat: bool) -> Iterator[str]:
    """Yields the question of the command line, and with --chat the lines of standard input."""
    if text:
        yield text
    if not chat:
        return
    while True:
        if sys.stdin.isatty():
            click.echo("> ", nl=False, err=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


def _print(answer: "Answer", as_json: bool) -> None:
    if as_json:
        click.echo(json_text(answer.as_json()))
        return
    from rich.markup import escape

    from pipelines.terminal.console import console, print_paragraph

    out = console()
    print_paragraph(out, escape(answer.answer))
    for one in answer.citations[:CITATIONS_SHOWN]:
        print_paragraph(out, f"[dim]{escape(_in_words(one))}[/dim]")
    if len(answer.citations) > CITATIONS_SHOWN:
        print_paragraph(out, f"[dim]  {len(answer.citations) - CITATIONS_SHOWN} more are in --json[/dim]")


def _in_words(one: "Citation") -> str:
    from transforms.storage import printable

    end = "" if one.end_s is None else f"-{clock(one.end_s)}"
    score = "" if one.score is None else f" {one.score:.2f}"
    return f"  {one.kind}: {printable(one.text)}{score}, {clock(one.start_s)}{end}, {printable(one.uri)}"
