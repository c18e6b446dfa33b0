"""An index build killed at every step: the old index goes on answering, and the next build finishes what was left.

One build is watched: its catalog is copied at every step. `test_index_object_store.py` kills one for real.
"""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from models.retrieval.manifest import read_manifest, remove_unreferenced
from models.retrieval.videos import VideoHit, VideoIndex
from pipelines.commands.main import cli
from tests import videos
from tests.conftest import assert_whole
from tests.forking_cli import ForkingCli

pytestmark = pytest.mark.slow


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
def test_killed_at_every_step(second_night: Path, tmp_path: Path, warm_cli: ForkingCli, how: str) -> None:
    before, old = answers(second_night), read_manifest(second_night / "index")
    assert old.levels["frames"].kind == "ivfpq" and old.levels["videos"].rows == 2
    undisturbed = Path(shutil.copytree(second_night, tmp_path / "undisturbed"))
    index = ("index", "--catalog", undisturbed, "--kind", "ivfpq", *(["--rebuild"] if how == "rebuild" else []))
    done = warm_cli.run(*index, snapshots=str(tmp_path / "snapshots"))
    assert done.code == 0, done.err
    steps = ("index.", "storage.before_delete", "storage.after_delete")
    points = [path for path in sorted((tmp_path / "snapshots").iterdir()) if path.name.split("=")[1].startswith(steps)]
    killed = [point / "catalog" for point in points]
    assert len(killed) >= 14  # two vectors' files, two tables, codes, the manifest, CURRENT: before and after each
    after = answers(undisturbed)
    assert after != before
    swapped = [answers(catalog) != before for catalog in killed]
    assert swapped == sorted(swapped) and not swapped[0] and swapped[-1], "CURRENT moves once, late"
    for catalog, moved in zip(killed, swapped, strict=True):
        if moved:
            assert answers(catalog) == after
    for catalog in killed[::3]:  # what was left is finished, and what was lost is cleared away
        reelbeam("index", "--catalog", catalog, "--kind", "ivfpq")
        assert_whole(catalog)
        assert [hit.video_id for hit in answers(catalog)] == [hit.video_id for hit in after]
        assert remove_unreferenced(catalog / "index") == []
