"""Who asks a Kubeflow Pipelines server: its address, and the token or cookie to show it."""

import base64
import json
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from tagscale.runtime.errors import TagscaleError

TOKEN, COOKIE = "TAGSCALE_KFP_TOKEN", "TAGSCALE_KFP_COOKIE"  # environment variables, where there are no files
DEFAULT_COOKIE = "authservice_session"  # of Kubeflow's Dex; a file may name another, oauth2-proxy's for instance


@dataclass(frozen=True)
class Access:
    """An address and where the credentials are.

    Secrets come from files or from the environment: what stands on a command line, every process on the machine reads.

    Attributes:
        host: address of the API, without the slash at its end.
        token: file with a bearer token.
        cookie: file with a session cookie: its value, or NAME=VALUE.
        namespace: of the user, where the server has several.
        ca_file: certificates to trust, where the server's is signed by an authority of your own.
    """

    host: str
    token: Path | None = None
    cookie: Path | None = None
    namespace: str | None = None
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.host)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise TagscaleError(f"--host {self.host}: expected http://HOST[:PORT] or https://HOST[:PORT][/PATH].")
        if parts.username or parts.password:
            raise TagscaleError("--host: expected an address without user and password; give --token or --cookie.")
        if parts.query or parts.fragment:
            raise TagscaleError(f"--host {self.host}: expected the API's address, and that is a page's (? or #).")
        if self.ca_file and not self.ca_file.is_file():
            raise TagscaleError(f"--ca-file {self.ca_file}: no such file.")
        object.__setattr__(self, "host", self.host.rstrip("/"))
        self.headers()  # files that cannot be used are told before anything else is done

    def headers(self) -> dict[str, str]:
        """The headers that say who asks. Raises TagscaleError for a file that holds no token or cookie."""
        headers = {}
        if token := _secret("--token", self.token, TOKEN):
            headers["authorization"] = f"Bearer {token}"
        if cookie := _secret("--cookie", self.cookie, COOKIE):
            named = re.fullmatch(r"[A-Za-z_][\w.-]*=[^=].*", cookie)  # a value may end with "=" itself
            headers["Cookie"] = cookie if named else f"{DEFAULT_COOKIE}={cookie}"
        return headers

    def renewal(self) -> str:
        """What was shown to the server, and what to renew where that was refused."""
        headers, shown = self.headers(), []
        if token := headers.get("authorization"):
            shown.append(f"the token ({self.token or TOKEN}){_expiry(token)}")
        if "Cookie" in headers:
            shown.append(f"the cookie ({self.cookie or COOKIE})")
        if shown:
            return f"Renew {' and '.join(shown)}."
        return f"No token or cookie was sent: give --token FILE or --cookie FILE, or set {TOKEN} or {COOKIE}."


def _secret(option: str, file: Path | None, variable: str) -> str | None:
    """What is in the file, or in the environment where no file is given."""
    where = f"{option} {file}" if file else variable
    try:
        content = file.read_text(encoding="utf-8") if file else os.environ.get(variable, "")
    except (OSError, UnicodeDecodeError):
        raise TagscaleError(f"{where}: cannot be read; expected the name of a file with the secret in it.") from None
    content = content.strip()
    if file and not content:
        raise TagscaleError(f"{where}: the file is empty.")
    if not re.fullmatch(r"[\x21-\x7e]*(; [\x21-\x7e]+)*", content):
        raise TagscaleError(f"{where}: expected one line without spaces; that is no token or cookie.")
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
