"""A stand-in for the Dataflow service on loopback: keeps the requests it gets and answers that the job failed."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAILED = {"id": "job-1", "currentState": "JOB_STATE_FAILED"}
ERROR = {
    "id": "1",
    "time": "2026-11-24T02:00:00Z",
    "messageImportance": "JOB_MESSAGE_ERROR",
    "messageText": "out of quota",
}
MESSAGES = {"jobMessages": [ERROR]}


class Endpoint:
    """What has been asked of the service.

    Attributes:
        address: where it listens.
        jobs: bodies of the requests that create a job.
    """

    def __init__(self) -> None:
        self.jobs: list[dict[str, Any]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.address = f"http://localhost:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator["Endpoint"]:
        """Answers while the block runs."""
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        jobs = self.jobs

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                jobs.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.answer({"id": "job-1", "name": jobs[-1]["name"], "currentState": "JOB_STATE_PENDING"})

            def do_GET(self) -> None:
                asked = self.path.split("?")[0].rsplit("/", 1)[-1]
                self.answer({"job-1": FAILED, "messages": MESSAGES}.get(asked, {}))

            def answer(self, content: dict[str, Any]) -> None:
                data = json.dumps(content).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler
