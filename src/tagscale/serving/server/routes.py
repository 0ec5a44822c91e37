"""The server's own protocol: POST /tag, GET /models, health, metrics."""

import asyncio
import logging
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, Response

from tagscale.serving.server import inputs
from tagscale.serving.server.guard import MODEL_HEADER, RETRY_SECONDS, Guard, Limits
from tagscale.serving.server.lineup import LEAD, SHADOW, State
from tagscale.serving.server.record import Served
from tagscale.serving.server.work import Answer, Recording, Wanted, Work

logger = logging.getLogger(__name__)

NAMES = ("model", "version", "sha256")
LOOK_SECONDS = 0.02  # between two looks whether a version that answers is among those that are loaded


class Service:
    """Answers requests with the tags of their recordings, in whatever protocol they come."""

    def __init__(self, state: State, work: Work, limits: Limits, served: Served) -> None:
        self.state, self.work, self.limits, self.served = state, work, limits, served

    def slot(self, name: str | None) -> dict[str, Any]:
        """The loaded version that a request means: the lead, or one by its name, its model, or MODEL/VERSION.

        Raises:
            HTTPException: 503 while nothing is loaded, 404 where no such version is.
        """
        loaded = [model for model in self.state.loaded() if model["role"] != SHADOW]
        if not loaded:
            raise HTTPException(503, "The model is not loaded yet.", {"Retry-After": str(RETRY_SECONDS)})
        for model in loaded if name else loaded[:1]:
            if not name or name in (model["name"], model["model"], f"{model['model']}/{model['version']}"):
                return model
        known = ", ".join(model["name"] for model in loaded)
        raise HTTPException(404, f"No model {name!r} is loaded here; there: {known}.")

    @property
    def _late(self) -> str:
        return f"the answer was not there after {self.limits.seconds} s"

    @asynccontextmanager
    async def folder(self) -> AsyncIterator[Path]:
        """A folder for a request's files, until it is answered."""
        folder = Path(tempfile.mkdtemp(dir=self.state.uploads))
        try:
            yield folder
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def tag(
        self, recordings: Sequence[Recording], slots: Sequence[dict[str, Any]], wanted: Wanted
    ) -> list[tuple[dict[str, Any], list[Answer]]]:
        """Of each slot, the version that answered, and an answer a recording, scores or an error, all of that one.

        It is another one than the slot's where an alias has moved meanwhile, and may have other tags. Only the first
        one's answers hold a spectrogram, which is no model's. What a further slot does not answer in time, or at all,
        is an error of that recording and costs the first one's answers nothing.

        Raises:
            HTTPException: 504 where those of the first slot are not all there in time.
        """
        first, *others = slots
        ends = asyncio.get_running_loop().time() + self.limits.seconds
        try:
            async with asyncio.timeout_at(ends):
                tagged = [await self._tagged(recordings, first, wanted)]
        except TimeoutError:
            raise HTTPException(504, f"{self._late.capitalize()}.") from None
        rest = replace(wanted, spectrogram=False)
        return tagged + [await self._tagged(recordings, slot, rest, ends) for slot in others]

    async def _tagged(
        self, recordings: Sequence[Recording], slot: dict[str, Any], wanted: Wanted, ends: float | None = None
    ) -> tuple[dict[str, Any], list[Answer]]:
        answers = await self._answers(recordings, slot["name"], wanted, ends)
        try:
            async with asyncio.timeout_at(ends):
                of = await self._version(next((answer for answer in answers if "version" in answer), slot), slot)
        except TimeoutError:
            if ends is None:
                raise
            return slot, [{"error": self._late}] * len(recordings)
        if of["role"] == LEAD:
            self.served.answered(recordings, answers, of)
        return of, answers

    async def _answers(
        self, recordings: Sequence[Recording], slot: str, wanted: Wanted, ends: float | None
    ) -> list[Answer]:
        answers = await asyncio.gather(*(self._in_time(self.work.hear(one, slot, wanted), ends) for one in recordings))
        while len({answer["version"] for answer in answers if "version" in answer}) > 1:  # it moved on
            for place, answer in enumerate(answers):
                if "version" in answer:
                    answers[place] = await self._in_time(self.work.scoring.ask(recordings[place], slot, wanted), ends)
        return answers

    async def _in_time(self, answer: Awaitable[Answer], ends: float | None) -> Answer:
        """An answer; where it is to come until `ends` and does not, or fails, an error with the reason."""
        if ends is None:
            return await answer
        try:
            async with asyncio.timeout_at(ends):
                return await answer
        except TimeoutError:
            return {"error": self._late}
        except Exception:
            logger.exception("a version beside the first one failed")
            return {"error": "this version failed; the server's log says why"}

    async def _version(self, answer: Answer, slot: dict[str, Any]) -> dict[str, Any]:
        """The version of an answer of a slot: the one before, or the one that is just being put in place."""
        known = [slot]
        while True:
            for one in known:
                if names_of(one) == names_of(answer):
                    return one
            await asyncio.sleep(LOOK_SECONDS)
            known = [one for one in self.state.loaded() if (one["name"], one["role"]) == (slot["name"], slot["role"])]


