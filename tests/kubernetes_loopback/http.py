"""How the API server of the tests answers over HTTP: objects, errors, and logs line by line."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit


class Fault(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


class Server(ThreadingHTTPServer):
    """A server on a port of this machine that is free.

    Attributes:
        faults: requests that no API has; tests end with none.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients that hang up


S = TypeVar("S", bound=Server)


@contextmanager
def answering(server: S) -> Iterator[S]:
    """Let a server answer in a thread, until the block ends. Fails where a request was not as the API has it."""
    with server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
    assert not server.faults, server.faults


class Dropped(Exception):
    """The connection is closed without an answer."""


class Log:
    """Lines of a pod, and more of them for as long as it runs, where they are followed."""

    def __init__(self, pod: dict[str, Any], lines: list[str], follow: bool) -> None:
        self.pod, self.lines, self.follow = pod, lines, follow

    def __iter__(self) -> Iterator[str]:
        number = 0
        while True:
            running = self.pod["status"]["phase"] == "Running"
            while number < len(self.lines):
                yield self.lines[number]
                number += 1
            if not (self.follow and running):
                return
            time.sleep(0.02)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any  # the Cluster

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        address = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(address.query).items()}
        if self.server.away_for:
            self.server.away_for -= 1
            self.close_connection = True
            return
        try:
            content, status = self.server.answer(self.command, address.path, query, body), 200
        except Dropped:
            self.close_connection = True
            return
        except Fault as fault:
            told = {"status": "Failure", "message": str(fault), "reason": fault.reason, "code": fault.status}
            content, status = {"kind": "Status", "apiVersion": "v1", "metadata": {}} | told, fault.status
        if isinstance(content, Log):
            self._stream(content)
            return
        sent = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def _stream(self, log: Log) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in log:
            sent = f"{line}\n".encode()
            self.wfile.write(f"{len(sent):x}\r\n".encode() + sent + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_DELETE = do_PATCH = do_PUT = _answer
