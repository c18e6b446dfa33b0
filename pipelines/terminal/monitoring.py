"""Tells programs outside how a job went.

- **Metrics** in Prometheus' text format, for the textfile collector of its node exporter. The file is replaced
  atomically, as that collector wants it.
- **Pings** as Healthchecks and compatible services take them: ``URL/start``, then ``URL`` or ``URL/fail``, with what
  the job says as the body. A service that does not answer changes nothing but a line in the log.
- **The summary** as JSON: what ``--json`` prints, with the exit code and, if there was one, the error.

All three also tell of a job that could not run, failed or was interrupted. A job that is killed tells nothing: a ping
service notices that, and so does an alert on the age of ``reelbeam_job_last_success_timestamp_seconds``.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import click

from models.errors import ReelbeamError
from pipelines.terminal.interrupts import EXIT_INTERRUPTED, SAID
from pipelines.terminal.json_text import json_text
from pipelines.terminal.logs import log
from transforms import storage

PING_TIMEOUT_S: Final = 5.0
"""Seconds that a ping may take to connect, and to be answered."""

PING_RETRIES: Final = 2

OUTCOMES: Final = ("skipped", "ok", "partial", "failed", "gone", "given_up", "left", "moved", "copied")
"""Counts of videos in a run's summary."""

_VIDEOS: Final = (
    "Videos of the last run by outcome; given_up are among skipped, moved and copied are among ok and partial."
)
_LAST_SUCCESS: Final = "reelbeam_job_last_success_timestamp_seconds"


class MonitoringError(ReelbeamError, ValueError):
    """What should tell of a job cannot be used."""


class Gauge(NamedTuple):
    """A number for Prometheus.

    Attributes:
        name: of the metric.
        about: what it is, in words.
        value: the number.
        labels: by name.
    """

    name: str
    about: str
    value: float
    labels: Mapping[str, str] = {}


