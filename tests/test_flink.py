"""The jobs on a real Flink cluster: the local run's rows and index, whatever is killed on the way."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests import coloured_squares, videos
from tests.command_line import ROOT, Finished, reelbeam_command
from tests.conftest import Reelbeam, run_command
from tests.own_classes import write_labels
from tests.tables import contents, leftovers, regions_of
from transforms.catalog.dialogues import read_dialogues
from transforms.catalog.duplicates import read_duplicates
from transforms.catalog.runs import Catalog

pytestmark = pytest.mark.cluster

DEPLOY = ROOT / "deploy" / "flink"
OPTIONS = ("--model", "placeholder", "--sample", "10fps", "--segment-seconds", "2", "--chunk-frames", "20")
TABLES = ("videos", "frames", "failures")
ENDED = ("FINISHED", "FAILED", "CANCELED")


@dataclass
class Cluster:
    """A running cluster."""

    environment: dict[str, str]

    def script(self, name: str, *arguments: object) -> Finished:
        """Runs a script of `deploy/flink` to its end."""
        command = [str(DEPLOY / name), *map(str, arguments)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=900, check=False)
        return Finished(done.returncode, done.stdout, done.stderr)

    def submit(self, *arguments: object) -> Finished:
        """A reelbeam command on the cluster, to its end."""
        return self.script("submit.sh", *arguments)

    def start(self, *arguments: object) -> subprocess.Popen:
        """A reelbeam command on the cluster, under way."""
        command = [str(DEPLOY / "submit.sh"), *map(str, arguments)]
        return subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def pid(self, name: str) -> int:
        """Process id of ``jobmanager`` or ``tm-<n>``."""
        (file,) = Path(self.environment["FLINK_RUN"], "pid").glob(f"flink-reelbeam-{name}-*.pid")
        return int(file.read_text().split()[-1])

    def workers(self, name: str) -> list[psutil.Process]:
        """The Python workers that a TaskManager has started."""
        return [p for p in psutil.Process(self.pid(name)).children() if "reelbeam-worker" in " ".join(p.cmdline())]

    def get(self, path: str) -> dict:
        """What Flink answers."""
        with urllib.request.urlopen(f"http://localhost:{self.environment['FLINK_PORT']}{path}", timeout=10) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for all tests: a JobManager, two TaskManagers with two slots each; stopped after the last."""
    binaries = programs(tmp_path_factory.mktemp("bin"))
    one = Cluster(
        {
            **os.environ,
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTHON": sys.executable,
            "RESTARTS": "5",  # a job that another one superseded fails as often, with a planning each time
            "FLINK_CACHE": os.environ.get("FLINK_CACHE", str(ROOT / ".cache" / "flink")),
            "FLINK_RUN": str(tmp_path_factory.mktemp("flink")),
            "FLINK_PORT": str(free_port()),
            "FLINK_RPC_PORT": str(free_port()),
        }
    )
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            absent(f"needs {program}")
    ready = one.script("cluster.sh", "setup")
    if ready.code:
        absent(ready.err.strip().splitlines()[-1])
    try:
        yield one
    finally:
        one.script("cluster.sh", "stop")


@pytest.fixture
def cluster(started: Cluster) -> Cluster:
    """The cluster with all its processes: what a test before this one killed is started again."""
    done = started.script("cluster.sh", "start")
    assert done.code == 0, done.err
    return started


def absent(reason: str) -> None:
    """Skips the tests; in CI, which has all that they need, it fails them."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


def programs(folder: Path) -> Path:
    """`reelbeam` and `reelbeam-worker` of this checkout and this Python, as an installation has them."""
    for name, module in {"reelbeam": "commands.main", "reelbeam-worker": "worker"}.items():
        code = f"#!{sys.executable}\nfrom pipelines.{module} import main\nif __name__ == '__main__':\n    main()\n"
        (folder / name).write_text(code)
        (folder / name).chmod(0o755)
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One long video, some short ones, and one that is broken."""
    folder = tmp_path_factory.mktemp("archive")
    videos.encode(folder / "long.mp4", videos.RECIPES["mpeg4_mp4"], 120)
    for name in ("h264_bframes", "mpeg4_avi", "gif"):
        videos.make(folder, name, seconds=6)
    (folder / "broken.mp4").write_bytes(b"this is no video" * 50)
    return folder


