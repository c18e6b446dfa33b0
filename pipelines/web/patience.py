"""How long a client may take to send a request, and to take an answer."""

import asyncio
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_WITHIN_S: Final = 20.0
"""Seconds for the first line and the headers of a request, from the connection or from their first byte."""

BODY_WITHIN_S: Final = 300.0
"""Seconds for the body: 20 MiB at 0.6 Mbit/s."""

TAKEN_WITHIN_S: Final = 60.0
"""Seconds in which a client must take what was written last, at most a block of a file (256 kB): 0.035 Mbit/s. A player
that is paused for longer asks for the rest with a new request."""


class PatientProtocol(H11Protocol):
    """HTTP/1.1 that closes connections whose requests do not arrive in time, or whose answers are not taken in time.

    uvicorn bounds only the pause between two requests. Clients that send nothing, or a byte now and then, could keep
    all connections that the server allows; so could those that ask for a file and never read it.
    """

    head_within_s = HEAD_WITHIN_S
    body_within_s = BODY_WITHIN_S
    taken_within_s = TAKEN_WITHIN_S
    _awaited: Any = None
    _ending: asyncio.TimerHandle | None = None
    _untaken: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # The transport then calls `pause_writing` as soon as the system's buffer is full, and `resume_writing` when it
        # has handed over everything, also while the connection is being closed.
        transport.set_write_buffer_limits(high=0)
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        # To close it would mean to wait for the client.
        self._untaken = self.loop.call_later(self.taken_within_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_waiting()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop()
        self._stop_waiting()

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

    def _stop_waiting(self) -> None:
        if self._untaken is not None:
            self._untaken.cancel()
            self._untaken = None

    def _stop(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
