"""What programs outside learn of a job: metrics, pings and the summary file, however the job ends."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipelines.terminal.interrupts import EXIT_INTERRUPTED, SAID
from pipelines.terminal.monitoring import Monitoring, MonitoringError, gauges_of
from tests import videos
from tests.command_line import reelbeam_command
from tests.conftest import Reelbeam
from tests.waiting import until

SUCCESS = "reelbeam_job_last_success_timestamp_seconds"


class PingService:
    """A service on loopback; `codes` are the status codes of its next answers, 200 after them."""

    def __init__(self) -> None:
        self.pings: list[tuple[str, str]] = []
        self.codes: list[int] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"] or 0)).decode()
                service.pings.append((self.path, body))
                self.send_response(service.codes.pop(0) if service.codes else 200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/secret-id"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.pings]


@pytest.fixture
def service() -> Iterator[PingService]:
    one = PingService()
    yield one
    one.server.shutdown()
    one.server.server_close()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    for name in ("a.avi", "b.avi"):
        videos.encode(folder / name, videos.RECIPES["mpeg4_avi"], 2, (64, 48))
    (folder / "empty.mp4").write_bytes(b"")
    return folder


def samples(path: Path) -> dict[tuple[str, ...], float]:
    """Each metric's value by its name and the values of its labels."""
    families = text_string_to_metric_families(path.read_text(encoding="utf-8"))
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def test_a_night_is_told_of(archive: Path, tmp_path: Path, reelbeam: Reelbeam, service: PingService) -> None:
    outside = ("--metrics-file", tmp_path / "m.prom", "--ping", service.url, "--summary-file", tmp_path / "s.json")
    options = ("--archive", archive, "--catalog", tmp_path / "catalog", "--model", "placeholder")
    done = reelbeam("classify", *options, "--json", *outside)
    assert done.code == 0, done.err
    summary = json.loads((tmp_path / "s.json").read_text())
    assert summary.items() >= json.loads(done.out).items()
    assert (summary["job"], summary["exit_code"], summary["error"]) == ("classify", 0, None)
    assert service.paths == ["/secret-id/start", "/secret-id"]
    assert json.loads(service.pings[1][1]) == summary
    metrics = samples(tmp_path / "m.prom")
    assert metrics["reelbeam_videos", "classify", "ok"] == 2
    assert metrics["reelbeam_failures", "classify", "empty_file"] == 1
    assert metrics["reelbeam_frames", "classify"] == summary["frames"] == 4
    assert metrics["reelbeam_video_seconds", "classify"] == pytest.approx(4)
    assert metrics["reelbeam_job_exit_code", "classify"] == 0
    finished_s = metrics["reelbeam_job_finished_timestamp_seconds", "classify"]
    assert metrics[SUCCESS, "classify"] == finished_s >= metrics["reelbeam_job_started_timestamp_seconds", "classify"]

    failed = reelbeam("classify", "--archive", tmp_path / "nowhere", *options[2:], *outside)
    assert failed.code == 1
    after = samples(tmp_path / "m.prom")
    assert after[SUCCESS, "classify"] == finished_s < after["reelbeam_job_finished_timestamp_seconds", "classify"]
    assert after["reelbeam_job_exit_code", "classify"] == 1 and not any("reelbeam_videos" in key for key in after)
    assert service.paths[2:] == ["/secret-id/start", "/secret-id/fail"]
    said = json.loads((tmp_path / "s.json").read_text())
    assert said["exit_code"] == 1 and failed.err.endswith(f"\nreelbeam: {said['error']}\n")

    (archive / "new.mp4").write_bytes(b"")
    too_many = reelbeam("classify", *options, "--max-failed", "0", *outside)
    assert too_many.code == 3 and service.paths[4:] == ["/secret-id/start", "/secret-id/fail"]
    assert "more than --max-failed allows" in json.loads(service.pings[5][1])["error"]
    (archive / "new.mp4").unlink()

    assert reelbeam("index", "--catalog", tmp_path / "catalog", *outside).code == 0
    assert samples(tmp_path / "m.prom")["reelbeam_index_videos", "index"] == 2


def test_an_interrupted_night_is_told_of(archive: Path, tmp_path: Path, service: PingService) -> None:
    outside = ("--metrics-file", tmp_path / "m.prom", "--ping", service.url, "--summary-file", tmp_path / "s.json")
    options = ("--archive", archive, "--catalog", tmp_path / "catalog", "--model", "placeholder")
    process = subprocess.Popen(
        reelbeam_command("classify", *options, *outside),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until(lambda: service.paths == ["/secret-id/start"] or process.poll() is not None)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == EXIT_INTERRUPTED and said.endswith(f"reelbeam: {SAID}\n")
    assert service.paths == ["/secret-id/start", "/secret-id/fail"]
    assert json.loads((tmp_path / "s.json").read_text())["exit_code"] == EXIT_INTERRUPTED
    metrics = samples(tmp_path / "m.prom")
    assert metrics["reelbeam_job_exit_code", "classify"] == EXIT_INTERRUPTED and (SUCCESS, "classify") not in metrics


def monitored(**options: object) -> Monitoring:
    return Monitoring.of("classify", {"metrics_file": None, "ping": None, "summary_file": None, **options})


def test_a_ping_is_tried_again_and_a_service_that_is_away_fails_nothing(
    service: PingService, caplog: pytest.LogCaptureFixture
) -> None:
    service.codes = [500]
    with monitored(ping=service.url + "/"):
        pass
    assert service.paths == ["/secret-id/start", "/secret-id"]
    assert [record.getMessage() for record in caplog.records if record.name == "reelbeam"] == [
        "127.0.0.1 refuses the ping: 500"
    ]
    caplog.clear()
    service.server.shutdown()
    service.server.server_close()
    with monitored(ping=service.url):
        pass
    said = [record.getMessage() for record in caplog.records if record.name == "reelbeam"]
    assert said == ["127.0.0.1 does not take the ping: ConnectionError"] * 2
    assert "secret" not in "".join(said)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ping": "example.org/ping"}, "begins with https:// or http://"),
        ({"ping": "ftp://example.org"}, "begins with https:// or http://"),
        ({"metrics_file": Path("/nowhere/at/all.prom")}, "there is no folder /nowhere/at"),
    ],
)
def test_what_cannot_be_used_is_refused_before_the_job_starts(options: dict[str, object], said: str) -> None:
    with pytest.raises(MonitoringError, match=said):
        monitored(**options)


def test_files_that_cannot_be_written_are_logged_and_change_no_exit_code(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "folder.prom").mkdir()
    with monitored(metrics_file=tmp_path / "folder.prom", summary_file="/proc/nowhere/s.json"):
        pass
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


def test_a_damaged_file_of_metrics_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "m.prom"
    path.write_bytes(b"\xff{{{ 1 2 3")
    with pytest.raises(SystemExit), monitored(metrics_file=path):
        raise SystemExit(1)
    assert samples(path)["reelbeam_job_exit_code", "classify"] == 1
    assert os.listdir(tmp_path) == ["m.prom"]


def test_a_job_without_a_summary_has_no_figures() -> None:
    assert list(gauges_of({})) == []
