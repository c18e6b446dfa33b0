"""Beam's own options on our command line: passed through untouched; a flag that nobody knows is an error."""

import argparse
import difflib
from collections.abc import Sequence

import click
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions


def beam_options(arguments: Sequence[str], command: click.Command) -> PipelineOptions:
    """Beam's options from what the command line left over.

    Raises:
        click.UsageError: a flag that neither the command nor Beam knows, naming the nearest one; or a stray argument.
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
    """Beam's options from arguments that have been checked.

    The runner defaults to Beam's in-process one; decoder children, not Beam workers, use the cores.
    """
    chosen = list(arguments)
    if not any(a == "--runner" or a.startswith("--runner=") or a == "-r" for a in chosen):
        chosen.append("--runner=FnApiRunner")
    options = PipelineOptions(chosen)
    # Archives are listed and catalogs read before there is a pipeline that would do this.
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
    # Importing a runner's module is what makes its options known.
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
    nearest = difflib.get_close_matches(flag, known, n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return f"no such option: {flag}{hint}"
