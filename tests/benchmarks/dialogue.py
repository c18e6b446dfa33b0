"""What questions about videos cost: `python -m tests.benchmarks.dialogue`.

Catalogs of made-up films of a minute, each with three things that come and go. Measures `reelbeam describe` as a process
of its own, the first answer of a conversation and the ones that follow. Reports CPU time and the bytes of `dialogues/`.
"""

import time
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import click

from tests.command_line import reelbeam_command
from tests.dialogue_films import film_catalog
from tests.measuring import measure
from transforms.catalog.dialogues import FOLDER
from transforms.dialogue.conversation import Conversation
from transforms.dialogue.evidence import open_evidence

SECONDS = 60
THINGS = ("beagle", "tabby", "zebra", "television", "tricycle", "goose")
QUESTIONS = (
    "When does the beagle first appear in {name}?",
    "How often does the tabby appear in {name}?",
    "What comes after the zebra in {name}?",
    "How long is {name}?",
    "Which videos show a goose?",
    "How many videos show a television?",
)


@click.command()
@click.option("--videos", "counts", default="100,1000", show_default=True, help="Numbers of videos.")
def main(counts: str) -> None:
    """Print a table row for each number of videos."""
    click.echo("| videos | describe, CPU | a video | bytes a video | first answer, CPU | a further answer, CPU |")
    for count in map(int, counts.split(",")):
        with TemporaryDirectory() as folder:
            root = Path(folder) / "catalog"
            names = [f"{number:05}.mp4" for number in range(count)]
            film_catalog(root, {f"/videos/{name}": _film(number) for number, name in enumerate(names)})
            done = measure(reelbeam_command("describe", "--catalog", root))
            size_bytes = sum(path.stat().st_size for path in (root / FOLDER).rglob("*.jsonl"))
            first_ms, next_ms = _answers(root, names)
        click.echo(
            f"| {count} | {done.cpu_s:.1f} s | {1000 * done.cpu_s / count:.1f} ms | {size_bytes / count:.0f} "
            f"| {first_ms:.0f} ms | {next_ms:.1f} ms |"
        )


def _film(number: int) -> list[dict[str, float]]:
    """The sure labels of each second: three things in turn, ten seconds each."""
    shown = islice(cycle(THINGS), number % len(THINGS), number % len(THINGS) + 3)
    return [{thing: 0.95} for thing in islice(cycle(shown), SECONDS // 10) for _ in range(10)]


def _answers(root: Path, names: list[str]) -> tuple[float, float]:
    """CPU milliseconds of the first answer, with reading the catalog, and the median of further ones."""
    began_s = time.process_time()
    conversation = Conversation(open_evidence(str(root)))
    times_s = []
    for number, name in enumerate(names[:50]):
        for question in QUESTIONS:
            answer = conversation.ask(question.format(name=name))
            assert answer.grounded or number, (question, answer.answer)
            times_s.append(time.process_time() - began_s)
            began_s = time.process_time()
    return 1000 * times_s[0], 1000 * median(times_s[1:])


if __name__ == "__main__":
    main()
