"""`reelbeam serve`: a page to search and to look, on this machine or, with a token, beyond it."""

import ipaddress
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from pipelines.commands.beam_command import PASSED_ON
from pipelines.commands.model_to_read import model_to_read
from pipelines.terminal.errors import cannot_run


@click.command("serve", context_settings=PASSED_ON)
@click.option("--catalog", required=True, metavar="FOLDER", help="The catalog's folder.")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address to listen on.")
@click.option("--port", default=8400, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 for a free one.")
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="HOST",
    help="Another name of this server, such as that of a proxy in front; needs a token. May be repeated.",
)
@click.option("--token", metavar="TEXT", envvar="REELBEAM_TOKEN", help="What a request must carry.")
@click.option(
    "--token-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A file that holds the token."
)
@click.option("--drawers", default=1, show_default=True, type=click.IntRange(1), help="Processes that draw pictures.")
@model_to_read
@click.option("--text-model", show_default="the one that belongs to the index", help="As of reelbeam search.")
@click.option("--text-weights", type=click.Path(path_type=Path), help="As of reelbeam search.")
@click.option("--label-texts", type=click.Path(path_type=Path), help="Texts of your own classes.")
@click.pass_context
def command(context: click.Context, catalog: str, host: str, port: int, names: tuple[str, ...], **chosen: Any) -> None:
    """Serve a page to search a catalog and to look at its videos.

    Without --token only this machine may ask. A request then carries the token as ?token=... once, which sets a cookie,
    or as "Authorization: Bearer". Leave TLS to a proxy in front: it passes on the name that --name gives.

    The catalog and its videos may be on an object store; Beam's own options for these (--s3_endpoint_url, ...) may
    follow.
    """  # fmt: skip
    host = _plain(host)
    token = _token(chosen["token"], chosen["token_file"], context.get_parameter_source("token"))
    if token is None and not _is_loopback(host):
        raise click.UsageError(f"{host} can be reached from other machines: give --token or --token-file")
    if token is None and names:
        raise click.UsageError("--name lets other machines ask, through a proxy: give --token or --token-file")
    if context.args:  # otherwise Beam is loaded when a video on an object store is first asked for
        from pipelines.beam_options import beam_options

        beam_options(context.args, context.command)
    with cannot_run():
        from pipelines.web.light_start import keep_pandas_out, without_collecting

        options = {name: chosen[name] for name in ("model", "text_model", "text_weights", "label_texts")}
        with without_collecting():
            from pipelines.web.serving import open_server
            from transforms.storage import absolute

            keep_pandas_out()
            server = open_server(absolute(catalog), host, port, names, token, chosen["drawers"], options)
        click.echo(server.address)
        server.run()


def _token(token: str | None, file: Path | None, source: ParameterSource | None) -> str | None:
    """Returns the token; a file goes before the environment.

    Raises:
        click.UsageError: there are two, or it cannot be one.
    """
    if token is not None and file is not None and source is not ParameterSource.ENVIRONMENT:
        raise click.UsageError("give --token or --token-file, not both")
    if file is not None:
        token = _read(file)
    if token is not None and not (token and token.isascii() and token.isprintable()):
        raise click.UsageError("the token is empty or holds other characters than printable ASCII, which cookies need")
    return token


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"the token file {file} is no text") from error
    except OSError as error:
        raise click.UsageError(f"the token file {file} cannot be read: {error.strerror}") from error


def _plain(host: str) -> str:
    """Returns an address or name in small letters, without the brackets that addresses of IPv6 have in a URL."""
    return host.removeprefix("[").removesuffix("]").lower()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
