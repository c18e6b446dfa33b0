"""The words of the pages in English and Chinese."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Final

from models.text.label_texts import imagenet_label_texts
from models.visual.hedging import group_names_zh

CHINESE: Final[dict[str, str]] = {
    "Search": "搜索",
    "Nights": "各夜",
    "Labels": "标签",
    "Failures": "失败",
    "What do you look for?": "想找什么？",
    "Search with a picture": "用图片搜索",
    "Filters": "筛选",
    "Label": "标签",
    "Name or folder": "文件名或文件夹",
    "At least, seconds": "最短（秒）",
    "At most, seconds": "最长（秒）",
    "Changed since": "修改不早于",
    "Changed until": "修改不晚于",
    "At least, pixels high": "最低高度（像素）",
    "Fills the picture": "占画面比例",
    "any": "不限",
    "results": "个结果",
    "Nothing found": "没有找到",
    "Like": "相似于",
    "Like a picture that was sent": "与所发送的图片相似",
    "More like this": "更多相似的",
    "like this moment": "与此刻相似的",
    "More like this moment": "更多与此刻相似的",
    "Videos like it": "相似的视频",
    "What is seen when": "何时看到什么",
    "What is done when": "何时做什么",
    "Where in the picture": "在画面何处",
    "Heat map of the words, if the picture speaks for them": "所问之词的热图（若画面中有相符之处）",
    "How well each moment fits": "每一刻的符合程度",
    "Ask about this video": "就这个视频提问",
    "When does the dog appear?": "狗什么时候出现？",
    "Ask": "提问",
    "Technical data": "技术信息",
    "length": "时长",
    "size": "大小",
    "pixels": "像素",
    "codec": "编码",
    "container": "容器",
    "frames sampled": "抽取的帧",
    "changed": "修改时间",
    "processed": "处理时间",
    "model": "模型",
    "Only a part of this video decodes.": "这个视频只能解码一部分。",
    "The archive no longer has this file.": "档案里已经没有这个文件。",
    "Your browser cannot play this format; these are its pictures.": "浏览器不能播放这种格式；下面是它的画面。",
    "This file cannot be played here; these are its pictures.": "这个文件在这里不能播放；下面是它的画面。",
    "A small copy without sound: your browser cannot play the original.": "浏览器不能播放原文件；这是无声的小副本。",
    "run": "运行",
    "began": "开始",
    "took": "用时",
    "found": "找到",
    "unchanged": "未变",
    "ok": "成功",
    "partial": "部分",
    "failed": "失败",
    "gone": "消失",
    "video": "视频",
    "speed": "速度",
    "videos": "个视频",
    "nights": "夜",
    "message": "说明",
    "What to do": "怎么办",
    "No video fails.": "没有失败的视频。",
    "There is no such page.": "没有这个页面。",
    "This cannot be answered now.": "现在无法回答。",
    "This cannot be asked.": "不能这样问。",
    "Nothing here fits these words well.": "没有很符合这些词的视频。",
    "Less likely": "可能性较小",
    "Show more": "显示更多",
    "Status": "状态",
    "Length": "时长",
    "Resolution": "分辨率",
    "Changed": "修改时间",
    "last day": "最近一天",
    "last week": "最近一周",
    "last month": "最近一月",
    "last year": "最近一年",
    "older": "更早",
    "This catalog has no stored pictures of this video.": "目录库里没有存储这个视频的画面。",
    "They are drawn from the archive.": "画面临时从档案的文件里取出。",
    "nothing to do": "无事可做",
    "video processed": "处理的视频",
    "speed, times real time": "速度（实时的倍数）",
    "failed videos": "失败的视频",
    "{title}: highest {highest} ({name}), newest {newest}": "{title}：最高 {highest}（{name}），最新 {newest}",
    "Skip to the results": "跳到结果",
    "failures by reason": "失败原因",
    "and {number} more": "还有 {number} 个",
    "and {runs} before these": "还有{runs}更早",
    "Rows of this night that later nights superseded were dropped; the lists below show what is left.": (
        "本次运行中被之后的运行取代的行已删除；下面的列表只显示仍保留的内容。"
    ),
    "A run that began at {time} is not finished; it has {frames} so far.": (
        "{time} 开始的一次运行还没有完成；目前有{frames}。"
    ),
    "This video failed": "这个视频处理失败",
    "attempts": "尝试",
    "first seen": "首次发现",
    "last seen": "最近一次",
    "frames": "帧",
    "runs": "次运行",
    "Night of {day}": "{day} 的夜间运行",
    "Run {run} on {host}: began {time}, took {length}.": "运行 {run}，主机 {host}：{time} 开始，用时 {length}。",
    "Figures of this run": "这次运行的数字",
    "{found} found = {skipped} unchanged + {ok} ok + {partial} partial + {failed} failed + {left} left.": (
        "找到 {found} = 未变 {skipped} + 成功 {ok} + 部分 {partial} + 失败 {failed} + 剩余 {left}。"
    ),
    "{found} found = {skipped} unchanged + {ok} ok + {partial} partial + {failed} failed.": (
        "找到 {found} = 未变 {skipped} + 成功 {ok} + 部分 {partial} + 失败 {failed}。"
    ),
    "The night was committed in {number} parts.": "这一夜分 {number} 次提交。",
    "left": "剩余",
    "{moved} moved and {copied} copied videos were not decoded: their content was known.": (
        "{moved} 个移动的视频和 {copied} 个复制的视频没有重新解码：它们的内容已知。"
    ),
    "{number} more were forgotten since.": "另有 {number} 个后来被忘记。",
    "{number} of the unchanged failed too often and are left alone until they change.": (
        "未变的文件中有 {number} 个失败次数过多，改动之前不再尝试。"
    ),
    "The catalog then held {videos}, {length} of video.": "此后目录库有{videos}，共 {length}。",
    "Decoded in part": "部分解码",
    "New or changed": "新的或改动过的",
    "Gone from the archive": "档案里已经没有的",
    "Their rows stay in the catalog. If a disk is not mounted, mount it: the next night finds them again.": (
        "它们的数据仍在目录库里。如果是磁盘没有挂载，请挂载：下一夜会重新找到它们。"
    ),
    "What the archive shows most": "档案里最常见的内容",
    "{share} of {length}": "{length} 的 {share}",
    "shows": "内容",
    "Shows": "内容",
    "all labels": "全部标签",
    "nothing sure": "无法确定",
}
"""Chinese for each English text of the templates."""


CHINESE_LINES: Final[dict[str, str]] = {
    "There is no index yet. Run: reelbeam index": "还没有索引。请运行：reelbeam index",
    "the catalog has no such video": "目录库里没有这个视频",
    "the catalog has no such run": "目录库里没有这次运行",
    "the index does not have this video yet": "索引里还没有这个视频",
    "this address is of another model's picture: send it again": "这个网址属于另一个模型的图片：请重新发送图片",
    "this address of a picture is damaged: send it again": "这个图片网址已损坏：请重新发送图片",
    "this is no picture that can be read": "这不是可以读取的图片",
}
"""Chinese for the lines that say what is wrong and that people see most; others stay English and are marked so."""

CHINESE_UNITS: Final[dict[str, str]] = {"s": "秒", "min": "分钟", "h": "小时", "x": "倍", "B": "字节"}
"""Chinese for the units of `pipelines.terminal.units`; kB, MB, GB and TB are the same in both languages."""

SINGULAR: Final[dict[str, str]] = {
    "videos": "video",
    "results": "result",
    "nights": "night",
    "frames": "frame",
    "runs": "run",
}
"""What English calls one of the things that pages count."""


def language_of(accepted: str | None) -> str:
    """Returns ``zh`` or ``en`` for an `Accept-Language` header (RFC 9110, section 12.5.4): the one with more weight."""
    weights = {"en": 0.0, "zh": 0.0}
    for part in (accepted or "").split(","):
        name, _, weight = part.partition(";q=")
        language = name.strip().lower().split("-")[0]
        try:
            value = float(weight or 1)
        except ValueError:
            continue
        if language in weights:
            weights[language] = max(weights[language], value)
    return "zh" if weights["zh"] > weights["en"] else "en"


def translated(text: str, language: str) -> str:
    """Returns a text of the templates in a language.

    Raises:
        KeyError: the text has no translation; a test renders every page in both languages.
    """
    return text if language == "en" else CHINESE[text]


def label_in(label: str, language: str) -> str:
    """Returns a label or a best label in a language; a user's own classes, which have no other names, stay.

    Args:
        label: as in the tables.
        language: ``en`` or ``zh``.
    """
    return label if language == "en" else _chinese_labels().get(label, label)


@cache
def _chinese_labels() -> Mapping[str, str]:
    classes = {name: text.other_names[0] for name, text in imagenet_label_texts().items() if text.other_names}
    return {**classes, **group_names_zh()}


def many(number: int, things: str, language: str) -> str:
    """Returns a number with what it counts: 1 video, 2 videos.

    Args:
        number: how many.
        things: a key of `SINGULAR`.
        language: ``en`` or ``zh``.
    """
    return f"{number:,} {noun(number, things, language)}"


def noun(number: int, things: str, language: str) -> str:
    """Returns what a number counts: video for 1, videos for others. Arguments are those of `many`."""
    return SINGULAR[things] if number == 1 and language == "en" else translated(things, language)


def units_in(quantity: str, language: str) -> str:
    """Returns a number with its unit, as `pipelines.terminal.units` writes it, in a language."""
    found = re.fullmatch(r"([\d.,]+) ?(\w+)", quantity)
    if language == "en" or found is None or found[2] not in CHINESE_UNITS:
        return quantity
    return f"{found[1]} {CHINESE_UNITS[found[2]]}"
