"""The benchmark of GPUs on the CPU: what it counts is exact, and it stands alone.

Whole runs need JAX, which only the extra `bench` brings. They hide TensorFlow, Beam and pyarrow, as if they were not installed.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.visual.spec import Preprocessing
from tests.command_line import ROOT
from tests.gpu import clips, networks, report, tensorflow_engine, vision_transformer
from tests.gpu.benchmark import Benchmark, Settings
from tests.gpu.clips import Clip
from tests.gpu.decoders import DecoderFailed, Decoders, measure_decoding
from tests.gpu.feeding import Feeder, measure_whole
from tests.peers import pictures as peer

TINY = Preprocessing(2, 2)
HEIGHT, VIDEO_S = 180, 5

HIDING = """
import os
from importlib.machinery import PathFinder

hidden = os.environ["HIDDEN_PACKAGES"].split()
find = PathFinder.find_spec
PathFinder.find_spec = classmethod(
    lambda cls, name, *more, **named: None if name.partition(".")[0] in hidden else find(name, *more, **named)
)
"""
"""As `sitecustomize` it also acts in the processes that a process starts."""

NOT_THERE = ("tensorflow", "apache_beam", "pyarrow")
"""Packages that a machine with a GPU may lack."""


class ArrayStep:
    """A network whose embeddings are the pictures themselves.

    It looks at them as late as it may: whoever changes a batch before it has come back is found out.
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size

    def put(self, pictures: np.ndarray) -> np.ndarray:
        assert len(pictures) == self.batch_size
        return pictures

    def start(self, on_device: np.ndarray) -> np.ndarray:
        return on_device

    def wait(self, outputs: np.ndarray) -> np.ndarray:
        return outputs.reshape(len(outputs), -1).astype(np.float32)


@given(batch_size=st.integers(1, 9), groups=st.lists(st.integers(0, 20), max_size=12))
def test_every_picture_comes_back_once_and_in_order(batch_size: int, groups: list[int]) -> None:
    kept: list[np.ndarray] = []
    feeder = Feeder(ArrayStep(batch_size), TINY, kept.append)
    numbers = np.arange(sum(groups)) % 251
    given_pictures = np.broadcast_to(numbers[:, None, None, None], (len(numbers), 2, 2, 3)).astype(np.uint8)
    for part in np.split(given_pictures, np.cumsum(groups)):
        feeder.take(part)
    feeder.finish()
    assert feeder.frames == len(numbers)
    assert [int(row[0]) for rows in kept for row in rows] == numbers.tolist()
    assert all(len(rows) == batch_size for rows in kept[:-1])


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return clips.describe(clips.make(tmp_path_factory.mktemp("clips"), HEIGHT, VIDEO_S))


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 3])
def test_decoders_count_what_decoding_everything_gives(clip: Clip, processes: int) -> None:
    expected = list(peer.decode(clip.path))
    assert clip.frames == len(expected) == VIDEO_S
    rate = measure_decoding(clip, processes, TINY, seconds=0.2)
    assert rate.videos >= processes
    assert rate.frames == rate.videos * len(expected)
    assert rate.frames_per_s > 0 < rate.cpu_msec_a_frame


@pytest.mark.slow
def test_the_pictures_that_reach_the_device_are_those_of_decoding_everything(clip: Clip) -> None:
    kept: list[np.ndarray] = []
    rate = measure_whole(clip, 2, networks.INPUT, ArrayStep(4), 0.5, kept.append)
    arrived = Counter(row.astype(np.uint8).tobytes() for rows in kept for row in rows)
    assert rate.frames == rate.videos * clip.frames == arrived.total()
    assert rate.window_frames <= rate.frames
    assert arrived == Counter({one.pixels.tobytes(): rate.videos for one in peer.decode(clip.path)})


@pytest.mark.slow
def test_lost_frames_end_the_run(clip: Clip) -> None:
    more = replace(clip, frames=clip.frames + 1)
    with pytest.raises(DecoderFailed, match=f"gave {clip.frames} frames instead of {more.frames}"):
        measure_decoding(more, 1, TINY, seconds=0.1)
    with pytest.raises(DecoderFailed, match="the run is worthless"):
        measure_whole(more, 1, TINY, ArrayStep(2), 0.1)


@pytest.mark.slow
def test_a_file_that_is_no_video_is_named(clip: Clip, tmp_path: Path) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"no video")
    with pytest.raises(DecoderFailed, match=r"cannot decode .*broken\.mp4: "):
        measure_decoding(replace(clip, path=str(path)), 1, TINY, seconds=0.1)


@pytest.mark.slow
def test_a_decoder_that_dies_ends_the_run(clip: Clip) -> None:
    with Decoders(clip, 2, TINY, hand_over=True) as decoders:
        decoders._children[1].kill()
        decoders.go()
        with pytest.raises(DecoderFailed, match=r"decoder process 1 .* died with exit code -9"):
            while decoders.are_running:
                list(decoders.messages(timeout_s=1))
    assert not any(child.is_alive() for child in decoders._children)


