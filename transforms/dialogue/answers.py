"""Answers the parts of a question from rows, and cites them."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from transforms.dialogue import wording
from transforms.dialogue.evidence import Evidence, Stretch
from transforms.dialogue.mentions import name_of
from transforms.dialogue.questions import COMPARED, Bound, Intent, Question
from transforms.dialogue.wording import clock, phrase, property_of, value_of
from transforms.storage import printable

Kind = Literal["label", "best_label", "action", "region", "search", "technical", "words", "near", "duplicate", "count"]

VIDEOS_NAMED: Final = 10
"""Videos that a sentence names; all of them are cited."""

LABELS_NAMED: Final = 3

WHOLE_ARCHIVE: Final = 3
"""Videos that are answered about if a question about times names none: those that show the thing best."""

WORDS_QUOTED: Final = 60
"""Words of a video's title and subtitles that an answer quotes."""


@dataclass(frozen=True)
class Citation:
    """A row, or a part of one, that an answer is made of.

    Attributes:
        uri: the video.
        start_s: where in it, in seconds after its first frame; 0 for what is true of the whole video.
        end_s: the end of that range; the video's duration for the whole; None if that is unknown.
        kind: which rows say so: ``label`` and ``best_label`` (of frames, or of the video), ``action`` (the table
            `actions`), ``region`` (a row of `regions`), ``search`` (the index), ``technical`` (columns of `videos`),
            ``words`` (name, title, subtitles), ``near`` (stored embeddings), ``duplicate`` (the table of duplicates).
        text: what the row says.
        score: the row's score, or relevance; None where it has none.
    """

    uri: str
    start_s: float
    end_s: float | None
    kind: Kind
    text: str
    score: float | None = None


@dataclass(frozen=True)
class Said:
    """A sentence of an answer with what it is made of.

    Attributes:
        text: the sentence.
        citations: the rows; empty if nothing could be grounded.
        video: the video that it is about, for the next question.
        ends_s: the time at which what it speaks of ends, for "and what comes after?".
        starts_s: the time at which it begins.
    """

    text: str
    citations: tuple[Citation, ...] = ()
    video: str = ""
    ends_s: float | None = None
    starts_s: float | None = None


@dataclass(frozen=True)
class Context:
    """What the questions before were about.

    Attributes:
        video: the last video.
        thing: the last thing.
        ends_s: the time at which it ended; None if nothing was seen.
        starts_s: the time at which it began.
    """

    video: str = ""
    thing: str = ""
    ends_s: float | None = None
    starts_s: float | None = None


@dataclass
class Answerer:
    """Answers parts of questions from the rows of one catalog.

    Attributes:
        evidence: the rows.
        context: what the parts before were about.
    """

    evidence: Evidence
    context: Context = field(default_factory=Context)

    def answer(self, question: Question, named: Sequence[str]) -> list[Said]:
        """Answers one part.

        Args:
            question: the part, parsed.
            named: the videos that it names.

        Returns:
            Sentences. One without citations declines.

        Raises:
            CatalogError: a file is missing or damaged.
            RetrievalError: the index is damaged.
        """
        said = _ANSWERS.get(question.intent, _decline)(self, question, named)
        self._remember(question, named, said)
        return said

    def _remember(self, question: Question, named: Sequence[str], said: Sequence[Said]) -> None:
        last = next((one for one in said if one.citations), None)
        video = named[0] if named else last.video if last is not None else ""
        ends_s = last.ends_s if last is not None else None
        starts_s = last.starts_s if last is not None else None
        self.context = Context(video or self.context.video, question.thing or self.context.thing, ends_s, starts_s)

    def _videos(self, question: Question, named: Sequence[str]) -> Sequence[str]:
        """Returns the videos to look at: those named, else the last one, else those that show the thing best."""
        if named:
            return named
        if self.context.video:
            return [self.context.video]
        thing = question.thing or self.context.thing
        return [uri for uri, _ in shown_in(self.evidence, thing)][:WHOLE_ARCHIVE] if thing else []

    def thing_of(self, question: Question) -> str:
        """Returns the thing that is asked about: the part's own, or that of the parts before."""
        return question.thing or self.context.thing


