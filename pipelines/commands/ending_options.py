"""The options of `classify` that say when a night ends, how often it commits and in what order it works."""

import re
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from pipelines.jobs.classify.ending import Ending

COMMIT_EVERY_S: Final = 30 * 60
"""Seconds between commits by default: starting a part costs about a thousandth of it, see docs/measurements.md."""

ORDERS: Final = ("listed", "newest", "oldest", "smallest")

_DURATION: Final = re.compile(r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


class DurationType(click.ParamType):
    """The type of an option that takes a duration; `zero` says whether it may be none."""

    name = "duration"

    def __init__(self, *, zero: bool) -> None:
        self._zero = zero

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parses ``5h``, ``30m``, ``1h30m``, ``90s`` or ``2d``; returns seconds."""
        if isinstance(value, int | float):
            return float(value)
        found = _DURATION.fullmatch(value.strip().lower())
        if value.strip() == "0":
            seconds = 0.0
        elif found and found[0]:
            days, hours, minutes, rest = (float(number or 0) for number in found.groups())
            seconds = 86_400 * days + 3600 * hours + 60 * minutes + rest
        else:
            self.fail(f"{value!r} is no duration; write 5h, 30m, 1h30m or 90s", param, ctx)
        if not seconds and not self._zero:
            self.fail(f"{value!r} is no time at all; write 5h, 30m, 1h30m or 90s", param, ctx)
        return seconds


class ClockType(click.ParamType):
    """The type of an option that takes a time of day."""

    name = "time of day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Checks ``06:00``; returns it in this form."""
        try:
            return datetime.strptime(str(value), "%H:%M").strftime("%H:%M")
        except ValueError:
            self.fail(f"{value!r} is no time of day; write 06:00 or 23:30", param, ctx)


def ending_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that `ending_of` reads to a command."""
    for option in (
        click.option(
            "--commit-every",
            type=DurationType(zero=True),
            default=None,
            metavar="DURATION",
            show_default="30m; on Dataflow 0",
            help="Commit what is done about this often, as a run of its own; 0 for once, at the end.",
        ),
        click.option(
            "--order",
            type=click.Choice(ORDERS),
            default="listed",
            show_default=True,
            help="Which videos come first: as --archive names them, lists by line and folders by path; or by the "
            "files' times or sizes. What failed on an earlier night comes last.",
        ),
        click.option(
            "--limit",
            type=click.IntRange(1),
            default=None,
            metavar="VIDEOS",
            help="Process at most so many new or changed videos.",
        ),
        click.option(
            "--for",
            "for_s",
            type=DurationType(zero=False),
            default=None,
            metavar="DURATION",
            help="Begin nothing new after this time: 5h, 30m, 1h30m. With --until, the earlier counts.",
        ),
        click.option(
            "--until",
            type=ClockType(),
            default=None,
            metavar="HH:MM",
            help="Begin nothing new after this time of day, by this machine's clock; finish what is in hand, commit, "
            "and say what is left. Some videos are processed in any case, so that every night makes progress.",
        ),
    ):
        command = option(command)
    return command


def ending_of(chosen: dict[str, Any], beam_arguments: Sequence[str], now_s: float | None = None) -> "Ending":
    """Returns when a night ends.

    Args:
        chosen: the command's options by name.
        beam_arguments: options for Beam; they name the runner.
        now_s: the time in seconds since 1970; by default now.

    Raises:
        click.UsageError: an option needs a driver, and a template has none.
    """
    from pipelines.jobs.classify.ending import DATAFLOW, Ending

    runner, is_template = _runner_of(beam_arguments)
    if is_template:
        _refuse_for_template(chosen)
    default_s = 0 if is_template or runner == DATAFLOW else COMMIT_EVERY_S
    commit_every_s = default_s if chosen["commit_every"] is None else chosen["commit_every"]
    deadline_s, option = _deadline(chosen, time.time() if now_s is None else now_s)
    return Ending(chosen["limit"], deadline_s, option, commit_every_s or None, chosen["order"], runner)


def _deadline(chosen: dict[str, Any], now_s: float) -> tuple[float | None, str]:
    """Returns the earlier of the two deadlines, and the option that named it."""
    deadlines = []
    if chosen["for_s"] is not None:
        deadlines.append((now_s + chosen["for_s"], "--for is over"))
    if chosen["until"] is not None:
        deadlines.append((next_time(chosen["until"], now_s), f"--until {chosen['until']}"))
    return min(deadlines, default=(None, ""))


def next_time(time_of_day: str, now_s: float) -> float:
    """Returns when a local time of day comes next, in seconds since 1970.

    Args:
        time_of_day: as ``06:00``.
        now_s: the time in seconds since 1970.
    """
    now = datetime.fromtimestamp(now_s)
    hour, minute = map(int, time_of_day.split(":"))
    today = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    # Without a time zone, so that a day is a day even where the clocks change.
    return (today if today > now else today + timedelta(days=1)).timestamp()


def _runner_of(beam_arguments: Sequence[str]) -> tuple[str, bool]:
    """Returns the name of the runner, and whether a template is asked for."""
    from pipelines.jobs.classify.ending import IN_PROCESS

    if not beam_arguments:
        return IN_PROCESS, False
    from apache_beam.options.pipeline_options import GoogleCloudOptions, StandardOptions

    from pipelines.beam_options import pipeline_options

    options = pipeline_options(beam_arguments)
    return options.view_as(StandardOptions).runner, bool(options.view_as(GoogleCloudOptions).template_location)


def _refuse_for_template(chosen: dict[str, Any]) -> None:
    given = [
        flag
        for flag, name in (("--until", "until"), ("--for", "for_s"), ("--commit-every", "commit_every"))
        if chosen[name]
    ]
    if given:
        raise click.UsageError(
            f"{' and '.join(given)}: a template's job runs later, without a command that could look at the clock; "
            "leave it out, and use --limit"
        )
