"""Filters and the counts beside them are what looking at each video gives."""

import datetime
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.retrieval.facets import DURATIONS, HEIGHTS, MOST_CHOICES, Facets, folder_glob
from transforms.retrieval.filters import Filters, conditions

LABELS = ("cat", "dog", "swan")
SCHEMA = pa.schema(
    [
        ("uri", pa.string()),
        ("duration_s", pa.float64()),
        ("height", pa.int32()),
        ("modified", pa.timestamp("us", tz="UTC")),
        ("status", pa.string()),
        ("labels", pa.list_(pa.struct([("label", pa.string()), ("score", pa.float32())]))),
        ("best_label", pa.string()),
        ("gone", pa.bool_()),
    ]
)

days = st.dates(datetime.date(2026, 1, 1), datetime.date(2026, 1, 9))
moments = days.map(lambda day: datetime.datetime.combine(day, datetime.time(12), datetime.UTC))
TODAY = datetime.date(2026, 1, 9)
MONTH_AGO = datetime.datetime(2025, 12, 3, 12, tzinfo=datetime.UTC)
YEARS_AGO = datetime.datetime(2023, 1, 1, tzinfo=datetime.UTC)
uris = st.sampled_from(["/v/cam1/a.mp4", "/v/cam1/b/c.mp4", "/v/cam2/a.mp4", "/v/[x]\u202e/a.mp4", "/v/cam10.avi"])
rows = st.fixed_dictionaries(
    {
        "uri": uris,
        "duration_s": st.none() | st.sampled_from([5.0, 10.0, 59.0, 60.0, 601.0, 4000.0]),
        "height": st.none() | st.sampled_from([240, 480, 719, 1080, 4320]),
        "modified": moments | st.sampled_from([MONTH_AGO, YEARS_AGO]),
        "status": st.sampled_from(["ok", "partial"]),
        "labels": st.none() | st.lists(st.sampled_from(LABELS), max_size=3),
        "best_label": st.none() | st.sampled_from([*LABELS, "animal"]),
        "gone": st.booleans(),
    }
)
globs = st.sampled_from(
    ["*cam1*", "*.mp4", "a.mp4", "/v/cam1/*", "cam1/*", "*/b/*", "*[x]*", "?.avi", "*", "/v/cam10.avi"]
)
some_filters = st.builds(
    Filters,
    label=st.none() | st.sampled_from([*LABELS, "animal", "cow"]),
    uri=st.none() | globs,
    min_duration_s=st.none() | st.sampled_from([10.0, 60.0]),
    max_duration_s=st.none() | st.sampled_from([60.0, 600.0]),
    since=st.none() | days,
    until=st.none() | days,
    min_height=st.none() | st.sampled_from(HEIGHTS),
    status=st.none() | st.sampled_from(["ok", "partial"]),
)


def table_of(videos: list[dict[str, Any]]) -> pa.Table:
    labelled = [
        {**row, "labels": row["labels"] and [{"label": one, "score": 0.5} for one in row["labels"]]} for row in videos
    ]
    return pa.Table.from_pylist(labelled, SCHEMA)


def labels_of(row: dict[str, Any]) -> set[str]:
    """The labels of a video, with its best label."""
    return {*(row["labels"] or []), *([row["best_label"]] if row["best_label"] else [])}


def meets(row: dict[str, Any], filters: Filters) -> bool:
    """The conditions, one video at a time."""
    length_s, height, day = row["duration_s"], row["height"], row["modified"].date()
    return all(
        [
            filters.label is None or filters.label in labels_of(row),
            filters.uri is None or fnmatchcase(row["uri"], filters.uri) or fnmatchcase(row["uri"], f"*/{filters.uri}"),
            filters.min_duration_s is None or (length_s is not None and length_s >= filters.min_duration_s),
            filters.max_duration_s is None or (length_s is not None and length_s <= filters.max_duration_s),
            filters.since is None or day >= filters.since,
            filters.until is None or day <= filters.until,
            filters.min_height is None or (height is not None and height >= filters.min_height),
            filters.status is None or row["status"] == filters.status,
        ]
    )


