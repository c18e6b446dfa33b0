"""The server starts without what its first page does not need, and gets it when it is needed."""

import gc
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.web.light_start import without_collecting
from tests import videos
from tests.command_line import reelbeam_command
from tests.conftest import ROOT, run_command

NOT_FOR_A_PAGE = {
    "apache_beam", "av", "cv2", "duckdb", "keras", "multiprocessing.forkserver", "pandas.core", "rich", "scipy", "sklearn",
    "tensorflow", "websockets", "ai_edge_litert", "transforms.decoder.pool", "transforms.decoder.stills",
    "transforms.dialogue.questions",
}  # fmt: skip


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    archive = tmp_path_factory.mktemp("archive")
    videos.encode(archive / "one.mp4", videos.RECIPES["mpeg4_mp4"], 2, (64, 48))
    folder = tmp_path_factory.mktemp("start") / "catalog"
    arguments = ("--archive", archive, "--catalog", folder, "--model", "placeholder", "--thumbnail-seconds", 0)
    assert run_command("classify", *arguments).code == 0
    assert run_command("index", "--catalog", folder).code == 0
    return folder


class Served:
    """A server that notes what it imports.

    Args:
        catalog: what it serves.
        notes: file that gets a line for each import.
    """

    def __init__(self, catalog: Path, notes: Path) -> None:
        self._notes = notes
        command = reelbeam_command("serve", "--catalog", catalog, "--port", 0, python=["-X", "importtime"])
        with notes.open("w", encoding="utf-8") as file:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.PIPE, stderr=file, text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
        assert self.process.stdout is not None
        self._address = self.process.stdout.readline().strip()

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self._address + path, timeout=60) as answer:
            return answer.read().decode("utf-8", "replace")

    def imported(self) -> set[str]:
        return {line.rpartition("|")[2].strip() for line in self._notes.read_text(encoding="utf-8").splitlines()}


@pytest.fixture
def served(catalog: Path, tmp_path: Path) -> Iterator[Served]:
    server = Served(catalog, tmp_path / "imports")
    try:
        yield server
    finally:
        server.process.kill()
        server.process.communicate()


@pytest.mark.slow
def test_the_first_page_imports_neither_decoders_nor_what_searches_need(served: Served) -> None:
    page = served.get("/")
    assert "one.mp4" in page
    imported = served.imported()
    assert {"pipelines.web.serving", "transforms.retrieval.search", "jinja2", "pyarrow"} <= imported
    assert sorted(imported & NOT_FOR_A_PAGE) == []
    video_id = page.split('href="/videos/')[1].split('"')[0].split("?")[0]
    served.get(f"/api/v1/videos/{video_id}/picture")
    assert {"cv2", "transforms.decoder.stills"} <= served.imported()
    served.get(f"/api/v1/videos/{video_id}/ask?q=when%20is%20it")
    assert "transforms.dialogue.questions" in served.imported()


def test_garbage_is_looked_for_again_after_the_start() -> None:
    with without_collecting():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError, match="no such catalog"), without_collecting():
        raise ValueError("no such catalog")
    assert gc.isenabled()


@pytest.mark.slow
def test_pyarrow_does_not_bring_pandas_and_pandas_still_works() -> None:
    pytest.importorskip("pandas")
    code = """
import sys
import pyarrow as pa
from pipelines.web.light_start import keep_pandas_out
keep_pandas_out()
assert "NoPandas" not in repr(sys.meta_path)
import numpy as np
table = pa.table({"n": [1, 2], "text": ["a", None], "array": np.arange(2)})
assert table.to_pylist()[1] == {"n": 2, "text": None, "array": 1}
assert "pandas" not in sys.modules
import pandas
assert table.to_pandas()["n"].tolist() == [1, 2]
assert pa.Table.from_pandas(pandas.DataFrame({"n": [3, 4]}))["n"].to_pylist() == [3, 4]
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.slow
def test_pyarrow_does_bring_pandas_without_it() -> None:
    """Once this fails, PyArrow has changed and `keep_pandas_out` can go."""
    pytest.importorskip("pandas")
    code = "import pyarrow as pa, sys; pa.array([0]); assert 'pandas' in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
