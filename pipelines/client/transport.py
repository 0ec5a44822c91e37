"""Requests that end, and errors that say what to do."""

import json
import re
from typing import Any

import urllib3
from kfp_server_api import ApiException, Configuration
from kfp_server_api.rest import RESTClientObject, RESTResponse

from pipelines.client.server import Server
from tagscale.runtime.errors import TagscaleError

TIMEOUT = (10, 60)  # seconds to connect, and between two packets of an answer
API_ADDRESS = "Give the API's address: port-forwarded http://localhost:8080, or https://HOST/pipeline of a Kubeflow."


class Refused(TagscaleError):
    """The server, or a proxy in front of it, answered with an error; `status` is HTTP's."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Unreachable(TagscaleError):
    """No answer came."""


class CheckedRequests(RESTClientObject):
    """Sends the requests of `kfp_server_api`, each with the credentials as their files hold them now."""

    def __init__(self, configuration: Configuration, server: Server) -> None:
        configuration.retries = False  # a POST that is sent twice makes two runs; redirects lead to login pages
        super().__init__(configuration)
        self.server = server

    def request(self, method: str, url: str, **options: Any) -> RESTResponse:
        """Send one request.

        Raises:
            Refused: the answer is an error, a redirect, or no JSON.
            Unreachable: no answer.
        """
        options["headers"] = {**(options.get("headers") or {}), **self.server.headers()}
        options["_request_timeout"] = options.get("_request_timeout") or TIMEOUT
        host = self.server.host
        try:
            answer = super().request(method, url, **options)
        except ApiException as error:
            raise _refusal(self.server, error) from None
        except urllib3.exceptions.HTTPError as error:
            never_sent = isinstance(
                error, (urllib3.exceptions.ConnectTimeoutError, urllib3.exceptions.NewConnectionError)
            )
            unknown = method != "GET" and not never_sent
            raise Unreachable(
                f"{host} does not answer ({_cause(error)}). Is it the right address, and is the server reachable from "
                "here (VPN, `kubectl port-forward`)?"
                + " The server may or may not have done what was asked: check before you repeat it."
                * unknown
            ) from None
        kind = answer.getheader("content-type", "")
        if "json" not in kind and answer.data:
            raise Refused(
                f"{host} answers with a page ({kind or 'of no type'}), not with data: a proxy's login page, or an "
                f"address that is no API. {self.server.renewal()} {API_ADDRESS}",
                401,
            )
        return answer


def _refusal(server: Server, error: ApiException) -> TagscaleError:
    host, status = server.host, error.status or 0
    if status == 0:  # how the generated client reports errors of TLS
        reason = _first_line(str(error.reason).partition("\n")[2] or error.reason)
        return Unreachable(f"{host}: no secure connection ({reason}). --ca-file FILE names the certificates to trust.")
    if 300 <= status < 400:
        target = (error.headers or {}).get("Location", "elsewhere").split("?")[0]
        return Refused(f"{host} redirects to {target}: a login page? {server.renewal()}", 401)
    if status == 401:
        return Refused(f"{host} does not know the user (401). {server.renewal()}", status)
    if status == 403:
        return Refused(
            f"{host} refuses (403): {_message(error)}. {server.renewal()} Where the credentials are good, their owner "
            f"lacks this right in namespace {server.namespace or '(none given: --namespace)'}.",
            status,
        )
    return Refused(f"{host} answers with status {status}: {_message(error)}.", status)


def _message(error: ApiException) -> str:
    """The message in the body of an error."""
    body = error.body.decode("utf-8", "replace") if isinstance(error.body, bytes) else str(error.body or "")
    try:
        content = json.loads(body)
        message = content.get("error_message") or content.get("message") or content.get("error")
    except (ValueError, AttributeError):
        message = body
    return _first_line(message or error.reason or "no message")


def _first_line(text: Any) -> str:
    return next(iter(str(text).strip().splitlines()), "")[:300]


def _cause(error: Exception) -> str:
    """The reason, without the names of the objects that urllib3 wraps around it."""
    innermost = next((part for part in reversed(error.args) if isinstance(part, Exception)), error)
    return re.sub(r"^(\S*Connection\S*\(host=.*?\): )", "", _first_line(innermost))
