"""Folders of pictures and masks: what is read, what is refused, and random changes of both together."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from models.heads.augmentation import Augmentation
from models.regions.errors import MaskError
from models.regions.iou import class_iou, figures_of, mean_iou, pixel_accuracy, pixel_counts
from models.regions.mask_augmentation import augment_masked
from models.regions.mask_folder import IGNORED, MaskedPicture, fit_mask, open_mask_folder, read_masks
from models.regions.mask_training import check_targets, split_by_name
from models.regions.palettes import colours, voc_palette
from models.visual.preprocess import preprocess
from models.visual.spec import Fit, Preprocessing
from tests.masked_pictures import LABELS, noise_background, save_mask, write_folder

P = Preprocessing(32, 48, "squash", crop_fraction=1.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four scenes of 64x48 pixels."""
    write_folder(tmp_path, [noise_background((48, 64), np.random.default_rng(0))], 4, seed=1)
    return tmp_path


def masks_of(folder: Path) -> NDArray[np.uint8]:
    opened = open_mask_folder(folder)
    return read_masks(opened, opened.pictures, P).targets


def test_palette_and_grey_masks_say_the_same(folder: Path) -> None:
    by_palette = masks_of(folder)
    assert by_palette.shape == (4, 32, 48) and len(np.unique(by_palette)) > 2
    for file in (folder / "masks").iterdir():
        with Image.open(file) as opened:
            assert opened.mode == "P"
            values = np.asarray(opened).copy()
        save_mask(file, values, "L")
    np.testing.assert_array_equal(masks_of(folder), by_palette)


def test_values_need_not_be_in_a_row_and_colours_come_from_the_table_the_palette_or_voc(folder: Path) -> None:
    lines = (folder / "labels.csv").read_text().splitlines()
    before = masks_of(folder)
    (folder / "labels.csv").write_text(
        "\n".join(["index,label,colour", *(f"{line}," for line in lines[1:]), "200,sea,#0000FF"])
    )
    labels = open_mask_folder(folder).labels
    assert labels.names == (*LABELS, "sea") and labels.values == (*range(7), 200)
    assert labels.palette[-1] == "#0000ff" and labels.palette[1] == "#255b35", "the PNG's own palette"
    np.testing.assert_array_equal(masks_of(folder), before)
    for file in (folder / "masks").iterdir():
        save_mask(file, np.full((48, 64), 200, np.uint8), "L")
    assert set(np.unique(masks_of(folder))) == {7}
    assert open_mask_folder(folder).labels.palette[1] == "#800000", "Pascal VOC's first colour"


def _lose_labels(folder: Path) -> None:
    (folder / "labels.csv").unlink()


def _one_label(folder: Path) -> None:
    (folder / "labels.csv").write_text("index,label\n0,background\n")


def _twice(folder: Path) -> None:
    (folder / "labels.csv").write_text("index,label\n0,sea\n1,sea\n")


def _bad_index(folder: Path) -> None:
    (folder / "labels.csv").write_text("index,label\n0,background\n255,sea\n")


def _bad_colour(folder: Path) -> None:
    (folder / "labels.csv").write_text("index,label,colour\n0,background,\n1,sea,blue\n")


def _other_columns(folder: Path) -> None:
    (folder / "labels.csv").write_text("number,name\n0,background\n")


def _unknown_value(folder: Path) -> None:
    save_mask(folder / "masks" / "scene0001.png", np.full((48, 64), 9, np.uint8))


def _other_size(folder: Path) -> None:
    save_mask(folder / "masks" / "scene0002.png", np.zeros((64, 48), np.uint8))


def _in_colour(folder: Path) -> None:
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(folder / "masks" / "scene0001.png")


def _damaged_mask(folder: Path) -> None:
    (folder / "masks" / "scene0001.png").write_bytes(b"\x89PNG half")


def _damaged_picture(folder: Path) -> None:
    (folder / "images" / "scene0001.png").write_bytes(b"")


def _no_masks(folder: Path) -> None:
    for file in (folder / "masks").iterdir():
        file.unlink()


def _no_picture(folder: Path) -> None:
    (folder / "images" / "scene0003.png").unlink()


