"""Sent pictures and drawn ones: bounded in bytes, in pixels and in number, so that a few requests stop nobody else."""

import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from fastapi import FastAPI, HTTPException, UploadFile
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from pipelines.web import stills as drawing
from pipelines.web import uploads
from pipelines.web.picture_address import MOST_PICTURE_CHARACTERS, PictureAddressError, from_address, to_address
from pipelines.web.stills import Stills
from pipelines.web.uploads import BoundedBodies
from transforms.decoder.stills import SENT_SIDE, StillDrawer, read_sent

WAIT_S = 60


@pytest.fixture
def taken() -> list[int]:
    return []


@pytest.fixture
def client(taken: list[int], monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """A server whose forms may have 1,000 bytes; it notes the sizes of the files that it gets."""
    monkeypatch.setattr(uploads, "BODY_BYTES", 1000)
    app = FastAPI(form_limits={"max_files": 1})

    @app.post("/")
    def post(picture: UploadFile) -> None:
        taken.append(picture.size or 0)

    app.add_middleware(BoundedBodies)
    return TestClient(app)


def form(size: int) -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a"\r\n\r\n'
    return head + bytes(size) + b"\r\n--x--\r\n"


FORM = {"content-type": "multipart/form-data; boundary=x"}


def test_an_announced_length_is_refused_before_a_byte_is_read(client: TestClient, taken: list[int]) -> None:
    def never() -> Iterator[bytes]:
        raise AssertionError("the body is read")
        yield b""

    for length in ("1001", "9" * 400, "-1", "x"):
        answer = client.post("/", content=never(), headers={**FORM, "content-length": length})
        assert answer.status_code == 413 and not taken
    assert client.post("/", content=form(500), headers=FORM).status_code == 200 and taken == [500]


def test_bytes_without_an_announced_length_are_counted(client: TestClient, taken: list[int]) -> None:
    sent: list[int] = []

    def parts(data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), 100):
            sent.append(start)
            yield data[start : start + 100]

    assert client.post("/", content=parts(form(500)), headers=FORM).status_code == 200 and taken == [500]
    answer = client.post("/", content=parts(form(100_000)), headers=FORM)
    assert answer.status_code == 413 and taken == [500]


def test_one_file_at_once(client: TestClient, taken: list[int]) -> None:
    files = [("picture", ("a", b"1")), ("picture", ("b", b"2"))]
    assert client.post("/", files=files).status_code == 400 and not taken


def encoded(picture: np.ndarray, ending: str = ".png") -> bytes:
    done, data = cv2.imencode(ending, picture)
    assert done
    return data.tobytes()


@pytest.mark.parametrize(("size", "read"), [((3000, 1500), (1024, 512)), ((1, 5000), (1, 1024)), ((64, 48), (64, 48))])
def test_a_sent_picture_is_made_smaller(size: tuple[int, int], read: tuple[int, int]) -> None:
    picture = read_sent(encoded(np.zeros((*size, 3), np.uint8)))
    assert picture is not None and picture.shape == (*read, 3) and max(read) <= SENT_SIDE


def test_a_picture_beyond_the_bounds_is_refused() -> None:
    """A file of some hundred kilobytes."""
    data = encoded(np.zeros((11_000, 11_000), np.uint8))
    assert len(data) < 1 << 20 and read_sent(data) is None


@given(st.lists(st.floats(-65_504, 65_504, width=32), min_size=1, max_size=40))
def test_a_picture_comes_back_from_its_address(numbers: list[float]) -> None:
    embedding = np.array(numbers, np.float32)
    text = to_address(embedding, "model")
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
    back = from_address(text, len(numbers), "model")
    span = float(embedding.max()) - float(embedding.min())
    assert np.abs(back.astype(np.float64) - embedding).max() <= span / 510 * 1.001 + 1e-2 * (span > 1000) + 1e-30
    assert to_address(back, "model") == to_address(from_address(text, len(numbers), "model"), "model")


