"""What a run of the GPU benchmark ran on."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import av
import psutil

PACKAGES = ("jax", "jaxlib", "torch", "keras", "tensorflow", "numpy", "av", "opencv-python-headless")


def describe_machine() -> dict[str, Any]:
    """The GPUs with driver and memory as `nvidia-smi` lists them, the cores that this process may use, and versions."""
    return {
        "gpus": _gpus(),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "ffmpeg": av.ffmpeg_version_info,
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }


def _gpus() -> list[str]:
    command = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
