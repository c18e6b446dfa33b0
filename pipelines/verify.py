"""`reelbeam verify`: whether a catalog is what its runs promise."""

import sys
from typing import TYPE_CHECKING

import click

from pipelines.failing import cannot_run
from pipelines.json_text import json_text

if TYPE_CHECKING:
    from transforms.catalog.findings import Finding


@click.command("verify")
@click.option("--catalog", required=True, metavar="FOLDER", help="The catalog's folder.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(catalog: str, as_json: bool) -> None:
    """Check every file, row and count of a catalog, and its index against its tables.

    Exit codes: 0 all is well, 1 it is not (one line a finding) or could not be checked, 2 wrong usage.
    """  # fmt: skip
    from transforms.catalog.runs import Catalog
    from transforms.catalog.storage import absolute
    from transforms.catalog.verify import verify

    runs: list[str] = []

    def progress(run_id: str) -> None:
        runs.append(run_id)
        if sys.stderr.isatty():
            click.echo(f"\rrun {run_id}", err=True, nl=False)

    with cannot_run():
        opened = Catalog.open(absolute(catalog))
        findings = verify(opened, progress)
        if sys.stderr.isatty():
            click.echo("\r\x1b[K", err=True, nl=False)
        if as_json:
            click.echo(_as_json(opened.root, len(runs), findings))
        else:
            _print(opened.root, len(runs), findings)
    sys.exit(1 if findings else 0)


def _as_json(root: str, runs: int, findings: "list[Finding]") -> str:
    from transforms.catalog.schemas import uri_of_path

    found = [{"code": one.code, "path": one.path, "message": one.message} for one in findings]
    return json_text({"catalog": uri_of_path(root), "runs": runs, "findings": found})


def _print(root: str, runs: int, findings: "list[Finding]") -> None:
    from transforms.catalog.storage import printable

    for finding in findings:
        click.echo(str(finding))
    root = printable(root)
    checked = f"{runs} run{'s' if runs != 1 else ''} checked"
    click.echo(f"{root}: {checked}, {len(findings)} findings" if findings else f"{root} is whole: {checked}")