def _no_mask(folder: Path) -> None:
    (folder / "masks" / "scene0003.png").unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_lose_labels, r"there is no .*labels.csv: list the masks' values there, in the columns index,label"),
        (_one_label, r"labels.csv names 1 label; a model needs two or more"),
        (_twice, r"labels.csv has the label sea twice"),
        (_bad_index, r"line 3: the index is '255'; it must be 0 to 254"),
        (_bad_colour, r"line 3: the colour is 'blue'; write it as #rrggbb"),
        (_other_columns, r"has the columns number, name; it needs index,label"),
        (_unknown_value, r"scene0001.png has the value 9, which .*labels.csv does not name"),
        (_other_size, r"images/scene0002.png has 64x48 pixels, but .*masks/scene0002.png has 48x64"),
        (_in_colour, r"scene0001.png is neither a palette nor an 8-bit grey PNG"),
        (_damaged_mask, r"masks/scene0001.png is no PNG that can be read"),
        (_damaged_picture, r"images/scene0001.png is no picture that can be read"),
        (_no_masks, r"has no masks: put pictures into .*/images and PNG masks into .*/masks"),
        (_no_picture, r"scene0003.png has no picture: there is no .*/images/scene0003.jpg"),
        (_no_mask, r"scene0003.png has no mask: there is no .*/masks/scene0003.png"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named_in_one_line(folder: Path, spoil: Callable[[Path], None], said: str) -> None:
    spoil(folder)
    with pytest.raises(MaskError, match=said) as raised:
        masks_of(folder)
    assert "\n" not in str(raised.value)


def test_masks_that_teach_nothing_are_refused() -> None:
    names = ("background", "sea", "sand")
    with pytest.raises(MaskError, match="show sea only; draw at least two classes"):
        check_targets(np.array([1, 1, IGNORED], np.uint8), names)
    with pytest.raises(MaskError, match="shows 'sand'; draw it, or take it out"):
        check_targets(np.array([0, 1], np.uint8), names)
    check_targets(np.array([0, 1, 2], np.uint8), names)


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@given(height=st.integers(5, 90), width=st.integers(5, 90), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_a_mask_is_fitted_as_its_picture_is(fit: Fit, height: int, width: int, seed: int) -> None:
    p = Preprocessing(24, 36, fit, crop_fraction=0.8)
    white = preprocess(np.full((height, width, 3), 255, np.uint8), p)
    mask = np.full((height, width), 3, np.uint8)
    np.testing.assert_array_equal(fit_mask(mask, p) == IGNORED, white[..., 0] == 0)
    # Halves of a picture: away from the seam, both show the same side.
    mask[:, : width // 2] = 1
    picture = preprocess(np.repeat((mask * 80)[..., None], 3, axis=2), p)[..., 0]
    fitted = fit_mask(mask, p)
    sure = (picture == 80) | (picture == 240)
    for step in (-1, 1):  # beside the seam a colour can be exact by chance
        sure &= np.roll(picture, step, axis=1) == picture
    np.testing.assert_array_equal(fitted[sure], picture[sure] // 80)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_a_picture_and_its_mask_change_in_the_same_way(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target = np.zeros((40, 50), np.uint8)
    target[rng.integers(0, 20) : rng.integers(21, 40), rng.integers(0, 25) : rng.integers(26, 50)] = 2
    picture = np.repeat((target * 100)[..., None], 3, axis=2)
    changed, mask = augment_masked(picture, target, Augmentation(flip=True, colour=False), np.random.default_rng(seed))
    sure = (mask != IGNORED) & np.isin(changed[..., 0], (0, 200))
    assert sure.mean() > 0.2
    # Linear and nearest interpolation may differ by a pixel at an edge, where a value can be exact by chance.
    assert (changed[..., 0][sure] == mask[sure].astype(np.float32) * 100).mean() > 0.97
    again = augment_masked(picture, target, Augmentation(flip=True, colour=False), np.random.default_rng(seed))
    np.testing.assert_array_equal(again[0], changed)
    np.testing.assert_array_equal(again[1], mask)


def test_what_is_not_chosen_does_not_change() -> None:
    rng = np.random.default_rng(0)
    picture, target = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8), rng.integers(0, 3, (20, 30), dtype=np.uint8)
    nothing = Augmentation(flip=False, crop=False, colour=False, time=False)
    for _ in range(5):
        changed, mask = augment_masked(picture, target, nothing, rng)
        np.testing.assert_array_equal(changed, picture)
        np.testing.assert_array_equal(mask, target)
    recoloured, mask = augment_masked(picture, target, Augmentation(flip=False, crop=False), rng)
    np.testing.assert_array_equal(mask, target)
    assert not np.array_equal(recoloured, picture) and recoloured.min() >= 0 and recoloured.max() <= 255


@given(st.integers(0, 10_000), st.integers(2, 5))
@settings(max_examples=40, deadline=None)
def test_intersection_over_union_is_that_of_sets_of_pixels(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    targets = rng.choice([*range(classes - 1), IGNORED], (2, 6, 7)).astype(np.uint8)
    predicted = rng.integers(0, classes, targets.shape).astype(np.uint8)
    counts = pixel_counts(targets, predicted, classes)
    judged = {tuple(place) for place in np.argwhere(targets != IGNORED)}
    expected = []
    for k in range(classes):
        true, found = ({tuple(place) for place in np.argwhere(mask == k)} & judged for mask in (targets, predicted))
        expected.append(len(true & found) / len(true | found) if true | found else np.nan)
    np.testing.assert_allclose(class_iou(counts), expected)
    assert mean_iou(counts) == pytest.approx(np.nanmean(expected))
    right = sum(targets[place] == predicted[place] for place in judged)
    assert pixel_accuracy(counts) == pytest.approx(right / len(judged))


def test_a_class_that_does_not_occur_has_no_figure() -> None:
    counts = pixel_counts(np.array([0, 1], np.uint8), np.array([0, 1], np.uint8), 3)
    figures = figures_of(counts, ("a", "b", "c"))
    assert figures["mean_iou"] == 1.0 and figures["per_class"]["c"]["iou"] is None


def test_a_new_picture_moves_no_other_one_to_the_other_side() -> None:
    def validated(count: int) -> set[str]:
        pictures = [MaskedPicture(f"p{i}", Path("x"), Path("x")) for i in range(count)]
        learned, validation = split_by_name(pictures, 0.2)
        assert sorted([*learned, *validation]) == list(range(count))
        return {pictures[i].name for i in validation}

    few, many = validated(200), validated(400)
    assert few == {name for name in many if int(name[1:]) < 200}
    assert 0.15 < len(many) / 400 < 0.25
    assert len(validated(2)) == 1
    with pytest.raises(MaskError, match="there is one mask"):
        validated(1)


def test_palettes_are_those_of_pascal_voc() -> None:
    assert voc_palette(4) == ("#000000", "#800000", "#008000", "#808000")
    assert voc_palette(21)[-1] == "#004080" and len(set(voc_palette(254))) == 254
    np.testing.assert_array_equal(colours(("#ff8001",)), [[255, 128, 1]])
