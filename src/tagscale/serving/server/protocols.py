"""Protocols of others: the Open Inference Protocol v2, which KServe and Triton speak, and MLflow's POST /invocations.

Neither has a place for the reason why one of several recordings has no scores. In v2 the output `error` holds it, and
the scores of that recording are 0, since JSON has no NaN. In MLflow's protocol the list `errors` stands beside
`predictions`, where that recording has null for every tag. Parameters of v2 are texts, numbers or booleans, so lists in
them are JSON.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import JSONResponse, Response

from tagscale import __version__
from tagscale.serving.server import inputs
from tagscale.serving.server.routes import Service, answered
from tagscale.serving.server.work import Answer, Wanted

AUDIO = "audio"  # the input of the protocols: a column, or a tensor
SCORES, ERROR = "scores", "error"  # outputs of v2
DIMENSIONS = 8  # of an input of v2, at most
LISTS = {"tags": "tag", "thresholds": "threshold"}  # parameters of v2 -> what GET /models says of each tag
OUTPUTS = (SCORES, "probabilities", "decisions", "json")  # of MLflow's protocol


def protocol_routes(service: Service) -> APIRouter:
    """The routes of this module. Health of v2 stands with the other health."""
    router = APIRouter()

    @router.get("/v2")
    async def server() -> Response:
        return JSONResponse({"name": "tagscale", "version": __version__, "extensions": []})

    @router.get("/v2/models/{name}")
    @router.get("/v2/models/{name}/versions/{version}")
    async def model(name: str, version: str | None = None) -> Response:
        slot = service.slot(_address(name, version))
        tags = [tag["tag"] for tag in slot["tags"]]
        outputs = [_described(SCORES, "FP32", [-1, len(tags)]), _described(ERROR, "BYTES", [-1])]
        content = {
            "name": slot["model"],
            "versions": [slot["version"]],
            "platform": "tagscale",
            "inputs": [_described(AUDIO, "BYTES", [-1])],
            "outputs": outputs,
            "parameters": _parameters(slot),
        }
        return answered(content, slot)

    @router.get("/v2/models/{name}/ready")
    @router.get("/v2/models/{name}/versions/{version}/ready")
    async def ready(name: str, version: str | None = None) -> Response:
        slot = service.slot(_address(name, version))
        return answered({"name": slot["model"], "ready": True}, slot)

    @router.post("/v2/models/{name}/infer")
    @router.post("/v2/models/{name}/versions/{version}/infer")
    async def infer(request: Request, name: str, version: str | None = None) -> Response:
        slot = service.slot(_address(name, version))
        body = await inputs.body_as_json(request)
        audio, wanted = _tensor(body), _outputs(body)
        async with service.folder() as folder:
            texts = [(f"{AUDIO}-{number}", text) for number, text in enumerate(audio)]
            recordings = await inputs.of_texts(texts, folder, service.limits.recordings)
            ((of, answers),) = await service.tag(recordings, [slot], Wanted())
        tags = [tag["tag"] for tag in of["tags"]]
        scores = [answer.get("scores", {}).get(tag, 0.0) for answer in answers for tag in tags]
        outputs = {
            SCORES: _described(SCORES, "FP32", [len(answers), len(tags)]) | {"data": scores},
            ERROR: _described(ERROR, "BYTES", [len(answers)]) | {"data": [one.get("error", "") for one in answers]},
        }
        content = {
            "model_name": of["model"],
            "model_version": of["version"],
            **({"id": inputs.sendable(body["id"])} if isinstance(body.get("id"), str) else {}),
            "parameters": _parameters(of),
            "outputs": [outputs[name] for name in wanted],
        }
        return answered(content, of)

    @router.post("/invocations")
    async def invocations(request: Request) -> Response:
        slot = service.slot(None)
        if not request.headers.get("content-type", "").lower().startswith("application/json"):
            raise HTTPException(415, "Expected JSON (Content-Type: application/json).")
        body = await inputs.body_as_json(request)
        params = body.get("params") or {} if isinstance(body, dict) else {}
        output = params.get("output", OUTPUTS[0]) if isinstance(params, dict) else None
        if output not in OUTPUTS:
            raise HTTPException(400, f"params: found {params!r}, expected output, one of {', '.join(OUTPUTS)}.")
        if output not in (OUTPUTS[0], "json") and not any(tag["threshold"] is not None for tag in slot["tags"]):
            raise HTTPException(400, f"This version has no decisions, so no {output}: register the run again.")
        async with service.folder() as folder:
            texts = [(f"row {row}", text) for row, text in enumerate(_rows(body))]
            recordings = await inputs.of_texts(texts, folder, service.limits.recordings)
            ((of, answers),) = await service.tag(recordings, [slot], Wanted())
        tags = [tag["tag"] for tag in of["tags"]]
        predictions: list[dict[str, Any]] = (
            [{"result": json.dumps(_said(answer))} for answer in answers]
            if output == "json"
            else [{tag: _value(answer, tag, output) for tag in tags} for answer in answers]
        )
        return answered({"predictions": predictions, "errors": [answer.get("error") for answer in answers]}, of)

    return router


def _address(name: str, version: str | None) -> str:
    return name if version is None else f"{name}/{version}"


def _described(name: str, datatype: str, shape: Sequence[int]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape)}


def _parameters(version: dict[str, Any]) -> dict[str, str]:
    lists = {name: json.dumps([tag[one] for tag in version["tags"]]) for name, one in LISTS.items()}
    return lists | {"sha256": version["sha256"]}


def _tensor(body: Any) -> list[Any]:
    """The recordings of a request of v2. Raises HTTPException where it is none."""
    try:
        (tensor,) = body["inputs"]
        data, shape = tensor["data"], tensor["shape"]
        while isinstance(data, list) and data and all(isinstance(row, list) for row in data):  # of more dimensions
            data = [one for row in data for one in row]
        is_one = tensor["datatype"] == "BYTES" and isinstance(data, list) and len(shape) <= DIMENSIONS
        if is_one and math.prod(shape) == len(data):
            return data
    except (KeyError, TypeError, ValueError):
        pass
    expected = "one input of the datatype BYTES, with a shape of as many elements as there are, each base64 of a file"
    raise HTTPException(400, f"Expected {expected}.")


def _outputs(body: dict[str, Any]) -> list[str]:
    """The outputs that a request of v2 names, all where it names none. Raises HTTPException for others."""
    known = [SCORES, ERROR]
    try:
        wanted = [output["name"] for output in body.get("outputs") or ()] or known
        if all(name in known for name in wanted):
            return wanted
    except (KeyError, TypeError):
        pass
    raise HTTPException(400, f'outputs: expected a list of {{"name": NAME}}, NAME one of {", ".join(known)}.')


def _rows(body: Any) -> list[Any]:
    """The recordings of a request in one of MLflow's forms. Raises HTTPException where it is none."""
    try:
        if "dataframe_records" in body:
            return [record[AUDIO] for record in body["dataframe_records"]]
        if "dataframe_split" in body:
            column = list(body["dataframe_split"]["columns"]).index(AUDIO)
            return [row[column] for row in body["dataframe_split"]["data"]]
        given = body["inputs"] if "inputs" in body else body["instances"]
        given = given[AUDIO] if isinstance(given, dict) else given
        if isinstance(given, list):  # a text alone has letters, and no rows
            return [one[AUDIO] if isinstance(one, dict) else one for one in given]
        raise TypeError
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        expected = '{"dataframe_records": [{"audio": base64}]}, dataframe_split, inputs or instances'
        raise HTTPException(400, f"Expected the column `audio`, as {expected}.") from None


def _said(answer: Answer) -> dict[str, Any]:
    """What the packaged model says of a recording (`registry.tags.Tags.as_dict`)."""
    said = {key: answer[key] for key in ("error", "scores", "warnings") if key in answer}
    return said | ({"decisions": answer["decisions"]} if answer.get("decisions") else {})


def _value(answer: Answer, tag: str, output: str) -> float | None:
    """A tag's score, probability, or 1 and 0 for what is decided; its score where it has no decision."""
    if "error" in answer:
        return None
    decision = answer["decisions"].get(tag)
    if decision is None or output == "scores":
        return float(answer["scores"][tag])
    return float(decision["probability" if output == "probabilities" else "decided"])
