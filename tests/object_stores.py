"""A real S3 server in a process of its own, and a proxy in front of it that counts what goes through."""

import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def s3_server(log: Path) -> Iterator[str]:
    """The address of an S3 server that keeps its objects in memory."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        wait_for(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def put_folder(folder: Path, target: str) -> str:
    """Copies the files of a folder to the store; not the lock's guard, which only a disk needs."""
    import boto3  # reelbeam[s3], which not every checkout has

    client = boto3.client("s3")
    bucket, prefix = target.removeprefix("s3://").split("/", 1)
    for path in folder.rglob("*"):
        if path.is_file() and path.name != ".LOCK.guard":
            client.upload_file(str(path), bucket, f"{prefix}/{path.relative_to(folder)}")
    return target


def wait_for(address: str, process: subprocess.Popen) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(address, timeout=1).close()
            return
        except OSError:
            assert process.poll() is None
            time.sleep(0.1)
    raise AssertionError("the S3 server does not answer")


class CountingProxy:
    """Passes connections on to a server and keeps what was asked for, and how many bytes came back. A context manager.

    Args:
        server: its address.
        delay_s: seconds by which each request arrives later; requests of several connections wait at the same time.

    Attributes:
        address: where it listens.
        received_bytes: that the server has sent, as the operating system took them from it.
        requests: first lines of the requests.
    """

    def __init__(self, server: str, delay_s: float = 0.0) -> None:
        self._delay_s = delay_s
        self._server = int(server.rsplit(":", 1)[1])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.received_bytes = 0
        self.requests: list[str] = []

    def __enter__(self) -> "CountingProxy":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def reset(self) -> None:
        """Forgets what was counted."""
        self.received_bytes, self.requests = 0, []

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._server))
            for one in (client, server):
                # Small buffers, so that little is on its way when a reader hangs up.
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 << 10)
            threading.Thread(target=self._pass_on, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(server, client, False), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, asking: bool) -> None:
        try:
            while data := source.recv(64 << 10):
                if asking:
                    lines = data.split(b"\r\n")
                    asked = [line.decode() for line in lines if line.endswith(b" HTTP/1.1")]
                    self.requests += asked
                    time.sleep(self._delay_s * bool(asked))
                else:
                    self.received_bytes += len(data)
                target.sendall(data)
        except OSError:
            pass  # the other direction has closed both ends; where the server fails, its client fails too
        finally:
            for one in (source, target):
                one.close()
