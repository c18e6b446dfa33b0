"""Keyframes near ticks: the arithmetic against the definition, and decoded rows against decoding everything.

The yardsticks share no code with the project: one is written in plain fractions, the other decodes all frames with PyAV
and looks for refresh pictures with a regular expression.
"""

import random
import re
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.bitstream import BitStreamFilterContext
from hypothesis import given
from hypothesis import strategies as st

from tests import videos
from tests.test_exactness import decoded, digest, rows
from tests.test_sampling import BASES, TIMES, info, video
from transforms.video.decode import DecodeReport, sample, sample_in_order
from transforms.video.packets import Window
from transforms.video.probe import probe
from transforms.video.sampling import Sampling, SamplingError
from transforms.video.segments import Video, cut

TEXTS = st.sampled_from(
    ["1fps~0.5s", "1fps~1s", "1fps~0.3s", "3fps~0.1s", "3fps~0.333s", "0.2fps~5s", "12.5fps~0.0001s", "1/3fps~2.9s"]
)


def by_definition(
    times: list[int], keys: set[int], base: Fraction, text: str, start_s: Fraction, end_s: Fraction | None
) -> list[int]:
    """The definition, word for word, for every tick; then the ticks from `start_s` to `end_s`."""
    rate, tolerance_s = (Fraction(number) for number in text.removesuffix("s").split("fps~"))
    as_keyframe: dict[int, Fraction] = {}
    as_exact: dict[int, Fraction] = {}
    for tick in range(int(times[-1] * base * rate) + 3):
        due_s = tick / rate
        near = [(abs(t * base - due_s), t) for t in keys if abs(t * base - due_s) <= tolerance_s]
        late_enough = [t for t in times if t * base >= due_s - base / 2]
        if near and late_enough:
            as_keyframe.setdefault(min(near)[1], due_s)
        elif late_enough:
            as_exact.setdefault(late_enough[0], due_s)
    return [
        t
        for t, due_s in sorted((as_exact | as_keyframe).items())
        if due_s >= start_s and (end_s is None or due_s < end_s)
    ]


def chosen(times: list[int], keys: set[int], window: Window, skip: int = 0) -> list[int]:
    """What the window chooses of the frames that it asks for, from number `skip` on."""
    read = times[skip:]
    past_t = next((t for t in read if window.is_past(t)), read[-1]) + window.lookahead_t
    last = next((i for i, t in enumerate(read) if t >= past_t), len(read))
    return list(window.choose((t, t in keys, t) for t in read[: last + 1]))


