"""`reelbeam train --architecture conv3d`: movements that no single picture shows, learned and told apart."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from models.heads import saved
from models.heads.augmentation import Augmentation, augment, centre
from models.heads.labels_table import Example
from models.visual.clip_spec import ClipSpec
from models.visual.spec import Preprocessing
from tests import motion_videos, videos
from tests.conftest import Reelbeam, run_command
from tests.own_classes import write_labels
from transforms.decoder.clips import clips_inside, decode_part, read_clips

pytestmark = pytest.mark.slow

SMALL = Preprocessing(16, 16, fit="squash")
CLIP = ClipSpec(4, "8", "2")


def _archive(folder: Path, pairs: int, seed: int) -> Path:
    """Clips of things that cross to the left, and the same pictures in the opposite order."""
    folder.mkdir(parents=True)
    for clip in motion_videos.clips(pairs, scene="yard", frames=24, seed=seed):
        motion_videos.encode(clip, folder)
    return folder


def _labels(archive: Path, path: Path) -> Path:
    """Labels by the files' names; both of a pair are one group, so that validation knows neither."""
    files: Iterable[Path] = sorted(archive.glob("*.mp4"))
    named = ((file.name, file.stem.split("-")) for file in files)
    return write_labels(
        path, ({"uri": name, "label": parts[2], "group": f"{archive.name}{int(parts[1])}"} for name, parts in named)
    )


def _accuracy(reelbeam: Reelbeam, archive: Path, labels: Path, model: Path, catalog: Path) -> float:
    options = ("--catalog", catalog, "--model", model, "--json")
    done = reelbeam("classify", "--archive", archive, *options)
    assert done.code == 0, done.err
    done = run_command("evaluate", "--labels", labels, *options)
    assert done.code == 0, done.err
    assert done.json["note"] == "" or "count:" in done.json["note"]
    return float(done.json["accuracy"])


def test_movements_are_told_apart_where_single_pictures_are_at_chance(tmp_path: Path, reelbeam: Reelbeam) -> None:
    train, held_out = _archive(tmp_path / "train", 30, seed=0), _archive(tmp_path / "held", 20, seed=1)
    labels, asked = _labels(train, tmp_path / "train.csv"), _labels(held_out, tmp_path / "held.csv")
    common = ("--archive", train, "--labels", labels, "--side", 32, "--json")
    moving, still = tmp_path / "moving.keras", tmp_path / "still.keras"
    done = run_command("train", *common, "--output", moving, "--architecture", "conv3d", "--epochs", 40)
    assert done.code == 0, done.err
    assert (done.json["kind"], done.json["sampling"]) == ("conv3d", "clips:8@8fps/1s")
    about = saved.read(moving)
    assert (about.clip, about.format_version) == (ClipSpec(8, "8", "1"), 2)
    done = run_command("train", *common, "--output", still, "--epochs", 6, "--clip-frames", 8)
    assert done.code == 0, done.err
    assert _accuracy(reelbeam, held_out, asked, moving, tmp_path / "c") > 0.9
    assert 0.3 <= _accuracy(reelbeam, held_out, asked, still, tmp_path / "s") <= 0.7, "chance is 0.5"


@pytest.mark.parametrize(
    ("start_s", "end_s", "count"), [(0, 6, 5), (1.3, 4.9, 5), (2, 2.2, 1), (0, float("inf"), 5), (5.9, 6, 1)]
)
def test_clips_of_a_part_lie_in_it(tmp_path: Path, start_s: float, end_s: float, count: int) -> None:
    path = videos.make(tmp_path, "mpeg4_mp4", seconds=6)
    example = Example(str(path), start_s, end_s, ("a",), "", "g")
    clips = decode_part(example, SMALL, 5, CLIP)
    assert not isinstance(clips, str)
    assert clips.shape == (count, 4, 16, 16, 3)
    inside = clips_inside(CLIP, 5, Fraction(start_s), Fraction(min(end_s, 6)))
    assert inside.clips == count and inside.before_s is not None
    if count > 1:
        assert inside.start_s == Fraction(start_s)
        assert inside.before_s - inside.clip.stride + CLIP.span_s <= min(end_s, 6), "the last one ends in the part"


def test_clips_are_mapped_from_one_file(tmp_path: Path) -> None:
    path = videos.make(tmp_path, "mpeg4_mp4", seconds=2)
    examples = [Example(str(path), 0, 2, ("a",), "", "a"), Example(str(tmp_path / "none.mp4"), 0, 2, ("b",), "", "b")]
    clips = read_clips(examples, SMALL, 3, tmp_path / "clips.u8", workers=1, clip=CLIP)
    assert clips.pictures.shape == (3, 4, 16, 16, 3) and clips.offsets.tolist() == [0, 3]
    assert clips.failed == ((str(tmp_path / "none.mp4"), "unreadable"),)
    assert len({picture.tobytes() for picture in clips.pictures[0]}) == 4, "the frames of a clip differ"


def test_all_frames_of_a_clip_are_changed_in_the_same_way() -> None:
    import tensorflow as tf

    rng = np.random.default_rng(0)
    clip = np.repeat(rng.integers(0, 256, (2, 1, 20, 20, 3), dtype=np.uint8), 3, axis=1)
    for seed in range(4):
        changed = np.asarray(augment(tf.constant(clip), 16, 16, Augmentation(flip=True), tf.constant([seed, 1])))
        assert changed.shape == (2, 3, 16, 16, 3)
        np.testing.assert_allclose(changed[:, 0], changed[:, 2], atol=1e-3)
    assert np.array_equal(centre(clip, 16, 16), clip[:, :, 2:18, 2:18])


def test_options_that_do_not_go_with_the_architecture(tmp_path: Path) -> None:
    common = ("train", "--archive", tmp_path, "--labels", "l.csv", "--output", "o.keras")
    done = run_command(*common, "--clip-rate", 8)
    assert done.code == 2 and "--clip-rate goes with --architecture conv3d" in done.err
    done = run_command(*common, "--architecture", "conv3d", "--clip-rate", "fast")
    assert done.code == 1 and "the clip's rate is 'fast'" in done.err
    done = run_command(*common, "--architecture", "conv3d", "--clip-frames", 1)
    assert done.code == 1 and "2 to 256" in done.err
