"""From matches to what a person wants to know: what is a copy, which videos belong together and which one to keep."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from models.duplicates.alignment import Range

Kind = Literal["whole", "part", "repeated"]

WHOLE: Final = 0.85
"""A video is contained in another if at least this share of it is there: the ends are known to a second or two."""

REPEATS: Final = 4
"""A stretch that at least so many other videos have, each as less than half of itself, is repeated footage."""


@dataclass(frozen=True)
class Video:
    """What is known of a video.

    Attributes:
        video_id: its id.
        uri: its URI.
        duration_s: seconds.
        pixels: width times height.
        size_bytes: of the file.
        modified: when the file was changed last.
    """

    video_id: str
    uri: str
    duration_s: float
    pixels: int
    size_bytes: int
    modified: datetime

    @property
    def quality(self) -> tuple[float, ...]:
        """Sorts the best video last: most pixels, then longest, then highest bit rate, then oldest file."""
        rate = self.size_bytes / max(self.duration_s, 0.001)
        return self.pixels, round(self.duration_s), rate, -self.modified.timestamp()


@dataclass(frozen=True)
class Copy:
    """The same footage in two videos.

    Attributes:
        one: id of the first video; ids are in order.
        other: id of the second video.
        one_range: the stretch in the first one.
        other_range: the stretch in the second one.
        speed: seconds that pass in the second one while one passes in the first.
        score: 0 to 1.
        kind: ``whole`` if the stretch is all of one of the videos, ``part`` otherwise, ``repeated`` if it is in many
            videos, such as an opening or a test card.
    """

    one: str
    other: str
    one_range: Range
    other_range: Range
    speed: float
    score: float
    kind: Kind = "part"

    def side(self, video_id: str) -> Range:
        """Returns the stretch in one of the two videos."""
        return self.one_range if video_id == self.one else self.other_range


class Stretch(NamedTuple):
    """A stretch of a video.

    Attributes:
        video_id: id of the video.
        range: where it is in the video.
    """

    video_id: str
    range: Range


@dataclass(frozen=True)
class Group:
    """Videos that are connected by copies.

    Attributes:
        videos: their ids, sorted.
        keep: ids of those that no other one of the group can stand for, best first.
        instead: for each of the others, the id of the video to keep that contains it.
    """

    videos: tuple[str, ...]
    keep: tuple[str, ...]
    instead: Mapping[str, str]


def with_kinds(copies: Iterable[Copy], videos: Mapping[str, Video]) -> list[Copy]:
    """Returns the copies with their kinds, sorted by the videos' ids and times."""
    ordered = sorted(copies, key=lambda copy: (copy.one, copy.other, copy.one_range, copy.other_range))
    named = [replace(copy, kind="whole" if _whole(copy, videos) else "part") for copy in ordered]
    partial: dict[str, list[Copy]] = defaultdict(list)
    for copy in named:
        if copy.kind == "part" and max(_share(copy, videos[copy.one]), _share(copy, videos[copy.other])) < 0.5:
            partial[copy.one].append(copy)
            partial[copy.other].append(copy)
    return [replace(copy, kind="repeated") if _is_repeated(copy, partial) else copy for copy in named]


def _share(copy: Copy, video: Video) -> float:
    return copy.side(video.video_id).length_s / max(video.duration_s, 0.001)


def _whole(copy: Copy, videos: Mapping[str, Video]) -> bool:
    return max(_share(copy, videos[copy.one]), _share(copy, videos[copy.other])) >= WHOLE


def _is_repeated(copy: Copy, partial: Mapping[str, Sequence[Copy]]) -> bool:
    for video_id in (copy.one, copy.other):
        here = copy.side(video_id)
        others = {
            near.other if near.one == video_id else near.one
            for near in partial.get(video_id, ())
            if _overlap_s(here, near.side(video_id)) >= 0.5 * min(here.length_s, near.side(video_id).length_s)
        }
        if copy in partial.get(video_id, ()) and len(others) >= REPEATS:
            return True
    return False


def _overlap_s(one: Range, other: Range) -> float:
    return min(one.end_s, other.end_s) - max(one.start_s, other.start_s)


