"""Sends and receives messages between two processes, with a deadline for each whole message."""

import socket
import struct
import time
from typing import Any, Final

_SIZE: Final = struct.Struct("!Q")
_READ_BYTES: Final = 1 << 20


class Channel:
    """One end of a connection that carries messages of bytes.

    `multiprocessing.connection` is not used, because it waits without limit for the rest of a message that has begun to
    arrive: a process that hangs while it sends would block its reader for ever.

    Args:
        end: connected stream socket; `close` closes it.
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def send(self, message: Any, until_s: float | None = None) -> None:
        """Sends a message.

        Args:
            message: any object with a buffer of bytes.
            until_s: deadline in seconds of `time.monotonic`; None for no deadline.

        Raises:
            TimeoutError: the other end did not accept all of the message before the deadline.
            OSError: the other end is closed.
        """
        with memoryview(message) as data:
            for part in (_SIZE.pack(data.nbytes), data):
                self._end.settimeout(_left_s(until_s))
                self._end.sendall(part)

    def receive(self, until_s: float | None = None) -> bytearray:
        """Receives the next message.

        Args:
            until_s: deadline in seconds of `time.monotonic`; None for no deadline.

        Returns:
            The whole message.

        Raises:
            TimeoutError: the message did not arrive completely before the deadline.
            EOFError: the other end is closed.
            OSError: the connection is broken.
        """
        (size,) = _SIZE.unpack(self._exactly(_SIZE.size, until_s))
        return self._exactly(size, until_s)

    def close(self) -> None:
        """Closes this end."""
        self._end.close()

    def _exactly(self, size: int, until_s: float | None) -> bytearray:
        # The buffer grows with the data: the size is only a claim of a process that decodes untrusted files.
        data = bytearray()
        while len(data) < size:
            self._end.settimeout(_left_s(until_s))
            part = self._end.recv(min(size - len(data), _READ_BYTES))
            if not part:
                raise EOFError
            data += part
        return data


def _left_s(until_s: float | None) -> float | None:
    if until_s is None:
        return None
    left_s = until_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s
