"""Tables of labels and validation splits: what they mean, and what nothing can be learned from."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.heads.errors import LabelsError
from models.heads.labels_table import Example, check_classes, examples_of, parse_labels
from models.heads.splits import linked_groups, validation_split
from transforms.catalog.reading.labelled_videos import read_labels

URIS = ["/a/cam1/0001.mp4", "/a/cam1/0002.mp4", "/a/cam2/0001.mp4", "s3://b/x/y.mkv"]


def examples(text: str) -> list[Example]:
    return examples_of(parse_labels(text.encode(), "labels.csv"), URIS)


def test_rows_are_the_ends_of_uris() -> None:
    found = examples("\ufeffuri,label\ncam1/0001.mp4,day\n/a/cam2/0001.mp4,night\ny.mkv,day\n")
    assert [(e.uri, e.labels) for e in found] == [
        ("/a/cam1/0001.mp4", ("day",)),
        ("/a/cam2/0001.mp4", ("night",)),
        ("s3://b/x/y.mkv", ("day",)),
    ]
    assert all((e.start_s, e.end_s, e.split, e.group) == (0, np.inf, "", e.uri) for e in found)


def test_several_rows_of_a_video() -> None:
    """The same times are several labels; parts that overlap are cut where they do."""
    text = (
        "path,label,start_s,end_s,split,group\ny.mkv,a,,,valid,g\ny.mkv,b,,,val,\n0002.mp4,a,0,4,,\n0002.mp4,b,2,6,,\n"
    )
    found = [(e.start_s, e.end_s, e.labels, e.split, e.group) for e in examples(text)]
    uri = "/a/cam1/0002.mp4"
    assert found == [
        (0, 2, ("a",), "", uri),
        (2, 4, ("a", "b"), "", uri),
        (4, 6, ("b",), "", uri),
        (0, np.inf, ("a", "b"), "val", "g"),
    ]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "has no column 'label'"),
        ("uri,label\n", "has no rows"),
        (
            "uri,label\n0001.mp4,a\n",
            r"line 2: '0001.mp4' is the end of '/a/cam1/0001.mp4', '/a/cam2/0001.mp4'; give more",
        ),
        ("uri,label\n1.mp4,a\n", "1 of 1 labelled videos are unknown: '1.mp4'"),
        ("uri,label\ny.mkv,\n", "line 2: no label"),
        ("uri,label,start_s\ny.mkv,a,soon\n", "'soon' is no time in seconds"),
        ("uri,label,split\ny.mkv,a,exam\n", "unknown split 'exam'"),
        ("uri,label,split\ny.mkv,a,val\ny.mkv,b,train\n", "lines 2, 3: the same part of y.mkv has two splits"),
        (
            "uri,label,split,group\ny.mkv,a,val,g\n0002.mp4,b,train,g\n",
            "'g' is in 'train', 'val': a group must be in one",
        ),
        ("name,label\ny.mkv,a\n", "has no column 'uri'"),
    ],
)
def test_tables_that_make_no_sense(text: str, what: str) -> None:
    with pytest.raises(LabelsError, match=what) as raised:
        examples(text)
    assert "\n" not in str(raised.value)


def test_tables_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(LabelsError, match=r"cannot read .*nowhere\.csv: No such file"):
        read_labels(str(tmp_path / "nowhere.csv"))
    with pytest.raises(LabelsError, match="is no CSV in UTF-8"):
        parse_labels("uri,label\n".encode("utf-16"), "utf16.csv")


def test_classes_that_nothing_can_be_learned_of() -> None:
    def of(*labels: str) -> list[Example]:
        return [Example(f"v{i}", 0, np.inf, (label,), "", f"v{i}") for i, label in enumerate(labels)]

    check_classes(of("a", "a", "b", "b"))
    with pytest.raises(LabelsError, match="two classes at least"):
        check_classes(of("a", "a"))
    with pytest.raises(LabelsError, match="only one example of 'b'"):
        check_classes(of("a", "a", "b"))


@pytest.mark.slow
@given(st.integers(0, 1000), st.integers(6, 60), st.integers(2, 4), st.integers(5, 20))
@settings(max_examples=40, deadline=None)
def test_no_group_is_on_both_sides(seed: int, count: int, classes: int, groups: int) -> None:
    rng = np.random.default_rng(seed)
    targets = np.eye(classes, dtype=np.float32)[rng.integers(0, classes, count)]
    names = [f"g{one}" for one in rng.integers(0, groups, count)]
    splits = ["test" if one else "" for one in rng.random(count) < 0.1]
    try:
        train, val = validation_split(targets, names, splits, seed=seed)
    except LabelsError:
        return
    assert not {names[i] for i in train} & {names[i] for i in val}
    assert sorted([*train, *val]) == [i for i in range(count) if splits[i] != "test"]
    usable = [i for i in range(count) if splits[i] != "test"]
    assert ((targets[train].sum(axis=0) > 0) == (targets[usable].sum(axis=0) > 0)).all(), "every class is learned"
    again = validation_split(targets, names, splits, seed=seed)
    assert np.array_equal(train, again[0])


def test_a_split_of_many_is_in_proportion() -> None:
    rng = np.random.default_rng(0)
    targets = np.eye(3, dtype=np.float32)[rng.choice(3, 300, p=[0.7, 0.2, 0.1])]
    train, val = validation_split(targets, [f"g{i}" for i in range(300)], [""] * 300)
    assert np.allclose(targets[val].mean(axis=0), targets.mean(axis=0), atol=0.02)
    assert len(val) == pytest.approx(60, abs=3) and len(train) + len(val) == 300


def test_the_table_s_own_split_is_kept() -> None:
    targets = np.eye(2, dtype=np.float32)[[0, 1, 0, 1, 0]]
    train, val = validation_split(targets, list("abcde"), ["train", "", "val", "val", "test"])
    assert (train.tolist(), val.tolist()) == ([0, 1], [2, 3])
    with pytest.raises(LabelsError, match="another group"):
        validation_split(targets, ["g"] * 5, [""] * 5)
    with pytest.raises(LabelsError, match="the split leaves none to learn from"):
        validation_split(targets, list("abcde"), ["val"] * 5)


def test_a_class_that_cannot_be_split_is_named_with_its_group() -> None:
    targets = np.eye(2, dtype=np.float32)[[0, 0, 0, 1, 1]]
    groups = ["cam1", "cam2", "cam3", "cam4", "cam4"]
    every = "cannot split: every example of 'night' is"
    with pytest.raises(LabelsError, match=f"{every} in the group 'cam4'; label 'night' in another group"):
        validation_split(targets, groups, ["train"] * 3 + ["val"] * 2, labels=("day", "night"))
    with pytest.raises(LabelsError, match=f"{every} kept for validation"):
        validation_split(targets, list("abcde"), ["train"] * 3 + ["val"] * 2, labels=("day", "night"))
    with pytest.raises(LabelsError, match="every example of class 1 is"):
        validation_split(targets, groups, ["train"] * 3 + ["val"] * 2)


def test_copies_link_groups() -> None:
    linked = linked_groups(["a", "b", "c", "d"], ["x", "y", "x", "z"])
    assert linked[0] == linked[2] and len(set(linked)) == 3
    assert len(set(linked_groups(["a", "a", "b"], ["x", "y", "y"]))) == 1
    assert linked_groups(["a", "b", "a"]) == ["a", "b", "a"], "without other keys the groups stay"
    assert len(set(linked_groups(["a", "b", "c"], ["x", "x", "y"], ["1", "2", "2"]))) == 1, "any kind of key links"
