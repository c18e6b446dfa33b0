"""Writes durations, sizes and speeds in the unit that fits them."""


def human_time(seconds: float) -> str:
    """Returns a duration for people: 0.4 s, 7 s, 12 min, 3.4 h, 120 h."""
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 100 * 3600 else f"{seconds / 3600:,.0f} h"


def human_progress(done_s: float, planned_s: float) -> str:
    """Returns how much of a duration is done, in the unit that fits the whole: 3 of 40 s, 0.4 of 3.0 h."""
    if planned_s < 100:
        return f"{done_s:.0f} of {planned_s:.0f} s"
    if planned_s < 100 * 60:
        return f"{done_s / 60:.1f} of {planned_s / 60:.1f} min"
    return f"{done_s / 3600:.2f} of {planned_s / 3600:.2f} h"


def human_speed(times_real_time: float) -> str:
    """Returns a speed relative to real time for people: 0.04x, 3.2x, 97x; an empty text where nothing was done."""
    if times_real_time <= 0:
        return ""
    return f"{times_real_time:.0f}x" if times_real_time >= 9.95 else f"{times_real_time:.2g}x"


def human_bytes(size: float) -> str:
    """Returns a size for people: 999 B, 12 kB, 3.4 GB."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            return f"{size:.0f} {unit}" if unit in ("B", "kB") else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError


def clock(seconds: float) -> str:
    """Returns a time in a video as people write it: 0:07, 1:02:03."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
