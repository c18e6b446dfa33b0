"""Passes Beam's own options on our command line through to Beam, and refuses flags that neither side knows."""

import argparse
from collections.abc import Sequence

import click
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from models.suggestions import suggest


def beam_options(arguments: Sequence[str], command: click.Command) -> PipelineOptions:
    """Parses the arguments that a command left over.

    Args:
        arguments: what the command does not know.
        command: the command, whose options are suggested for mistyped ones.

    Raises:
        click.UsageError: neither the command nor Beam knows an argument. The message suggests the nearest option.
    """
    parser = _parser()
    try:
        _, unknown = parser.parse_known_args(list(arguments))
    except (argparse.ArgumentError, SystemExit) as error:
        raise click.UsageError(f"Beam does not accept {' '.join(arguments)}: {error}") from error
    if unknown:
        raise click.UsageError(_complaint(unknown[0], parser, command))
    return pipeline_options(arguments)


def pipeline_options(arguments: Sequence[str]) -> PipelineOptions:
    """Makes Beam's options of arguments that have been checked, and gives them to Beam's file systems.

    The default runner is Beam's in-process one, because decoder children use the cores, not Beam's workers.
    """
    chosen = list(arguments)
    if not any(a == "--runner" or a.startswith("--runner=") or a == "-r" for a in chosen):
        chosen.append("--runner=FnApiRunner")
    options = PipelineOptions(chosen)
    # A pipeline would do this, but archives are listed and catalogs are read before there is one.
    FileSystems.set_options(options)
    return options


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise click.UsageError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(add_help=False, allow_abbrev=False, conflict_handler="resolve")
    for kind in _option_classes():
        add = getattr(kind, "_add_argparse_args", None)
        if add is not None:
            add(parser)
    return parser


def _option_classes() -> list[type]:
    # Beam knows a runner's options only after the runner's module has been imported.
    import apache_beam.runners.portability.flink_runner  # noqa: F401

    return sorted(_subclasses(PipelineOptions), key=lambda kind: kind.__name__)


def _subclasses(kind: type) -> set[type]:
    children: list[type] = kind.__subclasses__()
    return {kind}.union(*(_subclasses(child) for child in children))


def _complaint(argument: str, parser: argparse.ArgumentParser, command: click.Command) -> str:
    flag = argument.split("=", 1)[0]
    if not flag.startswith("-"):
        return f"unexpected argument {argument!r}"
    ours = [name for parameter in command.params for name in parameter.opts if name.startswith("--")]
    known = [*ours, *(name for action in parser._actions for name in action.option_strings)]
    nearest = suggest(flag, known, cutoff=0.5)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return f"no such option: {flag}{hint}"
