"""The notebook and the service of `docs/examples` run, on a small catalog, and use nothing of the project but its API."""

import ast
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from tests.conftest import ROOT, run_command
from tests.test_layers import LAYERS, imports

EXAMPLES = ROOT / "docs" / "examples"


def cells(path: Path) -> list[dict[str, Any]]:
    """Code cells of a notebook."""
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


@pytest.fixture(scope="module")
def catalog(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples") / "catalog"
    for command in (("classify", "--archive", clips, "--model", "placeholder"), ("index",)):
        done = run_command(*command, "--catalog", folder)
        assert done.code == 0, done.err
    return folder


@pytest.fixture
def service(catalog: Path) -> Iterator[str]:
    """Address of the running service, on a port that the system chose."""
    code = "import runpy, http.server as h, sys\n"
    code += "class Told(h.ThreadingHTTPServer):\n"
    code += "    def serve_forever(self):\n        print(self.server_port, flush=True); super().serve_forever()\n"
    code += "h.ThreadingHTTPServer = Told\n"
    code += f"sys.argv = ['service.py', {str(catalog)!r}, '0']\n"
    code += f"runpy.run_path({str(EXAMPLES / 'service.py')!r}, run_name='__main__')\n"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    port = process.stdout.readline().strip()
    yield f"http://localhost:{port}"
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_the_notebook_runs(catalog: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pandas", reason="needs reelbeam[pandas]")
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    shown: list[int] = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(len(plt.gcf().axes[0].get_children())))
    namespace: dict[str, Any] = {}
    found = cells(EXAMPLES / "catalog.ipynb")
    for number, cell in enumerate(found):
        source = "".join(cell["source"])
        assert number or '"/catalog"' in source
        exec(compile(source.replace('"/catalog"', repr(str(catalog))), f"cell {number}", "exec"), namespace)
    assert len(shown) == 3 and all(shown)
    assert len(namespace["hits"]) == 4 and namespace["times"] == sorted(namespace["times"])
    assert capsys.readouterr().out.count(str(namespace["hits"][1].uri)) == 2
    plt.close("all")


def test_the_notebook_is_stored_without_outputs() -> None:
    for cell in cells(EXAMPLES / "catalog.ipynb"):
        assert (cell["outputs"], cell["execution_count"]) == ([], None)


@pytest.mark.slow
def test_the_service_answers_as_json(service: str, catalog: Path) -> None:
    with urllib.request.urlopen(f"{service}/?q=a+dog&top=2") as response:
        answers = json.load(response)
        assert response.headers["Content-Type"] == "application/json"
    searched = run_command("search", "--catalog", catalog, "a dog", "--top", "2", "--json").json
    assert answers == [
        {"uri": hit["uri"], "score": hit["score"], "start_s": hit["ranges"][0]["start_s"]} for hit in searched
    ]
    for wrong, said in (("/", "the query is empty"), ("/?q=x&top=many", "invalid literal")):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(service + wrong)
        assert refused.value.code == 400 and said in json.load(refused.value)["error"]


def test_examples_import_nothing_private(tmp_path: Path) -> None:
    notebook = tmp_path / "notebook.py"
    notebook.write_text("\n".join("".join(cell["source"]) for cell in cells(EXAMPLES / "catalog.ipynb")))
    examples = [notebook, *EXAMPLES.glob("*.py")]
    assert len(examples) == 2 and {path.suffix for path in EXAMPLES.iterdir()} <= {".py", ".ipynb"}
    for path in examples:
        found = {name.split(".")[0] for name in imports(path)}
        assert "reelbeam" in found and not found & set(LAYERS), path.name


def test_the_readme_imports_nothing_private() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        for block in text.split("```python\n")[1:]:
            tree = ast.parse(block.split("```")[0])
            names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
            names |= {one.name for node in ast.walk(tree) if isinstance(node, ast.Import) for one in node.names}
            assert not {str(name).split(".")[0] for name in names} & set(LAYERS), page.name
