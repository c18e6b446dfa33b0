"""An index build killed at every step: the old index goes on answering, and the next build finishes what was left."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from models.retrieval.manifest import read_manifest, remove_unreferenced
from models.retrieval.videos import VideoHit, VideoIndex
from pipelines.commands.main import cli
from tests import videos
from tests.conftest import ROOT, assert_whole

pytestmark = pytest.mark.slow

KILLER = """
import os, shutil, signal, sys
from pathlib import Path
from pipelines.beam_options import beam_options
from pipelines.commands.index import command
from pipelines.jobs.index import IndexRequest, run_index

template, folder, rebuild = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "rebuild"
passed = 0

def passing(wanted):
    global passed
    passed += 1
    if passed == wanted:
        os.kill(os.getpid(), signal.SIGKILL)

def watched(act, wanted):
    # Every file of an index gets its name by a rename, and is deleted with its folder: before and after each.
    def step(*arguments, **options):
        passing(wanted)
        result = act(*arguments, **options)
        passing(wanted)
        return result
    return step

for number in range(1, 200):
    catalog = folder / f"{number:03d}"
    shutil.copytree(template, catalog)
    child = os.fork()
    if child == 0:
        Path.replace, os.replace, shutil.rmtree = (
            watched(act, number) for act in (Path.replace, os.replace, shutil.rmtree)
        )
        run_index(IndexRequest(str(catalog), "ivfpq", 0.95, rebuild), beam_options([], command))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        sys.exit(os.WEXITSTATUS(status))
    assert os.WTERMSIG(status) == signal.SIGKILL
"""


def reelbeam(*arguments: object) -> None:
    done = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output


def answers(catalog: Path) -> list[VideoHit]:
    """What the current index says to three questions; without numbers, which are the index's own business."""
    index = VideoIndex.open(catalog / "index")
    directions = index.frames.directions_of(index.frames.live_ids()[[0, 500, 1000]])
    hits = [hit for direction in directions for hit in index.search(direction, 5)]
    return [hit._replace(row={**hit.row, "video": None}) for hit in hits]


@pytest.fixture(scope="module")
def second_night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog of two nights whose index has the first: one video changed, one new, enough frames to be approximate."""
    archive, catalog = (tmp_path_factory.mktemp("kill") / name for name in ("archive", "catalog"))
    archive.mkdir()
    videos.make(archive, "mpeg4_mp4", seconds=45)
    videos.make(archive, "mpeg4_avi", seconds=2)
    classify = ["classify", "--archive", archive, "--catalog", catalog, "--model", "placeholder", "--sample", "every:1"]
    reelbeam(*classify)
    reelbeam("index", "--catalog", catalog, "--kind", "ivfpq")
    videos.make(archive, "mpeg4_avi", seconds=3)
    videos.make(archive, "gif", seconds=2)
    reelbeam(*classify)
    return catalog


@pytest.mark.parametrize("how", ["extend", "rebuild"])
def test_killed_at_every_step(second_night: Path, tmp_path: Path, how: str) -> None:
    before, old = answers(second_night), read_manifest(second_night / "index")
    assert old.levels["frames"].kind == "ivfpq" and old.levels["videos"].rows == 2
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(second_night), str(tmp_path), how],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *killed, undisturbed = sorted(tmp_path.iterdir())
    assert len(killed) >= 14  # two vectors' files, two tables, codes, the manifest, CURRENT: before and after each
    after = answers(undisturbed)
    assert after != before
    swapped = [answers(catalog) != before for catalog in killed]
    assert swapped == sorted(swapped) and not swapped[0] and swapped[-1], "CURRENT moves once, late"
    for catalog, moved in zip(killed, swapped, strict=True):
        if moved:
            assert answers(catalog) == after
    for catalog in killed[::5]:  # what was left is finished, and what was lost is cleared away
        reelbeam("index", "--catalog", catalog, "--kind", "ivfpq")
        assert_whole(catalog)
        assert [hit.video_id for hit in answers(catalog)] == [hit.video_id for hit in after]
        assert remove_unreferenced(catalog / "index") == []