def _decline(_: Answerer, question: Question, __: Sequence[str]) -> list[Said]:
    return [Said(phrase("cannot", question.language))]


def shown_in(evidence: Evidence, thing: str) -> list[tuple[str, list[Citation]]]:
    """Returns the videos that show a thing, best first, each with the rows that say so.

    With an index they are the relevant answers of the search. Without one, or where its relevance is unknown, they are
    the videos whose best label is the thing or a kind of it. If these are none, they are the videos that show it for a
    while.
    """
    found = _found_by_search(evidence, thing) if evidence.finds_words else _best_labelled(evidence, thing)
    return found or [
        (uri, [cited(uri, one) for one in stretches]) for uri, stretches in evidence.shown_for_a_while(thing)
    ]


def _found_by_search(evidence: Evidence, thing: str) -> list[tuple[str, list[Citation]]]:
    return [
        (hit.uri, [Citation(hit.uri, hit.ranges[0].start_s, hit.ranges[0].end_s, "search", thing, hit.relevance)])
        for hit in evidence.hits(thing)
    ]


def _best_labelled(evidence: Evidence, thing: str) -> list[tuple[str, list[Citation]]]:
    labels = evidence.things.labels_of(thing)
    rows = [
        row for row in evidence.videos.scanned() if row["best_label"] and _is_one(evidence, row["best_label"], labels)
    ]
    rows.sort(key=lambda row: (-row["best_label_score"], row["uri"]))
    return [(row["uri"], [_best_label(row)]) for row in rows]


def _is_one(evidence: Evidence, best_label: str, labels: frozenset[str]) -> bool:
    """Tells whether a best label is one of some labels, or a broader name all of whose labels are among them."""
    below = evidence.things.labels_of(best_label)
    return bool(below) and below <= labels


def _best_label(row: dict[str, Any]) -> Citation:
    return Citation(row["uri"], 0.0, row["duration_s"], "best_label", row["best_label"], row["best_label_score"])


def _when(to: Answerer, question: Question, named: Sequence[str]) -> list[Said]:
    return _about_stretches(to, question, named, _first_or_last)


def _first_or_last(to: Answerer, question: Question, uri: str, found: list[Stretch]) -> Said:
    one = found[-1] if question.last else found[0]
    kind = "when_last" if question.last else "when"
    return _of_stretch(to, question, kind, uri, one)


def _of_stretch(to: Answerer, question: Question, kind: str, uri: str, one: Stretch) -> Said:
    language = question.language
    values = {"thing": to.thing_of(question), "video": shown(uri), "start": clock(one.start_s), "end": clock(one.end_s)}
    name = to.evidence.things.shown(one.name, language)
    text = phrase(kind, language, **values, name=name, score=wording.score(one.score))
    return Said(text, (cited(uri, one),), uri, one.end_s, one.start_s)


def cited(uri: str, one: Stretch) -> Citation:
    """Returns the citation of a time range."""
    kinds: dict[str, Kind] = {kind: kind for kind in ("label", "best_label", "action", "search")}
    return Citation(uri, one.start_s, one.end_s, kinds[one.kind], one.name, one.score)


def shown(uri: str) -> str:
    """Returns a video's file name, safe to print."""
    return printable(name_of(uri))


_Say = Callable[[Answerer, Question, str, list[Stretch]], Said]


def _about_stretches(to: Answerer, question: Question, named: Sequence[str], say: _Say) -> list[Said]:
    """Says something about the time ranges of the thing in each video; declines if there are none."""
    thing = to.thing_of(question)
    videos = to._videos(question, named)
    if not thing or (not videos and not to.evidence.videos):
        return _decline(to, question, named)
    said = [say(to, question, uri, found) for uri in videos if (found := to.evidence.stretches(uri, thing))]
    return said or [_nothing(question, thing, named)]


def _nothing(question: Question, thing: str, named: Sequence[str]) -> Said:
    kind = "nothing_in" if named else "nothing"
    return Said(phrase(kind, question.language, thing=thing, video=", ".join(map(shown, named))))


