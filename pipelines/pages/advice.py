"""What a person can do about each reason why a video failed."""

from typing import Final

ADVICE: Final[dict[str, str]] = {
    "empty_file": "The copy or the recording never wrote a byte. Copy the file again or delete it.",
    "not_a_video": "Open it in a player. If it plays there, report the file; if not, leave it out with --exclude.",
    "no_video_stream": "It holds sound or text only. Leave it out with --exclude.",
    "unsupported_codec": "Convert it once, for example to H.264, and keep the original.",
    "encrypted": "Decrypt it first, or leave it out with --exclude.",
    "no_frames": "The header is there and the pictures are not. Restore it from a backup.",
    "truncated": "The copy or the recording was cut off. Copy it again from its source.",
    "corrupt": "Compare it with a backup. The disk or the transfer damaged it.",
    "unreadable": "Check the rights of the file and the disk it lies on; the next night tries again.",
    "changed": "It was being written. The next night tries again by itself.",
    "too_large": "It exceeds a bound that protects the machine. SECURITY.md names the bounds.",
    "deadline": "It decodes far slower than others. Convert it, or raise --deadline-seconds for a night.",
    "decoder_crash": "The decoder died on it, and only on it. Report the file; leave it out with --exclude until then.",
    "bad_features": "The model cannot handle its pictures. Try another model or precision.",
}
"""One or two sentences for each key of `transforms.video.failures.REASONS`."""
