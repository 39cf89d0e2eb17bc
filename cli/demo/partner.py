"""The partner of the demo: an HTTP server that speaks the partner protocol, as one's own server would.

It checks each request's signature, takes a repeated request id once, keeps the set of members, and counts what a partner
would complain about.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
import socket
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from cli.ports import HOST

_VERSION = "3.2.0"
_PATH = "/partner"
# An older signature could be a request that someone recorded.
_SIGNATURE_MAX_AGE_SECONDS = 300
_ADD, _DELETE, _UPDATE = "add", "delete", "attribute_update"


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one person as it arrived. `customer` is None where the profile told no customer id."""

    mpid: str
    customer: str | None
    action: str
    arrival_time: float


@dataclass(slots=True)
class Counts:
    """What arrived. `doubled`: changes that changed nothing, an add of a member or a delete of a stranger."""

    requests: int = 0
    repeated_requests: int = 0
    refused_requests: int = 0
    adds: int = 0
    drops: int = 0
    updates: int = 0
    doubled: int = 0


@dataclass(slots=True)
class Partner:
    """The state of the partner and its server. `on_change` is told each change once, in their order."""

    secret: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    on_change: Callable[[Change], None] | None = None
    # Customer id by MPID, of those who are in.
    members: dict[str, str | None] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    url: str = ""
    _answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    _server: uvicorn.Server | None = None
    _serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen on a free port of 127.0.0.1."""
        listener = socket.create_server((HOST, 0))
        self.url = f"http://{HOST}:{listener.getsockname()[1]}{_PATH}"
        app = Starlette(routes=[Route(_PATH, self._take, methods=["POST"])])
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]), name="partner")

    async def stop(self) -> None:
        """Close."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await asyncio.wait([self._serving], timeout=3)

    def customers(self) -> set[str]:
        """The customer ids of those who are in."""
        return {customer for customer in self.members.values() if customer is not None}

    async def _take(self, request: Request) -> JSONResponse:
        body = await request.body()
        arrival_time = time.time()
        if not self._is_signed(request.headers.get("x-muster-signature", ""), body, now=arrival_time):
            self.counts.refused_requests += 1
            return JSONResponse({"message": "The signature is wrong or too old."}, status_code=401)
        self.counts.requests += 1
        request_id = request.headers.get("x-muster-request-id", "")
        answer = self._answers.get(request_id)
        if answer is not None:
            self.counts.repeated_requests += 1
            return JSONResponse(answer)
        message = json.loads(body)
        match message["type"]:
            case "audience_subscription_request":
                answer = _answer("audience_subscription_response", audience_subscription_settings={})
            case "audience_membership_change_request":
                for profile in message["user_profiles"]:
                    self._apply(profile, arrival_time)
                answer = _answer("audience_membership_change_response", suspend_subscription=False)
            case kind:
                return JSONResponse({"message": f"Unknown type {kind}."}, status_code=400)
        self._answers[request_id] = answer
        return JSONResponse(answer)

    def _apply(self, profile: dict[str, Any], arrival_time: float) -> None:
        mpid = profile["mpid"]
        customer = next((identity["value"] for identity in profile["user_identities"] if identity["type"] == "customer"), None)
        for audience in profile["audiences"]:
            action = audience["action"]
            if action == _ADD:
                self.counts.adds += 1
                self.counts.doubled += mpid in self.members
                self.members[mpid] = customer
            elif action == _DELETE:
                self.counts.drops += 1
                self.counts.doubled += mpid not in self.members
                customer = self.members.pop(mpid, None) or customer
            elif action == _UPDATE:
                self.counts.updates += 1
                if mpid in self.members:
                    self.members[mpid] = customer
            if self.on_change is not None:
                self.on_change(Change(mpid, customer, action, arrival_time))

    def _is_signed(self, header: str, body: bytes, *, now: float) -> bool:
        """Whether the header is `t=<ms>,v1=<hex>`, new enough, and signs the body with our secret."""
        parts = dict(part.split("=", 1) for part in header.split(",") if "=" in part)
        stamp, given = parts.get("t", ""), parts.get("v1", "")
        if not stamp.isdecimal() or abs(now - int(stamp) / 1000) > _SIGNATURE_MAX_AGE_SECONDS:
            return False
        wanted = hmac.new(self.secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        return hmac.compare_digest(wanted, given)


class _Server(uvicorn.Server):
    """The demo owns the signals, not its partner."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def _answer(kind: str, **more: Any) -> dict[str, Any]:
    stamp = time.time_ns() // 1_000_000
    return {"type": kind, "id": secrets.token_hex(16), "timestamp_ms": stamp, "firehose_version": _VERSION, **more}