def monitoring_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that `Monitoring.of` reads to a command."""
    for option in (
        click.option("--summary-file", metavar="FILE", help="Write the summary as JSON, also if the job fails."),
        click.option(
            "--ping",
            metavar="URL",
            help="Tell a service such as Healthchecks: URL/start, then URL or URL/fail. The job does not depend on its "
            "answer.",
        ),
        click.option(
            "--metrics-file",
            metavar="FILE",
            type=click.Path(dir_okay=False, path_type=Path),
            help="Write Prometheus metrics, for its textfile collector (*.prom).",
        ),
    ):
        command = option(command)
    return command


class Monitoring:
    """Context manager around a whole command; tells how it began and how it ended.

    Attributes:
        summary: the summary of the job; the command sets it when it has one.
    """

    def __init__(self, job: str, metrics_file: Path | None, ping: str | None, summary_file: str | None) -> None:
        """Checks what is given before the job starts.

        Args:
            job: name of the command.
            metrics_file: the file of metrics; None for none.
            ping: address of a ping service; None for none.
            summary_file: the file of the summary, a path or a URL of an object store; None for none.

        Raises:
            MonitoringError: the folder of the file of metrics does not exist, or the address is none.
        """
        if metrics_file is not None and not metrics_file.absolute().parent.is_dir():
            raise MonitoringError(f"--metrics-file: there is no folder {metrics_file.absolute().parent}")
        if ping is not None and not (urlsplit(ping).scheme in ("http", "https") and urlsplit(ping).hostname):
            raise MonitoringError("--ping takes an address that begins with https:// or http://")
        self.summary: dict[str, Any] | None = None
        self._job = job
        self._metrics_file = metrics_file
        self._ping_url = ping
        self._summary_file = summary_file
        self._began_s = 0.0

    @classmethod
    def of(cls, job: str, chosen: dict[str, Any]) -> "Monitoring":
        """Takes the options of `monitoring_options` out of a command's options. Errors as `Monitoring`."""
        return cls(job, chosen["metrics_file"], chosen["ping"], chosen["summary_file"])

    def __enter__(self) -> "Monitoring":
        self._began_s = time.time()
        try:
            self._ping("start", "")
        except KeyboardInterrupt as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        code, said = _outcome(error)
        ended_s = time.time()
        if self._summary_file is not None:
            self._write(self._summary_file, self._summary_text(code, said, ended_s).encode())
        if self._metrics_file is not None:
            self._write_metrics(self._metrics_file, [*self._gauges(code, ended_s), *gauges_of(self.summary or {})])
        self._ping("fail" if code else "", self._summary_text(code, said, ended_s))

    def _summary_text(self, code: int, said: str | None, ended_s: float) -> str:
        about = {"job": self._job, "exit_code": code, "finished_at": datetime.fromtimestamp(ended_s, UTC).isoformat()}
        return json_text({**(self.summary or {}), **about, "error": said}) + "\n"

    def _gauges(self, code: int, ended_s: float) -> Iterator[Gauge]:
        yield Gauge("reelbeam_job_exit_code", "Exit code of the last job; 0 is success.", code)
        yield Gauge("reelbeam_job_started_timestamp_seconds", "When the last job started.", self._began_s)
        yield Gauge("reelbeam_job_finished_timestamp_seconds", "When the last job ended.", ended_s)
        success_s = ended_s if code == 0 else self._last_success_s()
        if success_s is not None:
            yield Gauge(_LAST_SUCCESS, "When a job last ended with exit code 0.", success_s)

    def _last_success_s(self) -> float | None:
        """Returns the time of the last success as the file of metrics has it; None if it names none."""
        from prometheus_client.parser import text_string_to_metric_families

        try:
            families = list(text_string_to_metric_families((self._metrics_file or Path()).read_text(encoding="utf-8")))
        except (OSError, ValueError):  # there is no file yet, or it is damaged: it is about to be replaced
            return None
        return next((s.value for family in families for s in family.samples if s.name == _LAST_SUCCESS), None)

    def _write_metrics(self, path: Path, gauges: list[Gauge]) -> None:
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client import Gauge as Metric

        registry, made = CollectorRegistry(), dict[str, Metric]()
        for gauge in gauges:
            if gauge.name not in made:
                made[gauge.name] = Metric(gauge.name, gauge.about, ["job", *gauge.labels], registry=registry)
            made[gauge.name].labels(job=self._job, **gauge.labels).set(gauge.value)
        self._write(str(path), generate_latest(registry))

    def _write(self, path: str, data: bytes) -> None:
        try:
            storage.write_atomically(storage.absolute(path), data)
        except OSError as error:
            log(logging.ERROR, f"cannot write {path}: {storage.reason_of(error)}")

    def _ping(self, what: str, body: str) -> None:
        """Posts to the service. It may be slow or away: neither holds the job up for long nor fails it."""
        if self._ping_url is None:
            return
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3.util import Retry

        address = urlsplit(self._ping_url)
        target = address._replace(path="/".join(filter(None, [address.path.rstrip("/"), what])))
        try:
            with requests.Session() as session:
                retries = HTTPAdapter(max_retries=Retry(PING_RETRIES, backoff_factor=0.2, allowed_methods=None))
                session.mount(f"{address.scheme}://", retries)
                session.post(urlunsplit(target), data=body.encode(), timeout=PING_TIMEOUT_S).raise_for_status()
        except requests.HTTPError as error:
            log(logging.WARNING, f"{address.hostname} refuses the ping: {error.response.status_code}")
        except requests.RequestException as error:
            # The message of the error has the path, which is a secret.
            log(logging.WARNING, f"{address.hostname} does not take the ping: {type(error).__name__}")


def gauges_of(summary: Mapping[str, Any]) -> Iterator[Gauge]:
    """Yields what a job's summary holds for Prometheus.

    Args:
        summary: of a run, a relabelling or an index; {} if the job has none.
    """
    if "discovered" in summary:
        for outcome in OUTCOMES:
            yield Gauge("reelbeam_videos", _VIDEOS, summary[outcome], {"outcome": outcome})
        for reason, count in summary["failures"].items():
            yield Gauge("reelbeam_failures", "Videos of the last run that failed.", count, {"reason": reason})
        yield Gauge(
            "reelbeam_video_seconds", "Length of the videos that the last run decoded.", 3600 * summary["video_hours"]
        )
        yield Gauge("reelbeam_frames", "Frames in the rows of the last run.", summary["frames"])
    if "index_id" in summary:
        yield Gauge("reelbeam_index_videos", "Videos in the index.", summary["videos"])
        yield Gauge("reelbeam_index_frames", "Frames in the index.", summary["frames"])


def _outcome(error: BaseException | None) -> tuple[int, str | None]:
    """Returns the exit code of a command and the line that it ended with."""
    if error is None:
        return 0, None
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED, SAID
    if not isinstance(error, SystemExit):
        return 1, f"{type(error).__name__}: {error}"
    notes = getattr(error, "__notes__", [])
    return error.code if isinstance(error.code, int) else int(error.code is not None), notes[-1] if notes else None
