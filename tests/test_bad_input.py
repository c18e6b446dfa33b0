"""Bad input costs one row, never the run; what a person can do something about is one line and the right exit code."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from models.visual.bundle import ModelBundle, prepare
from tests import videos
from tests.conftest import Reelbeam
from tests.tables import contents, leftovers
from transforms.archive.listing import find_videos
from transforms.decoder import child
from transforms.decoder.checks import check_result
from transforms.decoder.child import ChildSettings
from transforms.decoder.pool import DecoderPool, outcome
from transforms.decoder.settings import DecoderSettings
from transforms.video.failures import REASONS, VideoError
from transforms.video.probe import probe
from transforms.video.sampling import Sampling
from transforms.video.segments import Segment, Video, cut

pytestmark = pytest.mark.slow

QUICK = ("--model", "placeholder")

EXPECTED_FAILURES = {
    "androidx_drm__sample_fragmented_clearkey.mp4": "encrypted",
    "androidx_hls__multi-segment__init.mp4": "no_frames",
    "androidx_mp4__sample_audio_only.mp4": "no_video_stream",
    "androidx_mp4__sample_fragmented_sgpd_v2.mp4": "encrypted",
    "androidx_vp9__invalid-bitstream.webm": "corrupt",
    "moviepy_doc_result.webm": "empty_file",
    "small_AudioVideoInterleave.avi": "no_frames",
    "small_FlashVideo.flv": "not_a_video",
    "small_Mpeg4.mp4": "no_video_stream",
    "small_WindowsMediaVideo.wmv": "no_frames",
    "small_gif.gif": "no_frames",
}


def test_every_odd_file_ends_in_one_outcome(shared: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    catalog = tmp_path / "catalog"
    done = reelbeam("classify", "--archive", shared / "odd" / "*", "--catalog", catalog, "--json", *QUICK)
    assert done.code == 0, done.err
    assert "Traceback" not in done.err
    assert (done.json["discovered"], done.json["failed"]) == (47, len(EXPECTED_FAILURES))
    tables = contents(catalog)
    failures = {row["uri"].rsplit("/", 1)[-1]: row for row in tables["failures"]}
    assert {name: row["reason"] for name, row in failures.items()} == EXPECTED_FAILURES
    assert all(row["message"] and "\n" not in row["message"] for row in tables["failures"])
    rows = {row["uri"].rsplit("/", 1)[-1]: row for row in tables["videos"]}
    assert len(rows) + len(failures) == 47
    cut_short = rows["mediabunny_annex-b.mp4"]
    assert (cut_short["status"], cut_short["error"]) == ("partial", "truncated")
    assert 0 < cut_short["coverage"] < 0.1
    assert [rows[f"decord_video_{turn}.mov"]["rotation"] for turn in (0, 90, 180, 270)] == [0, 90, 180, 270]
    upright = {rows[f"decord_video_{turn}.mov"]["labels"][0]["label"] for turn in (0, 90, 180, 270)}
    assert len(upright) == 1, "the same picture, turned upright, has the same label"
    assert not leftovers(catalog)


def test_what_decodes_before_the_damage_is_kept(tmp_path: Path, reelbeam: Reelbeam) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    whole = videos.encode(tmp_path / "whole.mkv", videos.RECIPES["h264_open_gop"], 20).read_bytes()
    (archive / "half.mkv").write_bytes(whole[: len(whole) // 2])
    damaged = bytearray(whole)
    damaged[len(whole) // 2 : len(whole) // 2 + 4000] = bytes(4000)
    (archive / "hole.mkv").write_bytes(damaged)
    catalogs = []
    for segment_s in ("3", "100000"):
        catalog = tmp_path / f"catalog-{segment_s}"
        done = reelbeam("classify", "--archive", archive, "--catalog", catalog, "--segment-seconds", segment_s, *QUICK)
        assert done.code == 0, done.err
        catalogs.append({row["uri"].rsplit("/", 1)[-1]: row for row in contents(catalog)["videos"]})
    half, hole = (catalogs[0][name] for name in ("half.mkv", "hole.mkv"))
    assert 5 <= half["frames_sampled"] <= 15
    assert (half["status"], half["error"]) == ("partial", "truncated")
    assert hole["frames_sampled"] >= 10
    for name in ("half.mkv", "hole.mkv"):
        assert catalogs[0][name]["frames_sampled"] == catalogs[1][name]["frames_sampled"]
        assert catalogs[0][name]["embedding"] == catalogs[1][name]["embedding"]


ONE_LINE = {
    "no archive there": (("--archive", "/no/such/folder"), 1, "no such file or folder"),
    "an empty folder": (("--archive", "EMPTY"), 1, "no videos found"),
    "an unreadable list": (("--archive", "@/no/list.txt"), 1, "cannot read the list"),
    "an unknown model": (("--archive", "CLIPS", "--model", "efficientnet_lite9"), 1, "did you mean efficientnet_lite"),
    "a missing model file": (("--archive", "CLIPS", "--model", "/no/model.keras"), 1, "no model at"),
    "weights that do not fit": (
        ("--archive", "CLIPS", "--model", "MobileNetV2", "--weights", "WRONG"),
        1,
        "do not fit MobileNetV2",
    ),
    "a catalog under a file": (("--archive", "CLIPS", "--catalog", "FILE/catalog", *QUICK), 1, "not a folder"),
    "a mistyped flag": (("--archive", "CLIPS", "--sampel", "1fps"), 2, "did you mean --sample?"),
    "a mistyped Beam flag": (("--archive", "CLIPS", "--flink_mastr=x"), 2, "did you mean --flink_master?"),
    "a sampling that is none": (("--archive", "CLIPS", "--sample", "often"), 2, "1fps"),
    "a tolerance that is none": (("--archive", "CLIPS", "--snap", "near"), 2, "use for example 0.5s"),
    "a tolerance without a rate": (("--archive", "CLIPS", "--sample", "keyframes", "--snap", "1s"), 2, "needs a rate"),
    "a bound that is none": (("--archive", "CLIPS", "--reuse-below", "near"), 2, "use a number such as 1"),
    "a bound with keyframes": (
        ("--archive", "CLIPS", "--sample", "keyframes", "--reuse-below", "1"),
        2,
        "a plain rate",
    ),
    "a precision that the model lacks": (("--archive", "CLIPS", "--precision", "int8", *QUICK), 1, "has no int8"),
    "no archive at all": ((), 2, "--archive"),
}


@pytest.mark.parametrize("case", ONE_LINE)
def test_one_clear_line(clips: Path, tmp_path: Path, reelbeam: Reelbeam, case: str) -> None:
    arguments, code, line = ONE_LINE[case]
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("I am a file")
    places = {"EMPTY": "empty", "FILE/catalog": "file/catalog", "WRONG": "file"}
    placed = [str(clips) if a == "CLIPS" else str(tmp_path / places[a]) if a in places else a for a in arguments]
    if "--catalog" not in placed:
        placed += ["--catalog", str(tmp_path / "catalog")]
    done = reelbeam("classify", *placed)
    assert done.code == code
    assert line in done.err
    assert "Traceback" not in done.err
    assert done.out == ""
    assert not (tmp_path / "catalog").exists()


def test_status_of_no_catalog_is_one_line(tmp_path: Path, reelbeam: Reelbeam) -> None:
    done = reelbeam("status", "--catalog", tmp_path)
    assert (done.code, done.err.count("\n")) == (1, 1)


def test_max_failed_commits_and_exits_with_3(clips: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    command = ("classify", "--archive", clips, "--json", *QUICK)
    for limit, code in (("0", 3), ("1", 0), ("10%", 3), ("0.5", 0)):
        catalog = tmp_path / f"catalog-{limit}"
        done = reelbeam(*command, "--catalog", catalog, "--max-failed", limit)
        assert done.code == code, limit
        assert done.json["ok"] == 4
        assert len(contents(catalog)["videos"]) == 4


def removed(path: Path) -> None:
    path.unlink()


def rewritten(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def touched(path: Path) -> None:
    os.utime(path, (1, 1))


@pytest.mark.parametrize("happens", [removed, rewritten, touched])
@pytest.mark.parametrize("infers", [True, False])
def test_a_file_that_is_not_the_planned_one_any_more_gives_no_frames(
    clips: Path, tmp_path: Path, happens: Callable[[Path], None], infers: bool
) -> None:
    path = Path(shutil.copy(clips / "gif.gif", tmp_path / "a.gif"))
    segment = planned(path)
    happens(path)
    with pool(infers=infers) as children:
        result = outcome(children.run(segment), "decode")
        assert result.failure == ("decode", "changed", REASONS["changed"])
        assert not len(result.pts)
        spec = ModelBundle.open(prepare("placeholder").path).spec
        assert check_result(result, spec, 3) is result


def planned(path: Path) -> Segment:
    """The one segment of a video as discovery finds it."""
    return cut(find_videos([str(path)])[0], probe(str(path)), Sampling.parse("1fps"), Fraction(1000))[0]


def one_segment(path: Path) -> Segment:
    video = Video("0" * 16, str(path), path.stat().st_size, 0.0, "")
    return cut(video, probe(str(path)), Sampling.parse("1fps"), Fraction(1000))[0]


def pool(deadline_s: float | None = None, memory_bytes: int = 0, infers: bool = True) -> DecoderPool:
    decoders = DecoderSettings(1, deadline_s, memory_bytes)
    return DecoderPool(ChildSettings(str(prepare("placeholder").path), infers, Sampling.parse("1fps"), 3, decoders))


def _hang() -> None:
    time.sleep(600)


def _abort() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _allocate() -> str:
    try:
        bytearray(64 << 30)
    except MemoryError:
        return "refused"
    return "taken"


@pytest.mark.parametrize(("fault", "deadline_s", "reason"), [(_hang, 1.0, "deadline"), (_abort, 60.0, "decoder_crash")])
def test_a_child_that_hangs_or_dies_is_replaced(clips: Path, fault: object, deadline_s: float, reason: str) -> None:
    with pool() as children:
        lost = children.processes.submit(fault, deadline_s=deadline_s)
        with pytest.raises(VideoError) as caught:
            outcome(lost, "decode")
        assert caught.value.reason == reason
        result = outcome(children.run(one_segment(clips / "gif.gif")), "decode")
        assert len(result.pts) == 6


def test_a_child_cannot_take_all_memory() -> None:
    with pool(memory_bytes=4 << 30) as children:
        assert outcome(children.processes.submit(_allocate, deadline_s=60), "decode") == "refused"


def test_children_and_spool_are_gone_after_the_pool(clips: Path) -> None:
    with pool() as children:
        outcome(children.run(one_segment(clips / "gif.gif")), "decode")
        spool = Path(children._spool.path)
        assert spool.is_dir()
    assert not spool.exists()


def test_links_out_of_the_archive_are_followed_only_when_asked(clips: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    archive = tmp_path / "archive"
    (archive / "sub").mkdir(parents=True)
    (archive / "out.gif").symlink_to(clips / "gif.gif")
    (archive / "folder").symlink_to(clips, target_is_directory=True)
    (archive / "sub" / "loop").symlink_to(archive, target_is_directory=True)
    (archive / "in.gif").write_bytes((clips / "gif.gif").read_bytes())
    command = ("classify", "--archive", archive, "--json", *QUICK)
    assert reelbeam(*command, "--catalog", tmp_path / "a").json["discovered"] == 1
    assert reelbeam(*command, "--catalog", tmp_path / "b", "--follow-links").json["discovered"] == 6


def test_every_reason_says_what_it_means() -> None:
    assert all(text and text == text.strip() for text in REASONS.values())
    with pytest.raises(KeyError):
        VideoError("probe", "no_such_reason")


def test_a_spoiled_name_cannot_break_a_line() -> None:
    assert str(VideoError("probe", "not_a_video", "a\nb\x1b[31mc\u202e")) == "not_a_video: a b [31mc"


def test_child_state_is_required() -> None:
    with pytest.raises(AssertionError):
        child.run_segment(None, "")  # type: ignore[arg-type]
