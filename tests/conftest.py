"""Fixtures: where real videos are, generated ones, and the command line run as a person runs it."""

import os
import subprocess
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from coverage import Coverage
from hypothesis import Phase, settings

from tests import videos
from tests.command_line import ROOT, Finished, reelbeam_command
from tests.forking_cli import ForkingCli
from tests.object_stores import s3_server

SHARED = ROOT.parent / "shared" / "data"

os.environ.setdefault("REELBEAM_CACHE", str(ROOT / ".cache"))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Or every command that starts anew would compile the project again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# No test depends on how busy the machine is.
settings.register_profile("patient", deadline=None)
# For `make mutate`: the same few examples for every mutant, and none is made smaller once it fails.
settings.register_profile(
    "mutants", deadline=None, max_examples=25, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate]
)
settings.load_profile("patient")


STARTS_PROCESSES = {"reelbeam", "server"}
"""Fixtures that start a command or a server: tests with these are slow."""


LONGEST_FIRST = (
    "test_flink.py", "test_object_store_commands.py", "test_moved.py", "test_vocabulary_commands.py", "test_interrupts.py",
    "test_fault_points.py", "test_end_to_end_training.py", "test_heads_training.py", "test_exactness.py",
    "test_browser.py", "test_retrieval_clips.py", "test_parameter_sets.py", "test_kill.py", "test_nightly.py",
    "test_models_by_name.py", "test_nights_in_parts.py", "test_takeover.py", "test_own_classes.py", "test_progress.py",
    "test_best_labels.py", "test_actions.py", "test_segmentation.py", "test_regions.py", "test_web.py", "test_holes.py",
    "test_relabel.py", "test_catalog_object_store.py",
)  # fmt: skip
"""Files that take half a minute and more, the longest first. One that came last would keep one worker busy while the
other has nothing."""


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, None, None]:
    """Marks tests that start commands or servers as slow, and puts files that take long before the others."""
    for item in items:
        if STARTS_PROCESSES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
    yield
    places = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(autouse=True)
def ordinary_scheduling() -> Iterator[None]:
    """Fails a test that leaves real-time scheduling behind, which would starve all other processes of the tests."""
    yield
    if hasattr(os, "sched_getscheduler"):
        assert os.sched_getscheduler(0) == os.SCHED_OTHER


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real videos, which lies beside a checkout and is not part of it."""
    if not SHARED.is_dir():
        pytest.skip("needs the real videos in ../shared/data")
    return SHARED


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small archive: H.264, MPEG-4 in AVI, a GIF and a broken file."""
    folder = tmp_path_factory.mktemp("clips")
    for name in ("h264_bframes", "mpeg4_avi", "gif"):
        videos.make(folder, name, seconds=6)
    videos.encode(folder / "long.mp4", videos.RECIPES["mpeg4_mp4"], 40)
    (folder / "broken.mp4").write_bytes(b"this is no video" * 50)
    return folder


@pytest.fixture(scope="session")
def heads(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Untrained heads on the placeholder by kind; see `placeholder_heads`."""
    from tests.placeholder_heads import make_head  # takes TensorFlow along

    folder = tmp_path_factory.mktemp("heads")
    return {kind: make_head(folder / f"{kind}.keras", kind) for kind in ("linear", "temporal", "localization")}


@pytest.fixture(scope="session")
def placeholder_catalog(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small archive classified by the placeholder. Tests change copies only."""
    root = tmp_path_factory.mktemp("placeholder") / "catalog"
    done = run_command("classify", "--archive", clips, "--catalog", root, "--model", "placeholder")
    assert done.code == 0, done.err
    return root


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an S3 server."""
    pytest.importorskip("moto.server", reason="needs moto[s3,server]")
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as address:
        yield address


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket of a test's own."""
    boto3 = pytest.importorskip("boto3", reason="needs reelbeam[s3]")
    settings = {"AWS_ENDPOINT_URL": server, "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    for name, value in {**settings, "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="archive")
    yield "s3://archive"
    while listed := client.list_objects_v2(Bucket="archive").get("Contents"):
        client.delete_objects(Bucket="archive", Delete={"Objects": [{"Key": one["Key"]} for one in listed]})
    client.delete_bucket(Bucket="archive")


Reelbeam = Callable[..., Finished]


def assert_whole(catalog: Path | str) -> None:
    """Fails unless the catalog is what its runs promise."""
    from transforms.catalog.checks.verify import verify
    from transforms.catalog.runs import Catalog

    assert [str(finding) for finding in verify(Catalog(str(catalog)))] == []


WARM = ForkingCli()
"""A process that has imported what commands import; it starts with its first command."""


@pytest.fixture(scope="session", autouse=True)
def end_of_the_warm_process() -> Iterator[None]:
    """Ends it after the last test, so that what was measured in it is written down."""
    yield
    WARM.close()


def run_command(*arguments: object, env: dict[str, str] | None = None, timeout_s: float = 300) -> Finished:
    """Runs `reelbeam` in a fork of a process that has imported everything, which saves seconds of CPU time."""
    return WARM.run(*arguments, env=env, timeout_s=timeout_s)


def run_anew(*arguments: object, env: dict[str, str] | None = None, timeout_s: float = 300) -> Finished:
    """Runs `reelbeam` as a user starts it, in a process that imports everything; measured where the test is."""
    measured = ["-m", "coverage", "run"] if Coverage.current() else []
    done = subprocess.run(
        reelbeam_command(*arguments, python=measured),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        timeout=timeout_s,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def warm_cli() -> ForkingCli:
    """For commands that are watched from inside; see `tests/forking_cli.py`."""
    return WARM


@pytest.fixture
def reelbeam(request: pytest.FixtureRequest) -> Iterator[Reelbeam]:
    """Runs `reelbeam` and gives how it ended; when the test is over, every catalog it wrote must be whole.

    Each command is a fork of a process that has imported everything, which saves seconds. Tests marked `own_process`
    look at how a process starts, how it ends or what its children are: their commands start as they do for a user.
    """
    alone = request.node.get_closest_marker("own_process") is not None
    start = run_anew if alone else run_command
    catalogs: dict[str, None] = {}

    def run(*arguments: object, env: dict[str, str] | None = None, timeout_s: float = 300) -> Finished:
        if arguments[0] in ("classify", "index", "relabel", "duplicates") and "--catalog" in arguments:
            catalogs[str(arguments[arguments.index("--catalog") + 1])] = None
        return start(*arguments, env=env, timeout_s=timeout_s)

    yield run
    for catalog in catalogs:
        if os.path.isdir(catalog):
            assert_whole(catalog)
