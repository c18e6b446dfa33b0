"""Words answers in English and Chinese."""

from typing import Any, Final

from transforms.dialogue.questions import Language
from transforms.storage import printable

_MARKS: Final = str.maketrans({"“": '"', "”": '"'})

PHRASES: Final[dict[str, tuple[str, str]]] = {
    "when": ("{thing} first appears in {video} at {start}, until {end} ({name}, score {score}).",
             "{thing}首次出现在{video}的{start}，持续到{end}（{name}，得分{score}）。"),
    "when_last": ("{thing} last appears in {video} at {start}, until {end} ({name}, score {score}).",
                  "{thing}最后一次出现在{video}的{start}，持续到{end}（{name}，得分{score}）。"),
    "again": ("{thing} appears in {video} {count} times in all: {ranges}.",
              "{thing}在{video}中共出现{count}次：{ranges}。"),
    "often_one": ("{thing} appears in {video} 1 time: {ranges}.", "{thing}在{video}中出现1次：{ranges}。"),
    "visible": ("{thing} is visible in {video} for {length}: {ranges}.",
                "{thing}在{video}中出现了{length}：{ranges}。"),
    "after": ("After {thing}, {name} comes in {video} at {start} (score {score}).",
              "{thing}之后，{video}在{start}出现{name}（得分{score}）。"),
    "before": ("Before {thing}, {name} is in {video} from {start} to {end} (score {score}).",
               "{thing}之前，{video}从{start}到{end}是{name}（得分{score}）。"),
    "first": ("The first that {video} surely shows is {name}, from {start} to {end} (score {score}).",
              "{video}最先能确定的是{name}，从{start}到{end}（得分{score}）。"),
    "last": ("The last that {video} surely shows is {name}, from {start} to {end} (score {score}).",
             "{video}最后能确定的是{name}，从{start}到{end}（得分{score}）。"),
    "at": ("At {time}, {video} shows {name} (score {score}).", "{video}在{time}显示{name}（得分{score}）。"),
    "what": ("{video} shows {name} (score {score}).", "{video}的内容是{name}（得分{score}）。"),
    "labels": ("The likeliest labels of {video}: {ranges}.", "{video}最可能的标签：{ranges}。"),
    "together": ("In {video}, {name} is seen together with {thing} from {start} to {end} (score {score}).",
                 "在{video}中，{name}与{thing}一起出现，从{start}到{end}（得分{score}）。"),
    "has": ("Yes: {video} shows {thing} from {start} to {end} ({name}, score {score}).",
            "是的：{video}从{start}到{end}有{thing}（{name}，得分{score}）。"),
    "which": ("{count} videos show {thing}: {videos}.", "有{count}个视频里有{thing}：{videos}。"),
    "which_one": ("1 video shows {thing}: {videos}.", "有1个视频里有{thing}：{videos}。"),
    "meet": ("{count} videos do: {videos}.", "有{count}个视频符合：{videos}。"),
    "meet_one": ("1 video does: {videos}.", "有1个视频符合：{videos}。"),
    "all": ("The catalog has {count} videos.", "目录里共有{count}个视频。"),
    "all_one": ("The catalog has 1 video.", "目录里有1个视频。"),
    "extreme": ("{video}: {property}.", "{video}：{property}。"),
    "property": ("{video}: {property}.", "{video}：{property}。"),
    "compare_yes": ("Yes: {property}.", "是的：{property}。"),
    "compare_no": ("No: {property}.", "不是：{property}。"),
    "compare_which": ("{video}: {property}.", "{video}：{property}。"),
    "compare": ("{property}.", "{property}。"),
    "where": ("{name} is {place} of the picture in {video} at {time} (score {score}).",
              "{video}在{time}，{name}在画面{place}（得分{score}）。"),
    "share": ("{name} fills {share} of the picture in {video} at {time}, the most in it (score {score}).",
              "{video}在{time}，{name}占画面的{share}，为全片最多（得分{score}）。"),
    "words": ("The words that come with {video}: “{words}”.", "{video}附带的文字：“{words}”。"),
    "near": ("Most like {video}: {videos}.", "与{video}最相似的：{videos}。"),
    "copies": ("The same footage as in {video}: {videos}.", "与{video}内容相同的：{videos}。"),
    "nothing": ("Nothing in the catalog shows {thing}.", "目录中没有任何记录显示{thing}。"),
    "nothing_in": ("Nothing in the catalog shows {thing} in {video}.", "目录中没有任何记录显示{video}里有{thing}。"),
    "nothing_sure": ("The catalog has no sure label for that in {video}.", "目录中{video}没有能确定的标签可以回答。"),
    "nothing_such": ("No video of the catalog does.", "目录中没有符合的视频。"),
    "no_value": ("The catalog does not know that of {video}.", "目录中没有{video}的这项数据。"),
    "which_video": ("Which video? Give its file name.", "哪个视频？请给出文件名。"),
    "cannot": (
        "I can answer from the catalog's rows: when, how long and how often something is seen, what is first, last, "
        "after, at a time or together, which or how many videos, and length, size or format.",
        "我只能根据目录中的记录回答：某物何时、多久、几次出现，最先、最后、之后、某一时刻或一起出现什么，哪些或多少个视频，以及时长、大小、格式。"),
}  # fmt: skip
"""What answers say, by kind, in English and Chinese."""

