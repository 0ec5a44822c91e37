"""The server as a whole: its processes, how it starts, follows the registry and ends."""

import asyncio
import os
import reprlib
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import litserve  # type: ignore[import-untyped]
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from litserve.connector import check_cuda_with_nvidia_smi  # type: ignore[import-untyped]
from litserve.server import RegularRequestHandler  # type: ignore[import-untyped]
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.formparsers import MultiPartParser
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import scratch
from tagscale.runtime.machine import cores, sleep_while_waiting
from tagscale.runtime.processes import end_with_parent
from tagscale.runtime.signals import answered
from tagscale.serving.page import PAGE, page_routes
from tagscale.serving.server.guard import App, Guard, Limits, refused
from tagscale.serving.server.lineup import BESIDE, LEAD, SHADOW, Asked, Follower, State
from tagscale.serving.server.metrics import Metrics
from tagscale.serving.server.model import Models
from tagscale.serving.server.protocols import protocol_routes
from tagscale.serving.server.record import Log, Served
from tagscale.serving.server.routes import Service, own_routes
from tagscale.serving.server.work import Score, Scoring, Work

ANSWERING = "models"  # the process of the lead and of those beside
ENDING_SECONDS = 10  # beside the time that a request may take
MOST_DECODERS = 4  # by default: a container sees the cores of its node, whatever share of them it has
START_SECONDS = 10.0  # that a decoder may take on a busy machine, whatever a request may take
SPOOLED = 1 << 20  # bytes of a form's file in memory; the rest is on disk
HOSTS = ("127.0.0.1", "0.0.0.0", "::")  # those that LitServe takes


@dataclass(frozen=True)
class Settings:
    """How a server runs.

    Attributes:
        host, port: where it listens
        asked: the models, the lead first
        limits: what it takes
        batch: recordings scored at once
        follow: seconds between two looks at the registry; 0: never
        tokens: one of them stands in every request; none: nobody needs one
        open_metrics: GET /metrics needs no token
        decoders: processes that decode; None: one a core, MOST_DECODERS at most
        data, corrections: as `page.page_routes` takes them
        record: folder of what is served, see `server.record`; None: it is not recorded
    """

    host: str
    port: int
    asked: Sequence[Asked]
    limits: Limits
    batch: int
    follow: float
    tokens: Sequence[str] = ()
    open_metrics: bool = True
    decoders: int | None = None
    data: Path | None = None
    corrections: Path | None = None
    record: Path | None = None

    @property
    def shadow(self) -> str | None:
        """The shadow's name, where there is one."""
        return next((asked.name for asked in self.asked if asked.role == SHADOW), None)


