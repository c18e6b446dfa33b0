"""Opens the server, and runs it until it is stopped."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import uvicorn

from pipelines.web.access import LOOPBACK
from pipelines.web.app import make_app
from pipelines.web.patience import PatientProtocol
from pipelines.web.view import CatalogView

KEEP_ALIVE_S: Final = 15
"""Seconds for which an idle connection stays open."""

CONNECTIONS: Final = 512
"""Connections at once; more are answered with 503."""

PROXIES: Final = "127.0.0.1,::1"
"""Addresses of proxies whose word counts on how a client reached them; the variable FORWARDED_ALLOW_IPS, which uvicorn
reads, names others."""

END_AFTER_S: Final = 5
"""Seconds that requests under way have when the server is stopped."""


@dataclass(frozen=True)
class OpenServer:
    """A server that listens and does not answer yet.

    Attributes:
        address: where it can be reached.
    """

    address: str
    _server: uvicorn.Server
    _listening: socket.socket

    def run(self) -> None:
        """Answers until SIGINT or SIGTERM."""
        self._server.run(sockets=[self._listening])


def open_server(
    catalog: str,
    host: str,
    port: int,
    names: Sequence[str],
    token: str | None,
    drawers: int,
    search_options: dict[str, Any],
) -> OpenServer:
    """Opens a catalog and listens.

    Args:
        catalog: its root, a local path.
        host: address to listen on.
        port: port; 0 for a free one.
        names: names by which the server may be addressed, besides its address and loopback's.
        token: what a request must carry; None to answer everybody.
        drawers: child processes that draw pictures.
        search_options: as of `CatalogSearch.open`; `model` among them also chooses the rows.

    Raises:
        CatalogError: there is no catalog.
        RetrievalError: its index is damaged, or the catalog lies on an object store.
        OSError: the address cannot be listened on.
    """
    view = CatalogView(catalog, **search_options)
    listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    app = make_app(view, {host, *names, *LOOPBACK}, token, drawers)
    config = uvicorn.Config(
        app,
        http=PatientProtocol,
        ws="none",
        log_level="warning",
        server_header=False,
        forwarded_allow_ips=os.environ.get("FORWARDED_ALLOW_IPS", PROXIES),
        timeout_keep_alive=KEEP_ALIVE_S,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=END_AFTER_S,
    )
    place = f"[{host}]" if ":" in host else host
    return OpenServer(f"http://{place}:{listening.getsockname()[1]}", uvicorn.Server(config), listening)
