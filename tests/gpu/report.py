"""The results of the GPU benchmark as a file and as Markdown."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from models.atomic_file import atomic_path
from models.errors import ReelbeamError

FORMAT = 1
Row = dict[str, Any]


class ResultsUnreadable(ReelbeamError):
    """A file holds no results of this benchmark."""


class Results:
    """What has been measured so far; each addition is written at once, so that a run that is cut short leaves it.

    Attributes:
        data: the whole as JSON.
    """

    def __init__(self, path: Path, machine: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        self._path = path
        self.data: dict[str, Any] = {
            "format": FORMAT, "finished": False, "machine": dict(machine), "settings": dict(settings),
            "videos": [], "networks": [], "decoding": [], "whole": [], "tensorflow": [], "left_out": [], "failed": [],
        }  # fmt: skip
        self.write()

    def add(self, part: str, **row: object) -> None:
        """Adds a row to a part."""
        self.data[part].append(row)
        self.write()

    def leave_out(self, what: str, why: str) -> None:
        """Notes what was not measured."""
        self.add("left_out", what=what, why=why)

    def finish(self, took_s: float) -> None:
        """Notes that the run came to its end."""
        self.data |= {"finished": True, "took_s": round(took_s, 1)}
        self.write()

    def write(self) -> None:
        with atomic_path(self._path) as part:
            part.write_text(json.dumps(self.data, indent=1), encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """Reads what `Results` wrote.

    Raises:
        ResultsUnreadable: it cannot be read, or is something else.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultsUnreadable(f"cannot read {path}: {error}") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ResultsUnreadable(f"{path} holds no results of this benchmark")
    return data


def markdown(data: Mapping[str, Any]) -> str:
    """The results as a part of a Markdown document."""
    paragraphs = [_machine(data), *_tables(data), *_left_out(data)]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph) + "\n"


def _machine(data: Mapping[str, Any]) -> str:
    machine, settings = data["machine"], data["settings"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    device = f"{settings['device_name']} through Keras with {settings['backend']}"
    lines = [
        f"Networks ran on: {device}."
        + ("" if settings["on_gpu"] else " **No GPU: these figures say nothing about one.**"),
        f"GPUs (name, driver, memory): {'; '.join(machine['gpus']) or 'none'}. Cores: {machine['cores']} of {machine['cpu']}.",
        f"{machine['system']}, Python {machine['python']}, FFmpeg {machine['ffmpeg']}, {packages}.",
    ]
    if not data["finished"]:
        lines.append("The run was cut short.")
    return "\n".join(lines)


def _tables(data: Mapping[str, Any]) -> Iterable[str]:
    yield _table("Videos", VIDEOS, data["videos"])
    yield _table("Networks alone, pictures on the device (weights of ViT are random)", NETWORKS, data["networks"])
    yield _table("Decoding alone, one frame a second of video", DECODING, data["decoding"])
    yield _table("The whole: decoders feed the device", WHOLE, data["whole"])
    yield _table("Cores that one device needs, from the two parts alone (computed)", NEEDED, cores_needed(data))
    yield _table("TensorFlow's engine, pictures in the machine's memory", TENSORFLOW, data["tensorflow"])


def _left_out(data: Mapping[str, Any]) -> Iterable[str]:
    if data["left_out"]:
        yield "Not measured: " + "; ".join(f"{one['what']} ({one['why']})" for one in data["left_out"]) + "."
    if data["failed"]:
        yield "Failed: " + "; ".join(f"{one['what']} ({one['error']})" for one in data["failed"]) + "."


Columns = Sequence[tuple[str, str, str]]
"""(key, heading, format)."""

VIDEOS: Columns = (
    ("name", "video", ""), ("codec", "codec", ""), ("width", "width", ""), ("height", "height", ""), ("fps", "fps", ".4g"),
    ("duration_s", "s", ".1f"), ("size_bytes", "bytes", ","), ("frames", "samples", ""),
)  # fmt: skip
NETWORKS: Columns = (
    ("network", "network", ""), ("precision", "precision", ""), ("batch_size", "batch", ""),
    ("frames_per_s", "frames/s", ",.0f"), ("spread", "spread", ".0%"), ("batch_msec", "ms a batch", ".2f"),
    ("video_hours_per_hour", "video-hours an hour", ",.0f"), ("difference", "difference from float32 on the CPU", ".1e"),
    ("compile_s", "s to build and compile", ".1f"),
)  # fmt: skip
DECODING: Columns = (
    ("video", "video", ""), ("processes", "processes", ""), ("frames_per_s", "frames/s", ",.1f"),
    ("video_hours_per_hour", "video-hours an hour", ",.1f"), ("cpu_msec_a_frame", "CPU ms a frame", ".1f"),
    ("videos", "times decoded", ""),
)  # fmt: skip
WHOLE: Columns = (
    ("network", "network", ""), ("precision", "precision", ""), ("batch_size", "batch", ""), ("video", "video", ""),
    ("processes", "decoder processes", ""), ("frames_per_s", "frames/s", ",.1f"),
    ("video_hours_per_hour", "video-hours a device-hour", ",.1f"), ("idle_share", "device idle (computed)", ".0%"),
    ("feeder_cpu_share", "feeder's CPU", ".0%"), ("window_frames", "frames counted", ","), ("videos", "times decoded", ""),
)  # fmt: skip
NEEDED: Columns = (
    ("network", "network", ""), ("precision", "precision", ""), ("video", "video", ""),
    ("network_frames_per_s", "network's frames/s", ",.0f"), ("process_frames_per_s", "a process's frames/s", ",.1f"),
    ("cores", "cores", ",.1f"),
)  # fmt: skip
TENSORFLOW: Columns = (
    ("device", "device", ""), ("precision", "precision", ""), ("asked_batch_size", "batch", ""),
    ("batch_size", "batch at the end", ""), ("frames_per_s", "frames/s", ",.0f"), ("peak_bytes", "peak bytes", ","),
)  # fmt: skip


def cores_needed(data: Mapping[str, Any]) -> list[Row]:
    """How many cores would decode as fast as each network runs at its best batch size.

    A core is one decoder process of the run with the most processes, so that what processes take from one another is
    part of it. The quotient promises nothing beyond the cores that were there.
    """
    most: dict[str, Row] = {}
    for row in sorted(data["decoding"], key=lambda row: row["processes"]):
        most[row["video"]] = row
    rows = []
    for (network, precision), fastest in best_batches(data["networks"]).items():
        for video, row in most.items():
            each = row["frames_per_s"] / row["processes"]
            rate = fastest["frames_per_s"]
            rows.append({
                "network": network, "precision": precision, "video": video, "network_frames_per_s": rate,
                "process_frames_per_s": each, "cores": rate / each,
            })  # fmt: skip
    return rows


def best_batches(rows: Iterable[Row]) -> dict[tuple[str, str], Row]:
    """The row with most frames a second of each (network, precision)."""
    best: dict[tuple[str, str], Row] = {}
    for row in rows:
        key = row["network"], row["precision"]
        if key not in best or row["frames_per_s"] > best[key]["frames_per_s"]:
            best[key] = row
    return best


def _table(title: str, columns: Columns, rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    lines = [
        f"{title}:",
        "",
        "| " + " | ".join(heading for _, heading, _ in columns) + " |",
        "|---" * len(columns) + "|",
    ]
    keys = [key for key, _, form in columns if not form and key not in ("codec", "name", "videos", "width", "height")]
    for row in sorted(rows, key=lambda row: tuple(row[key] for key in keys)):
        cells = ["" if row[key] is None else format(row[key], form) for key, _, form in columns]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
