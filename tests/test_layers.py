"""Dependencies point one way: pipelines -> transforms -> models; what must stay light or free of Beam does."""

import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.dependencies import dependencies, imports, modules

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ["models", "transforms", "pipelines"]
BEAM_FREE = [
    "models",
    "transforms/archive",
    "transforms/catalog",
    "transforms/decoder",
    "transforms/dialogue",
    "transforms/retrieval",
    "transforms/video",
]
MUST_NOT_KNOW = {
    "transforms/video": ["transforms.decoder", "transforms.catalog", "transforms.archive", "transforms.retrieval"],
    "transforms/decoder": ["transforms.catalog", "transforms.archive", "transforms.retrieval"],
    "transforms/catalog": ["transforms.archive", "transforms.dialogue", "transforms.retrieval"],
    "transforms/archive": ["transforms.dialogue", "transforms.retrieval"],
    "transforms/retrieval": ["transforms.dialogue"],
    "pipelines/terminal": ["pipelines.commands", "pipelines.jobs"],
    "pipelines/pages": ["pipelines.commands", "pipelines.jobs"],
    "pipelines/web": ["pipelines.commands", "pipelines.jobs"],
    "pipelines/jobs": ["pipelines.commands"],
}
"""Rooms, and those that they must do without."""

GROUND = {"transforms/storage.py", "transforms/fault_points.py"}
"""What every room of `transforms` stands on."""

THE_SEAM = "transforms/storage.py"


@pytest.mark.parametrize("layer", LAYERS)
def test_no_layer_imports_one_above_it(layer: str) -> None:
    above = LAYERS[LAYERS.index(layer) + 1 :]
    for path in (ROOT / layer).rglob("*.py"):
        wrong = [name for name in imports(path) if name.split(".")[0] in above]
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def own_modules() -> dict[str, Path]:
    return modules(ROOT, [path for layer in LAYERS for path in (ROOT / layer).rglob("*.py")])


def circle_of_imports() -> list[str]:
    """Modules each of which imports the next, the first one again at the end; empty if there is no circle."""
    try:
        TopologicalSorter(dependencies(own_modules())).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_module_imports_itself_in_a_circle() -> None:
    assert circle_of_imports() == []


@pytest.mark.parametrize("room", MUST_NOT_KNOW)
def test_rooms_know_only_those_below_them(room: str) -> None:
    for name, wanted in dependencies(own_modules()).items():
        if name.startswith(room.replace("/", ".") + "."):
            wrong = [other for other in wanted for far in MUST_NOT_KNOW[room] if f"{other}.".startswith(f"{far}.")]
            assert not wrong, f"{name} imports {wrong}"


def test_the_ground_stands_on_nothing() -> None:
    for path in GROUND:
        own = {name for name in imports(ROOT / path) if name.split(".")[0] in LAYERS}
        assert own <= {"models.atomic_file", "models.errors", "transforms.fault_points"}, path


def test_what_lies_beside_the_rooms_is_few() -> None:
    """A transform a module, and what workers share: whatever else comes needs a room."""
    loose = {path.name for path in (ROOT / "transforms").glob("*.py")}
    transforms = {path.name for path in (ROOT / "transforms").glob("*.py") if "PTransform)" in path.read_text()}
    assert loose - transforms == {"__init__.py", "elements.py", "fault_points.py", "storage.py", "worker.py"}
    assert {path.name for path in (ROOT / "pipelines").glob("*.py")} == {"__init__.py", "beam_options.py", "worker.py"}


def test_the_public_api_stands_on_transforms_and_nobody_on_it() -> None:
    assert not {name for name in imports(ROOT / "reelbeam.py") if name.split(".")[0] in ("pipelines", "apache_beam")}
    for path in own_modules().values():
        assert "reelbeam" not in imports(path), path


@pytest.mark.parametrize("folder", BEAM_FREE)
def test_beam_stays_out(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        if str(path.relative_to(ROOT)) != THE_SEAM:
            assert not [name for name in imports(path) if name.startswith("apache_beam")], path


def test_no_module_is_called_utils() -> None:
    names = {path.stem for layer in LAYERS for path in (ROOT / layer).rglob("*.py")}
    assert not names & {"utils", "util", "common", "helpers", "misc"}


def test_no_test_needs_a_benchmark() -> None:
    """Benchmarks build on what tests share, never the other way round, and none is collected as a test."""
    for path in [path for path in (ROOT / "tests").rglob("*.py") if "benchmarks" not in path.parts]:
        assert not [name for name in imports(path) if name.startswith("tests.benchmarks")], path
    assert not list((ROOT / "tests" / "benchmarks").rglob("test_*.py"))


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("reelbeam", {"apache_beam", "tensorflow", "av", "cv2", "numpy", "pyarrow"}),
        ("pipelines.commands.main", {"apache_beam", "tensorflow", "av", "cv2", "pyarrow"}),
        ("pipelines.commands.ask", {"apache_beam", "tensorflow", "cv2", "numpy", "pyarrow", "requests"}),
        ("pipelines.commands.classify", {"apache_beam", "tensorflow", "cv2", "numpy", "pyarrow"}),
        ("transforms.decoder.child", {"apache_beam", "tensorflow", "keras", "faiss"}),
        ("transforms.catalog.reading.latest", {"apache_beam", "tensorflow", "av", "cv2"}),
        ("models.visual.bundle", {"apache_beam", "tensorflow", "keras", "av"}),
    ],
)
def test_light_modules_stay_light(module: str, unwanted: set[str]) -> None:
    code = f"import sys, {module}; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not unwanted & {name.split(".")[0] for name in loaded.stdout.split()}