def _ranges(found: Sequence[Stretch]) -> str:
    return ", ".join(f"{clock(one.start_s)}-{clock(one.end_s)}" for one in found)


def _often(to: Answerer, question: Question, named: Sequence[str]) -> list[Said]:
    def say(to: Answerer, question: Question, uri: str, found: list[Stretch]) -> Said:
        kind = "often_one" if len(found) == 1 else "again"
        values = {"thing": to.thing_of(question), "video": shown(uri), "count": len(found), "ranges": _ranges(found)}
        text = phrase(kind, question.language, **values)
        return Said(text, tuple(cited(uri, one) for one in found), uri, found[-1].end_s, found[0].start_s)

    return _about_stretches(to, question, named, say)


def _visible(to: Answerer, question: Question, named: Sequence[str]) -> list[Said]:
    def say(to: Answerer, question: Question, uri: str, found: list[Stretch]) -> Said:
        total = wording.length(sum(one.end_s - one.start_s for one in found), question.language)
        values = {"thing": to.thing_of(question), "video": shown(uri), "length": total, "ranges": _ranges(found)}
        text = phrase("visible", question.language, **values)
        return Said(text, tuple(cited(uri, one) for one in found), uri, found[-1].end_s, found[0].start_s)

    return _about_stretches(to, question, named, say)


def _has(to: Answerer, question: Question, named: Sequence[str]) -> list[Said]:
    def say(to: Answerer, question: Question, uri: str, found: list[Stretch]) -> Said:
        return _of_stretch(to, question, "has", uri, max(found, key=lambda one: (one.score, -one.start_s)))

    return _about_stretches(to, question, named, say)


def _after(to: Answerer, question: Question, named: Sequence[str]) -> list[Said]:
    return _beside(to, question, named, "after")


def _before(to: Answerer, question: Question, named: Sequence[str]) -> list[Said]:
    return _beside(to, question, named, "before")


def _beside(to: Answerer, question: Question, named: Sequence[str], order: str) -> list[Said]:
    """Says what comes after or before a thing; without a thing, what comes after or before the last answer."""
    thing, before = to.thing_of(question), to.context
    if not thing:
        return _decline(to, question, named)
    continues = not question.thing and before.ends_s is not None and (not named or named[0] == before.video)
    said = []
    for uri in to._videos(question, named):
        if continues:
            start_s, end_s = before.starts_s or 0.0, before.ends_s or 0.0
        elif found := to.evidence.stretches(uri, thing):
            start_s, end_s = found[0].start_s, found[0].end_s
        else:
            continue
        said.append(_neighbour(to, question, uri, order, start_s if order == "before" else end_s))
    return said or [_nothing(question, thing, named)]


def _neighbour(to: Answerer, question: Question, uri: str, order: str, time_s: float) -> Said:
    labels = to.evidence.things.labels_of(to.thing_of(question))
    scenes = [one for one in to.evidence.scenes(uri) if not _is_one(to.evidence, one.name, labels)]
    later = [one for one in scenes if one.start_s >= time_s]
    earlier = [one for one in scenes if one.end_s <= time_s]
    chosen = (later[:1] if order == "after" else earlier[-1:]) or []
    if not chosen:
        return Said(phrase("nothing_sure", question.language, video=shown(uri)), (), uri)
    return _of_stretch(to, question, order, uri, chosen[0])


def _edge(to: Answerer, question: Question, named: Sequence[str]) -> list[Said]:
    return _each(to, question, named, lambda uri: _scene(to, question, uri))


def _scene(to: Answerer, question: Question, uri: str) -> Said:
    scenes = to.evidence.scenes(uri)
    if not scenes:
        return _likely_labels(to, question, uri)
    return _of_stretch(to, question, question.intent, uri, scenes[0 if question.intent == "first" else -1])


def _where(to: Answerer, question: Question, named: Sequence[str]) -> list[Said]:
    """Says where in the picture a thing is, in the frame where it is surest; without regions, when it is seen."""
    return _of_regions(to, question, named, "score") or _when(to, question, named)


