"""The HTTP server of one registered version: MLflow's scoring app with limits around it.

MLflow's app (3.17, mlflow/pyfunc/scoring_server) reads a body of any size and admits every request. After its timeout
it answers, but the thread of the request works on. So a few long recordings can fill a pod that looks healthy. `Guard`
stands in front: it bounds bodies and the requests in work, and says in every answer which version gives it.

The version is read by the installed code (`registry.package.load_version`). Nothing of its artifact is executed.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from mlflow.environment_variables import MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PyFuncModel, scoring_server
from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse

from tagscale.registry.package import signature
from tagscale.registry.tagger import AudioTagger
from tagscale.runtime.errors import TagscaleError
from tagscale.tracking import environment

MODEL_HEADER = "X-Tagscale-Model"
READY = "/ready"
RETRY_SECONDS = 5  # what a client that was not admitted is told to wait
UPLOAD_SECONDS = 30.0  # a request holds its place while its body comes in

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Limits:
    """What the server takes.

    Attributes:
        at_once: requests in work at the same time; another one gets 503.
        body_bytes: of a request; a larger one gets 413.
        recordings: in a request; more get 400.
        audio_seconds: of a recording; a longer one is not tagged.
        seconds: until a request is answered with 504.
    """

    at_once: int = 2
    body_bytes: int = 64 << 20
    recordings: int = 8
    audio_seconds: float = 1200.0
    seconds: int = 300


def served(tagger: AudioTagger, limits: Limits) -> PyFuncModel:
    """The tagger as MLflow's app calls it, with the signature of the packaged model."""
    bounded = _Bounded(replace(tagger, longest=limits.audio_seconds), limits.recordings)
    return PyFuncModel(Model(signature=signature(tagger)), bounded)


def guarded(model: PyFuncModel, name: str, limits: Limits) -> "Guard":
    """MLflow's app for the model, behind the limits.

    Args:
        name: of the version, as answers have it in X-Tagscale-Model: "tagscale-tagger/4".
    """
    with environment({MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.name: str(limits.seconds)}):
        return Guard(scoring_server.init(model), name, limits)


class _Bounded:
    """A tagger that takes so many recordings at most. What is not tagged is null in JSON, which has no NaN."""

    def __init__(self, tagger: AudioTagger, most: int) -> None:
        self.tagger, self.most = tagger, most

    def predict(self, frame: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        if len(frame) > self.most:
            what = f"{len(frame)} recordings in a request; this server takes {self.most} at most."
            raise MlflowException(what, INVALID_PARAMETER_VALUE)
        try:
            scores = self.tagger.predict(frame, params)
        except TagscaleError as error:
            raise MlflowException(str(error), INVALID_PARAMETER_VALUE) from None
        return scores.astype(object).where(scores.notna(), None)


class Guard:
    """An ASGI app around MLflow's: it bounds every request but GET, and answers GET /ready.

    A request keeps its place until MLflow's app has ended with it. That is when its thread ends, also where the answer
    was 504 or the client has left: the middleware of the timeout waits for its task. The tests hold that.

    Attributes:
        app: MLflow's.
        name: of the version that answers.
    """

    def __init__(self, app: App, name: str, limits: Limits) -> None:
        self.app, self.name, self.limits = app, name, limits
        self.places = asyncio.Semaphore(limits.at_once)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[MODEL_HEADER] = self.name
            await send(message)

        if scope["method"] not in ("GET", "HEAD"):
            await self._admit(scope, receive, send_named)
        elif scope["path"] == READY:
            await self._is_ready()(scope, receive, send_named)
        else:
            await self.app(scope, receive, send_named)

    def _is_ready(self) -> JSONResponse:
        """Whether another request would be admitted."""
        return _full(self.limits.at_once) if self.places.locked() else JSONResponse({"model": self.name})

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Give the request a place, read its body, and hand it on to MLflow's app."""
        if self.places.locked():
            await _full(self.limits.at_once)(scope, receive, send)
            return
        async with self.places:  # free, so nobody waits here
            body = await self._body(scope, receive)
            if isinstance(body, JSONResponse):
                await body(scope, receive, send)
            else:
                await self.app(scope, _replayed(body, receive), send)

    async def _body(self, scope: Scope, receive: Receive) -> bytes | JSONResponse:
        """The request's body, or the answer to one that is too large or too slow."""
        most = self.limits.body_bytes
        too_large = _refusal(413, "REQUEST_TOO_LARGE", f"The body has more than {most} bytes.")
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > most:
            return too_large
        body = bytearray()
        try:
            async with asyncio.timeout(UPLOAD_SECONDS):
                while True:
                    message = await receive()
                    body += message.get("body", b"")
                    if len(body) > most:
                        return too_large
                    if not message.get("more_body"):  # the end, or a client that is gone
                        return bytes(body)
        except TimeoutError:
            return _refusal(408, "REQUEST_TIMEOUT", f"The body did not come within {UPLOAD_SECONDS:g} s.")


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body in one piece, and then what the server gives."""
    pieces = [body]

    async def next_message() -> Message:
        if pieces:
            return {"type": "http.request", "body": pieces.pop(), "more_body": False}
        return await receive()

    return next_message


def _full(at_once: int) -> JSONResponse:
    what = f"{at_once} requests are in work, and this server takes no more at a time. Try again."
    return _refusal(503, "TEMPORARILY_UNAVAILABLE", what, {"Retry-After": str(RETRY_SECONDS)})


def _refusal(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An answer in the form of MLflow's errors."""
    return JSONResponse({"error_code": code, "message": message}, status, headers)