def test_results_are_there_before_the_run_ends(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    machine = {
        "gpus": [],
        "cores": 2,
        "cpu": "some",
        "system": "Linux",
        "python": "3.12",
        "ffmpeg": "8",
        "packages": {},
    }
    results = report.Results(path, machine, {"backend": "jax", "device_name": "cpu", "on_gpu": False})
    row = {"video": "720p.mp4", "cpu_msec_a_frame": 40.0, "video_hours_per_hour": 50.0, "videos": 4}
    for processes, rate in ((1, 25.0), (2, 40.0)):
        results.add("decoding", processes=processes, frames_per_s=rate, **row)
    results.leave_out("everything else", "no time left")
    assert report.read(path) == results.data
    shown = report.markdown(report.read(path))
    assert "The run was cut short." in shown
    assert "No GPU: these figures say nothing about one." in shown
    assert "| 720p.mp4 | 2 | 40.0 | 50.0 | 40.0 | 4 |" in shown
    assert "everything else (no time left)" in shown
    results.finish(10)
    assert "cut short" not in report.markdown(report.read(path))


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": 2}'])
def test_other_files_are_no_results(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(report.ResultsUnreadable, match=r"other\.json"):
        report.read(path)


def test_cores_come_from_the_fastest_batch_and_the_most_processes() -> None:
    fast = [
        {"network": "n", "precision": "tf32", "batch_size": size, "frames_per_s": rate}
        for size, rate in ((1, 100.0), (64, 900.0), (512, 800.0))
    ]
    decoded = [
        {"video": "v", "processes": processes, "frames_per_s": rate}
        for processes, rate in ((16, 240.0), (1, 20.0), (4, 70.0))
    ]
    (row,) = report.cores_needed({"networks": fast, "decoding": decoded})
    assert row["process_frames_per_s"] == 15
    assert row["cores"] == 60


def test_differences_are_relative_and_never_hide_what_is_not_finite() -> None:
    ones = np.ones((2, 8), np.float32)
    assert networks.relative_difference(ones * 1.5, ones) == pytest.approx(0.5)
    assert networks.relative_difference(ones * np.float32("nan"), ones) == float("inf")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "weights"), [("vit_b16", 86_567_656), ("vit_ti16", 5_717_416)])
def test_vision_transformers_have_as_many_weights_as_the_papers(name: str, weights: int) -> None:
    """The counts of torchvision's vit_b_16 and of timm's vit_tiny_patch16_224."""
    assert vision_transformer.build(name).count_params() == weights


@pytest.mark.slow
def test_the_tensorflow_engine_is_measured_where_it_is_installed() -> None:
    rows = list(tensorflow_engine.measure_engine("cpu", [("float32", 1), ("float32", 2)], seconds=300))
    assert [(row.precision, row.batch_size, row.peak_bytes) for row in rows] == [
        ("float32", 1, None),
        ("float32", 2, None),
    ]
    assert all(row.frames_per_s > 0 for row in rows)


