"""All that is held of one person, of this service and of those that know the rest, as one JSON document (data-subject requests).

It is written piece by piece: somebody may have done a million things.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from typing import Any

import grpc
import msgspec
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from muster.evaluator.v1 import evaluator_service_pb2, evaluator_service_pb2_grpc
from muster.forwarder.v1 import forwarder_service_pb2, forwarder_service_pb2_grpc
from muster.ingest.v1 import event_type_pb2, facts_pb2, identity_pb2

from services.chassis.client import Tokens
from services.chassis.clock import Clock
from services.chassis.errors import NotFound, Unavailable
from services.ingest.domain.identities import by_strength
from services.ingest.store import Store

_MERGES_MAX = 10_000

_Page = evaluator_service_pb2.ExportPersonResponse


class NobodyThere(NotFound):
    """Nothing is held of anybody with this MPID."""


class ServiceAway(Unavailable):
    """A service that holds a part of it does not answer; an export that lacks a part would be none."""


class Exports:
    """Asks the evaluator and the forwarder for what they have."""

    def __init__(self, store: Store, evaluator: grpc.aio.Channel, forwarder: grpc.aio.Channel, tokens: Tokens, clock: Clock) -> None:
        self._store = store
        self._evaluator: evaluator_service_pb2_grpc.EvaluatorServiceAsyncStub = evaluator_service_pb2_grpc.EvaluatorServiceStub(evaluator)
        self._forwarder: forwarder_service_pb2_grpc.ConnectionServiceAsyncStub = forwarder_service_pb2_grpc.ConnectionServiceStub(forwarder)
        self._tokens = tokens
        self._clock = clock

    async def write(self, account_id: int, mpid: int) -> AsyncIterator[bytes]:
        """The document of a person, in pieces. Of one who became one with another it is that other's. Raises NobodyThere, ServiceAway."""
        async with self._store.database.read() as connection:
            mpid = (await self._store.finals(connection, account_id, [mpid])).get(mpid, mpid)
        names = (await self._store.profiles(account_id, [mpid], [])).get(mpid, [])
        merges = await self._store.merges(account_id, mpid=mpid, before=1 << 62, limit=_MERGES_MAX)
        try:
            metadata = self._tokens.metadata_for(account_id)
            asking = forwarder_service_pb2.ExportPersonRequest(mpid=mpid)
            records = (await self._forwarder.ExportPerson(asking, metadata=metadata)).records
            pages = self._pages(account_id, mpid)
            begun = [await anext(pages)]
            if not begun[0].changes:
                begun += [page async for page in _first(pages)]
            if not (names or merges or records or any(page.changes or page.events.mpids for page in begun)):
                raise NobodyThere(f"Nothing is held of anybody with the MPID {mpid}.", mpid=mpid)
            head = {
                "mpid": str(mpid),
                "account_id": str(account_id),
                "export_time": _time(self._clock.now_ms()),
                "identities": [{"type": _type(one.type), "value": one.value} for one in by_strength(names)],
                "merges": [
                    {
                        "mpid": str(one.mpid),
                        "into_mpid": str(one.into),
                        "time": _time(one.create_time_ms),
                        "by": _type(one.type),
                        "input_id": str(one.input_id),
                        "undo_time": _time(one.undo_time_ms) if one.undo_time_ms else None,
                    }
                    for one in merges
                ],
                "partners": [_plain(record) for record in records],
                "audience_ids": [str(audience_id) for audience_id in begun[0].audience_ids],
            }
            yield msgspec.json.format(msgspec.json.encode(head), indent=2).rstrip(b"\n}") + b',\n  "changes": ['
            comma, in_events = b"\n    ", False
            async for page in _then(begun, pages):
                if page.HasField("events") and not in_events:
                    comma, in_events = b"\n    ", True
                    yield b'\n  ],\n  "events": ['
                rows: Iterable[dict[str, Any]] = _events(page.events) if in_events else map(_change, page.changes)
                for row in rows:
                    yield comma + msgspec.json.encode(row)
                    comma = b",\n    "
            yield b"\n  ]\n}\n"
        except grpc.aio.AioRpcError as error:
            raise ServiceAway(f"The evaluator or the forwarder does not answer ({error.code().name}).") from error

    async def _pages(self, account_id: int, mpid: int) -> AsyncIterator[_Page]:
        request = evaluator_service_pb2.ExportPersonRequest(mpid=mpid)
        while True:
            page = await self._evaluator.ExportPerson(request, metadata=self._tokens.metadata_for(account_id))
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


async def _first(pages: AsyncIterator[_Page]) -> AsyncIterator[_Page]:
    async for page in pages:
        yield page
        return


async def _then(begun: Iterable[_Page], pages: AsyncIterator[_Page]) -> AsyncIterator[_Page]:
    for page in begun:
        yield page
    async for page in pages:
        yield page


def _change(change: facts_pb2.ProfileChange) -> dict[str, Any]:
    plain = _plain(change)
    plain.pop("mpid", None)
    return {"time": _time(int(plain.pop("time_ms", 0))), **plain}


def _events(batch: facts_pb2.EventBatch) -> Iterable[dict[str, Any]]:
    for row, time_ms in enumerate(batch.times_ms):
        source, kind, context = (
            batch.sources[batch.source_indexes[row]],
            batch.kinds[batch.kind_indexes[row]],
            batch.contexts[batch.context_indexes[row]],
        )
        yield {
            "time": _time(time_ms),
            "type": event_type_pb2.EventType.Name(kind.type).removeprefix("EVENT_TYPE_").lower(),
            "name": kind.name,
            "workspace_id": str(source.workspace_id),
            "input_id": str(source.input_id),
            **_plain(context),
            **msgspec.json.decode(batch.details[row] or "{}"),
        }


def _plain(message: Message) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True)


def _type(type_: int) -> str:
    return identity_pb2.IdentityType.Name(type_).removeprefix("IDENTITY_TYPE_").lower()  # type: ignore[arg-type]


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
