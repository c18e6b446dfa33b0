"""Reads labels.csv: which video, or which part of one, is of which class.

    uri,label,start_s,end_s,split,group
    cam1/0001.mp4,train_in_out,,,train,cam1
    cam1/0002.mp4,no_action,0,4.5,train,cam1

``uri`` (or ``path``) is a video's uri or the last components of it. Rows of one video with the same times give one
example several labels; parts that overlap are cut where another one starts or ends. ``start_s``, ``end_s``, ``split``
(``train``, ``val`` or ``test``) and ``group`` may be missing or empty.
"""

import csv
import io
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from models.heads.errors import LabelsError
from models.heads.ranges import Range
from models.suggestions import suggest

SPLITS: Final = ("train", "val", "test")
_SPLIT_NAMES: Final = {"validation": "val", "valid": "val", "dev": "val", "training": "train", **{s: s for s in SPLITS}}
_COLUMNS: Final = ("uri", "path", "label", "start_s", "end_s", "split", "group")
_SHOWN: Final = 3


@dataclass(frozen=True)
class LabelRow:
    """One row of the table.

    Attributes:
        line: Line number in the file, from 1.
        path: The video's uri or the last components of it.
        label: Name of the class.
        start_s: Start of the labelled part, seconds after the video's first frame.
        end_s: End of the part, exclusive, in the same seconds; infinite for the end of the video.
        split: ``train``, ``val``, ``test``, or "" if not given.
        group: Name of what must not straddle a split (a camera, a source), or "" if not given.
    """

    line: int
    path: str
    label: str
    start_s: float
    end_s: float
    split: str
    group: str


@dataclass(frozen=True)
class Example:
    """A video, or a part of one, with all its classes.

    Attributes:
        uri: The video's uri.
        start_s: Start of the part, seconds after the video's first frame.
        end_s: End of the part, exclusive, in the same seconds; infinite for the end of the video.
        labels: Names of its classes, sorted.
        split: ``train``, ``val``, ``test`` or "".
        group: Name of what must not straddle a split; the uri if the table names none.
    """

    uri: str
    start_s: float
    end_s: float
    labels: tuple[str, ...]
    split: str
    group: str


