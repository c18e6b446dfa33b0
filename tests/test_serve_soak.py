"""`reelbeam serve` under clients that are slow, many, or gone: it answers others, and leaks nothing."""

import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from pipelines.web.patience import PatientProtocol
from tests import videos
from tests.conftest import run_command
from tests.test_serve_command import get, serving

pytestmark = pytest.mark.slow

SLOW = 200
THREADS = 40
"""Threads that answer requests, at most (the limit of anyio, which Starlette uses)."""
GROWTH_BYTES = 40 << 20
"""A leak of one block of a file (256 kB) an aborted range, or of one page a request, is several times as much."""


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog with one video of some megabytes, so that a range is longer than the sockets' buffers."""
    archive = tmp_path_factory.mktemp("archive")
    videos.encode(archive / "one.mp4", videos.RECIPES["mpeg4_mp4"], 4, (320, 240))
    with (archive / "one.mp4").open("ab") as file:
        file.write(b"\0\0\0\0free" + bytes(24 << 20))
    folder = tmp_path_factory.mktemp("soak") / "catalog"
    assert run_command("classify", "--archive", archive, "--catalog", folder, "--model", "placeholder").code == 0
    return folder


def connect(address: str) -> socket.socket:
    parts = urlsplit(address)
    return socket.create_connection((parts.hostname, parts.port), timeout=60)


def video_of(address: str) -> str:
    return re.findall(r'href="/videos/([0-9a-f]+)', get(address)[1])[0]


def abort_range(address: str, video: str, number: int) -> None:
    """Asks for a long range, reads a little of it and goes away."""
    with connect(address) as one:
        head = f"GET /api/v1/videos/{video}/file HTTP/1.1\r\nHost: 127.0.0.1\r\nRange: bytes={number}-\r\n\r\n"
        one.sendall(head.encode())
        assert one.recv(4096).startswith(b"HTTP/1.1 206")


def own_bytes(process: psutil.Process) -> int:
    return int(process.memory_full_info().uss)


def settled(process: psutil.Process, descriptors: int) -> bool:
    """Waits until the server has let go of its clients."""
    for _ in range(300):
        if process.num_fds() <= descriptors:
            return True
        time.sleep(0.1)
    return False


def test_slow_clients_and_aborted_ranges_leak_nothing(catalog: Path) -> None:
    with serving(catalog) as (started, address):
        process = psutil.Process(started.pid)
        video = video_of(address)
        for number in range(40):
            abort_range(address, video, number)
            assert get(f"{address}/videos/{video}")[0] == 200
        assert settled(process, process.num_fds())
        bytes_before, descriptors, threads = own_bytes(process), process.num_fds(), process.num_threads()
        with ExitStack() as clients:
            for number in range(SLOW):
                slow = clients.enter_context(connect(address))
                slow.sendall(b"GET / HTTP/1.1\r\nHost: 127." if number % 2 else range_that_is_not_read(video))
            assert get(address)[0] == 200, "others are answered"
        for number in range(SLOW):
            abort_range(address, video, number)
        for number in range(SLOW):
            assert get(f"{address}/?q=&folder={number}")[0] == 200
        assert settled(process, descriptors + 2), "connections and files stay open"
        assert own_bytes(process) - bytes_before < GROWTH_BYTES
        assert process.num_threads() <= threads + THREADS


def range_that_is_not_read(video: str) -> bytes:
    return f"GET /api/v1/videos/{video}/file HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def test_a_catalog_that_vanishes_and_comes_back(catalog: Path, tmp_path: Path) -> None:
    moved = tmp_path / "catalog"
    shutil.copytree(catalog, moved)
    with serving(moved) as (_, address):
        video = video_of(address)
        moved.rename(tmp_path / "away")
        time.sleep(2.5)
        assert get(address)[0] == 200, "what was read is still shown"
        assert get(f"{address}/api/v1/videos/{video}")[0] == 200
        frames = get(f"{address}/api/v1/videos/{video}/frames")
        assert frames[0] in (200, 503) and "Traceback" not in frames[1]
        (tmp_path / "away").rename(moved)
        time.sleep(2.5)
        assert get(f"{address}/api/v1/videos/{video}/frames")[0] == 200