@given(st.lists(rows, max_size=12), some_filters, st.booleans())
def test_each_choice_says_how_many_videos_it_would_leave(
    videos: list[dict[str, Any]], filters: Filters, only_live: bool
) -> None:
    facets = Facets(table_of(videos))
    found = facets.counts(filters, only_live=only_live, today=TODAY)
    there = [row for row in videos if not (only_live and row["gone"])]

    def left(**changes: Any) -> int:
        return sum(meets(row, replace(filters, **changes)) for row in there)

    assert found.videos == left()
    assert {one.value: one.videos for one in found.labels if one.videos} == {
        label: left(label=label) for label in (*LABELS, "animal") if left(label=label)
    }
    assert filters.label is None or filters.label in [one.value for one in found.labels]
    assert [one.videos for one in found.labels] == sorted((one.videos for one in found.labels), reverse=True)
    assert [one.videos for one in found.folders] == [left(uri=one.value) for one in found.folders]
    assert [one.videos for one in found.durations] == [
        left(min_duration_s=least, max_duration_s=most) for least, most in DURATIONS
    ]
    assert [tuple(one) for one in found.heights] == [(height, left(min_height=height)) for height in HEIGHTS]
    assert {one.name: one.videos for one in found.dates} == {
        "day": left(since=TODAY, until=None),
        "week": left(since=TODAY - datetime.timedelta(days=6), until=None),
        "month": left(since=TODAY - datetime.timedelta(days=29), until=None),
        "year": left(since=TODAY - datetime.timedelta(days=364), until=None),
        "older": left(since=None, until=TODAY - datetime.timedelta(days=365)),
    }
    assert [one.videos for one in found.dates] == [left(since=one.since, until=one.until) for one in found.dates]
    assert [tuple(one) for one in found.statuses] == [(one, left(status=one)) for one in ("ok", "partial")]
    assert facets.counts(filters, only_live=only_live, today=TODAY) == found, (
        "kept answers are those of another table or filter"
    )
    assert facets.matching(filters).tolist() == [k for k, row in enumerate(videos) if meets(row, filters)]


texts = st.text("ab/*.", max_size=6)


@given(st.lists(texts, max_size=6), texts)
def test_globs_of_all_kinds_match_as_fnmatch_does(names: list[str], glob: str) -> None:
    found = conditions(pa.table({"uri": pa.array(names, pa.string())}), Filters(uri=glob))
    assert found["uri"].tolist() == [fnmatchcase(name, glob) or fnmatchcase(name, f"*/{glob}") for name in names]


@pytest.mark.parametrize("name", ["plain", "a b", "[brackets]", "what?", "sta*r", "line\nbreak", "\u202egpj"])
def test_the_glob_of_a_folder_finds_what_is_below_it_and_can_be_shown(name: str) -> None:
    glob = folder_glob(f"/videos/{name}")
    uris = [f"/videos/{name}/a.mp4", f"/videos/{name}/b/c.mp4", f"/videos/{name}.mp4", "/videos/other/a.mp4"]
    (met,) = conditions(pa.table({"uri": uris}), Filters(uri=glob)).values()
    assert met.tolist() == [True, True, False, False] and glob.isprintable()


def test_many_folders_and_labels_are_cut_and_the_chosen_one_stays() -> None:
    when = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    videos = [
        {
            "uri": f"/v/{number:03}/a.mp4", "duration_s": 1.0, "height": 480, "modified": when, "status": "ok",
            "labels": [f"label {number:03}", "everywhere"], "gone": False,
        }
        for number in range(MOST_CHOICES + 5)
    ]  # fmt: skip
    last = f"label {MOST_CHOICES + 4:03}"
    found = Facets(table_of(videos)).counts(Filters(label=last))
    assert found.labels[0] == ("everywhere", len(videos)) and found.labels[-1] == (last, 1)
    assert len(found.labels) == MOST_CHOICES + 1 and len(found.folders) == 1
    assert len(Facets(table_of(videos)).counts(Filters()).folders) == MOST_CHOICES


def test_folders_count_what_lies_below_them_on_any_storage() -> None:
    for root in ("/archive", "s3://bucket"):
        names = [f"{root}/a/x.mp4", f"{root}/a/b/y.mp4", f"{root}/c/z.mp4"]
        base = {"duration_s": 1.0, "height": 1, "modified": datetime.datetime.now(datetime.UTC), "status": "ok"}
        facets = Facets(table_of([{**base, "uri": name, "labels": [], "gone": False} for name in names]))
        found = {one.value: one.videos for one in facets.counts(Filters()).folders}
        assert found == {f"{root}/a/*": 2, f"{root}/a/b/*": 1, f"{root}/c/*": 1}
    assert np.array_equal(Facets(table_of([])).matching(Filters(min_height=1)), [])


def test_another_day_is_another_count() -> None:
    when = datetime.datetime(2026, 1, 9, 23, 59, tzinfo=datetime.UTC)
    row = {"uri": "/a", "duration_s": 1.0, "height": 1, "modified": when, "status": "ok", "labels": [], "gone": False}
    facets = Facets(table_of([row]))
    for today, expected in ((TODAY, [1, 1, 1, 1, 0]), (TODAY + datetime.timedelta(days=7), [0, 0, 1, 1, 0])):
        assert [one.videos for one in facets.counts(Filters(), today=today).dates] == expected
    assert [one.videos for one in facets.counts(Filters(), today=datetime.date(2027, 1, 9)).dates] == [0, 0, 0, 0, 1]
