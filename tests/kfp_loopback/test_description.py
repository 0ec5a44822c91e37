"""The loopback server refuses what KFP's API description lacks."""

import re

import pytest
import requests

from kfp_loopback.server import serving

EXPERIMENTS, RUNS = "/apis/v2beta1/experiments", "/apis/v2beta1/runs"


def ask(server_and_status: list, method: str, path: str, **sent) -> None:
    """One request to a server of its own, which checks it at its end."""
    with serving() as server:
        server_and_status += [server, requests.request(method, server.address + path, timeout=10, **sent).status_code]


@pytest.mark.parametrize(
    ("method", "path", "sent", "fault"),
    [
        ("GET", "/apis/v2beta1/experiment", {}, "no such call"),
        ("PUT", EXPERIMENTS, {"json": {}}, "no such call"),
        ("GET", EXPERIMENTS, {"params": {"name": "one"}}, "unknown query parameter 'name'"),
        ("GET", EXPERIMENTS, {"params": {"page_size": "many"}}, "'page_size' is 'many', no integer"),
        ("GET", EXPERIMENTS, {"params": {"filter": '{"predicate": []}'}}, "'predicate' was unexpected"),
        ("GET", EXPERIMENTS, {"params": {"filter": '{"predicates": [{"key": 3}]}'}}, "3 is not of type 'string'"),
        ("POST", EXPERIMENTS, {"json": {"display_nam": "one"}}, "'display_nam' was unexpected"),
        ("POST", EXPERIMENTS, {"json": {"display_name": 1}}, "display_name: 1 is not of type 'string'"),
        ("POST", RUNS, {"json": {"runtime_config": {"parameter": {}}}}, "runtime_config: .*'parameter' was unexpected"),
        ("POST", RUNS, {"json": {"state": "WALKING"}}, "'WALKING' is not one of"),
        ("POST", "/apis/v2beta1/pipelines/upload_version", {}, r"files \[\], expected \['uploadfile'\]"),
        ("GET", "/apis/v2beta1/auth", {}, "not known to this server"),
    ],
)
def test_refuses(method, path, sent, fault):
    seen: list = []
    with pytest.raises(AssertionError):
        ask(seen, method, path, **sent)
    server, status = seen
    assert status in (400, 404, 501)
    (message,) = server.faults
    assert re.search(fault, message)
