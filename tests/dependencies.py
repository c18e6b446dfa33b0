"""Which modules import which, read from their text: nothing is imported."""

import ast
from collections.abc import Iterable
from pathlib import Path


def modules(root: Path, paths: Iterable[Path]) -> dict[str, Path]:
    """The files below `root` by the dotted names of their modules."""
    return {".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def imports(path: Path) -> set[str]:
    """The modules that a file names in its imports, wherever in it the import stands."""
    return {module for module, *_ in _imports(path)}


def dependencies(known: dict[str, Path]) -> dict[str, set[str]]:
    """For each module the known modules that it imports."""
    found = {}
    for name, path in known.items():
        wanted = {one for module, *inner in _imports(path) for one in (known.keys() & inner) or {module}}
        found[name] = (wanted & known.keys()) - {name}
    return found


def _imports(path: Path) -> list[list[str]]:
    """For each import the module that it names and, where it takes names from that, what modules they would be."""
    found: list[list[str]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [[alias.name] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append([node.module, *(f"{node.module}.{alias.name}" for alias in node.names)])
    return found
