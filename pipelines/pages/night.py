"""The report of a night as one self-contained HTML page."""

from collections.abc import Callable, Iterator, Sequence

from pipelines.pages.advice import ADVICE
from pipelines.pages.charts import Bar, Chart, bar_chart
from pipelines.pages.templating import data_uri, environment, moment, style
from pipelines.terminal.units import human_speed, human_time
from transforms.archive.ignored import in_words
from transforms.catalog.overview.night_report import NightReport
from transforms.catalog.records import RunRecord
from transforms.storage import printable, uri_of_path
from transforms.video.failures import REASONS


def render_night(report: NightReport, catalog: str) -> str:
    """Render a report as HTML; style and charts are inside, no script is.

    Args:
        report: what to show.
        catalog: root of the catalog.
    """
    run = report.run
    counts = run.counts
    return (
        environment("pipelines.pages", "templates")
        .get_template("night.html")
        .render(
            title=f"Night of {moment(run.started_at)[:10]}",
            style=style(),
            catalog=printable(uri_of_path(catalog)),
            run=run,
            report=report,
            tiles=[
                ("ok", counts.ok, ""),
                ("partial", counts.partial, "warn"),
                ("failed", counts.failed, "bad"),
                *([("left", counts.left, "warn")] if counts.left else []),
                ("unchanged", counts.skipped, ""),
                ("gone", counts.gone, ""),
            ],
            ignored=in_words(run.ignored) if run.ignored else "",
            posters={video_id: data_uri(image) for video_id, image in report.posters.items()},
            reasons=REASONS,
            advice=ADVICE,
            most=max(report.labels.values(), default=0),
            charts=list(charts_of_nights(report.nights)),
        )
    )


def charts_of_nights(
    nights: Sequence[RunRecord], t: Callable[[str], str] = str, units: Callable[[str], str] = str
) -> Iterator[Chart]:
    """Yields charts over some runs, oldest first; one run alone has nothing to compare with.

    Args:
        nights: the runs.
        t: translates a text.
        units: translates a number with its unit.
    """
    if len(nights) < 2:
        return
    days = [moment(run.started_at)[:10] for run in nights]

    def bars(values: Sequence[tuple[float, str]]) -> list[Bar]:
        return [Bar(day, value, words) for day, (value, words) in zip(days, values, strict=True)]

    def speed(run: RunRecord) -> str:
        return units(human_speed(run.speed_x_realtime)) or t("nothing to do")

    label = t("{title}: highest {highest} ({name}), newest {newest}")
    lengths = bars([(run.video_s, units(human_time(run.video_s))) for run in nights])
    yield bar_chart(t("video processed"), lengths, label=label)
    speeds = bars([(run.speed_x_realtime, speed(run)) for run in nights])
    yield bar_chart(t("speed, times real time"), speeds, label=label)
    failed = bars([(run.counts.failed, f"{run.counts.failed}") for run in nights])
    yield bar_chart(t("failed videos"), failed, "bad", label=label)
