"""`reelbeam verify`: checks that a catalog is what its runs promise."""

import sys
from typing import TYPE_CHECKING, NoReturn

import click

from pipelines.terminal.errors import cannot_run
from pipelines.terminal.json_text import json_text

if TYPE_CHECKING:
    from transforms.catalog.checks.findings import Finding


@click.command("verify")
@click.argument("uris", nargs=-1, metavar="[URI]...")
@click.option("--catalog", required=True, metavar="FOLDER", help="The catalog's folder.")
@click.option("--forgotten", is_flag=True, help="Look whether any file of the catalog still names these videos.")
@click.option(
    "--list", "lists", multiple=True, metavar="FILE", help="With --forgotten: a file with one path or URI a line."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(uris: tuple[str, ...], catalog: str, forgotten: bool, lists: tuple[str, ...], as_json: bool) -> None:
    """Check every file, row and count of a catalog, and its index against its tables.

    With --forgotten and the names of videos, search every byte of the catalog and every value of its tables instead,
    for their ids and URIs.

    Exit codes: 0 all is well, 1 something is wrong (one line for each finding) or could not be checked, 2 wrong usage.
    """  # fmt: skip
    if forgotten != bool(uris or lists):
        raise click.UsageError("--forgotten takes the names of videos, and names of videos need --forgotten")
    if forgotten:
        _search(catalog, uris, lists, as_json)
    from pipelines.terminal.progress import show_runs
    from transforms.catalog.checks.verify import verify
    from transforms.catalog.runs import Catalog
    from transforms.storage import absolute

    runs: list[str] = []
    with cannot_run():
        opened = Catalog.open(absolute(catalog))
        with show_runs() as show:

            def progress(run_id: str) -> None:
                runs.append(run_id)
                show(run_id)

            findings = verify(opened, progress)
        if as_json:
            click.echo(_as_json(opened.root, len(runs), findings))
        else:
            _print(opened.root, len(runs), findings)
    sys.exit(1 if findings else 0)


def _search(root: str, names: tuple[str, ...], lists: tuple[str, ...], as_json: bool) -> NoReturn:
    """Searches for traces of videos, prints them and ends."""
    from transforms.archive.named_videos import uris_of
    from transforms.catalog.forgetting.traces import find_traces
    from transforms.catalog.runs import Catalog
    from transforms.storage import absolute, printable

    with cannot_run():
        opened = Catalog.open(absolute(root))
        uris = uris_of(names, lists)
        findings = list(find_traces(opened, uris))
    if as_json:
        click.echo(_as_json(opened.root, len(opened.run_ids()), findings))
    else:
        for finding in findings:
            click.echo(str(finding))
        left = f"{len(findings)} findings" if findings else "no file names them"
        click.echo(f"{printable(opened.root)}: looked for {len(uris)} videos in all files: {left}")
    sys.exit(1 if findings else 0)


def _as_json(root: str, runs: int, findings: "list[Finding]") -> str:
    from transforms.storage import uri_of_path

    found = [{"code": one.code, "path": one.path, "message": one.message} for one in findings]
    return json_text({"catalog": uri_of_path(root), "runs": runs, "findings": found})


def _print(root: str, runs: int, findings: "list[Finding]") -> None:
    from transforms.storage import printable

    for finding in findings:
        click.echo(str(finding))
    root = printable(root)
    checked = f"{runs} run{'s' if runs != 1 else ''} checked"
    click.echo(f"{root}: {checked}, {len(findings)} findings" if findings else f"{root} is whole: {checked}")
