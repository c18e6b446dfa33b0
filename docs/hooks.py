"""MkDocs hooks: build the site from the pages where they lie in the checkout, and let it load nothing from elsewhere.

MkDocs takes pages from one folder only. README, CONTRIBUTING and the pages of `deploy/` lie elsewhere, because GitHub
shows them there. The first hook gives every page its path in the checkout, so that a link works on both.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
PLACES = ("*.md", "docs/*.md", "docs/*.png", "docs/*.svg", "docs/examples/*", "deploy/**/*.md")
LOADED = re.compile(r"""<(?:script|img|iframe)[^>]+src="https?:[^"]*"|<link[^>]+stylesheet[^>]+href="https?:[^"]*\"""")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replaces the pages of `docs/` by all pages of the checkout."""
    for file in list(files):
        if file.src_dir == config.docs_dir:
            files.remove(file)
    for place in PLACES:
        for path in sorted(ROOT.glob(place)):
            if path.is_file():
                files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_post_page(output: str, **_: Any) -> str:
    """Fails the build for a page that would load a script, a picture or a style from another server."""
    if found := LOADED.search(output):
        raise PluginError(f"a page loads from elsewhere: {found[0]}")
    return output
