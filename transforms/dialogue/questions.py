"""Parses questions in English and Chinese. Nothing here reads a catalog.

A question is cut into parts (`parts_of`), and each part is matched against a list of patterns (`parse`). File names
are replaced by placeholders first (`transforms.dialogue.mentions`), so that no pattern ever sees text of the archive.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

Language = Literal["en", "zh"]
Intent = Literal[
    "when",
    "after",
    "before",
    "visible",
    "often",
    "what",
    "first",
    "last",
    "at",
    "together",
    "has",
    "which",
    "count",
    "property",
    "compare",
    "words",
    "where",
    "share",
    "unknown",
]

FIRST_PLACEHOLDER: Final = 0xE000
LAST_PLACEHOLDER: Final = 0xF8FF
V: Final = f"[{chr(FIRST_PLACEHOLDER)}-{chr(LAST_PLACEHOLDER)}]"
"""Matches the placeholder of a video: characters of Unicode's private use area, which nobody types."""


@dataclass(frozen=True)
class Bound:
    """A condition on a number.

    Attributes:
        column: of the table `videos`.
        least: the value must be at least this; None for no such condition.
        most: the value must be at most this; None for no such condition.
        strict: whether the value itself is left out.
    """

    column: str
    least: float | None = None
    most: float | None = None
    strict: bool = True


@dataclass(frozen=True)
class Question:
    """One part of what was asked.

    Attributes:
        intent: what is asked for.
        language: the language of the question, in which it is answered.
        thing: the words for what should be seen; empty if none.
        videos: the placeholders of the videos that the part names.
        columns: columns of `videos` that it asks for or compares by.
        bound: a condition on a column.
        extreme: ``most`` or ``least``, for the video with the greatest or least value of the column.
        relation: ``near`` or ``copies``, for videos that are like the named one; ``words``, for videos whose name,
            title or subtitles hold the thing.
        time_s: the moment that is asked about, in seconds.
        last: whether the last appearance is asked for, not the first.
    """

    intent: Intent
    language: Language
    thing: str = ""
    videos: str = ""
    columns: tuple[str, ...] = ()
    bound: Bound | None = None
    extreme: str = ""
    relation: str = ""
    time_s: float | None = None
    last: bool = False


_CHINESE: Final = re.compile(r"[\u4e00-\u9fff]")
_QUESTION_WORDS: Final = "what|when|how|which|where|who|why|is|are|does|do|did|at what|in which"
_BREAK: Final = re.compile(
    rf"[?!;？！；。]+|[.](?=\s|$)|,?\s+(?:and|then)\s+(?=(?:{_QUESTION_WORDS})\b)|，(?=.*(?:什么|多|几|哪|吗))",
    re.IGNORECASE,
)


_OPENING: Final = re.compile(
    r"^(?:(?:and|then|so|ok|okay|well|now|please|(?:can|could) you (?:please )?tell me|tell me(?! about)|do you know)"
    r"[, ]+)+"
)


def language_of(text: str) -> Language:
    """Returns ``zh`` for a text with Chinese characters, ``en`` for any other."""
    return "zh" if _CHINESE.search(text) else "en"


def parts_of(text: str) -> list[str]:
    """Cuts what was asked into parts that are answered one after the other."""
    parts = (" ".join(part.split()).strip(" ,，.") for part in _BREAK.split(text))
    return [part for part in parts if part]


def parse(part: str) -> Question:
    """Understands one part of what was asked; the intent is ``unknown`` if no pattern fits.

    Args:
        part: one of `parts_of`, with placeholders (see `V`) for the names of videos.
    """
    language = language_of(part)
    text = part if language == "zh" else _OPENING.sub("", part.lower().replace("’", "'"))
    text = _in_digits(text)
    videos = "".join(dict.fromkeys(re.findall(V, text)))
    for make in _CHINESE_PATTERNS if language == "zh" else _ENGLISH_PATTERNS:
        found = make(text)
        if found is not None:
            intent = "unknown" if _BEYOND.search(found.thing) and found.relation != "words" else found.intent
            return replace(found, intent=intent, language=language, videos=videos)
    return Question("unknown", language, videos=videos)


