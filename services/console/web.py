"""The way in for people: an HTTP server as a part of the process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import BaseRoute, Route

from services.chassis import log as logs
from services.chassis.clock import Clock
from services.console.pages.status import page
from services.console.probe import Probe

log = logs.get(__name__)

# The page loads nothing from anywhere, and no other page may frame it.
_SECURITY = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class _Server(uvicorn.Server):
    """The app owns the signals, not its HTTP server."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class Web:
    """Serves the pages from `start` to `stop`. A part of the app."""

    def __init__(self, host: str, port: int, probe: Probe, clock: Clock, routes: Sequence[BaseRoute] = ()) -> None:
        self._host = host
        self._port = port
        self._probe = probe
        self._clock = clock
        self._routes = list(routes)
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where it listens; the port taken, once started."""
        return f"http://{self._host}:{self._port}"

    async def start(self) -> None:
        """Listen. A port in use raises OSError."""
        app = Starlette(routes=[Route("/", self._status), Route("/healthz", self._health), *self._routes])
        listener = socket.create_server((self._host, self._port))
        self._port = listener.getsockname()[1]
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=2,
            server_header=False,
            # Who calls is who is seen: what a caller says of that is passed on beside it.
            proxy_headers=False,
        )
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]), name="web")
        log.info("http_listening", url=self.url)

    async def run(self) -> None:
        """Serve until `stop`."""
        if self._serving is not None:
            await self._serving

    async def stop(self) -> None:
        """Answer what is being answered, then close."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await asyncio.wait([self._serving], timeout=5)

    async def _status(self, request: Request) -> HTMLResponse:
        states = await self._probe.ask_all()
        return HTMLResponse(page(states, now=self._clock.now()), headers=_SECURITY)

    async def _health(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse("ok\n", headers=_SECURITY)