def test_a_catalog_that_cannot_be_written(catalog: Path, tmp_path: Path) -> None:
    """No request writes: nothing in the catalog is new or changed, and its folders allow no writing."""
    kept = tmp_path / "catalog"
    shutil.copytree(catalog, kept)
    state = {path: path.stat().st_mtime_ns for path in kept.rglob("*")}
    for path in sorted(kept.rglob("*"), reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    kept.chmod(0o555)
    with serving(kept) as (_, address):
        video = video_of(address)
        for place in ("/", "/?folder=one", f"/videos/{video}", "/nights", "/labels", "/failures", "/api/v1/runs"):
            assert get(address + place)[0] == 200
    assert {path: path.stat().st_mtime_ns for path in kept.rglob("*")} == state


class Hurried(PatientProtocol):
    """Waits a moment only."""

    head_within_s = 0.5
    body_within_s = 1.0
    taken_within_s = 2.0


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


BLOCK, BLOCKS = bytes(1 << 18), 64
"""More than the sockets' buffers hold."""


async def much(request: Request) -> StreamingResponse:
    return StreamingResponse((BLOCK for _ in range(BLOCKS)), headers={"content-length": str(len(BLOCK) * BLOCKS)})


@pytest.fixture
def hurried() -> Iterator[tuple[str, uvicorn.Server]]:
    """A server that waits a moment only for a request, and for an answer to be taken; its address."""
    app = Starlette(routes=[Route("/", echo, methods=["GET", "POST"]), Route("/much", much)])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", http=Hurried, timeout_keep_alive=60))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", server
    server.should_exit = True
    thread.join()


WHOLE = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [[], [b"GET / HT"], [b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345"], [WHOLE, b"GET / HT"]],
    ids=["nothing", "half a head", "half a body", "half a second request"],
)
def test_a_request_that_does_not_arrive_is_ended(hurried: tuple[str, uvicorn.Server], sent: list[bytes]) -> None:
    address, server = hurried
    with connect(address) as one:
        one.settimeout(30)  # less than the pause that is allowed between requests
        for part in sent:
            one.sendall(part)
            time.sleep(0.2)
        while one.recv(4096):
            pass
    assert lets_go(server)


def lets_go(server: uvicorn.Server) -> bool:
    """Waits until the server holds no connection."""
    for _ in range(400):
        if not server.server_state.connections:
            return True
        time.sleep(0.05)
    return False


MUCH = b"GET /much HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("read_bytes", [1, 100_000])
def test_an_answer_that_is_not_taken_is_ended(hurried: tuple[str, uvicorn.Server], read_bytes: int) -> None:
    address, server = hurried
    with connect(address) as one:
        one.sendall(MUCH)
        while read_bytes > 0:
            read_bytes -= len(one.recv(read_bytes))
        assert lets_go(server), "the client is still there, and reads nothing"


def test_an_answer_that_is_taken_slowly_is_whole(hurried: tuple[str, uvicorn.Server]) -> None:
    address, _ = hurried
    whole = len(BLOCK) * BLOCKS
    with connect(address) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        one.sendall(MUCH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        taken, pauses = 0, 0
        while data := one.recv(1 << 20):
            taken += len(data)
            if taken > (pauses + 1) * whole / 10:
                pauses += 1
                time.sleep(0.4)  # together longer than a client may take for one block
    assert taken > whole and pauses >= 9


def test_a_whole_request_may_be_followed_by_a_pause(hurried: tuple[str, uvicorn.Server]) -> None:
    address, _ = hurried
    with connect(address) as one:
        for _ in range(2):
            one.sendall(WHOLE)
            answer = b""
            while not answer.endswith(b"\r\n\r\n0"):
                answer += one.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200")
            time.sleep(1.5)
