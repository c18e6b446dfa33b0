"""`reelbeam verify`: checks that a catalog is what its runs promise."""

import sys
from typing import TYPE_CHECKING

import click

from pipelines.terminal.errors import cannot_run
from pipelines.terminal.json_text import json_text

if TYPE_CHECKING:
    from transforms.catalog.findings import Finding


@click.command("verify")
@click.option("--catalog", required=True, metavar="FOLDER", help="The catalog's folder.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(catalog: str, as_json: bool) -> None:
    """Check every file, row and count of a catalog, and its index against its tables.

    Exit codes: 0 all is well, 1 something is wrong (one line for each finding) or could not be checked, 2 wrong usage.
    """  # fmt: skip
    from pipelines.terminal.progress import show_runs
    from transforms.catalog.runs import Catalog
    from transforms.catalog.verify import verify
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
