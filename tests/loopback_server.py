"""Stand-in servers on the loopback address: a handler of JSON calls, and a thread that serves."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class JsonHandler(BaseHTTPRequestHandler):
    """Hands method and body of each call to `obey`, which answers with `send`."""

    def obey(self, method: str, data: bytes) -> None:
        raise NotImplementedError

    def do_GET(self) -> None:
        self.obey("GET", b"")

    def do_HEAD(self) -> None:
        self.obey("HEAD", b"")

    def do_POST(self) -> None:
        self.obey("POST", self.rfile.read(int(self.headers.get("content-length", 0))))

    def send(self, status: int, answer: Any, *, headers: Mapping[str, str] | None = None) -> None:
        """Send bytes as they are and anything else as JSON; HEAD gets the headers alone."""
        raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        known = {"content-type": "application/json", "content-length": str(len(raw))}
        for name, value in {**known, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(server: ThreadingHTTPServer) -> Iterator[str]:
    """Serve in a thread until the block ends; gives the address without a path."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def served_by(handler: type[JsonHandler]) -> Iterator[str]:
    """Serve calls by a handler of their own on a free port."""
    with served(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as url:
        yield url