def _share(to: Answerer, question: Question, named: Sequence[str]) -> list[Said]:
    """Says how much of the picture a thing fills, in the frame where it fills most."""
    found = _of_regions(to, question, named, "share")
    if found or not to.thing_of(question):
        return found or _decline(to, question, named)
    return [_nothing(question, to.thing_of(question), named)]


def _of_regions(to: Answerer, question: Question, named: Sequence[str], by: Literal["score", "share"]) -> list[Said]:
    thing = to.thing_of(question)
    found = ((uri, to.evidence.regions(uri, thing)) for uri in to._videos(question, named))
    return [_in_picture(to, question, uri, max(rows, key=lambda row: row[by]), by) for uri, rows in found if rows]


def _in_picture(to: Answerer, question: Question, uri: str, row: dict[str, Any], by: Literal["score", "share"]) -> Said:
    time_s, language = row["time_s"], question.language
    values = {
        "name": to.evidence.things.shown(row["label"], language),
        "video": shown(uri),
        "time": clock(time_s),
        "place": wording.place(row["centroid"]["x"], row["centroid"]["y"], language),
        "share": f"{row['share']:.3f}",
        "score": wording.score(row["score"]),
    }
    citation = Citation(uri, time_s, time_s, "region", row["label"], row["score"])
    text = phrase("where" if by == "score" else "share", language, **values)
    return Said(text[:1].upper() + text[1:], (citation,), uri, time_s, time_s)


def _each(to: Answerer, question: Question, named: Sequence[str], say: Callable[[str], Said]) -> list[Said]:
    """Says something about each named video, or the last one; asks for a video if there is none."""
    videos = named or ([to.context.video] if to.context.video else [])
    return [say(uri) for uri in videos] or [Said(phrase("which_video", question.language))]


def _at(to: Answerer, question: Question, named: Sequence[str]) -> list[Said]:
    return _each(to, question, named, lambda uri: _moment(to, question, uri))


def _moment(to: Answerer, question: Question, uri: str) -> Said:
    time_s = question.time_s or 0.0
    frame = next((one for one in to.evidence.frames(uri) if one.start_s <= time_s < one.end_s), None)
    if frame is None or not frame.labels:
        return Said(phrase("nothing_sure", question.language, video=shown(uri)), (), uri)
    best = max(frame.labels, key=lambda label: (frame.labels[label], label))
    sure = frame.best_label is not None
    one = Stretch(
        frame.start_s,
        frame.end_s,
        frame.best_label or best,
        frame.best_label_score if sure else frame.labels[best],
        "best_label" if sure else "label",
    )
    values = {"video": shown(uri), "time": clock(time_s), "score": wording.score(one.score)}
    name = to.evidence.things.shown(one.name, question.language)
    return Said(phrase("at", question.language, **values, name=name), (cited(uri, one),), uri, one.end_s, one.start_s)


def _what(to: Answerer, question: Question, named: Sequence[str]) -> list[Said]:
    return [
        sentence
        for uri in (named or ([to.context.video] if to.context.video else []))
        for sentence in described(to, question, uri)
    ] or [Said(phrase("which_video", question.language))]


def described(to: Answerer, question: Question, uri: str) -> list[Said]:
    """Says what a video shows: its best label, and its likeliest labels with their ranges."""
    row, language = to.evidence.videos[uri], question.language
    said = []
    if row["best_label"] is not None:
        name = to.evidence.things.shown(row["best_label"], language)
        text = phrase("what", language, video=shown(uri), name=name, score=wording.score(row["best_label_score"]))
        said.append(Said(text, (_best_label(row),), uri))
    return [*said, _likely_labels(to, question, uri)]


def _likely_labels(to: Answerer, question: Question, uri: str) -> Said:
    row, language = to.evidence.videos[uri], question.language
    ranges = {one["label"]: one["ranges"] for one in row["label_ranges"] or ()}
    labels = [one for one in row["labels"] if ranges.get(one["label"])][:LABELS_NAMED]
    if not labels:
        return Said(phrase("nothing_sure", language, video=shown(uri)), (), uri)
    listed = ", ".join(
        f"{to.evidence.things.shown(one['label'], language)} ({wording.score(one['score'])})" for one in labels
    )
    citations = tuple(
        Citation(uri, part["start_s"], part["end_s"], "label", one["label"], one["score"])
        for one in labels
        for part in ranges[one["label"]]
    )
    return Said(phrase("labels", language, video=shown(uri), ranges=listed), citations, uri)


def _together(to: Answerer, question: Question, named: Sequence[str]) -> list[Said]:
    both = re.split(r" and (?:the |an? )?| ?[和与] ?", question.thing)
    if len(both) == 2:
        return _both(to, question, named, both)
    return _about_stretches(to, question, named, _companion)


def _both(to: Answerer, question: Question, named: Sequence[str], both: Sequence[str]) -> list[Said]:
    """Says when two things are seen at the same time."""
    said = []
    for uri in to._videos(replace(question, thing=both[0]), named):
        one, other = (to.evidence.stretches(uri, thing) for thing in both)
        shared = [(mine, its) for mine in one for its in other if mine.start_s < its.end_s and its.start_s < mine.end_s]
        if shared:
            said.append(_shared(question, uri, both, *shared[0]))
    return said or [_nothing(question, question.thing, named)]


def _shared(question: Question, uri: str, both: Sequence[str], one: Stretch, other: Stretch) -> Said:
    start_s, end_s = max(one.start_s, other.start_s), min(one.end_s, other.end_s)
    times = {"start": clock(start_s), "end": clock(end_s), "score": wording.score(min(one.score, other.score))}
    text = phrase("together", question.language, video=shown(uri), name=both[0], thing=both[1], **times)
    return Said(text, (cited(uri, one), cited(uri, other)), uri, end_s, start_s)


def _companion(to: Answerer, question: Question, uri: str, found: Sequence[Stretch]) -> Said:
    """Says which label is seen in the same frames as a thing, the one with the highest mean score."""
    labels = to.evidence.things.labels_of(to.thing_of(question))
    row = to.evidence.videos[uri]
    shared = [
        (one, part)
        for one in row["label_ranges"] or ()
        if one["label"] not in labels
        for part in one["ranges"]
        if any(part["start_s"] < stretch.end_s and part["end_s"] >= stretch.start_s for stretch in found)
    ]
    if not shared:
        return Said(phrase("nothing_sure", question.language, video=shown(uri)), (), uri)
    scores = {one["label"]: one["score"] for one in row["labels"]}
    best, part = max(shared, key=lambda pair: (scores.get(pair[0]["label"], 0.0), -pair[1]["start_s"]))
    one = Stretch(part["start_s"], part["end_s"], best["label"], scores.get(best["label"], 0.0), "label")
    said = _of_stretch(to, question, "together", uri, one)
    return Said(said.text, (*said.citations, *(cited(uri, each) for each in found)), uri, one.end_s, one.start_s)


def _which(to: Answerer, question: Question, named: Sequence[str]) -> list[Said]:
    if question.extreme:
        return [_extreme(to, question)]
    if question.relation in ("near", "copies"):
        say = _near if question.relation == "near" else _copies
        return _each(to, question, named, lambda uri: say(to, question, uri))
    if not question.thing and question.bound is None:
        return _all(to, question) if question.intent == "count" else _decline(to, question, named)
    found = _meeting(to, question)
    if not found:
        thing = question.thing
        return [_nothing(question, thing, ()) if thing else Said(phrase("nothing_such", question.language))]
    return [_listed(question, found)]


def _meeting(to: Answerer, question: Question) -> list[tuple[str, list[Citation]]]:
    """Returns the videos that meet the question's condition, with the rows that say so."""
    if question.bound is not None:
        return _within(to.evidence, question.bound)
    if question.relation == "words":
        return _with_words(to.evidence, question.thing)
    return _of_format(to.evidence, question.thing) or shown_in(to.evidence, question.thing)


