"""What every request passes first: its token, a place in work, bounds of its body; and the metrics of all."""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import compile_path

from tagscale.serving.server.lineup import State
from tagscale.serving.server.metrics import Metrics

MODEL_HEADER = "X-Tagscale-Model"
RETRY_SECONDS = 5  # what a client that was not admitted is told to wait
UPLOAD_SECONDS = 30.0  # a request holds its place while its body comes in: so long, and as long as what came may take
SLOWEST = 128 << 10  # bytes in a second: 1 Mbit/s
HEALTH = frozenset({"/healthz", "/readyz", "/ping", "/ready", "/health", "/v2/health/live", "/v2/health/ready"})
OPEN = HEALTH | {"/"}  # need no token: the page holds no data, and asks for one
READS = "/dataset/"  # begin of the addresses whose GET reads files, and so needs a place
OTHER = "other"  # path of requests to addresses that there are not, in the metrics

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Limits:
    """What the server takes.

    Attributes:
        at_once: requests in work at the same time; another one gets 429.
        body_bytes: of a request; a larger one gets 413.
        recordings: in a request; more get 400.
        audio_seconds: of a recording; a longer one is not tagged.
        seconds: until a request is answered with 504.
    """

    at_once: int
    body_bytes: int
    recordings: int
    audio_seconds: float
    seconds: int


class Guard:
    """An ASGI app around the server's: admits requests, counts them, and lets none begin once the server drains.

    A request that is no GET, or whose GET reads files, needs one of `limits.at_once` places, and keeps it until it is
    answered.

    Attributes:
        paths: templates of the routes, by which answers are counted
        draining: the server ends when its present requests are answered
        begin, end: called in the process that speaks HTTP, when it starts and when it ends
    """

    def __init__(
        self,
        app: App,
        state: State,
        metrics: Metrics,
        limits: Limits,
        *,
        paths: Sequence[str],
        tokens: Sequence[str],
        open_metrics: bool,
        begin: Callable[[], None],
        end: Callable[[], None],
    ) -> None:
        self.app, self.state, self.metrics, self.limits = app, state, metrics, limits
        self.paths = [(compile_path(path)[0], path) for path in paths]
        self.tokens = [token.encode() for token in tokens]
        self.open = OPEN | ({"/metrics"} if open_metrics else set())
        self.begin, self.end = begin, end
        self.in_work, self.draining = 0, False
        self.idle = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            self.begin()
            try:
                await self.app(scope, receive, send)
            finally:
                self.end()
        elif scope["type"] == "http":
            await self._count(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def drain(self) -> None:
        """Admit nothing more."""
        self.draining = True
        if not self.in_work:
            self.idle.set()

    def refusal(self) -> HTTPException | None:
        """Why another request would not be admitted now."""
        retry = {"Retry-After": str(RETRY_SECONDS)}
        if self.draining:
            return HTTPException(503, "This server is ending. Try again.", retry | {"Connection": "close"})
        if self.in_work >= self.limits.at_once:
            full = f"{self.in_work} requests are in work, and this server takes no more at a time. Try again."
            return HTTPException(429, full, retry)
        return None

    async def _count(self, scope: Scope, receive: Receive, send: Send) -> None:
        began, statuses = time.perf_counter(), []
        if scope["method"] == "HEAD":  # as GET; uvicorn, whose scope stays, leaves the body out
            scope = dict(scope) | {"method": "GET"}

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
                headers, loaded = MutableHeaders(scope=message), self.state.loaded()
                if loaded and MODEL_HEADER not in headers:
                    headers[MODEL_HEADER] = f"{loaded[0]['model']}/{loaded[0]['version']}"
            await send(message)

        try:
            await self._admit(scope, receive, send_named)
        except Exception:  # a full disk, or a fault of this server; uvicorn logs it
            if not statuses:
                await refused(HTTPException(500, "The server failed; its log says why."))(scope, receive, send_named)
            raise
        finally:
            path = next((path for pattern, path in self.paths if pattern.match(scope["path"])), OTHER)
            self.metrics.requests.labels(path, str(statuses[0] if statuses else 500)).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - began)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._is_allowed(scope):
            expected = "Expected the header `Authorization: Bearer TOKEN` with a token of this server."
            await refused(HTTPException(401, expected, {"WWW-Authenticate": "Bearer"}))(scope, receive, send)
        elif scope["method"] in ("GET", "OPTIONS") and not scope["path"].startswith(READS):
            await self.app(scope, receive, send)
        elif refusal := self.refusal():
            await refused(refusal)(scope, receive, send)
        else:
            self.in_work += 1
            self.metrics.in_work.set(self.in_work)
            try:
                await self.app(scope, self._bounded(scope, receive), self._in_time(send))
            finally:
                self.in_work -= 1
                self.metrics.in_work.set(self.in_work)
                if self.draining and not self.in_work:
                    self.idle.set()

    def _is_allowed(self, scope: Scope) -> bool:
        """Whether the request carries a token, or needs none. Every token is compared, so the time tells nothing."""
        if not self.tokens or scope["path"] in self.open:
            return True
        kind, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
        matches = [hmac.compare_digest(token.strip().encode(), known) for known in self.tokens]
        return kind.lower() == "bearer" and any(matches)

    def _in_time(self, send: Send) -> Send:
        """A `send` that gives up where the client does not take a part of its answer for as long as one may take."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(self.limits.seconds):
                await send(message)

        return send_in_time

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """A `receive` that gives so many bytes at most, none of them too late.

        It raises HTTPException, 413 or 408, to whoever reads the body.
        """
        most, read, ends = self.limits.body_bytes, 0, time.monotonic() + UPLOAD_SECONDS  # later with all that is read
        announced = Headers(scope=scope).get("content-length", "")
        closes = {"Connection": "close"}
        too_large = HTTPException(413, f"The body has more than {most} bytes.", closes)
        slow = f"The body came too slowly: {UPLOAD_SECONDS:g} s, and a second for each {SLOWEST >> 10} KiB, are over."
        too_slow = HTTPException(408, slow, closes)
        complete = False

        async def next_message() -> Message:
            nonlocal read, complete
            if complete:  # what follows is the client's leaving
                return await receive()
            if announced.isdigit() and int(announced) > most:
                raise too_large
            try:
                async with asyncio.timeout(ends + read / SLOWEST - time.monotonic()):
                    message = await receive()
            except TimeoutError:
                raise too_slow from None
            read += len(message.get("body", b""))
            if read > most:
                raise too_large
            complete = not message.get("more_body")
            return message

        return next_message


def refused(error: HTTPException) -> JSONResponse:
    """An error as this server answers it, in every protocol."""
    return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)
