"""The Segment API: `POST /v1/track`, `/v1/batch` and the like, for the senders that Segment, RudderStack and others have."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from services.chassis import log as logs
from services.chassis.clock import Clock
from services.chassis.errors import PermissionDenied, ResourceExhausted, Unavailable
from services.ingest.answers import basic_credentials, code_of, errors_of, json_answer, later, unauthorized
from services.ingest.bodies import body_of
from services.ingest.domain.limits import SEGMENT_MESSAGE_MAX_BYTES, SEGMENT_REQUEST_MAX_BYTES
from services.ingest.domain.reading import Malformed
from services.ingest.domain.segment import TYPES, take_no_claims
from services.ingest.domain.segment_reading import BATCH, read, write_key_of
from services.ingest.inputs import Input, Inputs
from services.ingest.intake import Intake

log = logs.get(__name__)

# analytics.js says only the first letter; `import` is a batch of the past.
_PATHS = {**{type_: type_ for type_ in TYPES}, **{type_[0]: type_ for type_ in TYPES}, BATCH: BATCH, BATCH[0]: BATCH, "import": BATCH}
# Pages of any site may send here: who may is told by the key, and no cookie is looked at.
_CORS = Middleware(
    CORSMiddleware,
    allow_origins=["*"],
    allow_methods=["GET", "POST"],
    allow_headers=["*"],
    expose_headers=["Retry-After", "X-RateLimit-Reset"],
    max_age=86_400,
)


class SegmentApi:
    """The handlers; `app` is mounted under `/v1`."""

    def __init__(self, inputs: Inputs, intake: Intake, clock: Clock) -> None:
        self._inputs = inputs
        self._intake = intake
        self._clock = clock
        self.app = Starlette(
            routes=[
                *(Route(f"/{path}", self.take, methods=["POST"]) for path in _PATHS),
                Route("/projects/{key}/settings", self.settings, methods=["GET"]),
            ],
            middleware=[_CORS],
            exception_handlers={HTTPException: _on_http_exception},
        )

    async def take(self, request: Request) -> Response:
        """A message or a batch of them: the good ones are kept, the bad ones named."""
        type_ = _PATHS[request.url.path.rpartition("/")[2]]
        try:
            body = await body_of(request, limit=SEGMENT_REQUEST_MAX_BYTES if type_ == BATCH else SEGMENT_MESSAGE_MAX_BYTES)
            input, is_proven = self._authenticate(request, body)
            self._intake.check(input, nbytes=len(body))
            now_ms = self._clock.now_ms()
            reading = await self._intake.read(input, len(body), lambda: read(body, type_, platform=input.platform, now_ms=now_ms))
            if not is_proven:
                for batch in reading.batches:
                    take_no_claims(batch)
            if reading.batches:
                await self._intake.submit(input, reading.batches, nbytes=len(body))
        except ClientDisconnect:
            # The body was cut: whoever sent it is gone, and nothing of it is kept.
            log.info("request_cut", path=request.url.path)
            return Response(status_code=400)
        except Malformed as error:
            return _answer(400, str(error))
        except (PermissionDenied, ResourceExhausted, Unavailable) as error:
            return _refused(error)
        if not reading.faults:
            return json_answer({"success": True}, 200)
        self._intake.refuse(input, reading.faults)
        log.info("messages_refused", input_id=input.input_id, faults=len(reading.faults), accepted=len(reading.batches))
        errors = errors_of(reading.faults)
        return _answer(400, errors[0]["message"], errors=errors, accepted=len(reading.batches))

    async def settings(self, request: Request) -> Response:
        """What analytics.js asks for when it is loaded with a write key: to send here, and nowhere else."""
        try:
            input = self._inputs.of_write_key(request.path_params["key"])
        except (PermissionDenied, Unavailable) as error:
            return _refused(error)
        # What stands before this may speak TLS. Believed of anybody: the answer is for whoever asks, and kept nowhere.
        protocol = "https" if request.headers.get("x-forwarded-proto") == "https" else request.url.scheme
        here = {"apiKey": input.api_key, "apiHost": f"{request.url.netloc}/v1", "protocol": protocol}
        return json_answer({"integrations": {"Segment.io": here}}, 200, {"Cache-Control": "no-store"})

    def _authenticate(self, request: Request, body: bytes) -> tuple[Input, bool]:
        """The input, and whether its secret was given too."""
        key, secret = basic_credentials(request) or (write_key_of(body), "")
        if not key:
            raise unauthorized("Send the write key as the user name of Basic authentication, or as `writeKey` in the body.")
        return (self._inputs.authenticated(key, secret), True) if secret else (self._inputs.of_write_key(key), False)


def _refused(error: PermissionDenied | ResourceExhausted | Unavailable) -> Response:
    if isinstance(error, PermissionDenied):
        return _answer(403, error.message)
    status, seconds = later(error)
    # analytics.js reads its own name for it.
    return _answer(status, error.message, headers={"Retry-After": seconds, "X-RateLimit-Reset": seconds})


def _answer(status: int, message: str, *, headers: dict[str, str] | None = None, **more: object) -> Response:
    return json_answer({"success": False, "code": code_of(status), "message": message, **more}, status, headers)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    # What is too large is a bad request there.
    status = 400 if error.status_code == 413 else error.status_code
    headers = dict(error.headers or {})
    if status == 401:
        # No browser knows this scheme, so none asks its user for a password.
        headers["WWW-Authenticate"] = 'WriteKey realm="muster"'
    return _answer(status, error.detail, headers=headers)
