"""A Kubeflow Pipelines server: its address, and the credentials that requests to it carry."""

import base64
import json
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from tagscale.runtime.errors import TagscaleError

TOKEN, COOKIE = "TAGSCALE_KFP_TOKEN", "TAGSCALE_KFP_COOKIE"  # environment variables, in place of the files
DEFAULT_COOKIE = "authservice_session"  # of Kubeflow's Dex; a file may name another, for instance oauth2-proxy's


@dataclass(frozen=True)
class Server:
    """What every command needs to know of a server; each field is an option of the command line.

    Secrets come from files or from the environment: every process of a machine can read its command lines.

    Attributes:
        host: address of the API; a slash at its end is dropped.
        token: file with a bearer token.
        cookie: file with a session cookie: its value, or NAME=VALUE.
        namespace: the user's profile, on a server for several users.
        ca_file: certificates to trust, where a private authority signed the server's.

    Raises:
        TagscaleError: `host` is no address of an API; a file is missing, or holds no token, cookie or certificate.
    """

    host: Annotated[
        str, typer.Option(envvar="KF_PIPELINES_ENDPOINT", help="Address of the API, with http:// or https://.")
    ]
    token: Annotated[
        Path | None,
        typer.Option(envvar="KF_PIPELINES_SA_TOKEN_PATH", help=f"File with a bearer token; or set {TOKEN} to it."),
    ] = None
    cookie: Annotated[
        Path | None, typer.Option(help=f"File with a session cookie, VALUE or NAME=VALUE; or set {COOKIE} to it.")
    ] = None
    namespace: Annotated[
        str | None, typer.Option(help="Your Kubeflow profile, where the server has several users.")
    ] = None
    ca_file: Annotated[
        Path | None, typer.Option(help="Certificates to trust, where a private authority signed the server's.")
    ] = None

    def __post_init__(self) -> None:
        address = urlsplit(self.host)
        if address.scheme not in ("http", "https") or not address.netloc:
            raise TagscaleError(f"--host {self.host}: expected http://HOST[:PORT] or https://HOST[:PORT][/PATH].")
        if address.username or address.password:
            raise TagscaleError("--host: expected an address without user and password; give --token or --cookie.")
        if address.query or address.fragment:
            raise TagscaleError(f"--host {self.host}: expected the API's address, found a page's (? or # in it).")
        if self.ca_file and not self.ca_file.is_file():
            raise TagscaleError(f"--ca-file {self.ca_file}: no such file.")
        object.__setattr__(self, "host", self.host.rstrip("/"))
        self.headers()  # refuse unusable files before anything is sent

    def headers(self) -> dict[str, str]:
        """The headers that identify the user. The files are read at every call, since they may be renewed.

        Raises:
            TagscaleError: a file is missing, or holds no token or cookie.
        """
        headers = {}
        if token := _secret("--token", self.token, TOKEN):
            headers["authorization"] = f"Bearer {token}"
        if cookie := _secret("--cookie", self.cookie, COOKIE):
            named = re.fullmatch(r"[A-Za-z_][\w.-]*=[^=].*", cookie)  # a value itself may end with "="
            headers["Cookie"] = cookie if named else f"{DEFAULT_COOKIE}={cookie}"
        return headers

    def renewal(self) -> str:
        """Which credentials the server refused, and how to renew them."""
        headers, sent = self.headers(), []
        if token := headers.get("authorization"):
            sent.append(f"the token ({self.token or TOKEN}){_expiry(token)}")
        if "Cookie" in headers:
            sent.append(f"the cookie ({self.cookie or COOKIE})")
        if sent:
            return f"Renew {' and '.join(sent)}."
        return f"No token or cookie was sent: give --token FILE or --cookie FILE, or set {TOKEN} or {COOKIE}."

    def run_page(self, run_id: str) -> str:
        """Address of a run's page. KF_PIPELINES_UI_ENDPOINT names the pages' address where the API has another."""
        return f"{os.environ.get('KF_PIPELINES_UI_ENDPOINT', self.host).rstrip('/')}/#/runs/details/{run_id}"

    def arguments(self) -> list[str]:
        """The options of a command line for this server; they name the files of the secrets, never the secrets."""
        options = {"--token": self.token, "--cookie": self.cookie, "--namespace": self.namespace}
        options |= {"--ca-file": self.ca_file}
        return ["--host", self.host, *(word for name, value in options.items() if value for word in (name, str(value)))]


def _secret(option: str, file: Path | None, variable: str) -> str | None:
    """The content of the file, or of the environment variable where no file is given."""
    source = f"{option} {file}" if file else variable
    try:
        content = file.read_text(encoding="utf-8") if file else os.environ.get(variable, "")
    except (OSError, UnicodeDecodeError):
        raise TagscaleError(f"{source}: cannot be read; expected the name of a file with the secret in it.") from None
    content = content.strip()
    if file and not content:
        raise TagscaleError(f"{source}: the file is empty.")
    if not re.fullmatch(r"[\x21-\x7e]*(; [\x21-\x7e]+)*", content):
        raise TagscaleError(f"{source}: expected a token or cookie: one line without spaces.")
    return content or None


def _expiry(token: str) -> str:
    """ ", which expired ..." for a JSON web token of the past; nothing for other tokens."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        end = datetime.fromtimestamp(claims["exp"], UTC)
    except (IndexError, ValueError, KeyError, TypeError, OverflowError, OSError):
        return ""
    return f", which expired on {end:%Y-%m-%d at %H:%M} UTC" if end < datetime.now(UTC) else ""
