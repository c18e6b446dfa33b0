"""Encrypted is what the container's structure says is encrypted, not a word in a title."""

import random
import uuid
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from tests import videos
from transforms.video.failures import VideoError
from transforms.video.probe import probe

pytestmark = pytest.mark.slow

KEY = "00112233445566778899aabbccddeeff"
TS_PACKET = 188


def reason(path: Path) -> str:
    """Why `path` cannot be planned; ``planned`` where it can."""
    try:
        probe(str(path))
    except VideoError as error:
        return error.reason
    return "planned"


def mp4(path: Path, **options: str) -> Path:
    return muxed(path, "libx264", options)


def muxed(path: Path, codec: str, options: dict[str, str], metadata: dict[str, str] | None = None) -> Path:
    with av.open(str(path), "w", options=options) as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream(codec, rate=25, options={"threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for index in range(30):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(videos.picture(index), format="rgb24")))
        container.mux(stream.encode(None))
    return path


def common_encryption(path: Path) -> None:
    mp4(path, encryption_scheme="cenc-aes-ctr", encryption_key=KEY, encryption_kid=KEY)


def fragmented_common_encryption(path: Path) -> None:
    movie = {"movflags": "frag_keyframe+empty_moov"}
    mp4(path, encryption_scheme="cenc-aes-ctr", encryption_key=KEY, encryption_kid=KEY, **movie)


def bare_encv(path: Path) -> None:
    """A sample entry that does not say what it protects, so that FFmpeg knows no decoder."""
    path.write_bytes(mp4(path).read_bytes().replace(b"avc1\0", b"encv\0"))


def fairplay(path: Path) -> None:
    path.write_bytes(mp4(path).read_bytes().replace(b"avc1\0", b"drmi\0"))


def wide_boxes(path: Path) -> None:
    """The movie box with a 64-bit size."""
    bare_encv(path)
    whole = path.read_bytes()
    at = whole.index(b"moov") - 4
    size = int.from_bytes(whole[at : at + 4], "big")
    header = (1).to_bytes(4, "big") + b"moov" + (size + 8).to_bytes(8, "big")
    path.write_bytes(whole[:at] + header + whole[at + 8 :])


def matroska(path: Path) -> None:
    whole = muxed(path, "libx264", {}).read_bytes()
    at = whole.rindex(b"\x16\x54\xae\x6b")
    body, after = element_body(whole, at, 4)
    entry_at = body.index(b"\xae")
    entry, rest = element_body(body, entry_at, 1)
    key = element("5035", element("47E1", b"\5") + element("47E2", b"0123456789abcdef"))
    encoding = element("6240", element("5031", b"\0") + element("5032", b"\1") + element("5033", b"\1") + key)
    tracks = body[:entry_at] + element("AE", entry + element("6D80", encoding)) + rest
    changed = whole[:at] + element("1654AE6B", tracks) + after
    segment = changed.index(b"\x18\x53\x80\x67") + 4
    path.write_bytes(changed[:segment] + b"\x01" + b"\xff" * 7 + changed[segment + 8 :])  # of unknown size


def element(ident: str, body: bytes) -> bytes:
    """An EBML element with its size in eight bytes."""
    return bytes.fromhex(ident) + b"\x01" + len(body).to_bytes(7, "big") + body


def element_body(data: bytes, at: int, ident_bytes: int) -> tuple[bytes, bytes]:
    """The body of the EBML element at `at`, and what comes after it."""
    start = at + ident_bytes
    width = 9 - data[start].bit_length()
    size = int.from_bytes(data[start : start + width], "big") & ((1 << 7 * width) - 1)
    return data[start + width : start + width + size], data[start + width + size :]


def windows_media(path: Path) -> None:
    whole = muxed(path, "wmv2", {}).read_bytes()
    fields = (b"secret", b"DRM\0", b"KEYID\0", b"http://localhost/\0")
    body = b"".join(len(one).to_bytes(4, "little") + one for one in fields)
    guid = uuid.UUID("2211B3FB-BD23-11D2-B4B7-00A0C955FC6E").bytes_le
    added = guid + (24 + len(body)).to_bytes(8, "little") + body
    size, count = int.from_bytes(whole[16:24], "little"), int.from_bytes(whole[24:28], "little")
    header = whole[:16] + (size + len(added)).to_bytes(8, "little") + (count + 1).to_bytes(4, "little") + whole[28:30]
    path.write_bytes(header + added + whole[30:])


def scrambled(path: Path, first: int = 0) -> None:
    """A transport stream whose video packets are scrambled from the `first` on."""
    whole = bytearray(muxed(path, "libx264", {}).read_bytes())
    noise, video = random.Random(1), 0
    for at in range(0, len(whole), TS_PACKET):
        if int.from_bytes(whole[at + 1 : at + 3], "big") & 0x1FFF != 0x100 or not whole[at + 3] & 0x10:
            continue
        video += 1
        if video > first:
            start = at + 4 + (1 + whole[at + 4] if whole[at + 3] & 0x20 else 0)
            whole[at + 3] |= 0x80
            whole[start : at + TS_PACKET] = noise.randbytes(at + TS_PACKET - start)
    path.write_bytes(whole)


def scrambled_m2ts(path: Path) -> None:
    """The same with a time code before every packet."""
    plain = path.with_name("plain.ts")
    scrambled(plain)
    whole = plain.read_bytes()
    path.write_bytes(b"".join(bytes(4) + whole[at : at + TS_PACKET] for at in range(0, len(whole), TS_PACKET)))


ENCRYPTED: dict[str, Callable[[Path], None]] = {
    "cenc.mp4": common_encryption,
    "fragmented.mp4": fragmented_common_encryption,
    "bare.mp4": bare_encv,
    "wide.mp4": wide_boxes,
    "fairplay.m4v": fairplay,
    "key.mkv": matroska,
    "drm.wmv": windows_media,
    "scrambled.ts": scrambled,
    "scrambled.m2ts": scrambled_m2ts,
}


@pytest.mark.parametrize("name", ENCRYPTED)
def test_what_needs_a_key_is_encrypted(tmp_path: Path, name: str) -> None:
    ENCRYPTED[name](tmp_path / name)
    assert reason(tmp_path / name) == "encrypted"


MARKS = "licence encv enca cbcs cenc pssh drmi"


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".ts", ".wmv"])
def test_a_word_in_a_title_encrypts_nothing(tmp_path: Path, suffix: str) -> None:
    codec = "wmv2" if suffix == ".wmv" else "libx264"
    path = muxed(tmp_path / f"a{suffix}", codec, {}, {"title": MARKS, "comment": MARKS, "service_name": MARKS})
    assert reason(path) == "planned"


