"""FFmpeg opens the input and nothing else: files that point at a local secret and at a server reach neither."""

import ctypes
import os
import shutil
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from tests import videos
from tests.conftest import Reelbeam
from tests.tables import contents
from transforms.archive import listing
from transforms.video.failures import VideoError
from transforms.video.probe import probe
from transforms.video.source import CONTAINERS

pytestmark = pytest.mark.slow


class Server:
    """A server on this machine that notes who comes."""

    def __init__(self) -> None:
        self.calls = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(0.1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/x.ts"

    def close(self) -> None:
        # One connection of our own: what came before it has been counted, and counting works.
        before = self.calls
        socket.create_connection(self._socket.getsockname()).close()
        while self.calls == before:
            time.sleep(0.01)
        self.calls -= 1
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            self.calls += 1
            connection.close()


class Watch:
    """Counts how often a file is opened (inotify(7), IN_OPEN)."""

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._handle = libc.inotify_init1(os.O_NONBLOCK)
        if self._handle < 0 or libc.inotify_add_watch(self._handle, os.fsencode(path), 0x20) < 0:
            pytest.skip("needs inotify")
        path.read_bytes()
        if not self.opened():
            pytest.skip("needs inotify that reports")

    def opened(self) -> int:
        """Openings since the last call."""
        try:
            return len(os.read(self._handle, 1 << 16)) // 16
        except BlockingIOError:
            return 0

    def close(self) -> None:
        os.close(self._handle)


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.close()
    assert one.calls == 0, "the server saw a connection"


@pytest.fixture
def secret(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "secret"
    folder.mkdir()
    path = videos.make(folder, "mpeg4_mp4", seconds=3)
    watch = Watch(path)
    yield path
    opened = watch.opened()
    watch.close()
    assert not opened, "the secret was opened"


def pointers(secret: Path, url: str) -> dict[str, str]:
    """File name -> text that makes a program that trusts it open both."""
    svg = f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{url}"/><image href="file://{secret}"/></svg>'
    dash = (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
        f'<Representation id="1" mimeType="video/mp4"><BaseURL>{url}</BaseURL><SegmentList><SegmentURL media="{secret}"/>'
        "</SegmentList></Representation></AdaptationSet></Period></MPD>"
    )
    hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{url}\n#EXTINF:5,\nfile://{secret}\n#EXT-X-ENDLIST\n"
    return {
        "playlist.m3u8": hls,
        "playlist.mp4": hls,
        "secret-first.ts": f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{secret}\n#EXTINF:5,\n{url}\n#EXT-X-ENDLIST\n",
        "keyed.mp4": f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{url}"\n#EXTINF:5,\n{secret}\n',
        "concat.mp4": f"ffconcat version 1.0\nfile {secret}\nfile {url}\n",
        "concat-options.mkv": f"ffconcat version 1.0\nfile '{secret}'\noption safe 0\nfile '{url}'\n",
        "picture.mp4": svg,
        "picture.svg.mov": f'<?xml version="1.0"?>{svg}',
        "dash.mpd": dash,
        "dash.mp4": dash,
        "smooth.wmv": f'<?xml version="1.0"?><SmoothStreamingMedia><StreamIndex Url="{url}"/></SmoothStreamingMedia>',
        "session.mp4": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\na=control:{url}\nm=video 9 RTP/AVP 96\n",
        "reference.asf": f"[Reference]\nRef1={url}\nRef2=file://{secret}\n",
        "reference.wmv": f'<ASX version="3"><Entry><Ref href="{url}"/><Ref href="{secret}"/></Entry></ASX>',
        "redirect.rm": f"{url}\nfile://{secret}\n",
        "subtitles.mp4": f"1\n00:00:00,000 --> 00:00:02,000\n<img src='{url}'>\n",
        "sami.avi": f"<SAMI><BODY><SYNC Start=0><P><img src='{url}'></P></SYNC></BODY></SAMI>\n",
        "ffmeta.mkv": f";FFMETADATA1\ntitle={url}\n",
        "bluray.mpg": f"bluray:{secret}\nconcat:{secret}|{url}\n",
    }


NAMES = sorted(pointers(Path("/s"), "http://127.0.0.1:1/x.ts"))


def test_text_that_points_elsewhere_is_no_video(tmp_path: Path, secret: Path, server: Server) -> None:
    for name, text in pointers(secret, server.url).items():
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(VideoError) as caught:
            probe(str(path))
        assert caught.value.reason == "not_a_video", name


def test_the_whole_job_opens_nothing_but_the_archive(
    tmp_path: Path, secret: Path, server: Server, reelbeam: Reelbeam
) -> None:
    folder, catalog = tmp_path / "archive", tmp_path / "catalog"
    folder.mkdir()
    for name, text in pointers(secret, server.url).items():
        (folder / name).write_text(text)
    referring_movie(folder / "alias.mov", secret, like(secret, tmp_path))
    videos.make(folder, "gif", seconds=1)
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{path}\n" for path in folder.iterdir()))
    done = reelbeam("classify", "--archive", f"@{listed}", "--catalog", catalog, "--model", "placeholder", "--json")
    assert done.code == 0, done.err
    assert (done.json["discovered"], done.json["ok"]) == (len(NAMES) + 2, 1)
    reasons = {Path(row["uri"]).name: row["reason"] for row in contents(catalog)["failures"]}
    assert reasons == {**dict.fromkeys(NAMES, "not_a_video"), "alias.mov": "no_frames"}


def like(secret: Path, folder: Path) -> Path:
    """A file of the same bytes as the secret, which nobody may open."""
    return videos.make(folder, "mpeg4_mp4", seconds=3)


def referring_movie(path: Path, target: Path, twin: Path) -> None:
    """A QuickTime file whose media data is in `target`, named by an alias record as Finder wrote them.

    The layout of the record is that of Apple's Alias Manager: a fixed head of 150 bytes, then tagged parts; part 2 is
    the absolute path.
    """
    whole = twin.read_bytes()
    at = whole.index(b"mdat")
    (size,) = struct.unpack_from(">I", whole, at - 4)
    movie = whole[: at + 4] + bytes(size - 8) + whole[at - 4 + size :]
    name = os.fsencode(target).replace(b"/", b":")
    tagged = struct.pack(">hH", 2, len(name)) + name + bytes(len(name) % 2) + struct.pack(">hH", -1, 0)
    head = bytes(10) + bytes([0]) + bytes(27) + bytes(12) + bytes([len(target.name)])
    head += os.fsencode(target.name).ljust(63, b"\0") + bytes(16) + struct.pack(">HH", 1, 1) + bytes(16)
    entry = b"alis" + bytes(4) + head + tagged
    entry = struct.pack(">I", 4 + len(entry)) + entry
    old = movie.index(b"dref") - 4
    (old_size,) = struct.unpack_from(">I", movie, old)
    new = struct.pack(">I4sII", 16 + len(entry), b"dref", 0, 1) + entry
    grown = bytearray(movie[:old] + new + movie[old + old_size :])
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
        box = grown.index(kind) - 4
        struct.pack_into(">I", grown, box, struct.unpack_from(">I", grown, box)[0] + len(new) - old_size)
    path.write_bytes(grown)


def test_media_in_another_file_is_not_fetched(tmp_path: Path, secret: Path) -> None:
    referring_movie(tmp_path / "alias.mov", secret, like(secret, tmp_path))
    with pytest.raises(VideoError) as caught:
        list_frames(tmp_path / "alias.mov")
    assert caught.value.reason == "no_frames"


def list_frames(path: Path) -> None:
    """Decodes all of a video the way the children do; raises where it gives nothing."""
    from fractions import Fraction

    from transforms.video.decode import DecodeReport, sample
    from transforms.video.sampling import Sampling
    from transforms.video.segments import cut

    sampling = Sampling.parse("1fps")
    segment = cut(listing.find_videos([str(path)])[0], probe(str(path)), sampling, Fraction(1000))[0]
    if not list(sample(str(path), segment.info, segment.window(sampling), DecodeReport())):
        raise VideoError("decode", "no_frames")


def test_the_alias_would_work_without_our_options(tmp_path: Path) -> None:
    """What proves the test above: FFmpeg follows this very file, once it is told to."""
    target = videos.make(tmp_path, "mpeg4_mp4", seconds=3)
    referring_movie(tmp_path / "alias.mov", target, target)
    with av.open(str(tmp_path / "alias.mov"), options={"enable_drefs": "1", "use_absolute_path": "1"}) as container:
        assert len(list(container.decode(video=0))) == 75
    with av.open(str(tmp_path / "alias.mov"), options={"enable_drefs": "0"}) as container:
        assert not list(container.decode(video=0))


@pytest.mark.parametrize("name", ["shot%03d.mp4", "shot%03d.gif", "shot%d*.gif", "file%3A.gif"])
def test_a_name_is_never_a_pattern(tmp_path: Path, name: str) -> None:
    source = videos.make(tmp_path, "gif" if name.endswith("gif") else "mpeg4_mp4", seconds=1)
    for number in range(3):
        shutil.copy(source, tmp_path / f"shot{number:03}{source.suffix}")
    path = tmp_path / name
    path.write_bytes(source.read_bytes())
    assert probe(str(path)).container in ("gif", "mov,mp4,m4a,3gp,3g2,mj2")
    path.write_bytes(b"no video")
    with pytest.raises(VideoError):
        probe(str(path))


def test_no_demuxer_that_opens_other_files_is_allowed() -> None:
    pulls_in = {"hls", "applehttp", "dash", "concat", "concatf", "image2", "image2pipe", "sdp", "rtsp", "rtp", "tee"}
    pulls_in |= {"imf", "vapoursynth", "avisynth", "webm_dash_manifest", "lavfi", "bluray", "dvdvideo", "tty", "vobsub"}
    pulls_in |= {"srt", "ass", "sami", "webvtt", "subviewer", "microdvd", "ffmetadata", "v4l2", "x11grab", "fbdev"}
    for names in CONTAINERS:
        allowed = set(names.split(","))
        assert not allowed & pulls_in
        assert allowed & av.formats_available, "a name that FFmpeg does not know allows nothing"