@pytest.mark.slow
@given(
    TIMES,
    st.lists(st.booleans(), min_size=61, max_size=61),
    BASES,
    TEXTS,
    st.fractions(Fraction(1, 10), Fraction(60), max_denominator=10),
)
def test_each_segment_takes_what_the_definition_says(
    times: list[int], marks: list[bool], base: Fraction, text: str, segment_s: Fraction
) -> None:
    """From the beginning, and from the last frame that the window calls early enough, until it calls one late enough."""
    sampling = Sampling.parse(text)
    while times[-1] * base * sampling.value > 300:
        times = times[: len(times) // 2]
    keys = {t for t, mark in zip(times, marks, strict=False) if mark}
    details = info(base, max(times[-1], 1) * base, keyframe_t=tuple(sorted(keys)))
    for segment in cut(video(), details, sampling, segment_s)[:12]:
        window = segment.window(sampling)
        expected = by_definition(times, keys, base, text, segment.start_s, segment.end_s)
        assert chosen(times, keys, window) == expected
        early = [i for i, t in enumerate(times) if window.is_before(t)]
        assert chosen(times, keys, window, skip=max(early, default=0)) == expected


def test_by_hand() -> None:
    """Ticks every 10 units; keyframes at 0, 17, 33 and 35, at most 5 units away from their ticks."""
    times, keys, base = list(range(0, 60)), {0, 17, 33, 35}, Fraction(1, 10)
    whole = cut(video(), info(base, Fraction(6)), Sampling.parse("1fps~0.5s"), Fraction(100))[0]
    window = whole.window(Sampling.parse("1fps~0.5s"))
    # Tick 10 has none near enough, 20 has 17, 30 has 33, 40 has 35, 50 has none; no frame is late enough for tick 60.
    assert chosen(times, keys, window) == [0, 10, 17, 33, 35, 50]
    # Of two equally near ones the earlier; a keyframe of two ticks gives one row.
    assert chosen(times, {0, 9, 11}, window) == [0, 9, 20, 30, 40, 50]
    assert chosen(times, {5, 25}, window) == [5, 25, 40, 50]
    # After a pause, one frame is exact for the ticks 10 to 50 and the keyframe of tick 60.
    assert chosen([0, 1, 62, 63, 70], {62}, window) == [0, 62, 70]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1fps~0.5s", "1fps~0.5s"),
        (" 2FPS ~ 0.50 S ", "2fps~0.5s"),
        ("1/3fps~3s", "1/3fps~3s"),
        ("3fps~1/3s", "3fps~1/3s"),
        ("1fps~0.00001s", "1fps~1/100000s"),
    ],
)
def test_text_is_read_exactly(text: str, said: str) -> None:
    sampling = Sampling.parse(text)
    assert str(sampling) == said
    assert Sampling.parse(said) == sampling
    assert sampling != Sampling.parse(said.partition("~")[0])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1fps~", "cannot understand the tolerance ''"),
        ("1fps~0.5s~0.2s", "cannot understand the tolerance '0.5s~0.2s'"),
        ("1fps~0s", "cannot understand the tolerance '0s'"),
        ("1fps~0.5", "cannot understand the tolerance '0.5'"),
        ("1fps~1/0s", "cannot understand the tolerance '1/0s'"),
        ("1fps~-1s", "cannot understand the tolerance '-1s'"),
        ("1fps~1.01s", "the tolerance 1.01s is too large for 1fps: use at most 1s"),
        ("4fps~0.5s", "the tolerance 0.5s is too large for 4fps: use at most 0.25s"),
        ("keyframes~1s", "a tolerance needs a rate such as 1fps; keyframes has none"),
        ("every:10~1s", "a tolerance needs a rate such as 1fps; every:10 has none"),
        ("x~1s", "cannot understand the sampling 'x'"),
    ],
)
def test_nonsense_is_refused(text: str, why: str) -> None:
    with pytest.raises(SamplingError, match=f"^{re.escape(why)}"):
        Sampling.parse(text)


def test_a_tolerance_is_given_once() -> None:
    with pytest.raises(SamplingError, match="already"):
        Sampling.parse("1fps~0.5s").snapped("0.5s")


def refresh_pts(path: Path) -> set[int | None]:
    """Times of the packets at which decoding can start, found without the project's code."""
    with av.open(str(path), metadata_errors="replace") as container:
        stream = container.streams.video[0]
        if stream.codec_context.name != "h264":
            marked = {packet.pts for packet in container.demux(stream) if packet.size and packet.is_keyframe}
            return marked & {pts for pts, is_key, _ in decoded(path)[0] if is_key}  # some containers mark all packets
        packets = (packet for packet in container.demux(stream) if packet.size)
        if stream.codec_context.extradata and stream.codec_context.extradata[0] == 1:
            start_codes = BitStreamFilterContext("h264_mp4toannexb", stream)
            packets = (one for packet in packets for one in start_codes.filter(packet))
        return {p.pts for p in packets if p.is_keyframe and re.search(rb"\x00\x00\x01[\x25\x45\x65]", bytes(p))}


def slow_rows(path: Path, text: str) -> list[tuple[int, str]]:
    """(pts, digest) of the samples, by decoding all frames and following the definition."""
    frames, base = decoded(path)
    start = frames[0][0]
    entries = set() if probe(str(path)).timing == "sequential" else refresh_pts(path)
    digests = {pts - start: one for pts, _, one in frames}
    keys = {t for t in digests if t + start in entries}
    return [(t + start, digests[t]) for t in by_definition(sorted(digests), keys, base, text, Fraction(0), None)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("made")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(videos.RECIPES))
def test_generated_videos(made: Path, name: str) -> None:
    """B-frames, open GOPs, refresh without keyframes, variable rates, late starts; containers with and without times."""
    path = videos.make(made, name, seconds=9)
    for text in ("1fps~0.5s", "1fps~1s", "3fps~0.1s"):
        expected = slow_rows(path, text)
        assert expected, "a yardstick without samples proves nothing"
        for segment_s in (2, 5, 100000):
            assert rows(path, text, segment_s) == expected, (text, segment_s)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["h264_bframes", "h264_vfr", "hevc", "vp9", "h264_ts"])
