"""Catalogs whose frames show what a test says, and a scripted language model."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa

from models.visual.hedging import DEFAULT, Hedger
from models.visual.labels import imagenet_labels
from tests import catalogs
from transforms.catalog.rows.best_labels import as_columns
from transforms.catalog.rows.pooling import Fold, frame_rows
from transforms.catalog.runs import Catalog

SEEN = 0.1
Film = Sequence[Mapping[str, float]]
"""The scores of the labels in each frame, one frame a second."""


def film_catalog(root: Path, films: Mapping[str, Film], **columns: Mapping[str, Any]) -> Catalog:
    """Writes and commits a catalog of films by uri; `columns` has other values of `videos` by film's name."""
    hedger = Hedger(imagenet_labels(), DEFAULT)
    tables = {uri: _frames(uri, film, hedger) for uri, film in films.items()}
    changes = {
        uri: {**_video(table, hedger), **columns.get(uri.rsplit("/", 1)[-1], {})} for uri, table in tables.items()
    }
    catalog = Catalog(str(root))
    with mock.patch("tests.catalogs.frame_rows", lambda uri, count, seed: tables[uri]):
        catalogs.commit_night(catalog, {uri: len(film) for uri, film in films.items()}, changes=changes)
    return catalog


def _frames(uri: str, film: Film, hedger: Hedger) -> pa.Table:
    rows = catalogs.frame_rows(uri, len(film))
    best = [as_columns(hedger.best(scores.items())) for scores in film]
    labels = [[{"label": label, "score": score} for label, score in scores.items()] for scores in film]
    values = {"labels": labels, **{name: [one[name] for one in best] for name in best[0]}}
    for name, column in values.items():
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, rows.schema.field(place), pa.array(column, rows.schema.field(place).type))
    return rows


def _video(rows: pa.Table, hedger: Hedger) -> dict[str, Any]:
    fold = Fold()
    fold.add(frame_rows(rows), dict.fromkeys(imagenet_labels(), SEEN))
    labels = fold.labels(10)
    ranges = [{"label": one["label"], "ranges": fold.ranges(one["label"])} for one in labels]
    return {"labels": labels, "label_ranges": ranges, **fold.best_label(hedger)}


@contextmanager
def scripted_model(reply: Callable[[str], str] | str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serves an OpenAI-compatible endpoint that says what a script says; gives its address and what was sent to it."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            asked.append({"path": self.path, "body": body, "key": self.headers.get("Authorization")})
            said = reply if isinstance(reply, str) else reply(json.loads(body)["messages"][-1]["content"])
            data = json.dumps({"choices": [{"message": {"role": "assistant", "content": said}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