def _listed(question: Question, found: Sequence[tuple[str, list[Citation]]]) -> Said:
    videos = ", ".join(shown(uri) for uri, _ in found[:VIDEOS_NAMED]) + (", ..." if len(found) > VIDEOS_NAMED else "")
    seen = all(one.kind in ("search", "best_label", "label", "action") for _, cites in found for one in cites)
    kind = ("which" if seen else "meet") + ("_one" if len(found) == 1 else "")
    text = phrase(kind, question.language, count=len(found), thing=question.thing, videos=videos)
    return Said(text, tuple(one for _, cites in found for one in cites), found[0][0])


def technical(row: dict[str, Any], column: str) -> Citation:
    """Returns the citation of a value of a row of `videos`."""
    return Citation(row["uri"], 0.0, row["duration_s"], "technical", property_of(row, column, "en") or column)


def _within(evidence: Evidence, bound: Bound) -> list[tuple[str, list[Citation]]]:
    rows = [row for row in evidence.videos.scanned() if _meets(row[bound.column], bound)]
    return [(row["uri"], [technical(row, bound.column)]) for row in rows]


def _meets(value: float | None, bound: Bound) -> bool:
    if value is None:
        return False
    if not bound.strict and value in (bound.least, bound.most):
        return True
    return (bound.least is None or value > bound.least) and (bound.most is None or value < bound.most)


def _with_words(evidence: Evidence, words: str) -> list[tuple[str, list[Citation]]]:
    wanted = words.casefold()
    rows = [(row, evidence.words_of(row["uri"])) for row in evidence.videos.scanned()]
    return [
        (row["uri"], [Citation(row["uri"], 0.0, row["duration_s"], "words", _around(said, wanted))])
        for row, said in rows
        if wanted and wanted in f"{said} {name_of(row['uri'])}".casefold()
    ]