_NAMES: Final[dict[str, tuple[str, str]]] = {
    "duration_s": ("length", "时长"),
    "resolution": ("resolution", "分辨率"),
    "fps": ("frames a second", "帧率"),
    "size_bytes": ("file size", "文件大小"),
    "codec": ("codec", "编码"),
    "container": ("format", "格式"),
    "width": ("width", "宽度"),
    "height": ("height", "高度"),
    "frames_sampled": ("sampled frames", "采样帧数"),
    "modified": ("modified", "修改日期"),
    "title": ("title", "标题"),
    "status": ("status", "状态"),
}


_PLACES: Final = (
    (("at the upper left", "左上方"), ("at the top", "上方"), ("at the upper right", "右上方")),
    (("on the left", "左侧"), ("in the middle", "中央"), ("on the right", "右侧")),
    (("at the lower left", "左下方"), ("at the bottom", "下方"), ("at the lower right", "右下方")),
)
"""The nine parts of a picture, row by row, in English and Chinese."""


def phrase(kind: str, language: Language, **values: object) -> str:
    """Returns a sentence of `PHRASES` with its values; an English one that begins with a thing gets a capital."""
    pattern = PHRASES[kind][language == "zh"]
    text = pattern.format(**values)
    return text[:1].upper() + text[1:] if pattern.startswith("{thing}") else text


def clock(seconds: float) -> str:
    """Returns a time in a video as people write it: 0:07, 1:02:03."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def length(seconds: float, language: Language) -> str:
    """Returns a duration: 7.1 s, or 2:19 (139.4 s) from a minute on."""
    plain = f"{seconds:.1f}".removesuffix(".0") + (" 秒" if language == "zh" else " s")
    return plain if seconds < 60 else f"{clock(seconds)} ({plain})"


def place(x: float, y: float, language: Language) -> str:
    """Returns where in a picture a point is, given in fractions of its width and height: one of nine parts."""
    part = _PLACES[min(2, int(3 * y))][min(2, int(3 * x))]
    return part[language == "zh"]


def score(value: float) -> str:
    """Returns a score with two digits after the point."""
    return f"{value:.2f}"


def quotable(text: str) -> str:
    """Returns a text of the archive as it may stand between quotation marks: safe to print, without such marks."""
    return printable(text.translate(_MARKS))


def property_of(row: dict[str, Any], column: str, language: Language) -> str | None:
    """Returns a value of a row of `videos` with its name and its unit; None if the row has none.

    Args:
        row: the row.
        column: a column, or ``resolution`` for width and height.
        language: of the name.
    """
    value = value_of(row, column)
    if value is None:
        return None
    name = _NAMES[column][language == "zh"]
    return f"{name} {_with_unit(row, column, value, language)}"


def value_of(row: dict[str, Any], column: str) -> Any:
    """Returns what videos are compared by: the value of a column, or the number of pixels for ``resolution``."""
    if column == "resolution":
        return row["width"] * row["height"] if row["width"] and row["height"] else None
    return row[column]


def _with_unit(row: dict[str, Any], column: str, value: Any, language: Language) -> str:
    if column == "duration_s":
        return length(value, language)
    if column == "resolution":
        return f"{row['width']}x{row['height']}"
    if column == "size_bytes":
        return f"{value / 1e6:.1f} MB ({value} bytes)" if value >= 1e6 else f"{value / 1e3:.0f} kB ({value} bytes)"
    if column == "modified":
        return f"{value:%Y-%m-%d}"
    if column == "title":
        return f"“{quotable(value)}”"
    return f"{value:.2f}".rstrip("0").rstrip(".") if column == "fps" else str(value)