def serve(settings: Settings, say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; then answer the requests in work, and end.

    Args:
        say: takes lines for the log
    Raises:
        TagscaleError: a version is missing or damaged, or the address is none to listen at, or `corrections` has other
            columns.
        OSError: a folder of `record` or `corrections` cannot be written to.
    """
    _check(settings)
    with scratch("tagscale-serve") as folder:
        follower = Follower(settings.asked, State(folder), settings.follow, say)
        try:
            follower.begin()
            server = _server(settings, follower.state)
            slots = ", ".join(f"{slot.role} {slot.model}/{slot.version}" for slot in follower.state.slots())
            say(f"{slots}: POST http://{settings.host}:{settings.port}/tag")
            _run(server, settings)
        finally:
            follower.stop()


def _check(settings: Settings) -> None:
    """What would fail with the first request, or after a model is loaded. Errors as of `serve`."""
    if settings.host not in HOSTS or settings.port < 1024:
        raise TagscaleError(
            f"--host {settings.host} --port {settings.port}: expected one of {', '.join(HOSTS)}, and a port from 1024."
        )
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        socket.create_server((settings.host, settings.port), family=family).close()
    except OSError as error:
        reason = f"--port {settings.port}: nobody can listen there ({os.strerror(error.errno or 0)})"
        raise TagscaleError(f"{reason}. Where another program does, end it or name another port.") from None
    for folder in filter(None, (settings.record, settings.corrections and settings.corrections.parent)):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    if settings.corrections and settings.corrections.exists():
        from tagscale.catalog.corrections import append  # here: it takes pandas

        append(settings.corrections, [])


def _run(server: litserve.LitServer, settings: Settings) -> None:
    """LitServe's run. Its way to end in order is Ctrl-C, so SIGTERM is taken for one."""
    own = os.getpid()
    os.register_at_fork(after_in_child=end_with_parent)  # LitServe's forks outlive this process if it is killed

    def end(number: int) -> None:
        if os.getpid() == own:  # not in a fork, which inherits this
            raise KeyboardInterrupt

    sleep_while_waiting()
    server.uvicorn_graceful_timeout = settings.limits.seconds + ENDING_SECONDS
    try:
        with answered(end, signal.SIGTERM, signal.SIGINT):
            server.run(
                host=settings.host, port=settings.port, num_api_servers=1, log_level="warning", access_log=False,
                generate_client_file=False,
            )  # fmt: skip
    except KeyboardInterrupt:  # while the models are loaded
        pass
    except RuntimeError as error:
        raise TagscaleError(f"The server does not start: {error}. The lines above say why.") from None
    finally:
        for worker in getattr(server, "inference_workers", []):
            worker.kill()


def _server(settings: Settings, state: State) -> litserve.LitServer:
    """LitServe with the routes of tagscale alone: its own take any path for a file's."""
    models = [Models(state.folder, ANSWERING, (LEAD, BESIDE), settings.batch)]
    if settings.shadow:
        models.append(Models(state.folder, SHADOW, (SHADOW,), settings.batch, niceness=10))
    handlers: list[RegularRequestHandler] = []

    def asking(place: int) -> Score:
        return lambda request: handlers[place].handle_request(request, dict)

    http = Http(settings, state, asking(0), asking(1))
    # LitServe's `auto` knows a GPU only where torch is imported
    accelerator = "cuda" if check_cuda_with_nvidia_smi() else "cpu"
    server = litserve.LitServer(
        models, accelerator=accelerator, timeout=settings.limits.seconds, restart_workers=True,
        disable_openapi_url=True, middlewares=[http.guard],
    )  # fmt: skip
    MultiPartParser.spool_max_size = SPOOLED  # LitServe keeps forms in memory, for its own use of them
    handlers += [RegularRequestHandler(model, server) for model in models]
    server.app.router.routes.clear()
    http.install(server.app)
    return server


class Http:
    """What speaks HTTP: the guard in front, the routes, and what follows an answer.

    Args:
        score, shadow: ask the processes of the models
    """

    def __init__(self, settings: Settings, state: State, score: Score, shadow: Score) -> None:
        self.settings, self.state, self.metrics = settings, state, Metrics(state)
        limits, name = settings.limits, settings.shadow
        self.lead = Scoring(score, state, ANSWERING, self.metrics.batches.observe)
        self.shadow = Scoring(shadow, state, SHADOW) if name else None
        patience = max(limits.seconds / 2, START_SECONDS)  # what hangs has its reason before the request has 504
        decoders = settings.decoders or min(cores(), MOST_DECODERS)
        self.work = Work(self.lead, self.metrics, decoders, limits.audio_seconds, patience)
        log = Log(settings.record, state) if settings.record else None
        self.served = Served(log, self.shadow, name or "", state.uploads, self.metrics)
        self.service = Service(state, self.work, limits, self.served)
        self.tasks: list[asyncio.Task[None]] = []

    def guard(self, app: App) -> Guard:
        """The guard around an app; a middleware."""
        self.in_front = Guard(
            app, self.state, self.metrics, self.settings.limits, paths=self.paths, tokens=self.settings.tokens,
            open_metrics=self.settings.open_metrics, begin=self._begin, end=self._end,
        )  # fmt: skip
        return self.in_front

    def install(self, app: FastAPI) -> None:
        """Give the app all routes."""
        app.include_router(own_routes(self.service, lambda: self.in_front, self.metrics.text))
        app.include_router(protocol_routes(self.service))
        app.include_router(page_routes(self.settings.data, self.settings.corrections))
        for kind in (AnyHTTPException, RequestValidationError, ClientDisconnect):
            app.add_exception_handler(kind, _explained)
        self.paths = [PAGE, *app.openapi()["paths"]]

    def _begin(self) -> None:
        """What the process that speaks HTTP does first. A signal lets it drain before uvicorn closes the door."""
        end_with_parent()
        self.tasks = [asyncio.create_task(one.watch()) for one in (self.lead, self.shadow) if one]
        self.tasks.append(asyncio.create_task(self.served.run()))
        if threading.current_thread() is threading.main_thread():
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._drain_later, number, signal.getsignal(number))

    def _end(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.work.stop()
        self.served.end()

    def _drain_later(self, number: int, ends: Any) -> None:
        self.tasks.append(asyncio.create_task(self._drain(number, ends)))

    async def _drain(self, number: int, ends: Any) -> None:
        self.in_front.drain()
        await self.in_front.idle.wait()
        await asyncio.sleep(0.1)  # the last answer leaves
        ends(number, None)


async def _explained(request: Request, error: Exception) -> JSONResponse:
    """An error in the form of all errors of this server."""
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"][1:] or first["loc"]))  # without "query" or "body"
        error = HTTPException(400, f"{where}: {first['msg']}; found {reprlib.repr(first.get('input'))}.")
    elif isinstance(error, ClientDisconnect):
        error = HTTPException(400, "The client left before its request was complete.")
    assert isinstance(error, AnyHTTPException)
    return refused(error)
