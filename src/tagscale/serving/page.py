"""The page at the server's `/`: one file of HTML, CSS and JavaScript, and what it asks beside tags.

What the page shows of a song comes from the server's own POST /tag and GET /models.
"""

import base64
import hashlib
import re
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

PAGE = "/"
STYLE = "/* report/style.html */"  # where the report's colours and type go into the page


def page_routes(data: Path | None = None, corrections: Path | None = None) -> APIRouter:
    """The page, and what it asks the server beside tags. Whoever includes them asks for tokens, but not at `/`.

    Args:
        data: folder of a study's catalog and store, and of embeddings that `tagscale index` wrote; None: no dataset
        corrections: CSV that corrections are appended to; None: nobody can send one

    Raises:
        TagscaleError: a damaged catalog or store.
    """
    router = APIRouter()
    content, policy = rendered()
    headers = {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}

    @router.get(PAGE, response_class=HTMLResponse, include_in_schema=False)
    def page() -> HTMLResponse:
        return HTMLResponse(content, headers=headers)

    if data or corrections:  # what takes pandas
        from tagscale.serving.known import known_routes

        router.include_router(known_routes(data, corrections))
    else:

        @router.get("/dataset")
        def nothing() -> dict[str, object]:
            return {"name": None, "corrections": False}

    return router


def rendered() -> tuple[str, str]:
    """The page with the report's style in it, and the policy that lets a browser run this script and no other."""
    style = files("tagscale.report").joinpath("style.html").read_text(encoding="utf-8")
    content = files("tagscale.serving").joinpath("page.html").read_text(encoding="utf-8").replace(STYLE, style)
    hashes = {kind: _hashes(kind, content) for kind in ("script", "style")}
    return content, (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; connect-src 'self'; "
        "media-src blob:; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hashes(kind: str, content: str) -> str:
    """The page's own elements of a kind as a Content-Security-Policy names them."""
    inside = re.findall(f"<{kind}>(.*?)</{kind}>", content, re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in inside)
