"""A partner that speaks the webhook protocol strictly, remembers what it was told, and fails by plan.

It shares no code with the forwarder: what a request must look like is stated here a second time, after the protocol's own messages.
`partner.plan` holds what becomes of the next requests (a fault each; when it is empty all is well), `partner.always` of all others.

    async with WebhookPartner(secret=SECRET) as partner:
        partner.plan += [Status(500), Status(429, retry_after="1", words="slow down"), Hang(), Cut(processed=True)]
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self

FRESH_MS = 5 * 60 * 1000
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_USER_TYPES = {"other", "customer", "facebook", "twitter", "google", "microsoft", "yahoo", "email", "alias", "facebook_custom_audience_id"}
_USER_TYPES |= {f"other{n}" for n in range(2, 11)} | {"mobile_number", "phone_number_2", "phone_number_3"}
_DEVICE_TYPES = {"ios_advertising_id", "ios_vendor_id", "android_id", "google_advertising_id", "push_token", "roku_advertising_id"}
_DEVICE_TYPES |= {"roku_publisher_id", "microsoft_advertising_id", "microsoft_publisher_id", "fire_advertising_id", "amp_id"}
_DEVICE_TYPES |= {"device_application_stamp"}
_TYPES = {"user_identities": _USER_TYPES, "device_identities": _DEVICE_TYPES, "partner_identities": {"partner_id"}}
_HASH_LENGTHS = {"md5": 32, "sha1": 40, "sha256": 64}

# One identity: its group, type, encoding and value.
Told = tuple[str, str, str, str]


@dataclass(frozen=True)
class Status:
    """Answer with this status. `processed`: having done what was asked, as a rude partner would."""

    status: int
    words: str = ""
    retry_after: str | None = None
    processed: bool = False
    location: str | None = None


@dataclass(frozen=True)
class Hang:
    """Read the request and never answer."""

    processed: bool = False


@dataclass(frozen=True)
class Cut:
    """Cut the line: before the body was read or, having done what was asked, before the answer."""

    processed: bool = False


@dataclass(frozen=True)
class Slow:
    """Answer well, after this many seconds."""

    seconds: float


@dataclass(frozen=True)
class Malformed:
    """Do what was asked, and answer 200 with this body."""

    body: bytes = b"<html>OK</html>"


@dataclass(frozen=True)
class Suspend:
    """Do what was asked, and ask for no more."""


@dataclass(frozen=True)
class Well:
    """All is well: a step in a plan between faults."""


@dataclass(frozen=True)
class Reject:
    """Take all but these people."""

    mpids: frozenset[int]
    reason: str = "no such person"


Fault = Status | Hang | Cut | Slow | Malformed | Suspend | Well | Reject


class Unfit(Exception):
    """A request that breaks the protocol."""


@dataclass
class Arrival:
    """One thing that the partner was told, and when by its own monotonic clock."""

    at: float
    audience_id: int
    mpid: int
    action: str


@dataclass
class Counts:
    """What happened. `doubled`: adds of people who were in; `absent`: deletes and updates of people who were not."""

    requests: int = 0
    accepted: int = 0
    repeated: int = 0
    doubled: int = 0
    absent: int = 0
    adds: int = 0
    deletes: int = 0
    updates: int = 0
    refused_signatures: int = 0


class WebhookPartner:
    """One server on a free port of 127.0.0.1. `members` is what it was told, by audience and person."""

    def __init__(self, secret: str, *, port: int = 0, settings: dict[str, str] | None = None) -> None:
        self.secret = secret
        self.port = port
        self.settings = {"list": "42"} if settings is None else settings
        self.plan: deque[Fault] = deque()
        self.always: Fault | None = None
        # Only requests of these types follow the plan; others are well.
        self.plan_for = {"audience_membership_change_request"}
        self.members: dict[int, dict[int, frozenset[Told]]] = {}
        self.names: dict[int, str] = {}
        self.subscriptions: dict[int, str] = {}
        self.subscription_requests: list[tuple[int, str]] = []
        self.counts = Counts()
        self.unfit: list[str] = []
        self.arrivals: list[Arrival] = []
        self.request_ids: list[str] = []
        self.batches: list[int] = []
        self._answers: dict[str, tuple[bytes, dict[str, Any]]] = {}
        self._server: asyncio.Server | None = None
        self._changed = asyncio.Condition()
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._stopping = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        self._stopping.clear()
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", self.port, limit=1 << 24)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close, cutting every line."""
        if self._server is not None:
            self._server.close()
        self._stopping.set()
        for writer in self._connections.values():
            writer.transport.abort()
        if self._connections:
            await asyncio.wait(list(self._connections))

    async def until(self, holds: Callable[[], bool], *, seconds: float = 10) -> None:
        """Return once this holds, which is looked at when a request was read and done, and when it was answered. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            async with self._changed:
                await self._changed.wait_for(holds)

    def mpids(self, audience_id: int) -> set[int]:
        """Who is in."""
        return set(self.members.get(audience_id, {}))

    def told(self, audience_id: int, mpid: int) -> set[tuple[str, str]]:
        """The types and values of a person's identities."""
        return {(type, value) for _, type, _, value in self.members[audience_id][mpid]}

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        try:
            while await self._request(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._connections.pop(task)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve one request; False: the line is to be closed."""
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
        self.counts.requests += 1
        length = int(headers["content-length"])
        # The plan is by the type of the request, so the body is looked at, even where it counts as unread.
        body = await reader.readexactly(length)
        kind = ""
        with contextlib.suppress(ValueError):
            kind = json.loads(body).get("type", "")
        fault: Fault | None = None
        if kind in self.plan_for:
            fault = self.plan.popleft() if self.plan else self.always
        try:
            return await self._serve(lines[0], headers, body, fault, writer)
        finally:
            await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _serve(self, line: str, headers: dict[str, str], body: bytes, fault: Fault | None, writer: asyncio.StreamWriter) -> bool:
        processed: dict[str, Any] | None = None
        if not isinstance(fault, Status | Hang | Cut) or fault.processed:
            try:
                processed = self._take(line, headers, body, fault)
            except Unfit as why:
                self.unfit.append(str(why))
                await self._answer(writer, 400, {"message": str(why)})
                return True
        # An answer may never come, or late: what is known by now is known.
        await self._tell()
        match fault:
            case Hang():
                await self._stopping.wait()
                return False
            case Cut():
                writer.transport.abort()
                return False
            case Slow(seconds):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), seconds)
            case Status(status, words, retry_after, _, location):
                extra = {"Retry-After": retry_after, "Location": location}
                await self._answer(writer, status, words, {name: value for name, value in extra.items() if value is not None})
                return True
            case Malformed(unreadable):
                await self._write(writer, 200, unreadable, {})
                return True
        assert processed is not None
        await self._answer(writer, processed.pop("_status", 200), processed)
        return True

    def _take(self, line: str, headers: dict[str, str], body: bytes, fault: Fault | None) -> dict[str, Any]:
        """Do what is asked, once for each request id, and say so."""
        _must(line.startswith("POST "), "the method is not POST")
        _must(headers.get("content-type") == "application/json", "the content type is not application/json")
        if not self._signed(headers.get("x-muster-signature", ""), body):
            self.counts.refused_signatures += 1
            return {"_status": 401, "message": "bad signature"}
        message = json.loads(body)
        request_id = _checked_header(message)
        _must(headers.get("x-muster-request-id") == request_id, "the header names another request id than the body")
        self.request_ids.append(request_id)
        digest = hashlib.sha256(body).digest()
        if request_id in self._answers:
            known, answer = self._answers[request_id]
            _must(known == digest, "a request id was used for two different requests")
            self.counts.repeated += 1
            return dict(answer)
        answer = self._do(message, fault)
        self._answers[request_id] = (digest, dict(answer))
        self.counts.accepted += 1
        return answer

    def _signed(self, header: str, body: bytes) -> bool:
        found = re.fullmatch(r"t=(\d+),v1=([0-9a-f]{64})", header)
        if found is None or abs(int(found[1]) - time.time() * 1000) > FRESH_MS:
            return False
        wanted = hmac.new(self.secret.encode(), found[1].encode() + b"." + body, hashlib.sha256).hexdigest()
        return hmac.compare_digest(wanted, found[2])

    def _do(self, message: dict[str, Any], fault: Fault | None) -> dict[str, Any]:
        said: dict[str, Any] = {
            "id": "37aaa608-8da9-410e-ae6d-cac914591089",
            "timestamp_ms": int(time.time() * 1000),
            "firehose_version": "3.2.0",
        }
        match message["type"]:
            case "module_registration_request":
                return said | {"type": "module_registration_response", "name": "partner"}
            case "audience_subscription_request":
                self._subscribe(message)
                return said | {"type": "audience_subscription_response", "audience_subscription_settings": dict(self.settings)}
            case "audience_membership_change_request":
                refused = fault.mpids if isinstance(fault, Reject) else frozenset()
                _only(message, {"type", "id", "timestamp_ms", "firehose_version", "account", "user_profiles"})
                _must(
                    isinstance(message["user_profiles"], list) and message["user_profiles"] != [], "user_profiles is not a list of people"
                )
                changes = [_Change.of(profile) for profile in message["user_profiles"]]
                _must(len({(change.audience_id, change.mpid) for change in changes}) == len(changes), "a person comes twice")
                for change in changes:
                    _must(change.audience_id in self.subscriptions, f"audience {change.audience_id} was never subscribed")
                    _must(change.settings == self.settings, "the subscription settings do not come back as they were answered")
                for change in changes:
                    if change.mpid not in refused:
                        self._change(change)
                self.batches.append(len(changes))
                said |= {"type": "audience_membership_change_response", "suspend_subscription": isinstance(fault, Suspend)}
                if isinstance(fault, Reject):
                    said["rejected_profiles"] = [{"mpid": str(mpid), "reason": fault.reason} for mpid in sorted(fault.mpids)]
                return said
            case other:
                raise Unfit(f"the type is {other}")

    def _subscribe(self, message: dict[str, Any]) -> None:
        _only(message, {"type", "id", "timestamp_ms", "firehose_version", "account", "audience_id", "audience_name", "action"})
        _must(type(message["audience_id"]) is int, "audience_id is not a whole number")
        _must(isinstance(message["audience_name"], str) and message["audience_name"] != "", "audience_name is not a name")
        _must(message["action"] in ("add", "delete"), f"the action is {message['action']}")
        audience_id = message["audience_id"]
        self.subscription_requests.append((audience_id, message["action"]))
        if message["action"] == "add":
            self.subscriptions[audience_id] = message["audience_name"]
        else:
            self.subscriptions.pop(audience_id, None)

    def _change(self, change: _Change) -> None:
        people = self.members.setdefault(change.audience_id, {})
        self.names[change.audience_id] = change.audience_name
        self.arrivals.append(Arrival(time.monotonic(), change.audience_id, change.mpid, change.action))
        inside = change.mpid in people
        match change.action:
            case "add":
                self.counts.adds += 1
                self.counts.doubled += inside
                people[change.mpid] = change.identities
            case "attribute_update":
                self.counts.updates += 1
                self.counts.absent += not inside
                people[change.mpid] = change.identities
            case "delete":
                self.counts.deletes += 1
                self.counts.absent += not inside
                if inside:
                    _must(people[change.mpid] == change.identities, "a delete names other identities than were told")
                people.pop(change.mpid, None)

    async def _answer(self, writer: asyncio.StreamWriter, status: int, said: Any, extra: dict[str, str] | None = None) -> None:
        await self._write(writer, status, said.encode() if isinstance(said, str) else json.dumps(said).encode(), extra or {})

    async def _write(self, writer: asyncio.StreamWriter, status: int, body: bytes, extra: dict[str, str]) -> None:
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **extra}
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        await writer.drain()


@dataclass
class _Change:
    mpid: int
    audience_id: int
    audience_name: str
    action: str
    settings: dict[str, str]
    identities: frozenset[Told] = field(default_factory=frozenset)

    @classmethod
    def of(cls, profile: Any) -> _Change:
        _must(isinstance(profile, dict), "a profile is not an object")
        _only(profile, {"user_identities", "device_identities", "partner_identities", "audiences", "mpid"})
        _must(
            isinstance(profile["mpid"], str) and re.fullmatch(r"-?[1-9]\d{0,18}", profile["mpid"]) is not None,
            "mpid is not a number's text",
        )
        told: list[Told] = []
        for group, types in _TYPES.items():
            _must(isinstance(profile[group], list), f"{group} is not a list")
            told += [_identity(group, types, one) for one in profile[group]]
        _must(told != [], "a profile has no identity")
        _must(len(set(told)) == len(told), "an identity comes twice")
        _must(isinstance(profile["audiences"], list) and len(profile["audiences"]) == 1, "not one audience")
        audience = profile["audiences"][0]
        wanted = {"audience_id", "audience_name", "audience_subscription_settings", "action"}
        _must(audience.get("action") in ("add", "delete", "attribute_update"), f"the action is {audience.get('action')}")
        _only(audience, wanted | ({"user_attributes"} if audience["action"] == "attribute_update" else set()))
        _must(type(audience["audience_id"]) is int, "audience_id is not a whole number")
        _must(isinstance(audience["audience_name"], str) and audience["audience_name"] != "", "audience_name is not a name")
        settings = audience["audience_subscription_settings"]
        _must(isinstance(settings, dict) and all(isinstance(value, str) for value in settings.values()), "settings are not texts")
        return cls(int(profile["mpid"]), audience["audience_id"], audience["audience_name"], audience["action"], settings, frozenset(told))


def _identity(group: str, types: set[str], one: Any) -> Told:
    _must(isinstance(one, dict), "an identity is not an object")
    _only(one, {"type", "encoding", "value"})
    _must(one["type"] in types, f"{group} has no type {one['type']}")
    _must(isinstance(one["value"], str) and one["value"] != "", "an identity has no value")
    if one["encoding"] != "raw":
        length = _HASH_LENGTHS.get(one["encoding"])
        _must(length is not None, f"there is no encoding {one['encoding']}")
        _must(re.fullmatch(rf"[0-9a-f]{{{length}}}", one["value"]) is not None, "a hashed value is not a hash in small letters")
    return group, one["type"], one["encoding"], one["value"]


def _checked_header(message: Any) -> str:
    _must(isinstance(message, dict), "the body is not an object")
    _must(isinstance(message.get("id"), str) and _UUID.fullmatch(message["id"]) is not None, "the id is not a UUID")
    _must(
        type(message.get("timestamp_ms")) is int and abs(message["timestamp_ms"] - time.time() * 1000) < 24 * 3600 * 1000,
        "timestamp_ms is not now",
    )
    _must(message.get("firehose_version") == "3.2.0", "the version is not 3.2.0")
    if message.get("type") != "module_registration_request":
        account = message.get("account")
        _must(isinstance(account, dict) and type(account.get("account_id")) is int, "account_id is not a whole number")
        _must(isinstance(account.get("account_settings"), dict), "account_settings is not an object")
    return str(message["id"])


def _only(found: dict[str, Any], names: set[str]) -> None:
    _must(set(found) == names, f"the fields are {sorted(found)}, not {sorted(names)}")


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Unfit(otherwise)
