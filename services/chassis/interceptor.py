"""What every call passes through on its way in: access log, errors to statuses, caller, deadline, rules of the contract."""

from __future__ import annotations

import asyncio
import inspect
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import protovalidate
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, status_pb2  # type: ignore[import-untyped]

from . import auth
from . import log as logs
from .clock import Clock
from .errors import DeadlineExceeded, FieldViolation, Invalid, MusterError, Unavailable, code_name, to_status, trailing_metadata
from .origin import set_origin

log = logs.get(__name__)

# Probes and tools ask these without a token.
OPEN_SERVICES = ("grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection")
_BEARER = "bearer "


class InvalidRequest(Invalid):
    """The request breaks rules that its contract states."""


class DependencyUnavailable(Unavailable):
    """Another service that this one called does not answer."""


class Interceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in its stubs only
    """Wraps each handler, in all four shapes."""

    def __init__(self, *, secret: str, clock: Clock, deadline_seconds: float, stream_deadline_seconds: float) -> None:
        self._secret = secret
        self._clock = clock
        self._deadline_seconds = deadline_seconds
        self._stream_deadline_seconds = stream_deadline_seconds

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.split("/")[1] in OPEN_SERVICES:
            return handler
        codec = {"request_deserializer": _decoder(handler.request_deserializer), "response_serializer": handler.response_serializer}
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(self._to_unary(method, handler.unary_unary, streams=False), **codec)
        if handler.stream_unary:
            return grpc.stream_unary_rpc_method_handler(self._to_unary(method, handler.stream_unary, streams=True), **codec)
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(self._to_stream(method, handler.unary_stream, streams=False), **codec)
        return grpc.stream_stream_rpc_method_handler(self._to_stream(method, handler.stream_stream, streams=True), **codec)

    def _to_unary(self, method: str, behavior: Any, *, streams: bool) -> Any:
        async def call(request: Any, context: Any) -> Any:
            async with self._around(method, context, self._stream_deadline_seconds if streams else self._deadline_seconds):
                return await behavior(self._checked_stream(request) if streams else _checked(request), context)

        return call

    def _to_stream(self, method: str, behavior: Any, *, streams: bool) -> Any:
        async def call(request: Any, context: Any) -> AsyncIterator[Any]:
            async with self._around(method, context, self._stream_deadline_seconds):
                answers = behavior(self._checked_stream(request) if streams else _checked(request), context)
                if inspect.isawaitable(answers):
                    # A handler that writes to the context by itself.
                    await answers
                    return
                async for answer in answers:
                    yield answer

        return call

    async def _checked_stream(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in requests:
            yield _checked(request)

    @asynccontextmanager
    async def _around(self, method: str, context: Any, deadline_seconds: float) -> AsyncIterator[None]:
        began = time.perf_counter()
        code = "OK"
        metadata = dict(context.invocation_metadata() or ())
        trace_id = _trace_of(metadata)
        logs.bind(trace_id=trace_id)
        set_origin(method, context.peer(), metadata, trace_id)
        try:
            self._authenticate(metadata)
            async with asyncio.timeout(None if context.time_remaining() is not None else deadline_seconds) as limit:
                yield
        except (asyncio.CancelledError, GeneratorExit):
            code = "CANCELLED"
            raise
        except grpc.aio.AbortError:
            code = "ABORTED_BY_HANDLER"
            raise
        except MusterError as error:
            code = code_name(error.code)
            await _abort(context, to_status(error))
        except TimeoutError as error:
            if limit.expired():
                code = "DEADLINE_EXCEEDED"
                await _abort(context, to_status(DeadlineExceeded("The call took longer than it may.")))
            code = "INTERNAL"
            await _abort(context, _internal(method, error))
        except grpc.aio.AioRpcError as error:
            away = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            code = "UNAVAILABLE" if away else "INTERNAL"
            gone = to_status(DependencyUnavailable("A service that this one needs does not answer."))
            await _abort(context, gone if away else _internal(method, error))
        except Exception as error:
            code = "INTERNAL"
            await _abort(context, _internal(method, error))
        finally:
            log.info("grpc_call", method=method, code=code, ms=round((time.perf_counter() - began) * 1000, 2))

    def _authenticate(self, metadata: dict[str, Any]) -> None:
        header = metadata.get("authorization", "")
        if not isinstance(header, str) or not header[: len(_BEARER)].lower() == _BEARER:
            raise auth.MissingToken("The request carries no token: send the metadata `authorization: Bearer <token>`.")
        caller = auth.verify(self._secret, header[len(_BEARER) :].strip(), self._clock.now())
        auth.set_caller(caller)
        logs.bind(account_id=caller.account_id)


@dataclass(frozen=True, slots=True)
class _Undecodable:
    """Stands for a request that is not a message of its type: the refusal is written where all refusals are."""

    why: str


def _decoder(decode: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    if decode is None:
        return None

    def decoded(body: bytes) -> Any:
        try:
            return decode(body)
        except DecodeError as error:
            return _Undecodable(str(error))

    return decoded


def _checked(request: Any) -> Any:
    if isinstance(request, _Undecodable):
        raise InvalidRequest("The request is not a message of its type, or nests deeper than 100 levels.", why=request.why)
    if isinstance(request, Message):
        violations = protovalidate.collect_violations(request)
        if violations:
            raise InvalidRequest(violations=[_violation(violation) for violation in violations])
    return request


def _violation(violation: protovalidate.Violation) -> FieldViolation:
    said = violation.proto
    path = ""
    for element in said.field.elements if said.field is not None else ():
        path += f".{element.field_name}" if path else element.field_name
        if element.subscript is not None:
            key = element.subscript.value
            path += f'["{key}"]' if isinstance(key, str) else f"[{key}]"
    return FieldViolation(path, said.message, said.rule_id.replace(".", "_").upper())


def _trace_of(metadata: dict[str, Any]) -> str:
    # traceparent: version-trace-span-flags, as W3C has it.
    parts = str(metadata.get("traceparent", "")).split("-")
    return parts[1] if len(parts) == 4 and len(parts[1]) == 32 else secrets.token_hex(16)


def _internal(method: str, error: BaseException) -> status_pb2.Status:
    log.error("grpc_call_failed", method=method, exc_info=error)
    return status_pb2.Status(code=code_pb2.INTERNAL, message="An internal error; the service's log tells more.")


async def _abort(context: Any, status: status_pb2.Status) -> None:
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    await context.abort(code, status.message, trailing_metadata(status))
