"""The HTTP Events API: `POST /v2/events`, `POST /v2/bulkevents`, `GET /healthz`; beside it the Segment API. Answers: see README.md."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Mapping, Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from services.chassis import log as logs
from services.chassis.bus import Bus
from services.chassis.clock import Clock
from services.chassis.errors import PermissionDenied, ResourceExhausted, Unavailable
from services.ingest.answers import basic_credentials, code_of, errors_of, json_answer, later, unauthorized
from services.ingest.bodies import body_of, length_of
from services.ingest.domain.limits import REQUEST_MAX_BYTES
from services.ingest.domain.model import Fault
from services.ingest.domain.reading import read
from services.ingest.inputs import Input, Inputs
from services.ingest.intake import Intake
from services.ingest.segment import SegmentApi
from services.ingest.settings import IngestSettings
from services.ingest.store import Store

log = logs.get(__name__)

_ACCEPTED = Response(status_code=202)


class EventsApi:
    """The handlers."""

    def __init__(self, inputs: Inputs, intake: Intake, store: Store, bus: Bus, clock: Clock) -> None:
        self._inputs = inputs
        self._intake = intake
        self._store = store
        self._bus = bus
        self._clock = clock
        self.app = Starlette(
            routes=[
                Route("/v2/events", self.events, methods=["POST"]),
                Route("/v2/bulkevents", self.bulk_events, methods=["POST"]),
                Route("/healthz", self.health, methods=["GET"]),
                Mount("/v1", app=SegmentApi(inputs, intake, clock).app),
            ],
            exception_handlers={HTTPException: _on_http_exception, Exception: _on_bug},
        )

    async def events(self, request: Request) -> Response:
        """One batch: accepted whole or not at all."""
        return await self._take(request, bulk=False)

    async def bulk_events(self, request: Request) -> Response:
        """Up to 100 batches: the good ones are kept, the bad ones named."""
        return await self._take(request, bulk=True)

    async def health(self, request: Request) -> Response:
        """Whether events would be accepted at this moment."""
        away = [name for name, answers in (("nats", self._bus.is_connected), ("inputs", self._inputs.complete)) if not answers]
        try:
            async with self._store.database.read():
                pass
        except Unavailable:
            away.append("database")
        return json_answer({"status": "away" if away else "serving", "away": away}, 503 if away else 200)

    async def _take(self, request: Request, *, bulk: bool) -> Response:
        try:
            input = self._authenticate(request)
            self._intake.check(input, nbytes=length_of(request))
            body = await body_of(request, limit=REQUEST_MAX_BYTES)
        except ClientDisconnect:
            # The body was cut: whoever sent it is gone, and nothing of it is kept.
            log.info("request_cut", path=request.url.path)
            return Response(status_code=400)
        except PermissionDenied as error:
            return _refused(403, error.message)
        except (Unavailable, ResourceExhausted) as error:
            return _later(error)
        now_ms = self._clock.now_ms()
        try:
            reading = await self._intake.read(input, len(body), lambda: read(body, bulk=bulk, platform=input.platform, now_ms=now_ms))
            accepted = len(reading.batches)
            if accepted:
                await self._intake.submit(input, reading.batches, nbytes=len(body))
        except (Unavailable, ResourceExhausted) as error:
            return _later(error)
        if not reading.faults:
            return _ACCEPTED
        self._intake.refuse(input, reading.faults)
        log.info("batches_refused", input_id=input.input_id, faults=len(reading.faults), accepted=accepted)
        return _faulty(reading.faults, accepted if bulk else None)

    def _authenticate(self, request: Request) -> Input:
        credentials = basic_credentials(request)
        if credentials is None:
            raise unauthorized("Send the input's key and secret by Basic authentication.")
        return self._inputs.authenticated(*credentials)


def _faulty(faults: Sequence[Fault], accepted: int | None) -> Response:
    errors = errors_of(faults)
    return json_answer({"errors": errors} if accepted is None else {"errors": errors, "accepted": accepted}, 400)


def _refused(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return json_answer({"errors": [{"code": code_of(status), "message": message}]}, status, headers)


def _later(error: Unavailable | ResourceExhausted) -> Response:
    status, seconds = later(error)
    return _refused(status, error.message, {"Retry-After": seconds})


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _refused(error.status_code, error.detail, dict(error.headers or {}))


async def _on_bug(request: Request, error: Exception) -> Response:
    log.error("request_failed", path=request.url.path, exc_info=error)
    return _refused(500, "An internal error; the service's log tells more.")


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # The app listens to signals.
        yield


class HttpServer:
    """Serves the Events API in this process; a part of the app."""

    def __init__(self, settings: IngestSettings, api: EventsApi) -> None:
        self._settings = settings
        self.port = settings.http_port
        self._socket: socket.socket | None = None
        self._server = _Uvicorn(
            uvicorn.Config(
                api.app,
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                backlog=1024,
                timeout_keep_alive=60,
                timeout_graceful_shutdown=max(1, round(settings.shutdown_grace_seconds)),
            )
        )
        self._ended = asyncio.Event()

    @property
    def url(self) -> str:
        """Where it listens, once started."""
        return f"http://{self._settings.http_host}:{self.port}"

    async def start(self) -> None:
        """Take the address; requests are answered from `run` on."""
        self._socket = socket.create_server((self._settings.http_host, self._settings.http_port), backlog=1024)
        self.port = self._socket.getsockname()[1]
        log.info("http_listening", url=self.url)

    async def run(self) -> None:
        """Serve; ends after `stop`."""
        assert self._socket is not None
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """Take no new requests, let those in progress end within the grace."""
        self._server.should_exit = True
        await self._ended.wait()
