"""Measure the structure of a checkout: sizes of functions and modules, import circles, tests and docstrings.

    python -m tests.benchmarks.structure [CHECKOUT ...]

Prints one Markdown table with a column for each checkout (by default this one); `docs/architecture.md` shows it. Only
the text of the checkout is read, nothing of it is imported.
"""

import ast
import json
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

from tests.dependencies import dependencies, modules

SOURCES = ("pipelines", "transforms", "models", "reelbeam.py")
GOOGLE = ["--isolated", "--preview", "--config", 'lint.pydocstyle.convention = "google"', "--exit-zero"]
MISSING = ["--select", "D1", "--ignore", "D102,D105,D107"]
FORM = ["--select", "D2,D3,D4"]
ERRORS = ["--select", "DOC501"]

Function = ast.FunctionDef | ast.AsyncFunctionDef


def source_paths(root: Path) -> list[Path]:
    """The Python files of the packages, sorted."""
    found = [root / name for name in SOURCES]
    return sorted(path for one in found for path in (one.rglob("*.py") if one.is_dir() else [one]) if path.is_file())


def test_paths(root: Path) -> list[Path]:
    """The Python files of the tests, sorted; benchmarks and the peers they run are not tests."""
    return sorted(path for path in (root / "tests").rglob("*.py") if not {"benchmarks", "peers"} & set(path.parts))


def code_lines(path: Path) -> int:
    """Lines of a file that are not blank."""
    return sum(1 for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


def function_lengths(path: Path) -> Iterator[int]:
    """Lines of each function from `def` to its end, without its docstring; nested functions count again."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Function):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node) is not None:
                docstring = node.body[0]
                assert docstring.end_lineno is not None
                lines -= docstring.end_lineno - docstring.lineno + 1
            yield lines


def percentile(values: Iterable[int], share: float) -> int:
    """The smallest value that is not below this share of the values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Import circles: each is found, cut at one import and the search goes on until none is left."""
    left = {name: set(wanted) for name, wanted in graph.items()}
    found = []
    while True:
        try:
            TopologicalSorter(left).prepare()
        except CycleError as error:
            circle = error.args[1]
            found.append(circle)
            for imported, importer in pairwise(circle):
                left[importer].discard(imported)
        else:
            return found


def ruff_findings(root: Path, rules: list[str]) -> int:
    """Number of findings of these ruff rules in the packages."""
    paths = [str(root / name) for name in SOURCES if (root / name).exists()]
    command = [sys.executable, "-m", "ruff", "check", "--output-format", "json", *GOOGLE, *rules, *paths]
    return len(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def measure(root: Path) -> dict[str, str]:
    """The figures of one checkout, by the name of their row."""
    sources, tests = source_paths(root), test_paths(root)
    lengths = [length for path in sources for length in function_lengths(path)]
    files = [path for path in sources if path.name != "__init__.py"]
    sizes = [code_lines(path) for path in files]
    source_lines, test_lines = sum(map(code_lines, sources)), sum(map(code_lines, tests))
    largest = max(Counter(path.parent for path in files).values())
    return {
        "functions": str(len(lengths)),
        "lines of a function: median, 90th percentile, longest": (
            f"{statistics.median(lengths):g}, {percentile(lengths, 0.9)}, {max(lengths)}"
        ),
        "modules": str(len(sizes)),
        "lines of a module: median, longest": f"{statistics.median(sizes):g}, {max(sizes)}",
        "modules in the fullest folder": str(largest),
        "import circles": str(len(circles(dependencies(modules(root, sources))))),
        "source lines": f"{source_lines:,}",
        "test lines": f"{test_lines:,}",
        "test lines for each source line": f"{test_lines / source_lines:.2f}",
        "public objects without a docstring": str(ruff_findings(root, MISSING)),
        "docstrings that depart from Google style": str(ruff_findings(root, FORM)),
        "docstrings that leave out an error they raise": str(ruff_findings(root, ERRORS)),
    }


def main() -> None:
    """Prints the table."""
    roots = [Path(name).resolve() for name in sys.argv[1:]] or [Path(__file__).resolve().parents[2]]
    columns = [measure(root) for root in roots]
    print(f"| | {' | '.join(root.name for root in roots)} |")
    print(f"|---{'|---' * len(roots)}|")
    for name in columns[0]:
        print(f"| {name} | {' | '.join(column[name] for column in columns)} |")


if __name__ == "__main__":
    main()