def environment(folder: Path, *hidden: str) -> dict[str, str]:
    """Variables for a process, and all that it starts, in which packages look as if they were not installed."""
    (folder / "sitecustomize.py").write_text(HIDING)
    path = os.pathsep.join([str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": path, "HIDDEN_PACKAGES": " ".join(hidden)}


def run(folder: Path, *words: str, hidden: tuple[str, ...] = NOT_THERE) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *words]
    return subprocess.run(
        command, cwd=ROOT, env=environment(folder, *hidden), check=False, capture_output=True, text=True
    )


def benchmark(folder: Path, output: Path, *words: str) -> tuple[dict, str]:
    """The results of a run on the CPU with tiny sizes, and what it printed."""
    sizes = [
        "--batch-sizes",
        "2",
        "1",
        "--heights",
        str(HEIGHT),
        "--video-seconds",
        str(VIDEO_S),
        "--processes",
        "2",
        "1",
    ]
    command = [
        "-m",
        "tests.benchmarks.gpu",
        "--device",
        "cpu",
        "--output",
        str(output),
        "--seconds",
        "0.1",
        *sizes,
        *words,
    ]
    done = run(folder, *command)
    assert done.returncode == 0, done.stderr
    return json.loads(output.read_text(encoding="utf-8")), done.stdout


@pytest.fixture
def jax() -> None:
    pytest.importorskip("jax", reason="JAX is not installed: pip install '.[bench]'")


@pytest.mark.slow
@pytest.mark.usefixtures("jax")
def test_the_whole_run_stands_alone(tmp_path: Path) -> None:
    words = ["--networks", "vit_ti16", "--precisions", "float32", "bfloat16", "--minutes", "20"]
    results, shown = benchmark(tmp_path, tmp_path / "results.json", *words)
    assert results["finished"] and not results["settings"]["on_gpu"]
    engine = "TensorFlow's engine in float32 at batch 2, float32 at batch 1"
    assert results["left_out"] == [{"what": engine, "why": tensorflow_engine.NOT_INSTALLED}]
    assert results["failed"] == []
    (video,) = results["videos"]
    assert video["frames"] == VIDEO_S
    alone = {(row["precision"], row["batch_size"]): row for row in results["networks"]}
    assert set(alone) == {(precision, size) for precision in ("float32", "bfloat16") for size in (1, 2)}
    assert all(row["difference"] < 1e-5 for key, row in alone.items() if key[0] == "float32")
    assert all(1e-3 < row["difference"] < 0.1 for key, row in alone.items() if key[0] == "bfloat16")
    for part in ("decoding", "whole"):
        assert {row["processes"] for row in results[part]} == {1, 2}
        assert all(row["frames"] == row["videos"] * VIDEO_S for row in results[part])
    assert all(0 <= row["idle_share"] <= 1 for row in results["whole"])
    assert "No GPU: these figures say nothing about one." in shown


@pytest.mark.slow
@pytest.mark.usefixtures("jax")
def test_a_run_without_time_names_what_it_left_out(tmp_path: Path) -> None:
    results, shown = benchmark(tmp_path, tmp_path / "results.json", "--minutes", "0.001", "--precisions", "tf32")
    left_out = [one["what"] for one in results["left_out"]]
    assert {"vit_b16 in tf32 at batch 1", f"decoding {HEIGHT}p.mp4 in 2 processes"} <= set(left_out)
    assert not results["networks"] and not results["whole"]
    assert "efficientnet_lite0 in tf32 at batch 2 (no time left)" in shown


EMBED = """
import sys
import numpy as np
from tests.gpu import networks

backend = networks.open_backend("cpu")
step = backend.reference(networks.DEFAULT, networks.COMPARED)
np.save(sys.argv[1], networks.embeddings_of(step, networks.some_pictures(networks.COMPARED)))
print(backend.name)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "others"), [("jax", ()), ("torch", ("jax",))])
def test_the_default_network_gives_the_numbers_of_tensorflow(
    tmp_path: Path, name: str, others: tuple[str, ...]
) -> None:
    pytest.importorskip(name, reason=f"{name} is not installed")
    from models.visual.architectures import efficientnet_lite

    output = tmp_path / "embeddings.npy"
    done = run(tmp_path, "-c", EMBED, str(output), hidden=(*NOT_THERE, *others))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == name
    images = networks.some_pictures(networks.COMPARED).astype(np.float32)
    expected, _ = efficientnet_lite.load(networks.DEFAULT).function(images)
    assert networks.relative_difference(np.load(output), np.asarray(expected)) < 1e-5


class ArrayBackend:
    """Networks that need no framework; one kind of arithmetic fails, and large batches do not fit."""

    name, device_name, on_gpu = "arrays", "none", False

    def step(self, network: str, precision: str, batch_size: int) -> ArrayStep:
        if precision == "tf32":
            raise ValueError("no such arithmetic")
        if batch_size > 2:
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return ArrayStep(batch_size)

    def reference(self, network: str, batch_size: int) -> ArrayStep:
        return ArrayStep(batch_size)


@pytest.mark.slow
def test_a_row_that_fails_is_named_and_ends_no_others(
    tmp_path: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorflow_engine, "installed", lambda _: False)
    settings = Settings(
        minutes=10, device="cpu", networks=["vit_b16"], precisions=["float32", "tf32"], batch_sizes=[2, 4],
        heights=[], video_seconds=1, videos=[Path(clip.path)], processes=[2, 1], seconds=0.1, decode_seconds=0.5,
    )  # fmt: skip
    output = tmp_path / "results.json"
    Benchmark(settings, ArrayBackend(), output, tmp_path).run()
    results = report.read(output)
    failed = [(one["what"], one["error"]) for one in results["failed"]]
    assert failed == [(f"vit_b16 in tf32 at batch {size}", "no such arithmetic") for size in (2, 4)]
    assert {"what": "vit_b16 in float32 at batch 4", "why": "does not fit into the device's memory"} in results[
        "left_out"
    ]
    assert [(row["batch_size"], row["difference"]) for row in results["networks"]] == [(2, 0.0)]
    for part in ("decoding", "whole"):
        assert [row["processes"] for row in results[part]] == [2, 1]
        assert all(row["frames"] == row["videos"] * clip.frames for row in results[part])
        assert all(row["video_hours_per_hour"] == pytest.approx(row["frames_per_s"]) for row in results[part])
    assert "Failed: vit_b16 in tf32 at batch 2 (no such arithmetic)" in report.markdown(results)


@pytest.mark.slow
@pytest.mark.usefixtures("jax")
def test_a_video_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    words = ["--device", "cpu", "--output", str(tmp_path / "results.json"), "--videos", str(tmp_path / "gone.mp4")]
    done = run(tmp_path, "-m", "tests.benchmarks.gpu", *words)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "gone.mp4" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_without_a_framework_it_says_what_to_install(tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    done = run(tmp_path, "-m", "tests.benchmarks.gpu", "--output", str(output), hidden=(*NOT_THERE, "jax", "torch"))
    assert done.returncode == 1
    assert done.stderr == "error: this benchmark needs Keras, and JAX or PyTorch: pip install keras jax\n"
    assert not output.exists()
