"""How long a client may take to send a request."""

import asyncio
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_WITHIN_S: Final = 20.0
"""Seconds for the first line and the headers of a request, from the connection or from their first byte."""

BODY_WITHIN_S: Final = 300.0
"""Seconds for the body: 20 MiB at 0.6 Mbit/s."""


class PatientProtocol(H11Protocol):
    """HTTP/1.1 that closes connections whose requests do not arrive in time.

    uvicorn bounds only the pause between two requests. Clients that send nothing, or a byte now and then, could keep
    all connections that the server allows.
    """

    head_within_s = HEAD_WITHIN_S
    body_within_s = BODY_WITHIN_S
    _awaited: Any = None
    _ending: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop()

    def _watch(self) -> None:
        """Starts a new clock when the client begins another part of its request."""
        state = self.conn.their_state
        if state is self._awaited:
            return
        self._stop()
        self._awaited = state
        within_s = {h11.IDLE: self.head_within_s, h11.SEND_BODY: self.body_within_s}.get(state)
        if within_s is not None:
            self._ending = self.loop.call_later(within_s, self.transport.close)

    def _stop(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