@pytest.fixture(scope="module")
def local(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalog of a local, undisturbed run."""
    catalog = tmp_path_factory.mktemp("local") / "catalog"
    command = reelbeam_command(*classify(archive, catalog))
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return catalog


def classify(archive: Path, catalog: Path, *more: str) -> tuple:
    return "classify", "--archive", archive, "--catalog", catalog, *OPTIONS, "--json", *more


def chunks(catalog: Path) -> dict[Path, int]:
    """Chunk files that are complete, with the time each was written."""
    return {path: path.stat().st_mtime_ns for path in catalog.glob("frames/run=*/chunk-*.parquet")}


def wait_for_chunks(process: subprocess.Popen, catalog: Path, count: int) -> dict[Path, int]:
    """Waits until the run has written some chunks, and returns them."""
    until = time.monotonic() + 600
    while time.monotonic() < until:
        if len(found := chunks(catalog)) >= count:
            return found
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError(f"the run never came to chunk {count}")


def rows(catalog: Path) -> list[dict]:
    """Rows of the newest run's files table that are chunks."""
    opened = Catalog(str(catalog))
    return [row._asdict() for row in opened.file_rows(opened.newest_run().run_id) if row.table == "frames"]


def same_tables(catalog: Path, local: Path) -> None:
    """Every row and every number of both catalogs is the same: one and the same arithmetic made them."""
    ours, theirs = contents(catalog), contents(local)
    for table in TABLES:
        assert ours[table] == theirs[table], table
    assert leftovers(catalog) == []


def same_manifest(catalog: Path, local: Path) -> None:
    """The runs' records say the same of everything but times, names and the runner."""
    ours, theirs = (Catalog(str(one)).newest_run() for one in (catalog, local))
    for field in ("config", "archives", "counts", "video_s", "frames", "labels", "failures", "files_count", "version"):
        assert getattr(ours, field) == getattr(theirs, field), field
    assert (ours.runner, theirs.runner) == ("FlinkRunner", "FnApiRunner")
    for name in ("frames_sampled", "frames_decoded", "chunks_written"):
        assert ours.metrics[f"extract.{name}"] == theirs.metrics[f"extract.{name}"], name


def test_the_local_runs_tables_with_work_on_both_taskmanagers(
    cluster: Cluster, archive: Path, local: Path, tmp_path: Path
) -> None:
    catalog = tmp_path / "catalog"
    done = cluster.submit(*classify(archive, catalog))
    assert done.code == 0, done.err
    assert done.json["discovered"] == 5 and done.json["failed"] == 1
    same_tables(catalog, local)
    same_manifest(catalog, local)
    hosts = {row["worker"].rsplit(":", 1)[0].rsplit("-tm-", 1)[1] for row in rows(catalog)}
    assert hosts == {"1", "2"}, "the files table names the TaskManager of every chunk"
    assert taskmanagers_of_long(catalog) == {"1", "2"}


def test_a_night_in_parts_is_a_job_for_each(cluster: Cluster, archive: Path, local: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "catalog"
    done = cluster.submit(*classify(archive, catalog), "--commit-every", "0.001s", "--limit", 2)
    assert done.code == 0, done.err
    assert (done.json["left"], len(done.json["run_ids"])) == (3, 2)
    ours, theirs = contents(catalog), contents(local)
    assert len(ours["videos"]) + len(ours["failures"]) == 2
    done_uris = {row["uri"] for row in ours["videos"]}
    for table in ("videos", "frames"):
        assert ours[table] == [row for row in theirs[table] if row["uri"] in done_uris], table


def taskmanagers_of_long(catalog: Path) -> set[str]:
    """The TaskManagers that decoded a part of the long video."""
    import pyarrow.parquet as pq

    return {
        row["worker"].rsplit(":", 1)[0].rsplit("-tm-", 1)[1]
        for row in rows(catalog)
        if any(
            "long.mp4" in uri for uri in set(pq.read_table(catalog / row["path"], columns=["uri"])["uri"].to_pylist())
        )
    }


def test_kills_in_the_middle_of_a_run(cluster: Cluster, archive: Path, local: Path, tmp_path: Path) -> None:
    """The Python workers of a TaskManager, and after the job has gone on, the TaskManager itself."""
    catalog = tmp_path / "catalog"
    running = cluster.start(*classify(archive, catalog, "--parallelism=2"))
    before = wait_for_chunks(running, catalog, 6)
    killed_workers, family = workers_and_children(cluster, "tm-1")
    for worker in killed_workers:
        worker.kill()
    before |= wait_for_chunks(running, catalog, len(chunks(catalog)) + 2)
    workers, more = wait_for_workers(running, cluster, "tm-1")
    before |= chunks(catalog)
    os.kill(cluster.pid("tm-1"), signal.SIGKILL)
    out, err = running.communicate(timeout=900)
    assert running.returncode == 0, err
    same_tables(catalog, local)
    assert killed_workers and workers, "nobody was killed"
    assert len(before) < len(rows(catalog)), "it was not in the middle"
    assert {path: path.stat().st_mtime_ns for path in before} == before, "a chunk on disk was decoded again"
    assert json.loads(out)["ok"] == 4
    _, alive = psutil.wait_procs([*killed_workers, *family, *workers, *more], timeout=30)
    assert not alive, "nothing outlives the worker that started it"


def wait_for_workers(
    process: subprocess.Popen, cluster: Cluster, name: str
) -> tuple[list[psutil.Process], list[psutil.Process]]:
    """Waits until the workers of a TaskManager have decoders again; returns what `workers_and_children` returns."""
    until = time.monotonic() + 600
    while time.monotonic() < until:
        if all(found := workers_and_children(cluster, name)):
            return found
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError(f"no worker of {name} came back")


def workers_and_children(cluster: Cluster, name: str) -> tuple[list[psutil.Process], list[psutil.Process]]:
    """The Python workers of a TaskManager, and the processes that these have started."""
    workers = cluster.workers(name)
    return workers, [child for worker in workers for child in worker.children(recursive=True)]


def test_the_whole_cluster_killed_and_the_same_command_again(
    cluster: Cluster, archive: Path, local: Path, tmp_path: Path
) -> None:
    catalog = tmp_path / "catalog"
    running = cluster.start(*classify(archive, catalog))
    before = wait_for_chunks(running, catalog, 6)
    # The driver too, which gives up after a minute and a half; test_dataflow.py has what it says when a job is lost.
    for pid in [*(cluster.pid(name) for name in ("jobmanager", "tm-1", "tm-2")), running.pid]:
        os.kill(pid, signal.SIGKILL)
    running.communicate()
    assert not list(catalog.glob("runs/*.json")), "a run that lost its cluster is not committed"
    assert cluster.script("cluster.sh", "start").code == 0
    again = cluster.submit(*classify(archive, catalog))
    assert again.code == 0 and again.json["resumed"], again.err
    same_tables(catalog, local)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_job_that_outlives_its_driver_ends_when_the_run_is_started_again(
    cluster: Cluster, archive: Path, local: Path, tmp_path: Path
) -> None:
    catalog = tmp_path / "catalog"
    running = cluster.start(*classify(archive, catalog, "--parallelism=2"))
    wait_for_chunks(running, catalog, 3)
    running.kill()
    running.communicate()
    again = cluster.submit(*classify(archive, catalog, "--parallelism=2"))
    assert again.code == 0 and again.json["resumed"], again.err
    same_tables(catalog, local)
    until = time.monotonic() + 240
    while (
        left := [job for job in cluster.get("/jobs")["jobs"] if job["status"] not in ENDED]
    ) and time.monotonic() < until:
        time.sleep(0.5)
    assert not left, "the old job goes on"
    same_tables(catalog, local)


def test_the_local_runs_index(cluster: Cluster, archive: Path, local: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    """Rows with their ids, vectors and codes are the same bytes, and both give the same answers with the same scores.

    An approximate index has all that an exact one has, and codes besides.
    """
    kind = "ivfpq"
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for catalog in (ours, theirs):
        shutil.copytree(local, catalog)
    done = cluster.submit("index", "--catalog", ours, "--kind", kind, "--json")
    assert done.code == 0, done.err
    expected = reelbeam("index", "--catalog", theirs, "--kind", kind, "--json").json
    assert (done.json["kind"], done.json["frames"]) == (kind, expected["frames"])
    assert index_files(ours, done.json["index_id"]) == index_files(theirs, expected["index_id"])
    for name in ("long.mp4", "h264_bframes.mp4"):
        ask = ("--video", archive / name, "--json")
        answers = reelbeam("search", "--catalog", ours, *ask).json
        assert answers == reelbeam("search", "--catalog", theirs, *ask).json
        assert len(answers) == 4 and answers[0]["uri"].endswith(name)


def index_files(catalog: Path, index_id: str) -> dict[str, object]:
    """Every file of an index; the manifest without its name and time of birth."""
    folder = catalog / "index" / index_id
    files: dict[str, object] = {
        path.name.replace(index_id, "ID"): path.read_bytes() for path in folder.iterdir() if path.suffix != ".json"
    }
    assert {Path(name).suffix for name in files} >= {".parquet", ".faiss"}
    manifest = json.loads((folder / "manifest.json").read_text().replace(index_id, "ID"))
    return files | {"manifest": {**manifest, "created_at": ""}}


def test_the_local_runs_duplicates(cluster: Cluster, tmp_path: Path, reelbeam: Reelbeam) -> None:
    """Hashing, meeting and aligning on the workers: the local run's rows, with their scores."""
    archive, theirs = tmp_path / "archive", tmp_path / "theirs"
    archive.mkdir()
    shown = [videos.picture(index) for index in range(20 * 25)]
    for name, recipe, part in (
        ("film.mp4", "mpeg4_mp4", shown),
        ("again.avi", "mpeg4_avi", shown),
        ("middle.mp4", "h264_bframes", shown[100:425]),
        ("other.mp4", "mpeg4_mp4", [255 - one[::-1, ::-1] for one in reversed(shown)]),
    ):
        videos.encode(archive / name, videos.RECIPES[recipe], len(part) / 25, pictures=part)
    for command in (("classify", "--archive", archive, "--model", "placeholder"), ("index",)):
        done = reelbeam(*command, "--catalog", theirs)
        assert done.code == 0, done.err
    ours = Path(shutil.copytree(theirs, tmp_path / "ours"))
    done = cluster.submit("duplicates", "--catalog", ours, "--json")
    assert (done.code, done.json["copies"]) == (0, 3), done.err
    expected = reelbeam("duplicates", "--catalog", theirs, "--json").json
    for field in ("videos", "groups", "repeated", "spare_bytes"):
        assert done.json[field] == expected[field], field
    tables = [read_duplicates(Catalog(str(catalog))).to_pylist() for catalog in (ours, theirs)]
    assert len(tables[0]) == 3 and tables[0] == tables[1]
    assert leftovers(ours) == []


def test_own_classes_learned_judged_and_given_on_the_cluster(
    cluster: Cluster, local: Path, tmp_path: Path, reelbeam: Reelbeam
) -> None:
    """The jobs of train, evaluate and relabel: the local runs' figures and rows."""
    parts = [
        {"uri": "long.mp4", "label": "ab"[i % 2], "start_s": 20 * i, "end_s": 20 * i + 20, "group": f"part {i}"}
        for i in range(6)
    ]
    labels = write_labels(tmp_path / "labels.csv", parts)
    figures: list[dict] = []
    catalogs = [tmp_path / "ours", tmp_path / "theirs"]
    for catalog, run in zip(catalogs, (cluster.submit, reelbeam), strict=True):
        shutil.copytree(local, catalog)
        model = tmp_path / f"{catalog.name}.keras"
        ask = ("--catalog", catalog, "--labels", labels, "--json")
        trained = run("train", *ask, "--output", model, "--head", "linear", "--epochs", 3)
        assert trained.code == 0, trained.err
        judged = run("evaluate", *ask, "--model", model)
        assert judged.code == 0, judged.err
        figures.append({**judged.json, "catalog": "", "model": ""})
        relabelled = run("relabel", "--catalog", catalog, "--model", model, "--json")
        assert relabelled.code == 0, relabelled.err
    assert figures[0] == figures[1] and figures[0]["examples"] == 6
    ours, theirs = map(contents, catalogs)
    assert len(ours["videos"]) == 4 and {one["label"] for one in ours["videos"][0]["labels"]} == {"a", "b"}
    for table in TABLES:
        assert without_models(ours[table]) == without_models(theirs[table]), table


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the archive `films`, a model that sees colours and the catalog `plain`, which has no regions."""
    folder = tmp_path_factory.mktemp("colours")
    coloured_squares.make_all(folder)
    done = run_command(*coloured(folder, "plain"))
    assert done.code == 0, done.err
    return folder


def coloured(folder: Path, name: str, *more: str) -> tuple:
    model = folder / "colours.keras"
    return "classify", "--archive", folder / "films", "--catalog", folder / name, "--model", model, "--json", *more


def test_the_local_runs_regions_and_dialogues(
    cluster: Cluster, colours: Path, tmp_path: Path, reelbeam: Reelbeam
) -> None:
    catalogs = [tmp_path / "ours", tmp_path / "theirs"]
    for catalog, run in zip(catalogs, (cluster.submit, reelbeam), strict=True):
        shutil.copytree(colours / "plain", catalog)
        found = run("regions", "--catalog", catalog, "--json")
        assert found.code == 0, found.err
        assert (found.json["videos"], found.json["failures"]) == (2, {})
        described = run("describe", "--catalog", catalog, "--json")
        assert described.code == 0, described.err
        assert described.json["videos"] == 2 and described.json["turns"] > 4
        assert leftovers(catalog) == []
    ours, theirs = map(regions_of, catalogs)
    assert ours == theirs and {row["label"] for row in ours} == {"red", "blue", None}
    ours, theirs = (list(read_dialogues(Catalog(str(catalog)))) for catalog in catalogs)
    assert ours == theirs and all(turn["citations"] for said in ours for turn in said["turns"] if turn["grounded"])
    assert Catalog(str(catalogs[0])).newest_run().runner == "FlinkRunner"


def without_models(rows: list[dict]) -> list[dict]:
    """Without the name of the head's file and its fingerprint, which the file's times change."""
    return [{**row, "model": "", "model_fingerprint": ""} for row in rows]
