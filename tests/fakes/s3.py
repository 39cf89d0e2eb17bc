"""As much of S3 as reading files needs: a real client asks it over HTTP. What it answers is what the S3 of moto answers.

moto itself can't be among the tests' packages: it and the client of mParticle need different versions of one package.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_EMPTY_LIST = b'<?xml version="1.0"?><ListBucketResult><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>'


@contextmanager
def serving_s3(files: dict[str, bytes]) -> Iterator[str]:
    """Serve files by `/bucket/key`; what an address of one needs behind its `?` is told."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(whole=True)

        def do_GET(self) -> None:
            self._answer(whole=False)

        def _answer(self, *, whole: bool) -> None:
            parts = urlsplit(self.path)
            body = files.get(parts.path)
            if body is None:
                listing = "list-type" in parts.query
                self._send(200 if listing else 404, _EMPTY_LIST if listing else b"", {})
                return
            said = {"Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT", "ETag": '"1"', "Accept-Ranges": "bytes"}
            if whole or "Range" not in self.headers:
                self._send(200, body, said)
                return
            first, last = self.headers["Range"].removeprefix("bytes=").split("-")
            part = body[int(first) : int(last) + 1 if last else None]
            self._send(206, part, {**said, "Content-Range": f"bytes {first}-{int(first) + len(part) - 1}/{len(body)}"})

        def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """The output of tests is for faults."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"endpoint_override=127.0.0.1:{server.server_port}&scheme=http&region=us-east-1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
