"""A service that answers searches as JSON: `python service.py /catalog`, then http://localhost:8000/?q=a+dog&top=3."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import reelbeam


class Searches(BaseHTTPRequestHandler):
    """Answers GET requests with the best videos for the parameter ``q``; ``top`` says how many."""

    catalog: reelbeam.Catalog

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        try:
            hits = self.catalog.search(asked.get("q", [""])[0], top_k=int(asked.get("top", ["10"])[0]))
        except ValueError as error:  # the base of `reelbeam.RetrievalError`, and what int() raises
            self.answer(400, {"error": str(error)})
        else:
            self.answer(200, [{"uri": hit.uri, "score": hit.score, "start_s": hit.ranges[0].start_s} for hit in hits])

    def answer(self, status: int, content: object) -> None:
        """Send a JSON response."""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())


if __name__ == "__main__":
    Searches.catalog = reelbeam.open_catalog(sys.argv[1])
    ThreadingHTTPServer(("localhost", int(sys.argv[2]) if len(sys.argv) > 2 else 8000), Searches).serve_forever()
