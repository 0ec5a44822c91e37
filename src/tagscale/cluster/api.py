"""The Kubernetes API below the Kubeflow SDK: what an error means, and connections that do not hang."""

import json
import socket
from typing import Any

from tagscale.runtime.errors import causes


def status_of(error: BaseException) -> int | None:
    """The HTTP status of the API's refusal; None for an error of another kind."""
    from kubernetes.client import ApiException  # type: ignore[import-untyped]

    return next((cause.status for cause in causes(error) if isinstance(cause, ApiException)), None)


def is_away(error: BaseException) -> bool:
    """Whether the API cannot be reached, or cannot answer now."""
    from urllib3.exceptions import HTTPError

    status = status_of(error)
    if status is not None:
        return status >= 500 or status in (0, 401, 408, 429)  # 401: between two tokens of the account
    return any(isinstance(cause, (HTTPError, OSError)) for cause in causes(error))  # TimeoutError is an OSError


def message_of(error: BaseException) -> str:
    """The API's message, or what went wrong on the way to it."""
    from kubernetes.client import ApiException

    *_, first = causes(error)
    for cause in causes(error):
        if isinstance(cause, ApiException):
            try:
                return str(json.loads(cause.body)["message"])
            except (TypeError, ValueError, KeyError):
                return f"{cause.status} {cause.reason}"
    return f"{type(first).__name__}: {first}"[:300]


def keep_alive(client: Any) -> None:
    """Close a connection within two minutes of losing its other end; the SDK waits for an answer without limit."""
    from urllib3.connection import HTTPConnection

    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 5), ("TCP_USER_TIMEOUT", 100_000)):
        if hasattr(socket, name):  # Linux has all of them
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    pools = client.rest_client.pool_manager
    pools.connection_pool_kw["socket_options"] = [*HTTPConnection.default_socket_options, *options]