_BEYOND: Final = re.compile(
    r"\b(?:no|not|n't|never|without|but|except|neither|nor|than|most|least|longest|average|mean|total|sum|together|before|"
    r"after|during|while|because|modified|changed|created|recorded|filmed|made|added|frames|pixels|colou?r|year|month|day|"
    r"seconds?|minutes?|hours?|which|what|who|whose|why|how|if)\b|\d|[不没除]|平均|颜色|为什么|谁|怎"
)
"""Words that make a thing more than something to see: negations, comparisons and the like are not understood."""

_ENGLISH_NUMBERS: Final = {
    **{"half a": 0.5, "half an": 0.5, "a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6},
    **{"seven": 7, "eight": 8, "nine": 9, "ten": 10, "fifteen": 15, "twenty": 20, "thirty": 30, "forty": 40},
}
_CHINESE_NUMBERS: Final = {
    **{"半": 0.5, "一": 1, "两": 2, "二": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9, "十": 10},
    **{"二十": 20, "三十": 30},
}
_COUNTED: Final = re.compile(
    rf"(?<!\w)(?P<english>{'|'.join(_ENGLISH_NUMBERS)}) (?=(?:seconds?|minutes?|hours?)\b)|"
    rf"(?P<chinese>{'|'.join(sorted(_CHINESE_NUMBERS, key=len, reverse=True))})个?(?=秒|分|小时)"
)


def _in_digits(text: str) -> str:
    """Writes numbers in words in front of a unit of time as digits: half a minute, 两分钟."""
    numbers = _ENGLISH_NUMBERS | _CHINESE_NUMBERS
    return _COUNTED.sub(lambda found: f"{numbers[found['english'] or found['chinese']]:g} ", text)


_EDGES: Final = frozenset(
    "a an the any some all does do did is are was were can could will would i we you one it its their there be been "
    "see find first last time appear appears appeared appearing shown show shows showing visible seen come comes in of "
    "on at from for to inside within into view video videos clip clips file files movie movies that which who with up "
    "again me "
    "contain contains have has having feature features occur occurs happen start starts begin please where this "
    "somebody someone being".split()
)
"""Words at the edges of a thing that do not belong to it."""


def thing_in(text: str) -> str:
    """Returns the words for a thing in a piece of an English question, without what surrounds them."""
    words = re.sub(rf"{V}|[\"“”]|,", " ", text).split()
    while words and words[0].strip("'") in _EDGES:
        words.pop(0)
    while words and words[-1].strip("'") in _EDGES:
        words.pop()
    return " ".join(words)


_COLUMNS: Final = {
    "duration_s": r"\bhow long\b|duration|\blength\b|时长|多长|长度",
    "fps": r"frame ?rate|\bfps\b|帧率|帧速",
    "size_bytes": r"file size|how (?:big|large)\b|文件大小|多大|大小",
    "resolution": r"resolution|how many pixels|分辨率",
    "codec": r"\bcodec|\bencoded\b|编码|编解码",
    "container": r"\bformat\b|\bcontainer\b|格式|容器",
    "width": r"\bhow wide\b|\bwidth\b|宽度|多宽",
    "height": r"\bhow (?:high|tall)\b|\bheight\b|高度|多高",
    "frames_sampled": r"how many frames|frames (?:were |are )?sampled|多少帧",
    "modified": r"\bmodified\b|\bhow old\b|\bdate\b|修改|日期",
    "title": r"\btitle\b|标题",
    "status": r"\bstatus\b|\bdecoded? (?:whole|completely)\b|状态",
}

_UNITS_S: Final = {"s": 1, "sec": 1, "second": 1, "秒": 1, "m": 60, "min": 60, "minute": 60, "分": 60, "h": 3600}
_UNITS_S_LONG: Final = {**_UNITS_S, "hour": 3600, "分钟": 60, "小时": 3600, "秒钟": 1}
_NUMBER: Final = r"(\d+(?:\.\d+)?)"
_UNIT: Final = r"(seconds?|secs?|s|minutes?|mins?|m|hours?|h|秒钟?|分钟?|小时)"


def seconds_of(number: str, unit: str) -> float:
    """Returns a duration such as ("2", "minutes") in seconds."""
    return float(number) * _UNITS_S_LONG[unit if unit in _UNITS_S_LONG else unit.removesuffix("s")]


def _asked_columns(text: str) -> tuple[str, ...]:
    return tuple(column for column, pattern in _COLUMNS.items() if re.search(pattern, text))


def _property(text: str) -> Question | None:
    columns = _asked_columns(text)
    about = re.sub("|".join(_COLUMNS.values()), " ", text)
    rest = re.sub(
        rf"{V}|\b(?:what|which|when|last|is|does|do|use|uses|was|were|are|has|have|tell|in|sampled|s)\b|'s|[的是什么呢多少请问有它]",
        " ",
        about,
    )
    return None if not columns or thing_in(rest) else Question("property", "en", columns=columns)


def _when(text: str) -> Question | None:
    found = re.match(r"(?:until )?(?:when|where|what time|at (?:what|which) (?:time|moment|point|second))\b(.*)", text)
    if found is None:
        return None
    somebody = r"\b(?:do|does|did) (?:she|he|they|someone|somebody|anyone|anybody)\b"
    thing = thing_in(re.sub(rf"\b(?:first|last)\b|{somebody}", " ", found[1]))
    return Question("when", "en", thing, last=bool(re.search(r"\blast\b", text)))


_PICTURE: Final = r"(?:picture|frame|image|screen|shot)s?"
_IN_PICTURE: Final = rf" (?:in|on|within) (?:the |a )?{_PICTURE}\b"


def _where(text: str) -> Question | None:
    """Understands where in the picture something is; "where does it appear" asks for the time."""
    found = re.match(r"where(?:abouts)?(?:'s| is| are)\b(.*)", text) or (
        re.match(r"where(?:abouts)?\b(.*)", text) if re.search(_IN_PICTURE, text) else None
    )
    return None if found is None else Question("where", "en", thing_in(re.sub(_IN_PICTURE, " ", found[1])))


def _share(text: str) -> Question | None:
    found = re.match(rf"how much of (?:the |a |its )?{_PICTURE}\b(.*)", text)
    if found is None:
        return None
    rest = re.sub(r"\b(?:fill(?:s|ed)?|cover(?:s|ed)?|tak(?:es?|en) up|occup(?:y|ies|ied)|by)\b", " ", found[1])
    return Question("share", "en", thing_in(rest))


def _neighbour(text: str) -> Question | None:
    found = re.match(
        r"what(?:'s| is| are| comes?| happens?| appears?| can be seen|)\b(?: shown| seen| next)?(.*)", text
    )
    order = re.search(r"\b(after|next|follows?|then|before|precedes?)\b(.*)", text)
    if found is None or order is None:
        return None
    thing = thing_in(re.sub(r"\b(?:that|this|it)\b", " ", order[2]))
    return Question("before" if order[1][0] in "bp" else "after", "en", thing)


def _visible(text: str) -> Question | None:
    found = re.match(r"how long\b(.*)", text) or re.match(r"for how long\b(.*)", text)
    return None if found is None or not thing_in(found[1]) else Question("visible", "en", thing_in(found[1]))


def _often(text: str) -> Question | None:
    found = re.match(r"how (?:often|many times|frequently)\b(.*)", text)
    return None if found is None else Question("often", "en", thing_in(found[1]))


_VIDEOS: Final = r"(?:videos?|clips?|files?|movies?|recordings?)"


def _count(text: str) -> Question | None:
    found = re.match(rf"how many {_VIDEOS}\b(.*)", text)
    return None if found is None else _condition("count", found[1])


def _which(text: str) -> Question | None:
    found = (
        re.match(rf"(?:in )?(?:which|what) {_VIDEOS}\b(.*)", text)
        or re.match(rf"(?:find|list|show|search|give)(?: for| me| all)* {_VIDEOS}\b(.*)", text)
        or re.match(rf"(?:which|what)(?:'s| is| are) the (\w+(?: \w+)*) {_VIDEOS}$", text)
    )
    return None if found is None else _condition("which", found[1])


_EXTREMES: Final = {
    r"\blongest\b|最长": ("duration_s", "most"),
    r"\bshortest\b|最短": ("duration_s", "least"),
    r"\b(?:highest|best|largest) resolution\b|分辨率最[高大]|最清晰": ("resolution", "most"),
    r"\b(?:lowest|worst|smallest) resolution\b|分辨率最[低小]": ("resolution", "least"),
    r"\b(?:highest|fastest) frame ?rate\b|帧率最高": ("fps", "most"),
    r"\b(?:lowest|slowest) frame ?rate\b|帧率最低": ("fps", "least"),
    r"\b(?:largest|biggest)\b|最大": ("size_bytes", "most"),
    r"\bsmallest\b|最小": ("size_bytes", "least"),
    r"\bnewest\b|\blatest\b|最新": ("modified", "most"),
    r"\boldest\b|最旧|最早": ("modified", "least"),
}


def _extreme(text: str) -> tuple[str, str] | None:
    return next((asked for pattern, asked in _EXTREMES.items() if re.search(pattern, text)), None)


_MORE: Final = r"(longer|more|over|above|wider|taller|higher|at least|exceeding|超过|长于|大于|多于|至少|不少于)"
_LESS: Final = r"(shorter|less|under|below|narrower|lower|at most|up to|短于|小于|少于|不到|不超过|至多)"
_NOT_STRICT: Final = ("at least", "at most", "up to", "至少", "不少于", "不超过", "至多")


def bound_in(text: str) -> Bound | None:
    """Finds a condition on the duration, the width or the height in a question."""
    for pattern, side in ((_LESS, "most"), (_MORE, "least")):
        found = re.search(rf"{pattern}(?: than)? ?{_NUMBER} ?{_UNIT}?(.*)", text)
        if found is not None:
            return _bound(side, found[1], found[2], found[3], text)
    return None


def _bound(side: str, word: str, number: str, unit: str | None, text: str) -> Bound | None:
    strict = word not in _NOT_STRICT
    if unit is not None:
        return Bound("duration_s", **{side: seconds_of(number, unit)}, strict=strict)
    column = next(
        (name for name, said in (("width", r"wide|宽"), ("height", r"high|tall|高")) if re.search(said, text)), None
    )
    return None if column is None else Bound(column, **{side: float(number)}, strict=strict)


def _condition(intent: Intent, rest: str) -> Question:
    """Understands what comes after "which videos" or "how many videos"."""
    if (bound := bound_in(rest)) is not None:
        return Question(intent, "en", bound=bound)
    if (extreme := _extreme(rest)) is not None:
        return Question(intent, "en", columns=extreme[:1], extreme=extreme[1])
    if re.search(rf"\b(?:cop(?:y|ies)|duplicates?)\b.*{V}", rest):
        return Question(intent, "en", relation="copies")
    if re.search(rf"\b(?:like|similar|resembles?|near)\b.*{V}", rest):
        return Question(intent, "en", relation="near")
    words = re.search(
        r"(?:have|has|with) (.+?) in (?:its|their|the) (?:file ?)?(?:names?|titles?|subtitles?|words)", rest
    )
    words = words or re.search(r"(?:mentions?|say|says|called|named) (.+)", rest)
    if words is not None:
        return Question(intent, "en", thing_in(words[1]), relation="words")
    return Question(intent, "en", thing_in(rest))


_LONGER: Final = {
    "duration_s": r"\blonger\b|\bshorter\b|更?[长短]",
    "resolution": r"\bhigher resolution\b|\bsharper\b|分辨率|更清晰",
    "fps": r"\b(?:higher|lower) frame ?rate\b|帧率",
    "size_bytes": r"\bbigger\b|\blarger\b|\bsmaller\b|更?[大小]",
    "width": r"\bwider\b|\bnarrower\b|更?宽",
    "height": r"\btaller\b|\bhigher\b|\blower\b|更?高",
    "modified": r"\bnewer\b|\bolder\b|更?[新旧]",
}
_LEAST: Final = r"\bshorter\b|\bsmaller\b|\blower\b|\bnarrower\b|\bolder\b|[短小低旧]"
COMPARED: Final = ("duration_s", "resolution", "fps", "size_bytes")
"""Columns by which two videos are compared if none is named."""


def _compare(text: str) -> Question | None:
    if len(set(re.findall(V, text))) < 2:
        return None
    column = next((name for name, pattern in _LONGER.items() if re.search(pattern, text)), None)
    columns = (column,) if column else COMPARED
    extreme = "least" if re.search(_LEAST, text) else "most"
    if re.match(rf"is\b.*{V}.*than.*{V}|{V} *比 *{V}", text) and column:
        return Question("compare", "en", columns=columns, extreme=extreme, relation="yes or no")
    if re.match(r"which\b|哪", text) or "哪" in text:
        return Question("compare", "en", columns=columns, extreme=extreme, relation="which")
    found = re.search(r"compare|differ|\bversus\b|\bvs\b|比较|对比|区别", text)
    return None if found is None else Question("compare", "en", columns=columns)


_CLOCK: Final = r"(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)"


def time_in(text: str) -> float | None:
    """Finds a moment such as 1:15, 5 s or 第5秒 in a question; returns seconds."""
    if (clock := re.search(_CLOCK, text)) is not None:
        hours, minutes, seconds = (float(part or 0) for part in clock.groups())
        return 3600 * hours + 60 * minutes + seconds
    found = re.search(rf"(?:at|around|after|第|在) ?(?:second )?{_NUMBER} ?{_UNIT}", text)
    return None if found is None else seconds_of(found[1], found[2])


def _at(text: str) -> Question | None:
    time_s = time_in(text)
    return Question("at", "en", time_s=time_s) if time_s is not None and text.startswith("what") else None


def _edge(text: str) -> Question | None:
    if not re.match(r"what|describe", text):
        return None
    if re.search(r"\b(?:first|beginning|start|opening|begin with|starts? with)\b", text):
        return Question("first", "en")
    return Question("last", "en") if re.search(r"\b(?:last|end|ending|finally|ends? with)\b", text) else None


def _together(text: str) -> Question | None:
    found = re.match(
        r"what\b.*?\b(?:together with|along with|at the same time as|beside|besides|alongside|with)\b(.*)", text
    )
    if found is not None:
        return Question("together", "en", thing_in(found[1]))
    found = re.match(r"(?:does|do|are|is|when do|when are)\b(.*?)\b(?:together|at the same time)\b", text)
    return None if found is None else Question("together", "en", thing_in(found[1]))


def _words(text: str) -> Question | None:
    return Question("words", "en") if re.search(r"what\b.*\b(?:said|spoken|says|subtitles?|words)\b", text) else None


def _what(text: str) -> Question | None:
    found = re.match(r"(?:what|describe|summari[sz]e|tell me about)\b(.*)", text)
    if found is None:
        return None
    rest = re.sub(r"'s|\b(?:can be|is|about|kind|sort|content|contents|happens?|going|on)\b", " ", found[1])
    return None if thing_in(rest) else Question("what", "en")


def _has(text: str) -> Question | None:
    found = (
        re.match(r"(?:is|are) there (.*)", text)
        or re.match(rf"(?:does|do|did) .*?{V} (?:show|shows|contain|have|include)\b(.*)", text)
        or re.match(r"(?:can|could) (?:i|we|you|one) (?:see|find) (.*)", text)
        or re.match(rf"(?:is|are|does|do) (.*?)(?:shown|visible|seen|appear|in) .*?{V}", text)
    )
    return None if found is None or not thing_in(found[1]) else Question("has", "en", thing_in(found[1]))


_ENGLISH_PATTERNS: Final[tuple[Callable[[str], Question | None], ...]] = (
    _compare, _count, _which, _share, _where, _property, _often, _visible, _together, _when, _at, _neighbour, _edge,
    _words, _what, _has,
)  # fmt: skip


_AROUND: Final = re.compile(
    rf"{V}|有没有|是否|第一次|首次|最后一次|最先|最后|什么时候|何时|第几秒|几秒|什么时间|出现|可以|能够?|看到|看见|看得到|显示|视频|片段|影片|里面|"
    r"它|里|中|在|会|的|了|有|是|过|从|这个|那个|请问|时间|一共|总共|哪些|哪个|哪几个|多少次|几次|多少个|几个|多少|多久|多长|吗|呢|"
    r"一起|同时|什么|之后|之前|后面|前面|接下来|找出?|找到|包含|一个|一只|次|请|所有|[，、？ ]"
)


def thing_in_chinese(text: str) -> str:
    """Returns the words for a thing in a Chinese question, without what surrounds them."""
    return " ".join(_AROUND.sub(" ", text).split())


def _zh(intent: Intent, pattern: str) -> Callable[[str], Question | None]:
    def make(text: str) -> Question | None:
        if not re.search(pattern, text):
            return None
        return Question(intent, "zh", thing_in_chinese(text), last="最后" in text)

    return make


def _zh_what(intent: Intent, pattern: str) -> Callable[[str], Question | None]:
    def make(text: str) -> Question | None:
        return Question(intent, "zh") if re.search(pattern, text) else None

    return make


def _zh_videos(text: str) -> Question | None:
    found = re.search(
        r"(哪些|哪个|哪几个|找出?(?:所有)?)(?:视频|片段|影片)|(多少|几)个(?:视频|片段|影片)|找.+的(?:视频|片段|影片)",
        text,
    )
    if found is None:
        return None
    intent: Intent = "count" if found[2] else "which"
    if (bound := bound_in(text)) is not None:
        return Question(intent, "zh", bound=bound)
    if (extreme := _extreme(text)) is not None:
        return Question(intent, "zh", columns=extreme[:1], extreme=extreme[1])
    if (words := re.search(r"(?:名字|名称|标题|字幕)[里中]?(?:含有|包含|有|提到)(.+)|提到了?(.+)", text)) is not None:
        return Question(intent, "zh", thing_in_chinese(words[1] or words[2]), relation="words")
    relation = "copies" if "副本" in text or "重复" in text else "near" if re.search(r"相似|类似|像", text) else ""
    return Question(intent, "zh", "" if relation else thing_in_chinese(text), relation=relation)


def _zh_at(text: str) -> Question | None:
    time_s = time_in(text)
    return None if time_s is None or "什么" not in text else Question("at", "zh", time_s=time_s)


def _zh_visible(text: str) -> Question | None:
    found = re.search(r"出现|显示|看到|看见", text) and re.search(r"多久|多长时间|几秒", text)
    return Question("visible", "zh", thing_in_chinese(text)) if found and thing_in_chinese(text) else None


def _zh_property(text: str) -> Question | None:
    columns = _asked_columns(text)
    rest = thing_in_chinese(re.sub("|".join(_COLUMNS.values()), "", text))
    if not columns and "多久" in text and not rest:
        return Question("property", "zh", columns=("duration_s",))
    return None if not columns or rest else Question("property", "zh", columns=columns)


_ZH_PICTURE: Final = "(?:画面|图像|镜头|屏幕)"


def _zh_in_picture(intent: Intent, pattern: str) -> Callable[[str], Question | None]:
    def make(text: str) -> Question | None:
        rest, count = re.subn(pattern, " ", text)
        return Question(intent, "zh", thing_in_chinese(rest)) if count else None

    return make


_CHINESE_PATTERNS: Final[tuple[Callable[[str], Question | None], ...]] = (
    _compare,
    _zh_in_picture("where", rf"在?{_ZH_PICTURE}[里中]?的?(?:哪里|哪儿|何处|什么位置|什么地方|哪个位置)"),
    _zh_in_picture("share", rf"占了?{_ZH_PICTURE}的?(?:多少|多大|几成)(?:比例|面积)?"),
    _zh_videos,
    _zh_visible,
    _zh_property,
    _zh("often", r"多少次|几次|多频繁"),
    _zh_at,
    _zh("after", r"之后|后面|接下来|然后"),
    _zh("before", r"之前|前面"),
    _zh("together", r"一起|同时"),
    _zh("when", r"什么时候|何时|几秒|什么时间"),
    _zh_what("first", r"开头|开始|最先|首先"),
    _zh_what("last", r"结尾|最后|末尾"),
    _zh_what("words", r"说了什么|字幕|说什么"),
    _zh_what("what", r"有什么|是什么|内容|显示什么|描述|看到什么|讲什么"),
    _zh("has", r"有.+吗|能看到.+吗|是否|有没有"),
)