def groups_of(copies: Sequence[Copy], videos: Mapping[str, Video]) -> list[Group]:
    """Joins videos that copies connect, sorted by their first video's id; repeated footage connects nothing."""
    edges = [copy for copy in copies if copy.kind != "repeated"]
    label = _labels([(copy.one, copy.other) for copy in edges])
    members: dict[int, list[str]] = defaultdict(list)
    inside: dict[int, list[Copy]] = defaultdict(list)
    for video_id in sorted(label):
        members[label[video_id]].append(video_id)
    for copy in edges:
        inside[label[copy.one]].append(copy)
    return [_group(members[number], inside[number], videos) for number in members]


def _labels(edges: Sequence[tuple[Hashable, Hashable]]) -> dict[Any, int]:
    """Returns a number for each end of an edge; ends that edges connect have the same."""
    ends = dict.fromkeys(end for edge in edges for end in edge)
    if not ends:
        return {}
    number = {end: place for place, end in enumerate(ends)}
    pairs = np.array([(number[one], number[other]) for one, other in edges])
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(ends), len(ends)))
    _, labels = connected_components(graph, directed=False)
    return dict(zip(ends, labels.tolist(), strict=True))


def repeats_of(copies: Sequence[Copy]) -> list[tuple[Stretch, ...]]:
    """Returns the stretches of repeated footage that are the same, those in most videos first."""
    repeated = [copy for copy in copies if copy.kind == "repeated"]
    ranges: dict[str, list[Range]] = defaultdict(list)
    for copy in repeated:
        for video_id in (copy.one, copy.other):
            ranges[video_id].append(copy.side(video_id))
    joined = {video_id: _joined(found) for video_id, found in ranges.items()}
    sides = [tuple(_stretch(joined, copy, video_id) for video_id in (copy.one, copy.other)) for copy in repeated]
    label = _labels([(one, other) for one, other in sides])
    found: dict[int, list[Stretch]] = defaultdict(list)
    for stretch in sorted(label):
        found[label[stretch]].append(stretch)
    return sorted((tuple(one) for one in found.values()), key=lambda one: (-len(one), one))


def _joined(ranges: Iterable[Range]) -> list[Range]:
    done: list[Range] = []
    for one in sorted(ranges):
        if done and one.start_s <= done[-1].end_s:
            done[-1] = Range(done[-1].start_s, max(one.end_s, done[-1].end_s))
        else:
            done.append(one)
    return done


def _stretch(joined: Mapping[str, Sequence[Range]], copy: Copy, video_id: str) -> Stretch:
    start_s = copy.side(video_id).start_s
    return Stretch(video_id, next(one for one in joined[video_id] if one.start_s <= start_s <= one.end_s))


def _group(ids: Sequence[str], copies: Sequence[Copy], videos: Mapping[str, Video]) -> Group:
    contained = _contained(copies, videos)
    ranked = sorted(ids, key=lambda video_id: (videos[video_id].quality, video_id), reverse=True)
    keep: list[str] = []
    instead: dict[str, str] = {}
    for video_id in _outer_first(ranked, contained):
        outer = next((kept for kept in keep if kept in contained[video_id]), None)
        if outer is None:
            keep.append(video_id)
        else:
            instead[video_id] = outer
    return Group(tuple(ids), tuple(keep), instead)


def _outer_first(ranked: Sequence[str], contained: Mapping[str, set[str]]) -> list[str]:
    """Sorts videos that are a part of a longer one last, however sharp they are; keeps the order otherwise."""
    return sorted(ranked, key=lambda video_id: any(video_id not in contained[outer] for outer in contained[video_id]))


def _contained(copies: Sequence[Copy], videos: Mapping[str, Video]) -> dict[str, set[str]]:
    """Returns for each video those that contain it."""
    found: dict[str, set[str]] = defaultdict(set)
    for copy in copies:
        for inner, outer in ((copy.one, copy.other), (copy.other, copy.one)):
            if _share(copy, videos[inner]) >= WHOLE:
                found[inner].add(outer)
    return found