def test_decoding_in_order_takes_the_same_frames(made: Path, name: str) -> None:
    """Damage makes a segment decode everything; it must find the keyframes that others find in the packet table."""
    path = videos.make(made, name, seconds=9)
    details, sampling = probe(str(path), Fraction(2)), Sampling.parse("1fps~0.5s")
    for segment in cut(Video("0" * 16, str(path), 0, 0.0, ""), details, sampling, Fraction(2)):
        window = segment.window(sampling)
        fast = [(one.pts, digest(one.frame)) for one in sample(str(path), details, window, DecodeReport())]
        in_order = sample_in_order(str(path), details, None, window, DecodeReport())
        assert [(one.pts, digest(one.frame)) for one in in_order] == fast


REAL = [
    "odd/androidx_mp4__bbb_176x144_192kbps_15fps_mpeg4.mp4",
    "odd/androidx_mp4__h265_bframes.mp4",
    "odd/androidx_mp4__iibbibb_editlist_videoonly.mp4",
    "odd/androidx_vp9__bear-vp9-odd-dimensions.webm",
    "odd/decord_flipping_a_pancake.mkv",
    "odd/exoplayer_media2__video_desks.3gp",
    "odd/moviepy_no_duration.webm",
    "odd/opencv_doc_tree.avi",
    "odd/torchcodec_av1_video.mkv",
    "cases/allsync_h263.3gp",
    "cases/interlaced_fast_pan.mpg",
    "cases/starts_in_gop.ts",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_real_videos(shared: Path, name: str) -> None:
    """Edit lists, open GOPs, containers without an index, without times, and those that mark every packet."""
    path = shared / name
    expected = slow_rows(path, "1fps~0.5s")
    assert expected
    for segment_s in (3, 100000):
        assert rows(path, "1fps~0.5s", segment_s) == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", ["restart_appended.flv", "restart_joined.mkv", "restart_joined.ts", "hole.flv"])
def test_joined_and_damaged_recordings_are_cut_alike(shared: Path, name: str) -> None:
    path = shared / "cases" / name
    whole = rows(path, "1fps~0.5s", 100000)
    assert len(whole) > 9
    assert rows(path, "1fps~0.5s", 3) == whole


def test_fewer_frames_are_decoded(made: Path) -> None:
    """The point of it: with a keyframe near each tick, one frame is decoded for each."""
    recipe = videos.Recipe(".mp4", "libx264", {"g": "25", "bf": "2", "sc_threshold": "0", "preset": "veryfast"})
    path = videos.encode(made / "each_second.mp4", recipe, 6)
    counts = {}
    for text in ("1fps~0.5s", "2fps", "2fps~0.5s"):
        details, report = probe(str(path)), DecodeReport()
        window = cut(video(), details, Sampling.parse(text), Fraction(100))[0].window(Sampling.parse(text))
        samples = list(sample(str(path), details, window, report))
        assert report.samples_expected == len(samples)
        counts[text] = report.frames_decoded
    assert counts["1fps~0.5s"] == 6
    assert counts["2fps~0.5s"] == 6 < counts["2fps"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3, 11])
def test_damage_changes_no_times_of_other_segments(made: Path, seed: int) -> None:
    """Where frames are lost, segments decode in order and others do not: they must agree on who owns a keyframe."""
    path = videos.make(made, "hevc", seconds=9)
    data = bytearray(path.read_bytes())
    rng = random.Random(seed)
    for _ in range(rng.choice([1, 3, 10])):
        at, size = rng.randrange(len(data) // 20, len(data) * 9 // 10), rng.choice([1, 20, 300])
        data[at : at + size] = rng.randbytes(size)
    damaged = made / f"damaged-{seed}.mp4"
    damaged.write_bytes(data)
    for text in ("1fps~0.5s", "1fps~1s"):
        whole = rows(damaged, text, 100000)
        assert len(whole) > 4
        for segment_s in (2, 5):
            assert rows(damaged, text, segment_s) == whole, (text, segment_s)
