"""A server on this machine that misbehaves on demand, for the tests of what downloads files."""

import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SHORT = ("truncate", "die", "stall", "old", "no-length")  # kinds of answers that may end early


class Loopback(ThreadingHTTPServer):
    """Serves `files` with ranges, ETag and date, and notes every request.

    Attributes:
        files: path -> bytes.
        script: what the next answers do instead; each is used once, then all is well again:
            truncate:N, die:N and stall:N send N bytes of the body, then end, reset or fall silent; slow:N sends N
            bytes every 10 ms; old:N announces all and sends N bytes of `old`; whole ignores ranges; shifted answers
            with another range than was asked for; wrong-byte; 416, 500 and so on; length:N announces N bytes more;
            no-length, no-length:N announces nothing and sends all, or N bytes; gzip claims an encoding; weak sends a
            weak ETag; endless sends more than there is.
        always: the same for every answer.
        ignores_ranges: of any answer.
        moved: path -> where it is now.
        old: what the file was, for old:N.
        asked: (path, headers) of each request.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.script: list[str] = []
        self.always = ""
        self.ignores_ranges = False
        self.moved: dict[str, str] = {}
        self.old = b""
        self.etag = '"first"'
        self.date = "Sat, 01 Jan 2000 00:00:00 GMT"
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.released = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def ranges(self) -> list[str | None]:
        """The Range header of each request."""
        return [headers.get("Range") for _, headers in self.asked]

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients that hang up


class Handler(BaseHTTPRequestHandler):
    server: Loopback
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.close_connection = True
        server = self.server
        server.asked.append((self.path, dict(self.headers)))
        what, _, amount = (server.script.pop(0) if server.script else server.always).partition(":")
        body = server.files.get(self.path)
        if self.path in server.moved:
            return self._head(302, {"Location": server.moved[self.path], "Content-Length": "0"})
        if what.isdigit() and what != "416":
            return self._head(int(what), {"Content-Length": "0"} | ({"Retry-After": amount} if amount else {}))
        if body is None:
            return self._head(404, {"Content-Length": "0"})
        status, first, headers = self._ranged(body, what)
        if what == "416" or status == 416:
            return self._head(416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": "0"})
        if what == "wrong-byte":
            body = body[:-3] + bytes([body[-3] ^ 1]) + body[-2:]
        rest = body[first:]
        headers |= self._length(what, amount, len(rest))
        self._head(status, headers)
        self._body(rest, what, amount)

    def _ranged(self, body: bytes, what: str) -> tuple[int, int, dict[str, str]]:
        server = self.server
        headers = {"ETag": server.etag, "Last-Modified": server.date}
        if what == "weak":
            headers["ETag"] = f"W/{server.etag}"
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        only_if = self.headers.get("If-Range")
        same = only_if is None or only_if in (server.etag, server.date)
        if not asked or not same or server.ignores_ranges or what in ("whole", "endless"):
            return 200, 0, headers
        first = int(asked[1])
        if first >= len(body):
            return 416, 0, headers
        first += what == "shifted"
        return 206, first, headers | {"Content-Range": f"bytes {first}-{len(body) - 1}/{len(body)}"}

    def _length(self, what: str, amount: str, rest: int) -> dict[str, str]:
        if what in ("no-length", "endless"):
            return {}
        more = int(amount) if what == "length" else 0
        return {"Content-Length": str(rest + more)} | ({"Content-Encoding": "gzip"} if what == "gzip" else {})

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")  # as it is: a client that takes it for open would race with the end
        self.end_headers()

    def _body(self, rest: bytes, what: str, amount: str) -> None:
        if what == "slow":
            step = int(amount)
            for first in range(0, len(rest), step):
                self.wfile.write(rest[first : first + step])
                time.sleep(0.01)
            return
        if what == "endless":
            rest = rest * 3
        if what == "old":
            rest = self.server.old
        self.wfile.write(rest[: int(amount)] if amount and what in SHORT else rest)
        self.wfile.flush()
        if what == "stall":
            self.server.released.wait(10)
        if what == "die":  # a reset, not an orderly end
            time.sleep(0.05)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Loopback]:
    """A server in a thread, until the block ends."""
    server = Loopback()
    server.files = files
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
