"""The services of a Kubeflow Pipelines server."""

import json
from dataclasses import dataclass
from typing import Any

from kfp_server_api import (
    ApiClient,
    Configuration,
    ExperimentServiceApi,
    PipelineServiceApi,
    PipelineUploadServiceApi,
    RecurringRunServiceApi,
    RunServiceApi,
)

from pipelines.client.server import Server
from pipelines.client.transport import API_ADDRESS, CheckedRequests, Refused
from tagscale.runtime.errors import TagscaleError

HEALTH = "/apis/v2beta1/healthz"


@dataclass(frozen=True)
class Client:
    """The API's services that are used here, on one connection; `namespace` is None on a server for one user."""

    namespace: str | None
    experiments: ExperimentServiceApi
    pipelines: PipelineServiceApi
    uploads: PipelineUploadServiceApi
    runs: RunServiceApi
    recurring: RecurringRunServiceApi


def connect(server: Server) -> Client:
    """Check that the server can be used.

    Raises:
        Refused, Unreachable: as `CheckedRequests.request`.
        TagscaleError: the server's version is not supported; it needs a namespace, or takes none.
    """
    configuration = Configuration(host=server.host)
    configuration.ssl_ca_cert = server.ca_file
    api = ApiClient(configuration)
    api.rest_client = requests = CheckedRequests(configuration, server)
    several_users = _health(requests, server.host).get("multi_user", False)
    if several_users and not server.namespace:
        raise TagscaleError(f"{server.host} serves several users: give --namespace, the name of your Kubeflow profile.")
    if server.namespace and not several_users:
        raise TagscaleError(f"--namespace {server.namespace}: {server.host} serves one user; leave it out.")
    return Client(
        server.namespace,
        ExperimentServiceApi(api),
        PipelineServiceApi(api),
        PipelineUploadServiceApi(api),
        RunServiceApi(api),
        RecurringRunServiceApi(api),
    )


def _health(requests: CheckedRequests, host: str) -> dict[str, Any]:
    """What the server says about itself. Raises TagscaleError where it has no v2 API."""
    try:
        health = json.loads(requests.request("GET", host + HEALTH).data)
    except Refused as error:
        if error.status != 404:
            raise
        try:
            old = json.loads(requests.request("GET", host + HEALTH.replace("v2", "v1")).data)
        except TagscaleError:
            raise TagscaleError(f"{host} has no Kubeflow Pipelines API (no {HEALTH}). {API_ADDRESS}") from None
        version = old.get("tag_name") or "1.x"
        raise TagscaleError(
            f"{host} is Kubeflow Pipelines {version}, which has no v2 API; expected 2.0 or newer: upgrade the server."
        ) from None
    except ValueError:
        raise TagscaleError(f"{host}{HEALTH} answers with broken JSON. {API_ADDRESS}") from None
    return health if isinstance(health, dict) else {}
