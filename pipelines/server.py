"""A Kubeflow Pipelines server through kfp's client: requests that end, and errors that say what to do.

kfp's client alone waits forever for a server that is silent, takes a proxy's login page for an answer in which every
field is empty, prints tracebacks for a minute when the server is away, and reads its token once.
"""

import json
import re
import warnings
from typing import Any

import kfp
import urllib3
from kfp_server_api import ApiException, Configuration
from kfp_server_api.rest import RESTClientObject, RESTResponse

from pipelines.access import Access
from tagscale.runtime.errors import TagscaleError

TIMEOUT = (10, 60)  # seconds until a connection is there, and between two packets of an answer
HEALTH = "/apis/v2beta1/healthz"
_API_ADDRESS = "Give the API's address: port-forwarded http://localhost:8080, or https://HOST/pipeline of a Kubeflow."


class Refused(TagscaleError):
    """The server, or a proxy in front of it, answered with an error. `status` is HTTP's."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Unreachable(TagscaleError):
    """No answer came."""


class CheckedRequests(RESTClientObject):
    """The sender of kfp's requests, with credentials read anew for each: they may be renewed during a long run."""

    def __init__(self, configuration: Configuration, access: Access) -> None:
        configuration.retries = False  # a POST that is sent twice makes two runs; redirects lead to login pages
        super().__init__(configuration)
        self.access = access

    def request(self, method: str, url: str, **options: Any) -> RESTResponse:
        """Send one request.

        Raises:
            Refused: an answer that is an error, a redirect, or no JSON.
            Unreachable: no answer.
        """
        options["headers"] = {**(options.get("headers") or {}), **self.access.headers()}
        options["_request_timeout"] = options.get("_request_timeout") or TIMEOUT
        host = self.access.host
        try:
            answer = super().request(method, url, **options)
        except ApiException as error:
            raise _refused(self.access, error) from None
        except urllib3.exceptions.HTTPError as error:
            sent = " Whether the server did what was asked is not known: look before you do it again."
            raise Unreachable(
                f"{host} does not answer ({_cause(error)}). Is it the right address, and is the server reachable from "
                f"here (VPN, `kubectl port-forward`)?{sent if method != 'GET' and not _unsent(error) else ''}"
            ) from None
        kind = answer.getheader("content-type", "")
        if "json" not in kind and answer.data:
            raise Refused(f"{host} answers with a page ({kind or 'of no type'}), not with data: {self._login()}", 401)
        return answer

    def _login(self) -> str:
        return f"a proxy's login page, or an address that is no API. {self.access.renewal()} {_API_ADDRESS}"


def connect(access: Access) -> kfp.Client:
    """A client of the server, which has been asked whether it can be used.

    Raises:
        Unreachable, Refused: as `CheckedRequests.request`.
        TagscaleError: the server is of an unsupported version, or needs a namespace.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # "works with v2.0.0-beta.2 and later": asked below
        # With a namespace the constructor sends nothing; which one it is gets told to it when the server is known.
        client = kfp.Client(host=access.host, namespace="unknown", cookies="", ssl_ca_cert=access.ca_file)
    requests = CheckedRequests(client._existing_config, access)
    client._run_api.api_client.rest_client = requests  # one sender for all parts of the API
    several_users = _health(requests, access.host).get("multi_user", False)
    if several_users and not access.namespace:
        raise TagscaleError(f"{access.host} serves several users: give --namespace, the name of your Kubeflow profile.")
    if access.namespace and not several_users:
        raise TagscaleError(f"--namespace {access.namespace}: {access.host} serves one user; leave it out.")
    client._context_setting["namespace"] = access.namespace or ""
    return client


def _health(requests: CheckedRequests, host: str) -> dict[str, Any]:
    """What the server says about itself. Raises TagscaleError for a version without the API that is used here."""
    try:
        health = json.loads(requests.request("GET", host + HEALTH).data)
    except Refused as error:
        if error.status != 404:
            raise
        try:
            old = json.loads(requests.request("GET", host + HEALTH.replace("v2", "v1")).data)
        except TagscaleError:
            raise TagscaleError(f"{host} has no Kubeflow Pipelines API (no {HEALTH}). {_API_ADDRESS}") from None
        version = old.get("tag_name") or "1.x"
        raise TagscaleError(
            f"{host} is Kubeflow Pipelines {version}, which has no v2 API; expected 2.0 or newer: upgrade the server."
        ) from None
    except ValueError:
        raise TagscaleError(f"{host}{HEALTH} answers with broken JSON. {_API_ADDRESS}") from None
    return health if isinstance(health, dict) else {}


def _refused(access: Access, error: ApiException) -> TagscaleError:
    host, status = access.host, error.status or 0
    if status == 0:  # kfp's way to tell of TLS
        why = _first_line(str(error.reason).partition("\n")[2] or error.reason)
        return Unreachable(f"{host}: no secure connection ({why}). --ca-file FILE says whom to trust.")
    if 300 <= status < 400:
        where = (error.headers or {}).get("Location", "elsewhere")
        return Refused(f"{host} redirects to {where.split('?')[0]}: a login page? {access.renewal()}", 401)
    if status == 401:
        return Refused(f"{host} does not know who asks (401). {access.renewal()}", status)
    if status == 403:
        owner = f"their owner may not do this in namespace {access.namespace or '(none given: --namespace)'}"
        return Refused(
            f"{host} refuses (403): {_told(error)}. {access.renewal()} Where credentials are good, {owner}.", status
        )
    return Refused(f"{host} answers with status {status}: {_told(error)}.", status)


def _told(error: ApiException) -> str:
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
    """What happened, without the names of objects that urllib3 puts around it."""
    innermost = next((part for part in reversed(error.args) if isinstance(part, Exception)), error)
    return re.sub(r"^(\S*Connection\S*\(host=.*?\): )", "", _first_line(innermost))


def _unsent(error: Exception) -> bool:
    return isinstance(error, urllib3.exceptions.ConnectTimeoutError | urllib3.exceptions.NewConnectionError)
