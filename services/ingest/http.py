"""The HTTP Events API: `POST /v2/events`, `POST /v2/bulkevents`, `GET /healthz`. See README.md for the answers."""

from __future__ import annotations

import asyncio
import binascii
import contextlib
import socket
import zlib
from base64 import b64decode
from collections.abc import Iterator, Sequence

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from services.chassis import log as logs
from services.chassis.bus import Bus
from services.chassis.clock import Clock
from services.chassis.errors import PermissionDenied, ResourceExhausted, Unavailable
from services.ingest.domain.limits import REQUEST_MAX_BYTES
from services.ingest.domain.model import Fault, Reason
from services.ingest.domain.reading import read
from services.ingest.inputs import Input, Inputs
from services.ingest.intake import Intake
from services.ingest.settings import IngestSettings
from services.ingest.store import Store

log = logs.get(__name__)

# An answer names so many faults at most; the rest is counted.
_FAULTS_TOLD = 100
# The rest of a body that is too large is read and dropped up to here, so that the connection can go on.
_READ_TO_END_BYTES = 8 * 1024 * 1024
_RETRY_SECONDS = "1"
_ACCEPTED = Response(status_code=202)
_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "REQUEST_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    429: "TOO_MANY_REQUESTS",
    503: "SERVICE_UNAVAILABLE",
}


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
        return _json({"status": "away" if away else "serving", "away": away}, 503 if away else 200)

    async def _take(self, request: Request, *, bulk: bool) -> Response:
        try:
            input = self._authenticate(request)
            body = await _body(request)
        except ClientDisconnect:
            # The body was cut: whoever sent it is gone, and nothing of it is kept.
            log.info("request_cut", path=request.url.path)
            return Response(status_code=400)
        except (Unavailable, PermissionDenied) as error:
            return _refused(503 if isinstance(error, Unavailable) else 403, error.message)
        reading = read(body, bulk=bulk, platform=input.platform, now_ms=self._clock.now_ms())
        accepted = len(reading.batches)
        if accepted:
            try:
                await self._intake.submit(input, reading.batches)
            except ResourceExhausted as error:
                return _refused(429, error.message)
            except Unavailable as error:
                return _refused(503, error.message)
        if not reading.faults:
            return _ACCEPTED
        log.info("batches_refused", input_id=input.input_id, faults=len(reading.faults), accepted=accepted)
        return _faulty(reading.faults, accepted if bulk else None)

    def _authenticate(self, request: Request) -> Input:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic" or not token:
            raise _unauthorized("Send the input's key and secret by Basic authentication.")
        try:
            key, colon, secret = b64decode(token.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise _unauthorized("The Authorization header cannot be read.") from None
        if not colon:
            raise _unauthorized("The Authorization header cannot be read.")
        return self._inputs.authenticated(key, secret)


def _unauthorized(message: str) -> HTTPException:
    return HTTPException(401, message, {"WWW-Authenticate": 'Basic realm="muster"'})


async def _body(request: Request) -> bytes:
    """The body, unpacked. Raises HTTPException 413 once it is seen to be too large, 400 or 415 where it cannot be unpacked."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > REQUEST_MAX_BYTES:
        raise _too_large(int(announced))
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size <= REQUEST_MAX_BYTES:
            parts.append(part)
        elif size > _READ_TO_END_BYTES:
            break
    if size > REQUEST_MAX_BYTES:
        raise _too_large(size)
    body = b"".join(parts)
    match request.headers.get("content-encoding", "identity").strip().lower():
        case "identity" | "":
            return body
        case "gzip" | "x-gzip" | "deflate":
            return _unpacked(body)
        case _:
            raise HTTPException(415, "The Content-Encoding must be gzip, deflate or identity.")


def _unpacked(body: bytes) -> bytes:
    # 47: gzip or zlib, told by the header; -15: deflate without one, as some send it.
    for window in (47, -15):
        unpacking = zlib.decompressobj(window)
        try:
            unpacked = unpacking.decompress(body, REQUEST_MAX_BYTES + 1)
        except zlib.error:
            continue
        if len(unpacked) > REQUEST_MAX_BYTES:
            raise _too_large(len(unpacked))
        if unpacking.eof:
            return unpacked
    raise HTTPException(400, "The body cannot be unpacked.")


def _too_large(size: int) -> HTTPException:
    # The rest is dropped as it comes, so that the sender sees the answer. Of a very large body it is not: the connection ends.
    ends = {"Connection": "close"} if size > _READ_TO_END_BYTES else None
    return HTTPException(413, f"A request holds at most {REQUEST_MAX_BYTES} bytes.", ends)


def _faulty(faults: Sequence[Fault], accepted: int | None) -> Response:
    errors = [_error_of(fault) for fault in faults[:_FAULTS_TOLD]]
    if len(faults) > _FAULTS_TOLD:
        errors.append({"code": _CODES[400], "message": f"There are {len(faults) - _FAULTS_TOLD} more faults."})
    return _json({"errors": errors} if accepted is None else {"errors": errors, "accepted": accepted}, 400)


def _error_of(fault: Fault) -> dict[str, str]:
    said = fault.description
    if fault.place and fault.reason is not Reason.MALFORMED:
        said = f"{fault.place}: {said}"
    return {"code": _CODES[400], "message": said, "place": fault.place, "reason": fault.reason.value}


def _refused(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    retry = {"Retry-After": _RETRY_SECONDS} if status in (429, 503) else {}
    response = _json({"errors": [{"code": _CODES.get(status, "ERROR"), "message": message}]}, status)
    response.headers.update({**retry, **(headers or {})})
    return response


def _json(content: object, status: int) -> Response:
    return Response(msgspec.json.encode(content), status_code=status, media_type="application/json")


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