def parse_labels(data: bytes, path: str) -> list[LabelRow]:
    """Parse the rows of a table of labels.

    Args:
        data: The bytes of the table.
        path: Where the table was read; for messages.

    Raises:
        LabelsError: A column or a value is missing or invalid.
    """
    try:
        reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        columns = _columns(path, reader.fieldnames or [])
        rows = [_row(path, reader.line_num, {c: (r.get(c) or "").strip() for c in columns}) for r in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise LabelsError(f"{path} is no CSV in UTF-8: {error}") from error
    if not rows:
        raise LabelsError(f"{path} has no rows: give one video and its label a row")
    return rows


def examples_of(rows: Iterable[LabelRow], uris: Iterable[str]) -> list[Example]:
    """Build examples from rows, sorted by uri and time.

    Args:
        rows: Rows of the table.
        uris: The uris of all videos that have features or frames, each once; they are not all kept.

    Raises:
        LabelsError: A row's video is unknown or ambiguous, or a group or a part has two splits.
    """
    by_uri: dict[str, list[LabelRow]] = defaultdict(list)
    for row, uri in _matched(list(rows), uris):
        by_uri[uri].append(row)
    examples = [example for uri in sorted(by_uri) for example in _examples_of_video(uri, by_uri[uri])]
    _check_splits(examples)
    return examples


@dataclass(frozen=True)
class WholeVideo:
    """A video with the ranges that are labelled in it.

    Attributes:
        example: The whole video, with the classes of all its ranges.
        ranges: The ranges, by start and end.
    """

    example: Example
    ranges: tuple[Range, ...]


def has_parts(rows: Iterable[LabelRow]) -> bool:
    """Tell whether a table labels parts of videos, with ``start_s`` or ``end_s``."""
    return any(row.start_s > 0 or math.isfinite(row.end_s) for row in rows)


def whole_videos(rows: Iterable[LabelRow], uris: Iterable[str]) -> list[WholeVideo]:
    """Build whole videos with their labelled ranges from rows, sorted by uri.

    What no row covers of a video is background: a video with one labelled range has to have all of them labelled.

    Args:
        rows: Rows of the table.
        uris: The uris of all videos that have features.

    Raises:
        LabelsError: A row's video is unknown or ambiguous, or a group or a video has two splits.
    """
    by_uri: dict[str, list[LabelRow]] = defaultdict(list)
    for row, uri in _matched(list(rows), uris):
        by_uri[uri].append(row)
    videos = [_whole(uri, by_uri[uri]) for uri in sorted(by_uri)]
    _check_splits([video.example for video in videos])
    return videos


def _whole(uri: str, rows: Sequence[LabelRow]) -> WholeVideo:
    labels = tuple(sorted({row.label for row in rows}))
    example = Example(uri, 0.0, math.inf, labels, _only(rows, "split"), _only(rows, "group") or uri)
    ranges = sorted({(row.start_s, row.end_s, row.label) for row in rows})
    return WholeVideo(example, tuple(Range(label, start_s, end_s) for start_s, end_s, label in ranges))


def check_classes(examples: Sequence[Example]) -> None:
    """Refuse examples that nothing can be learned from.

    Raises:
        LabelsError: There is only one class, or a class has only one example.
    """
    counts = Counter(label for example in examples for label in example.labels)
    if len(counts) < 2:
        raise LabelsError(f"all examples are {_listed(counts)}: a classifier needs two classes at least")
    single = sorted(label for label, count in counts.items() if count == 1)
    if single:
        raise LabelsError(
            f"only one example of {_listed(single)}: each class needs two at least, one to learn from and one to "
            "validate on; label more or leave the class out"
        )


def _columns(path: str, found: Sequence[str]) -> list[str]:
    names = [name.strip() for name in found]
    if "label" not in names:
        raise LabelsError(f"{path} has no column 'label'{_hint('label', names)}; its columns are {_listed(names, 8)}")
    if "uri" not in names and "path" not in names:
        raise LabelsError(f"{path} has no column 'uri'{_hint('uri', names)}; its columns are {_listed(names, 8)}")
    return [name for name in found if name.strip() in _COLUMNS]


def _hint(wanted: str, names: Sequence[str]) -> str:
    near = suggest(wanted, names, cutoff=0.5)
    return f" (is it {near[0]!r}?)" if near else ""


def _row(path: str, line: int, cells: dict[str, str]) -> LabelRow:
    cells = {name.strip(): value for name, value in cells.items()}
    where = cells.get("uri") or cells.get("path") or ""
    if not where or not cells["label"]:
        raise LabelsError(f"{path}, line {line}: no {'label' if where else 'uri'}")
    start_s = _seconds(path, line, cells.get("start_s", ""), 0.0)
    end_s = _seconds(path, line, cells.get("end_s", ""), math.inf)
    if end_s <= start_s:
        raise LabelsError(f"{path}, line {line}: ends at {end_s:g} s, not after its start at {start_s:g} s")
    split = cells.get("split", "").lower()
    if split and split not in _SPLIT_NAMES:
        raise LabelsError(f"{path}, line {line}: unknown split {split!r}; use train, val or test, or leave it empty")
    return LabelRow(line, where, cells["label"], start_s, end_s, _SPLIT_NAMES.get(split, ""), cells.get("group", ""))


def _seconds(path: str, line: int, text: str, absent: float) -> float:
    try:
        value = float(text) if text else absent
    except ValueError:
        value = math.nan
    if not value >= 0:
        raise LabelsError(f"{path}, line {line}: {text!r} is no time in seconds")
    return value


def _matched(rows: Sequence[LabelRow], uris: Iterable[str]) -> Iterator[tuple[LabelRow, str]]:
    """Yield every row with the uri that its path names."""
    wanted = {row.path.rsplit("/", 1)[-1] for row in rows}
    by_name: dict[str, list[str]] = defaultdict(list)
    known, first = 0, ""
    for uri in uris:
        known, first = known + 1, min(first or uri, uri)
        if (name := uri.rsplit("/", 1)[-1]) in wanted:
            by_name[name].append(uri)
    for matches in by_name.values():
        matches.sort()
    found = [(row, _ending_with(row.path, by_name)) for row in rows]
    unknown = sorted({row.path for row, matches in found if not matches})
    if unknown:
        like = f" are like {first!r}" + (f" and {known - 1} more" if known > 1 else "") if known else " are like "
        raise LabelsError(
            f"{len(unknown)} of {len({row.path for row in rows})} labelled videos are unknown: {_listed(unknown)}; "
            f"the {known} known ones{like}"
        )
    for row, matches in found:
        if len(matches) > 1:
            raise LabelsError(f"line {row.line}: {row.path!r} is the end of {_listed(matches)}; give more of the path")
        yield row, matches[0]


def _ending_with(path: str, by_name: dict[str, list[str]]) -> list[str]:
    path = path.removeprefix("./")
    candidates = by_name.get(path.rsplit("/", 1)[-1], [])
    if path in candidates:
        return [path]
    return [uri for uri in candidates if uri.endswith("/" + path.lstrip("/"))]


def _examples_of_video(uri: str, rows: Sequence[LabelRow]) -> Iterator[Example]:
    """Cut a video wherever a row starts or ends; the labels of a part are those of all rows that cover it."""
    cuts = sorted({time for row in rows for time in (row.start_s, row.end_s)})
    for start_s, end_s in itertools.pairwise(cuts):
        covering = [row for row in rows if row.start_s <= start_s and end_s <= row.end_s]
        if covering:
            labels = tuple(sorted({row.label for row in covering}))
            yield Example(uri, start_s, end_s, labels, _only(covering, "split"), _only(covering, "group") or uri)


def _only(rows: Sequence[LabelRow], field: str) -> str:
    values = sorted({getattr(row, field) for row in rows} - {""})
    if len(values) > 1:
        lines = ", ".join(str(row.line) for row in rows)
        raise LabelsError(f"lines {lines}: the same part of {rows[0].path} has two {field}s, {_listed(values)}")
    return values[0] if values else ""


def _check_splits(examples: Sequence[Example]) -> None:
    splits: dict[str, set[str]] = defaultdict(set)
    for example in examples:
        splits[example.group].add(example.split)
    for group, found in splits.items():
        if len(found) > 1:
            named = _listed([split or "no split" for split in sorted(found)])
            raise LabelsError(f"{group!r} is in {named}: a group must be in one split as a whole")


def _listed(names: Iterable[str], shown: int = _SHOWN) -> str:
    names = list(names)
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(repr(name) for name in names[:shown]) + more
