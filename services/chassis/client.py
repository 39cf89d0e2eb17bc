"""Calls to other services: a channel with retries and deadlines, and tokens of this service's own for the account that it acts for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

import grpc

from . import auth
from . import log as logs
from .clock import Clock, SystemClock
from .server import MESSAGE_MAX_BYTES
from .settings import ServiceSettings

DEADLINE_SECONDS = 30.0
_TOKEN_TTL = timedelta(hours=1)
_RENEW_BEFORE = timedelta(minutes=5)
_TOKENS_MAX = 10_000

Metadata = tuple[tuple[str, str], ...]


class _Deadline(grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[type-arg]  # generic in its stubs only
    """Gives a call its deadline, and waiting for a server to come up, where the caller said nothing."""

    def __init__(self, seconds: float, wait_for_ready: bool) -> None:
        self._seconds = seconds
        self._wait_for_ready = wait_for_ready

    async def intercept_unary_unary(self, continuation: Callable[[Any, Any], Any], client_call_details: Any, request: Any) -> Any:
        details = grpc.aio.ClientCallDetails(
            client_call_details.method,
            self._seconds if client_call_details.timeout is None else client_call_details.timeout,
            client_call_details.metadata,
            client_call_details.credentials,
            self._wait_for_ready if client_call_details.wait_for_ready is None else client_call_details.wait_for_ready,
        )
        return await continuation(details, request)


def channel(address: str, *, deadline_seconds: float = DEADLINE_SECONDS, wait_for_ready: bool = False) -> grpc.aio.Channel:
    """A channel to a service. Unary calls have this deadline unless they set one; UNAVAILABLE is tried up to 5 times within it.

    `wait_for_ready` makes unary calls wait, within their deadline, for a service that is not up yet.
    """
    retry = {
        "maxAttempts": 5,
        "initialBackoff": "0.1s",
        "maxBackoff": "2s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return grpc.aio.insecure_channel(
        address,
        options=[
            ("grpc.max_receive_message_length", MESSAGE_MAX_BYTES),
            ("grpc.max_send_message_length", MESSAGE_MAX_BYTES),
            ("grpc.service_config", json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": retry}]})),
            ("grpc.enable_retries", 1),
            ("grpc.keepalive_time_ms", 20_000),
            ("grpc.keepalive_timeout_ms", 5_000),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2_000),
        ],
        interceptors=[_Deadline(deadline_seconds, wait_for_ready)],  # type: ignore[list-item]  # the stubs' own placeholder
    )


class Tokens:
    """Mints the tokens of a service and keeps each until shortly before its end."""

    def __init__(
        self, secret: str, subject: str, clock: Clock | None = None, *, roles: Iterable[str] = (auth.OPERATOR, auth.SERVICE)
    ) -> None:
        self._secret = secret
        self._subject = subject
        self._clock = clock or SystemClock()
        self._roles = tuple(roles)
        self._kept: dict[int, tuple[str, datetime]] = {}

    @classmethod
    def from_settings(cls, settings: ServiceSettings, clock: Clock | None = None) -> Tokens:
        """The tokens of the service of these settings."""
        return cls(settings.token_secret.get_secret_value(), f"service:{settings.service}", clock)

    def metadata_for(self, account_id: int) -> Metadata:
        """The metadata of a call made for this account: token and trace. `await stub.GetAudience(request, metadata=...)`."""
        now = self._clock.now()
        token, end = self._kept.get(account_id, ("", now))
        if now + _RENEW_BEFORE >= end:
            if len(self._kept) >= _TOKENS_MAX:
                self._kept.clear()
            token = auth.mint(self._secret, account_id=account_id, subject=self._subject, roles=self._roles, ttl=_TOKEN_TTL, now=now)
            self._kept[account_id] = (token, now + _TOKEN_TTL)
        trace = logs.bound("trace_id")
        bearer = (("authorization", f"Bearer {token}"),)
        return (*bearer, ("traceparent", f"00-{trace}-0000000000000001-01")) if trace else bearer
