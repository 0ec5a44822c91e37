"""Checks of requests and answers against the description of KFP's v2beta1 API: no unknown field, no wrong type."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

from jsonschema import Draft4Validator

_INTEGERS_AS_TEXT = ["string", "integer"]  # JSON of protobuf writes 64 bits as text, and reads numbers too


def _strict(schema: Any) -> Any:
    """The schema with unknown fields refused."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return {"$ref": schema["$ref"]}
    strict = {key: _strict(value) for key, value in schema.items()}
    if isinstance(strict.get("properties"), dict):
        strict.setdefault("additionalProperties", False)
    if strict.get("format") == "int64" and strict.get("type") == "string":
        strict["type"] = _INTEGERS_AS_TEXT
    return strict


_CONTENT = json.loads(gzip.decompress((Path(__file__).parent / "description.json.gz").read_bytes()))
DEFINITIONS = {name: _strict(definition) for name, definition in _CONTENT["definitions"].items()}


def operation(method: str, path: str) -> tuple[dict[str, Any], dict[str, str]] | None:
    """The operation of a request, and the values in its path; plain paths come before those with placeholders."""
    for template, operations in sorted(_CONTENT["paths"].items(), key=lambda item: item[0].count("{")):
        pattern = re.sub(r"\\{([\w.]+)\\}", lambda m: f"(?P<{m[1].replace('.', '_')}>[^/:]+)", re.escape(template))
        matched = re.fullmatch(pattern, path)
        if matched and method.lower() in operations:
            return operations[method.lower()], matched.groupdict()
    return None


def faults_of_request(described: dict[str, Any], query: dict[str, str], body: Any, files: set[str]) -> list[str]:
    """What is wrong with a request of a known operation."""
    parameters = described.get("parameters", [])
    known = {one["name"]: one for one in parameters if one["in"] == "query"}
    faults = [f"unknown query parameter {name!r}" for name in query if name not in known]
    for name, text in query.items():
        kind = known.get(name, {}).get("type")
        if kind == "integer" and not re.fullmatch(r"-?\d+", text):
            faults.append(f"query parameter {name!r} is {text!r}, no integer")
        if kind == "boolean" and text not in ("true", "false"):
            faults.append(f"query parameter {name!r} is {text!r}, no boolean")
    if "filter" in query and "filter" in known:
        faults += faults_of(_as_written(json.loads(query["filter"])), {"$ref": "#/definitions/v2beta1Filter"})
    bodies = [one for one in parameters if one["in"] == "body"]
    if bodies:
        faults += faults_of(body, bodies[0]["schema"])
    elif body is not None:
        faults.append("a body where none belongs")
    expected = {one["name"] for one in parameters if one["in"] == "formData"}
    if files != expected:
        faults.append(f"files {sorted(files)}, expected {sorted(expected)}")
    return faults


def faults_of_answer(described: dict[str, Any], content: Any) -> list[str]:
    """What is wrong with an answer of a known operation."""
    return faults_of(content, described["responses"]["200"].get("schema", {}))


def faults_of(content: Any, schema: dict[str, Any]) -> list[str]:
    validator = Draft4Validator(
        _strict(schema) | {"definitions": DEFINITIONS}
        if "$ref" not in schema
        else {"allOf": [{"$ref": schema["$ref"]}], "definitions": DEFINITIONS}
    )
    return [
        f"{'.'.join(map(str, error.path)) or 'body'}: {error.message[:300]}" for error in validator.iter_errors(content)
    ]


def _as_written(content: Any) -> Any:
    """A filter as the description writes it: JSON of protobuf also reads camelCase names and numbers of enums."""
    if isinstance(content, list):
        return [_as_written(item) for item in content]
    if not isinstance(content, dict):
        return content
    names = {re.sub(r"[A-Z]", lambda m: f"_{m[0].lower()}", key): _as_written(value) for key, value in content.items()}
    if isinstance(names.get("operation"), int):
        names["operation"] = DEFINITIONS["v2beta1PredicateOperation"]["enum"][names["operation"]]
    return names


def predicates(query: dict[str, str]) -> list[dict[str, Any]]:
    """The conditions of a list request."""
    return _as_written(json.loads(query["filter"]))["predicates"] if "filter" in query else []