def _around(said: str, wanted: str) -> str:
    """Returns the piece of a text around some words, cut at `WORDS_QUOTED` words; the text's beginning without them."""
    place = said.casefold().find(wanted)
    before = said[: max(place, 0)].split()
    start = max(0, len(before) - WORDS_QUOTED // 2)
    return " ".join(said.split()[start : start + WORDS_QUOTED])


def _of_format(evidence: Evidence, thing: str) -> list[tuple[str, list[Citation]]]:
    """Returns the videos with a container or codec, or an ending of the file name, of that name."""
    wanted = {thing, thing.removesuffix("s")}
    found = []
    for row in evidence.videos.scanned():
        formats = {"codec": {row["codec"]}, "container": {*(row["container"] or "").split(","), _ending(row["uri"])}}
        column = next((name for name, values in formats.items() if values & wanted), None)
        if column is not None:
            found.append((row["uri"], [technical(row, column)]))
    return found


def _ending(uri: str) -> str:
    return name_of(uri).rpartition(".")[2].lower()


def _all(to: Answerer, question: Question) -> list[Said]:
    citations = tuple(technical(row, "duration_s") for row in to.evidence.videos.scanned())
    kind = "all_one" if len(citations) == 1 else "all"
    return [Said(phrase(kind, question.language, count=len(citations)), citations)]


def _extreme(to: Answerer, question: Question) -> Said:
    column = question.columns[0]
    rows = [row for row in to.evidence.videos.scanned() if value_of(row, column) is not None]
    if not rows:
        return Said(phrase("nothing_such", question.language))
    sign = 1 if question.extreme == "most" else -1
    best = max(sign * _number(value_of(row, column)) for row in rows)
    first = [row for row in rows if sign * _number(value_of(row, column)) == best]
    listed = ", ".join(shown(row["uri"]) for row in first[:VIDEOS_NAMED])
    said = phrase("extreme", question.language, video=listed, property=property_of(first[0], column, question.language))
    return Said(said, tuple(technical(row, column) for row in first), first[0]["uri"])


def _number(value: Any) -> float:
    return value.timestamp() if hasattr(value, "timestamp") else float(value)


def _property(to: Answerer, question: Question, named: Sequence[str]) -> list[Said]:
    def say(uri: str) -> Said:
        row = to.evidence.videos[uri]
        known = [(name, said) for name in question.columns if (said := property_of(row, name, question.language))]
        if not known:
            return Said(phrase("no_value", question.language, video=shown(uri)), (), uri)
        text = phrase("property", question.language, video=shown(uri), property=", ".join(said for _, said in known))
        return Said(text, tuple(technical(row, name) for name, _ in known), uri)

    return _each(to, question, named, say)


def _compare(to: Answerer, question: Question, named: Sequence[str]) -> list[Said]:
    rows = [to.evidence.videos[uri] for uri in named]
    said = [_compared(question, rows, column) for column in question.columns or COMPARED]
    return [one for one in said if one is not None] or [
        Said(phrase("no_value", question.language, video=", ".join(map(shown, named))))
    ]


def _compared(question: Question, rows: Sequence[dict[str, Any]], column: str) -> Said | None:
    values = [value_of(row, column) for row in rows]
    if any(value is None for value in values):
        return None
    listed = ", ".join(f"{shown(row['uri'])} {property_of(row, column, question.language)}" for row in rows)
    sign = 1 if question.extreme != "least" else -1
    numbers = [sign * _number(value) for value in values]
    kind = "compare"
    if question.relation == "yes or no":
        kind = "compare_yes" if numbers[0] > numbers[1] else "compare_no"
    elif question.relation == "which" and numbers.count(max(numbers)) == 1:
        kind = "compare_which"
    best = rows[numbers.index(max(numbers))]
    text = phrase(kind, question.language, video=shown(best["uri"]), property=listed)
    return Said(text, tuple(technical(row, column) for row in rows), best["uri"])


def _words(to: Answerer, question: Question, named: Sequence[str]) -> list[Said]:
    def say(uri: str) -> Said:
        said = " ".join(to.evidence.words_of(uri).split()[:WORDS_QUOTED])
        if not said:
            return Said(phrase("no_value", question.language, video=shown(uri)), (), uri)
        text = phrase("words", question.language, video=shown(uri), words=wording.quotable(said))
        return Said(text, (Citation(uri, 0.0, to.evidence.videos[uri]["duration_s"], "words", said),), uri)

    return _each(to, question, named, say)


def _near(to: Answerer, question: Question, uri: str) -> Said:
    hits = to.evidence.near(uri)
    if not hits:
        return Said(phrase("no_value", question.language, video=shown(uri)), (), uri)
    listed = ", ".join(f"{shown(hit.uri)} ({wording.score(hit.cosine)})" for hit in hits)
    cites = [Citation(hit.uri, 0.0, hit.duration_s, "near", shown(uri), hit.cosine) for hit in hits]
    return Said(phrase("near", question.language, video=shown(uri), videos=listed), tuple(cites), uri)


def _copies(to: Answerer, question: Question, uri: str) -> Said:
    rows = [_other_side(row, uri) for row in to.evidence.copies(uri)]
    if not rows:
        return Said(phrase("no_value", question.language, video=shown(uri)), (), uri)
    listed = ", ".join(f"{shown(one.uri)} {clock(one.start_s)}-{clock(one.end_s or 0.0)}" for one in rows)
    return Said(phrase("copies", question.language, video=shown(uri), videos=listed), tuple(rows), uri)


def _other_side(row: dict[str, Any], uri: str) -> Citation:
    side = "other" if row["one_uri"] == uri else "one"
    times = row[f"{side}_start_s"], row[f"{side}_end_s"]
    return Citation(row[f"{side}_uri"], *times, "duplicate", f"{row['kind']} of {shown(uri)}", row["score"])


_ANSWERS: Final[dict[Intent, Callable[[Answerer, Question, Sequence[str]], list[Said]]]] = {
    "when": _when,
    "after": _after,
    "before": _before,
    "visible": _visible,
    "often": _often,
    "what": _what,
    "first": _edge,
    "last": _edge,
    "at": _at,
    "together": _together,
    "has": _has,
    "which": _which,
    "count": _which,
    "property": _property,
    "compare": _compare,
    "words": _words,
    "where": _where,
    "share": _share,
}
