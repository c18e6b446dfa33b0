"""Dependencies point one way: pipelines -> transforms -> models; what must stay light or free of Beam does."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ["models", "transforms", "pipelines"]
BEAM_FREE = ["models", "transforms/video", "transforms/catalog"]
THE_SEAM = "transforms/catalog/storage.py"


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("layer", LAYERS)
def test_no_layer_imports_one_above_it(layer: str) -> None:
    above = LAYERS[LAYERS.index(layer) + 1 :]
    for path in (ROOT / layer).rglob("*.py"):
        wrong = [name for name in imports(path) if name.split(".")[0] in above]
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


@pytest.mark.parametrize("folder", BEAM_FREE)
def test_beam_stays_out(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        if str(path.relative_to(ROOT)) != THE_SEAM:
            assert not [name for name in imports(path) if name.startswith("apache_beam")], path


def test_no_module_is_called_utils() -> None:
    names = {path.stem for layer in LAYERS for path in (ROOT / layer).rglob("*.py")}
    assert not names & {"utils", "util", "common", "helpers", "misc"}


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("pipelines.main", {"apache_beam", "tensorflow", "av", "cv2", "pyarrow"}),
        ("transforms.video.child", {"apache_beam", "tensorflow", "keras", "faiss"}),
        ("transforms.catalog.latest", {"apache_beam", "tensorflow", "av", "cv2"}),
        ("models.visual.bundle", {"apache_beam", "tensorflow", "keras", "av"}),
    ],
)
def test_light_modules_stay_light(module: str, unwanted: set[str]) -> None:
    code = f"import sys, {module}; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not unwanted & {name.split(".")[0] for name in loaded.stdout.split()}
