"""The video stream is the film, wherever it is in the file and whatever lies beside it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import pytest
from av.stream import Disposition

from tests import videos
from tests.conftest import Reelbeam
from tests.tables import contents
from transforms.video import source, streams
from transforms.video.decode import DecodeReport, sample
from transforms.video.failures import VideoError
from transforms.video.probe import probe
from transforms.video.sampling import Sampling
from transforms.video.segments import Video, cut
from transforms.video.source import open_source

SMALL, LARGE = (64, 48), (160, 96)
DEFAULT, NO_ROLE = Disposition.default, Disposition(0)


@dataclass(frozen=True)
class Track:
    """One stream of a test file."""

    size: tuple[int, int] = SMALL
    frames: int = 50
    every: int = 1
    codec: str = "mpeg4"
    role: Disposition = NO_ROLE


POSTER = Track(LARGE, frames=1, codec="mjpeg")
EMPTY = Track(LARGE, frames=0, codec="libx264")
FILM = Track()


def write(path: Path, tracks: Sequence[Track]) -> Path:
    """A file of these streams, whose packets are interleaved."""
    with av.open(str(path), "w") as container:
        made = [add(container, track) for track in tracks]
        for index in range(max(track.frames * track.every for track in tracks)):
            for track, stream in zip(tracks, made, strict=True):
                if index % track.every == 0 and index < track.frames * track.every:
                    frame = av.VideoFrame.from_ndarray(videos.picture(index, *LARGE), format="rgb24")
                    frame = frame.reformat(*track.size, stream.pix_fmt)
                    frame.pts, frame.time_base = index, Fraction(1, 25)
                    container.mux(stream.encode(frame))
        for track, stream in zip(tracks, made, strict=True):
            container.mux(stream.encode(None) if track.frames else [])
    return path


def add(container: av.container.OutputContainer, track: Track) -> av.VideoStream:
    stream = container.add_stream(track.codec, rate=25, options={"threads": "1"})
    stream.width, stream.height = track.size
    stream.pix_fmt = "yuvj420p" if track.codec == "mjpeg" else "yuv420p"
    stream.codec_context.time_base = Fraction(1, 25)
    stream.disposition = track.role
    return stream


CASES = {
    "a poster before the film": (".mkv", [POSTER, FILM], 1),
    "a poster that is the default stream": (".mkv", [Track(LARGE, 1, codec="mjpeg", role=DEFAULT), FILM], 1),
    "a poster in an AVI": (".avi", [POSTER, FILM], 1),
    "a poster in an MP4": (".mp4", [POSTER, FILM], 1),
    "a cover picture": (".mp4", [FILM, Track(LARGE, 1, codec="mjpeg", role=Disposition.attached_pic)], 0),
    "a stream without packets": (".ts", [EMPTY, FILM], 1),
    "slides beside a camera": (".mkv", [Track(LARGE, 3, every=25, role=DEFAULT), Track(frames=75)], 1),
    "two of one size": (".mkv", [FILM, FILM], 0),
    "two sizes": (".mkv", [FILM, Track(LARGE)], 1),
    "two sizes in a transport stream": (".ts", [Track(SMALL, codec="mpeg2video"), Track(LARGE, codec="mpeg2video")], 1),
    "bit rates to choose from": (".wmv", [Track(codec="wmv2"), Track(LARGE, codec="wmv2")], 1),
    "the default before the larger": (".mkv", [Track(LARGE), Track(role=DEFAULT)], 1),
    "a track that is disabled": (".mp4", [Track(LARGE), Track(role=DEFAULT)], 1),
    "sign language as the default": (".mkv", [Track(LARGE, role=DEFAULT | Disposition.hearing_impaired), FILM], 1),
}


@pytest.mark.parametrize("case", CASES)
def test_the_film_is_chosen_and_decoded(tmp_path: Path, case: str) -> None:
    suffix, tracks, index = CASES[case]
    path = write(tmp_path / f"a{suffix}", tracks)
    info = probe(str(path))
    assert (info.stream, info.width, info.height) == (index, *tracks[index].size)
    sampling = Sampling.parse("every:1")
    whole = cut(Video("0" * 16, str(path), 0, 0.0, ""), info, sampling, Fraction(1000))[0]
    frames = [one.frame for one in sample(str(path), info, whole.window(sampling), DecodeReport())]
    assert [(frame.width, frame.height) for frame in frames] == [tracks[index].size] * tracks[index].frames


def test_a_stream_that_decodes_goes_before_one_without_a_decoder(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [Track(LARGE, role=DEFAULT, codec="libx264"), FILM])
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz").replace(b"avcC", b"zzzC"))
    assert probe(str(path)).stream == 1


def test_a_cover_picture_alone_is_no_video(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [Track(frames=1, codec="mjpeg", role=Disposition.attached_pic)])
    with pytest.raises(VideoError) as caught:
        probe(str(path))
    assert caught.value.reason == "no_video_stream"


@dataclass
class Header:
    """What a header says of a stream; roles that no muxer here writes."""

    index: int
    disposition: Disposition
    frames: int = 50
    codec_context: object = field(default_factory=lambda: SimpleNamespace(width=160, height=96))


@pytest.mark.parametrize("role", [Disposition.dependent, Disposition.still_image, Disposition.comment])
def test_what_accompanies_the_video_is_not_chosen(role: Disposition) -> None:
    both = [Header(0, role | DEFAULT), Header(1, NO_ROLE)]
    container = SimpleNamespace(streams=SimpleNamespace(video=both))
    assert streams.possible_videos(container) == both  # type: ignore[arg-type]
    assert streams.choose(container, both).index == 1  # type: ignore[arg-type]
    assert streams.choose(container, both[:1]).index == 0  # type: ignore[arg-type]


def test_chapter_pictures_are_never_the_video() -> None:
    both = [Header(0, Disposition.timed_thumbnails), Header(1, NO_ROLE)]
    container = SimpleNamespace(streams=SimpleNamespace(video=both))
    assert streams.possible_videos(container) == both[1:]  # type: ignore[arg-type]


def test_few_packets_are_looked_at_and_only_where_headers_do_not_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    class Counting:
        def __init__(self, container: av.container.InputContainer) -> None:
            self.streams, self._container = container.streams, container

        def demux(self) -> Iterator[av.Packet]:
            for packet in self._container.demux():
                read.append(packet.size)
                yield packet

    def chosen(path: Path) -> int:
        read.clear()
        with av.open(str(path)) as container:
            return streams.choose(Counting(container), streams.possible_videos(container)).index  # type: ignore[arg-type]

    monkeypatch.setattr(streams, "LOOK_PACKETS", 20)
    assert chosen(write(tmp_path / "a.mkv", [FILM, Track(LARGE)])) == 1
    assert len(read) == 20
    monkeypatch.setattr(streams, "LOOK_PACKETS", 10**9)
    monkeypatch.setattr(streams, "LOOK_BYTES", 5_000)
    assert chosen(tmp_path / "a.mkv") == 1
    assert 5_000 <= sum(read) < 5_000 + max(read)
    assert chosen(write(tmp_path / "a.mp4", [POSTER, FILM])) == 1
    assert not read


def test_a_file_with_one_video_stream_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    inner = source._demuxer

    def counted(path: str, *rest: object) -> av.container.InputContainer:
        opened.append(path)
        return inner(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(source, "_demuxer", counted)
    probe(str(write(tmp_path / "a.mkv", [FILM])))
    assert len(opened) == 1
    probe(str(write(tmp_path / "b.mkv", [POSTER, FILM])))
    assert len(opened) == 3


def test_a_stream_that_is_not_there_any_more_is_one_line(tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.mkv", [FILM]))
    with pytest.raises(VideoError, match="stream 1 is no longer a video stream"), open_source(path, 1):
        pass


def test_the_stream_is_a_column(tmp_path: Path, reelbeam: Reelbeam) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    write(archive / "film.mkv", [POSTER, FILM])
    videos.init_segment(archive / "init.mp4", timescale=10_000_000)
    (archive / "text.mkv").write_bytes(b"this is no video" * 50)
    catalog = tmp_path / "catalog"
    done = reelbeam("classify", "--archive", archive, "--catalog", catalog, "--model", "placeholder")
    assert done.code == 0, done.err
    tables = contents(catalog)
    assert [(row["stream"], row["codec"], row["frames_sampled"]) for row in tables["videos"]] == [(1, "mpeg4", 2)]
    failures = {Path(row["uri"]).name: (row["reason"], row["stream"]) for row in tables["failures"]}
    assert failures == {"init.mp4": ("no_frames", 0), "text.mkv": ("not_a_video", None)}


@pytest.mark.parametrize("name", ["first_program_empty.ts", "poster_first.mkv"])
def test_real_files_with_something_before_the_film(shared: Path, name: str) -> None:
    path = str(shared / "cases" / name)
    info = probe(path)
    assert (info.stream, info.width, info.height, info.fps) == (1, 320, 180, 25)
    sampling = Sampling.parse("every:1")
    for segment_s, segments in ((Fraction(1000), 1), (Fraction(3), 4 if info.timing == "seekable" else 1)):
        parts = cut(Video("0" * 16, path, 0, 0.0, ""), info, sampling, segment_s)
        assert len(parts) == segments
        found = [one for part in parts for one in sample(path, info, part.window(sampling), DecodeReport())]
        assert len(found) == 250
