"""Why videos fail and what a person can do about it, in Chinese."""

from typing import Final

REASONS: Final[dict[str, str]] = {
    "empty_file": "文件是空的",
    "not_a_video": "允许使用的解复用器都不认识这个文件",
    "no_video_stream": "文件可以打开，但没有视频流",
    "unsupported_codec": "这里没有这种视频编码的解码器",
    "encrypted": "视频流已加密",
    "no_frames": "视频流解不出任何一帧",
    "truncated": "文件在文件头所说的结尾之前就结束了",
    "corrupt": "部分或全部帧无法解码",
    "unreadable": "无法读取文件",
    "changed": "在计划和解码之间，文件被改动或消失了",
    "too_large": "超过了大小、流数、速率或时长的上限",
    "deadline": "解码没有按时完成，已被停止",
    "decoder_crash": "解码进程崩溃了",
    "bad_features": "模型给出的数不是有限的数，或超过 65,504",
}
"""Chinese for each of `transforms.video.failures.REASONS`."""

ADVICE: Final[dict[str, str]] = {
    "empty_file": "复制或录制时没有写入任何字节。请重新复制，或删除它。",
    "not_a_video": "请用播放器打开它。如果能播放，请报告这个文件；如果不能，用 --exclude 排除它。",
    "no_video_stream": "它只有声音或文字。请用 --exclude 排除它。",
    "unsupported_codec": "请转换一次，例如转成 H.264，并保留原文件。",
    "encrypted": "请先解密，或用 --exclude 排除它。",
    "no_frames": "文件头还在，画面没有了。请从备份恢复。",
    "truncated": "复制或录制被中断了。请从来源重新复制。",
    "corrupt": "请与备份比较。磁盘或传输损坏了它。",
    "unreadable": "请检查文件的权限和所在的磁盘；下一夜会再试。",
    "changed": "当时它正在被写入。下一夜会自动再试。",
    "too_large": "它超过了保护这台机器的上限。SECURITY.md 列出了这些上限。",
    "deadline": "它的解码比别的慢得多。请转换它，或在某一夜调高 --deadline-seconds。",
    "decoder_crash": "解码器只在它上面崩溃。请报告这个文件；在此之前用 --exclude 排除它。",
    "bad_features": "模型处理不了它的画面。请换一个模型或精度。",
}
"""Chinese for each of `pipelines.pages.advice.ADVICE`."""