@pytest.mark.parametrize("suffix", [".m4a", ".mp4", ".mka", ".ts"])
def test_sound_with_such_a_title_is_no_video(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    with av.open(str(path), "w") as container:
        container.metadata.update({"title": MARKS})
        encode_sound(container, container.add_stream("aac", rate=44100))
    assert reason(path) == "no_video_stream"


def encode_sound(container: av.container.OutputContainer, stream: av.AudioStream) -> None:
    frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
    frame.sample_rate = 44100
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


@pytest.mark.parametrize("name", ["a.ts", "a.mp4", "a.mkv", "a.wmv"])
def test_text_with_such_words_is_not_a_video(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(f"export const licence = '{MARKS}';\n" * 10)
    assert reason(tmp_path / name) == "not_a_video"


def test_encrypted_sound_leaves_the_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        video, sound = container.add_stream("mpeg4", rate=25), container.add_stream("aac", rate=44100)
        video.width, video.height, video.pix_fmt = 160, 96, "yuv420p"
        container.mux(video.encode(av.VideoFrame.from_ndarray(videos.picture(0), format="rgb24")))
        encode_sound(container, sound)
        container.mux(video.encode(None))
    clear = path.read_bytes()
    path.write_bytes(clear.replace(b"mp4a\0", b"enca\0"))
    assert path.read_bytes() != clear
    assert reason(path) == "planned"


def test_a_transport_stream_that_begins_in_the_clear_is_decoded(tmp_path: Path) -> None:
    scrambled(tmp_path / "a.ts", first=20)
    assert reason(tmp_path / "a.ts") == "planned"


def test_a_file_of_tiny_boxes_is_not_walked_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    whole = mp4(path).read_bytes().replace(b"avc1\0", b"encv\0")
    start = whole.index(b"ftyp") - 4
    end = start + int.from_bytes(whole[start : start + 4], "big")
    path.write_bytes(whole[:end] + (8).to_bytes(4, "big") + b"free" + whole[end:])
    assert reason(path) == "encrypted"
    path.write_bytes(whole[:end] + ((8).to_bytes(4, "big") + b"free") * 5000 + whole[end:])
    assert reason(path) == "unsupported_codec"


def test_real_files(shared: Path) -> None:
    expected = {
        "cases/licence_audio.mp4": "no_video_stream",
        "cases/licence_code.ts": "not_a_video",
        "odd/androidx_drm__sample_fragmented_clearkey.mp4": "encrypted",
        "odd/androidx_mp4__sample_fragmented_sgpd_v2.mp4": "encrypted",
    }
    assert {name: reason(shared / name) for name in expected} == expected