def names_of(version: dict[str, Any]) -> dict[str, Any]:
    """Model, version and sha256 of an answer, or of a version."""
    return {name: version[name] for name in NAMES}


def _content(recordings: Sequence[Recording], of: dict[str, Any], answers: Sequence[Answer]) -> dict[str, Any]:
    """What POST /tag gives of one version."""
    results = [
        {"name": recording.name} | {key: value for key, value in answer.items() if key not in NAMES}
        for recording, answer in zip(recordings, answers, strict=True)
    ]
    return {**names_of(of), "results": results}


def answered(content: dict[str, Any], of: dict[str, Any], status: int = 200) -> JSONResponse:
    """An answer in JSON, with the version in its header."""
    return JSONResponse(content, status, {MODEL_HEADER: f"{of['model']}/{of['version']}"})


def own_routes(service: Service, guard: Callable[[], Guard], metrics_text: Callable[[], bytes]) -> APIRouter:
    """The routes of this module.

    Args:
        guard: the one in front, which the framework makes when the server starts
        metrics_text: what Prometheus reads
    """
    router = APIRouter()

    @router.post("/tag")
    async def tag(
        request: Request,
        model: str | None = None,
        beside: str | None = None,
        name: str | None = None,
        taggram: bool = False,
        embedding: bool = False,
        spectrogram: bool = False,
    ) -> Response:
        known = [parameter.alias for parameter in request.scope["route"].dependant.query_params]
        inputs.check_words(request.query_params, known, "The query")
        slots = [service.slot(model), *([service.slot(beside)] if beside else [])]
        async with service.folder() as folder:
            recordings = await inputs.recordings(request, folder, service.limits.recordings, name)
            versions = await service.tag(recordings, slots, Wanted(taggram, embedding, spectrogram))
        content, *others = (_content(recordings, *version) for version in versions)
        content |= {"beside": others[0]} if others else {}
        lone = content["results"][0].get("error") if len(recordings) == 1 else None
        more, status = ({"error": lone}, 422) if lone else ({}, 200)
        return answered(content | more, versions[0][0], status)

    @router.get("/models")
    async def models() -> Response:
        lead = service.slot(None)
        return answered({"models": service.state.loaded()}, lead)

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(metrics_text(), media_type=CONTENT_TYPE_LATEST)

    @router.get("/healthz")
    @router.get("/ping")
    @router.get("/health")
    @router.get("/v2/health/live")
    async def alive() -> Response:
        """Red where the models owe an answer for so long that they will never give it."""
        owed, most = service.work.scoring.oldest, 2 * service.limits.seconds
        if owed > most:
            return JSONResponse({"error": f"The models have owed an answer for {owed:.0f} s."}, 503)
        return JSONResponse({"live": True})

    @router.get("/readyz")
    @router.get("/ready")
    @router.get("/v2/health/ready")
    async def ready() -> Response:
        """Whether another request would be admitted."""
        if refusal := guard().refusal():
            raise refusal
        lead = service.slot(None)
        return answered({"ready": True, "model": lead["model"], "version": lead["version"]}, lead)

    return router