def test_the_address_of_a_picture_is_short_and_keeps_its_direction() -> None:
    embedding = np.maximum(np.random.default_rng(0).standard_normal(1280), 0).astype(np.float32)
    text = to_address(embedding, "model")
    back = from_address(text, 1280, "model")
    cosine = back @ embedding / np.linalg.norm(back) / np.linalg.norm(embedding)
    assert len(text) == 1728 and cosine > 0.9999


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-4],
        lambda text: text + "AAAA",
        lambda text: text[:-1] + "!",
        lambda text: "é" + text,
        lambda text: text[:5],
        lambda text: "A" * (MOST_PICTURE_CHARACTERS + 1),
        lambda text: to_address(np.array([0, np.inf, 1, 2], np.float32), "model"),
        lambda text: to_address(np.array([0, np.nan, 1, 2], np.float32), "model"),
        lambda text: to_address(np.array([0, 1e6, 1, 2], np.float32), "model"),
        lambda text: text[:11] + to_address(np.arange(5, dtype=np.float32)[::-1], "model")[11:],
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_damaged_address_is_refused(damage: Callable[[str], str]) -> None:
    text = to_address(np.arange(4, dtype=np.float32), "model")
    with pytest.raises(PictureAddressError, match="is damaged"):
        from_address(damage(text), 4, "model")


def test_the_address_of_another_models_picture_is_refused() -> None:
    text = to_address(np.arange(4, dtype=np.float32), "model")
    with pytest.raises(PictureAddressError, match="another model"):
        from_address(text, 4, "other")


class SlowDrawer:
    """A drawer that waits until it may go on, and notes what it was asked for."""

    def __init__(self) -> None:
        self.may_go_on = threading.Event()
        self.asked: list[object] = []

    def draw(self, uri: str, time_s: float) -> bytes:
        self.asked.append((uri, time_s))
        assert self.may_go_on.wait(WAIT_S)
        if uri == "broken":
            raise OSError("broken")
        return f"{uri} {time_s}".encode()

    def read(self, data: bytes) -> np.ndarray:
        self.asked.append(data)
        assert self.may_go_on.wait(WAIT_S)
        return np.zeros((1, 1, 3), np.uint8)


@pytest.fixture
def drawer() -> SlowDrawer:
    return SlowDrawer()


def until(holds: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(WAIT_S * 100):
        if holds():
            return
        pause.wait(0.01)
    pytest.fail("it does not come about")


def waiting(stills: Stills) -> int:
    return drawing.DRAWN_AT_ONCE - stills._drawers._value


def test_equal_requests_wait_for_one_drawing(drawer: SlowDrawer) -> None:
    stills = Stills(lambda: drawer)  # type: ignore[arg-type, return-value]
    with ThreadPoolExecutor(20) as threads:
        answers = [threads.submit(stills.at, uri, "f", 1.0) for uri in ("a", "a", "a", "a", "broken", "broken")]
        until(lambda: waiting(stills) == 6)
        drawer.may_go_on.set()
        assert [one.result() for one in answers[:4]] == [b"a 1.0"] * 4
        for one in answers[4:]:
            with pytest.raises(OSError, match="broken"):
                one.result()
    assert sorted(drawer.asked) == [("a", 1.0), ("broken", 1.0)]
    assert stills.at("a", "f", 1.0) == b"a 1.0" and len(drawer.asked) == 2
    assert waiting(stills) == 0


def test_more_requests_than_may_wait_are_told_to_come_again(
    drawer: SlowDrawer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "DRAWN_AT_ONCE", 3)
    stills = Stills(lambda: drawer)  # type: ignore[arg-type, return-value]
    with ThreadPoolExecutor(3) as threads:
        answers = [threads.submit(stills.at, "a", "f", float(n)) for n in range(3)]
        until(lambda: waiting(stills) == 3)
        with pytest.raises(HTTPException) as refused:
            stills.at("b", "f", 1.0)
        drawer.may_go_on.set()
        assert all(one.result() for one in answers)
    assert (refused.value.status_code, refused.value.headers) == (503, {"Retry-After": str(drawing.AGAIN_AFTER_S)})
    assert stills.at("b", "f", 1.0) == b"b 1.0"


def test_more_sent_pictures_than_may_be_read_are_told_to_come_again(
    drawer: SlowDrawer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "READ_AT_ONCE", 1)
    stills = Stills(lambda: drawer)  # type: ignore[arg-type, return-value]
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(stills.read, io.BytesIO(b"1"))
        until(lambda: bool(drawer.asked))
        with pytest.raises(HTTPException) as refused:
            stills.read(io.BytesIO(b"2"))
        drawer.may_go_on.set()
        assert first.result() is not None
    assert refused.value.status_code == 503 and drawer.asked == [b"1"]


@pytest.mark.slow
def test_the_child_sends_a_small_picture() -> None:
    drawer = StillDrawer()
    try:
        picture = drawer.read(encoded(np.full((4000, 6000, 3), 200, np.uint8), ".jpg"))
        assert picture is not None and picture.shape == (683, 1024, 3)
        assert drawer.read(encoded(np.zeros((11_000, 11_000), np.uint8))) is None
    finally:
        drawer.close()
