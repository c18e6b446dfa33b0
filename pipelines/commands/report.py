"""`reelbeam report`: one page that says what a night did, or what the catalog knows of one video."""

from typing import TYPE_CHECKING, Any

import click

from pipelines.commands.model_to_read import model_to_read
from pipelines.terminal.errors import cannot_run
from pipelines.terminal.json_text import json_text

if TYPE_CHECKING:
    from transforms.catalog.runs import Catalog


@click.command("report")
@click.option("--catalog", required=True, metavar="FOLDER", help="The catalog's folder.")
@click.option("--output", required=True, metavar="FILE", help="The page to write; a path or an s3:// or gs:// URL.")
@click.option("--run", "run_id", metavar="ID", help="The run to report on; by default the newest.")
@click.option("--video", metavar="URI", help="Write the contact sheet of this video instead.")
@model_to_read
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(catalog: str, output: str, run_id: str | None, video: str | None, model: str | None, as_json: bool) -> None:
    """Write what a night did, or what the catalog knows of one video, as one HTML file, for mail and browsers.

    The page of a night has the run's counts, each failure with its reason and what to do, what is new, what is gone,
    what the archive shows most, and charts over the last runs. The contact sheet of a video has its thumbnails with
    their times and labels, its label ranges, its technical data, and why it failed or is partial. A page needs no
    network and holds no script.
    """
    from transforms import storage
    from transforms.catalog.runs import Catalog

    if video is not None and run_id is not None:
        raise click.UsageError("--run is for the page of a night, not for a video")
    with cannot_run():
        opened = Catalog.open(storage.absolute(catalog), model)
        text, about, said = _night(opened, run_id) if video is None else _sheet(opened, video)
        page = text.encode()
        where = storage.absolute(output)
        storage.write_atomically(where, page)
        if as_json:
            click.echo(json_text({"output": storage.uri_of_path(where), "size_bytes": len(page), **about}))
        else:
            click.echo(f"{storage.printable(where)}: {said}")


def _night(catalog: "Catalog", run_id: str | None) -> tuple[str, dict[str, Any], str]:
    """Returns the page of a night, what is said of it as JSON, and in words."""
    from pipelines.pages.night import render_night
    from transforms.catalog.overview.night_report import night_report

    report = night_report(catalog, run_id)
    about = {"run_id": report.run.run_id, "failures": report.failures.total}
    return render_night(report, catalog.root), about, f"run {report.run.run_id}"


def _sheet(catalog: "Catalog", video: str) -> tuple[str, dict[str, Any], str]:
    """Returns the contact sheet of a video, what is said of it as JSON, and in words."""
    from pipelines.pages.video import render_video
    from transforms import storage
    from transforms.catalog.overview.video_sheet import video_sheet

    sheet = video_sheet(catalog, storage.absolute(video))
    about = {"video": sheet.uri, "thumbnails": len(sheet.thumbnails)}
    return render_video(sheet, catalog.root), about, storage.printable(sheet.uri)
