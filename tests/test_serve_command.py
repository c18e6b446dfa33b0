"""`reelbeam serve` as a person starts and stops it."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests import videos
from tests.conftest import ROOT, Reelbeam, run_command

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    archive = tmp_path_factory.mktemp("archive")
    videos.encode(archive / "one.mp4", videos.RECIPES["mpeg4_mp4"], 2, (64, 48))
    folder = tmp_path_factory.mktemp("serve") / "catalog"
    arguments = ("--archive", archive, "--catalog", folder, "--model", "placeholder", "--thumbnail-seconds", 0)
    assert run_command("classify", *arguments).code == 0  # pictures are drawn, because none are stored
    return folder


@contextmanager
def serving(catalog: Path, *options: object) -> Iterator[tuple[subprocess.Popen, str]]:
    """A server on a free port, and its address."""
    command = [sys.executable, "-m", "pipelines.commands.main", "serve", "--catalog", catalog, "--port", 0, *options]
    process = subprocess.Popen(
        [str(part) for part in command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://"), process.communicate()
        yield process, address
    finally:
        process.kill()
        process.communicate()


def get(address: str, **headers: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=60) as answer:
            return answer.status, answer.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_answers_and_ends_with_its_children(catalog: Path, number: signal.Signals) -> None:
    with serving(catalog) as (process, address):
        code, page = get(address)
        assert code == 200 and "one.mp4" in page
        video_id = page.split('href="/videos/')[1].split('"')[0]
        assert get(f"{address}/api/v1/videos/{video_id}/picture")[0] == 200
        children = psutil.Process(process.pid).children(recursive=True)
        assert children, "a child draws pictures"
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
        assert "Traceback" not in err
        _, alive = psutil.wait_procs(children, timeout=10)
        assert not alive


def test_a_request_for_a_websocket_is_answered_as_any_other(catalog: Path) -> None:
    asked = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-key": "x" * 24,
        "sec-websocket-version": "13",
    }
    with serving(catalog) as (_, address):
        code, page = get(address, **asked)
    assert code == 200 and "one.mp4" in page


def test_with_a_token(catalog: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("open sesame\n")
    with serving(catalog, "--token-file", tmp_path / "token") as (_, address):
        assert get(address)[0] == 401
        assert get(address, authorization="Bearer open sesame")[0] == 200


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--host", "0.0.0.0"), 2, "0.0.0.0 can be reached from other machines: give --token or --token-file"),
        (("--host", "::"), 2, "can be reached from other machines"),
        (("--host", "[::]"), 2, "can be reached from other machines"),
        (("--name", "archive.example"), 2, "--name lets other machines ask"),
        (("--no-such-option",), 2, "no such option: --no-such-option"),
        (("--toke", "x"), 2, "did you mean --token?"),
        (("--token", ""), 2, "the token is empty"),
        (("--token", "\u79d8\u5bc6"), 2, "printable ASCII"),
        (("--host", "203.0.113.1", "--token", "x"), 1, "reelbeam: "),
    ],
)
def test_what_cannot_be_served(
    catalog: Path, reelbeam: Reelbeam, options: tuple[str, ...], code: int, said: str
) -> None:
    done = reelbeam("serve", "--catalog", catalog, "--port", "0", *options)
    assert (done.code, done.out) == (code, "") and said in done.err and "Traceback" not in done.err


@pytest.mark.parametrize("host", ["[::1]", "::1", "LOCALHOST", "127.0.0.2"])
def test_other_words_for_this_machine(catalog: Path, host: str) -> None:
    if ":" in host and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    with serving(catalog, "--host", host) as (_, address):
        assert get(address)[0] == 200


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_a_token_file_goes_before_the_environment(
    catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reelbeam: Reelbeam
) -> None:
    monkeypatch.setenv("REELBEAM_TOKEN", "of the environment")
    (tmp_path / "token").write_text("of the file")
    with serving(catalog, "--token-file", tmp_path / "token") as (_, address):
        assert get(address, authorization="Bearer of the environment")[0] == 401
        assert get(address, authorization="Bearer of the file")[0] == 200
    done = reelbeam("serve", "--catalog", catalog, "--token", "x", "--token-file", tmp_path / "token")
    assert done.code == 2 and "not both" in done.err


def test_a_token_file_that_is_no_text(catalog: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    (tmp_path / "token").write_bytes(b"\xff\xfe")
    done = reelbeam("serve", "--catalog", catalog, "--token-file", tmp_path / "token")
    assert done.code == 2 and "is no text" in done.err and "Traceback" not in done.err


@pytest.mark.parametrize("proxy_sends", [{"X-Forwarded-Proto": "https"}, {}])
def test_behind_a_proxy(catalog: Path, proxy_sends: dict[str, str]) -> None:
    """The proxy ends TLS, keeps the name and says how the client came; the cookie is then for TLS only."""
    with serving(catalog, "--name", "archive.example", "--token", "secret") as (_, address):
        proxied = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
        headers = {"Host": "archive.example", **proxy_sends}
        proxied.request("GET", "/nights?token=secret", headers=headers)
        answer = proxied.getresponse()
        answer.read()
        cookie = answer.headers["set-cookie"]
        assert (answer.status, answer.headers["location"]) == (303, "/nights")
        assert ("secure" in cookie.lower()) == bool(proxy_sends)
        proxied.request("GET", "/nights", headers={**headers, "Cookie": cookie.split(";")[0]})
        assert proxied.getresponse().status == 200
        proxied.close()


def test_no_catalog(tmp_path: Path, reelbeam: Reelbeam) -> None:
    done = reelbeam("serve", "--catalog", tmp_path)
    assert done.code == 1 and done.err.startswith("reelbeam: no catalog at")
