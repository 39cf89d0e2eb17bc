"""The platform API: HTTP and JSON for the contracts' methods, passed on by gRPC with the token as it came.

The console judges nothing here but the shape of a request: who may do what, and every rule, is the services' own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc.aio import EOF  # type: ignore[attr-defined]  # the stubs do not know it
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from services.chassis import log as logs
from services.chassis.client import channel
from services.chassis.errors import RpcFailure, from_rpc_error

from . import answers
from .faults import Findings, Refusal, refusal, refuse
from .requests import IDEMPOTENCY_KEY, IF_MATCH, message_of
from .rules import Rule, rules_of
from .templates import BadPath

log = logs.get(__name__)

BODY_MAX_BYTES = 8 * 1024 * 1024
_LONG_BYTES = 64 * 1024
LINES = "application/x-ndjson"
_PASSED_ON = ("authorization", "traceparent")
# A proxy may have looked at one of two, and of two keys or etags none is meant for sure.
_ONCE = frozenset({*_PASSED_ON, IF_MATCH, IDEMPOTENCY_KEY})
# What is not read any more would be taken for the next request.
_CLOSE = {"connection": "close"}
_NOBODY = {"www-authenticate": "Bearer", **_CLOSE}
_FORWARDED = "x-forwarded-for"
_FORWARDED_MAX = 200  # characters; a service keeps no more


class Transcoder:
    """Answers the requests of all rules. A part of the app, and an ASGI application."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self._addresses = dict(addresses)
        self._rules = rules_of()
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def start(self) -> None:
        """Open the channels; they connect when they are used."""
        self._channels = {service: channel(self._addresses[service]) for service in {rule.service for rule in self._rules}}

    async def stop(self) -> None:
        """Close the channels; streams end."""
        await asyncio.gather(*(opened.close(None) for opened in self._channels.values()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self.answer(request)
        except Refusal as fault:
            response = answers.refused(fault.status, fault.failure, fault.headers)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def answer(self, request: Request) -> Response:
        """The answer to a request. Raises Refusal."""
        rule, variables = self._rule(request)
        headers = _headers(request)
        # Nobody's body is read.
        metadata = (*_metadata(headers), (_FORWARDED, _forwarded(request, headers)))
        body = await _body(request, rule)
        given = (rule, variables, request.scope["query_string"].decode("latin-1"), headers, body)
        # A long body is read aside, so that the other requests go on.
        message = await asyncio.to_thread(message_of, *given) if len(body) > _LONG_BYTES else message_of(*given)
        if rule.method.server_streaming:
            return await self._stream(rule, message, metadata, request)
        try:
            said = await self._call(rule)(message, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            return answers.failed(_failure(error, rule), conditional=IF_MATCH in headers)
        return await asyncio.to_thread(answers.answer, said) if said.ByteSize() > _LONG_BYTES else answers.answer(said)

    def _rule(self, request: Request) -> tuple[Rule, Mapping[str, str]]:
        raw = request.scope.get("raw_path") or request.scope["path"].encode()
        path = raw.decode("latin-1").partition("?")[0]
        others = set[str]()
        for rule in self._rules:
            try:
                variables = rule.template.match(path)
            except BadPath:
                raise refusal(400, grpc.StatusCode.INVALID_ARGUMENT, "BAD_PATH", "The path is no UTF-8.") from None
            if variables is None:
                continue
            if rule.verb == request.method:
                return rule, variables
            others.add(rule.verb)
        if others:
            allowed = ", ".join(sorted(others))
            told = f"{request.method} is not possible here; there is {allowed}."
            raise refusal(405, grpc.StatusCode.UNIMPLEMENTED, "NO_SUCH_METHOD", told, {"allow": allowed})
        told = "There is nothing at this path; /api/v1/docs lists what there is."
        raise refusal(404, grpc.StatusCode.NOT_FOUND, "NO_SUCH_PATH", told)

    def _call(self, rule: Rule) -> Any:
        method = rule.method
        path = f"/{method.containing_service.full_name}/{method.name}"
        codec = (GetMessageClass(method.input_type).SerializeToString, GetMessageClass(method.output_type).FromString)
        opened = self._channels[rule.service]
        return opened.unary_stream(path, *codec) if method.server_streaming else opened.unary_unary(path, *codec)

    async def _stream(self, rule: Rule, message: Message, metadata: tuple[tuple[str, str], ...], request: Request) -> Response:
        """A line for each message. What fails before the first has its status; what fails later is the last line. Raises ClientDisconnect
        when the caller left before the first."""
        call = self._call(rule)(message, metadata=metadata)
        reading = asyncio.ensure_future(call.read())
        leaving = asyncio.create_task(_left(request))
        try:
            await asyncio.wait({reading, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                raise ClientDisconnect
            first = reading.result()
        except grpc.aio.AioRpcError as error:
            return answers.failed(_failure(error, rule))
        except (asyncio.CancelledError, ClientDisconnect):
            call.cancel()
            reading.cancel()
            raise
        finally:
            leaving.cancel()
        return StreamingResponse(_lines(call, first, rule), media_type=LINES, headers=answers.HEADERS)


async def _left(request: Request) -> None:
    """Return when the caller of a request that was read has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        continue


def _headers(request: Request) -> dict[str, str]:
    """The headers, with their names in small letters. Raises Refusal when one comes twice that has one value."""
    headers: dict[str, str] = {}
    findings = Findings()
    for name, value in request.headers.items():
        if name in headers and name in _ONCE:
            findings.add(name.title(), "DUPLICATE_KEY", "The header comes twice and has one value; keep one.")
        headers[name] = value
    refuse(findings)
    return headers


def _forwarded(request: Request, headers: Mapping[str, str]) -> str:
    """From where a call came, as the services' records keep it: what proxies said of that, and behind it, never cut, whom we see."""
    seen = request.client.host if request.client is not None else ""
    said = headers.get(_FORWARDED, "")
    return f"{said}, {seen}"[-_FORWARDED_MAX:] if said and said.isascii() and said.isprintable() else seen


def _metadata(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """What goes on with the call: the token as it came, and the trace. Raises Refusal without a token."""
    if "authorization" not in headers:
        told = "The request carries no token; send `Authorization: Bearer <token>`."
        raise refusal(401, grpc.StatusCode.UNAUTHENTICATED, "MISSING_TOKEN", told, _NOBODY)
    passed = [(name, headers[name]) for name in _PASSED_ON if name in headers]
    if any(not value.isascii() or not value.isprintable() for _, value in passed):
        told = "A header holds what no token is written with; send `Authorization: Bearer <token>`."
        raise refusal(401, grpc.StatusCode.UNAUTHENTICATED, "NO_TOKEN", told, _NOBODY)
    return tuple(passed)


def _failure(error: grpc.aio.AioRpcError, rule: Rule) -> RpcFailure:
    """How a call failed. What did not come from the service itself names addresses, which are nobody's business out here."""
    failure = from_rpc_error(error)
    if failure.reason:
        return failure
    told = f"The {rule.service} service did not answer; try again later."
    log.warning("call_failed", method=rule.method.full_name, code=failure.code.name, message=failure.message)
    return replace(failure, message=told)


async def _lines(call: Any, first: Any, rule: Rule) -> AsyncIterator[bytes]:
    said = first
    try:
        while said is not EOF:
            yield answers.line(said)
            said = await call.read()
    except grpc.aio.AioRpcError as error:
        yield answers.failed_line(_failure(error, rule))
    finally:
        # Nobody listens any more, or all was said: then it does nothing.
        with contextlib.suppress(asyncio.CancelledError):
            call.cancel()


async def _body(request: Request, rule: Rule) -> bytes:
    if rule.body:
        kind = request.headers.get("content-type", answers.JSON).partition(";")[0].strip().lower()
        if kind != answers.JSON:
            raise refusal(415, grpc.StatusCode.INVALID_ARGUMENT, "NOT_JSON", "The body must be application/json.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise refusal(415, grpc.StatusCode.INVALID_ARGUMENT, "ENCODED", "The body must not be compressed.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_MAX_BYTES:
            told = f"The body is longer than {BODY_MAX_BYTES:,} bytes; send less at once."
            raise Refusal(413, RpcFailure(grpc.StatusCode.INVALID_ARGUMENT, told, "TOO_LARGE"), _CLOSE)
    return bytes(body)
