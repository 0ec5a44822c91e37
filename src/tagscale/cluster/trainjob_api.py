"""The Kubernetes API below the Kubeflow SDK: what an error means, and no waiting for an answer that never comes."""

import json
import socket
from collections.abc import Iterator
from typing import Any


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def status_of(error: BaseException) -> int | None:
    """HTTP status by which the API refused, or None where an error is of another kind."""
    from kubernetes.client import ApiException  # type: ignore[import-untyped]

    return next((one.status for one in chain(error) if isinstance(one, ApiException)), None)


def is_away(error: BaseException) -> bool:
    """Whether an error means that the API cannot be reached or cannot answer now."""
    from urllib3.exceptions import HTTPError

    status = status_of(error)
    if status is not None:
        return status >= 500 or status in (0, 401, 408, 429)  # 401: between two tokens of the account
    return any(isinstance(one, (HTTPError, OSError)) for one in chain(error))  # TimeoutError is an OSError


def message_of(error: BaseException) -> str:
    """What the API says, or what went wrong on the way to it."""
    from kubernetes.client import ApiException

    last = list(chain(error))[-1]
    for one in chain(error):
        if isinstance(one, ApiException):
            try:
                return str(json.loads(one.body)["message"])
            except (TypeError, ValueError, KeyError):
                return f"{one.status} {one.reason}"
    return f"{type(last).__name__}: {last}"[:300]


def keep_alive(client: Any) -> None:
    """Let a connection whose other end is gone end within two minutes; the SDK sets no limit to reading an answer."""
    from urllib3.connection import HTTPConnection

    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 5), ("TCP_USER_TIMEOUT", 100_000)):
        if hasattr(socket, name):  # on Linux all are there
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    pools = client.rest_client.pool_manager
    pools.connection_pool_kw["socket_options"] = [*HTTPConnection.default_socket_options, *options]
