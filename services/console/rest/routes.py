"""Where the platform API is: its paths, the document that describes them, and a page to try them."""

from __future__ import annotations

import asyncio
import json
from functools import cache

import yaml
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

from services.console.pages.api import PAGE, SCRIPT

from . import answers, openapi
from .transcoder import Transcoder

PREFIX = "/api/v1"
# The page runs its own script and calls this server alone.
_PAGE_HEADERS = {
    **answers.HEADERS,
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; connect-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
}


def routes(platform: Transcoder) -> list[BaseRoute]:
    """The routes of the platform API; all that is not the document or the page goes to `platform`."""
    return [
        Route(f"{PREFIX}/openapi.json", _document),
        Route(f"{PREFIX}/docs", _page),
        Route(f"{PREFIX}/docs.js", _script),
        _Below(platform),
    ]


class _Below(BaseRoute):
    """All that lies below the prefix, whatever its path holds: a Mount does not match a line break, and answers in its own words."""

    def __init__(self, platform: Transcoder) -> None:
        self._platform = platform

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        path = scope["path"]
        below = scope["type"] == "http" and (path == PREFIX or path.startswith(f"{PREFIX}/"))
        return (Match.FULL if below else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._platform(scope, receive, send)


async def _document(request: Request) -> Response:
    return Response(await asyncio.to_thread(_document_text), media_type=answers.JSON, headers=answers.HEADERS)


async def _page(request: Request) -> HTMLResponse:
    return HTMLResponse(PAGE, headers=_PAGE_HEADERS)


async def _script(request: Request) -> Response:
    return Response(SCRIPT, media_type="text/javascript", headers=answers.HEADERS)


@cache
def _document_text() -> bytes:
    with openapi.FILE.open("rb") as file:
        return json.dumps(yaml.load(file, Loader=_Loader), ensure_ascii=False).encode()  # noqa: S506  # a safe loader, below


# The safe loader that is written in C, where YAML was built with it: the document is long.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
