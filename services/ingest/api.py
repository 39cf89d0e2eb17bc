"""The gRPC ways in: batches of internal services, and who is who."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from muster.ingest.v1 import identity_pb2, live_pb2
from muster.ingest.v1 import ingest_service_pb2 as pb
from muster.ingest.v1 import ingest_service_pb2_grpc as pb_grpc

from services.chassis.auth import account_of
from services.chassis.clock import Clock
from services.chassis.errors import Invalid
from services.ingest.domain.identities import by_strength, key_of, normal
from services.ingest.domain.model import Batch, Fault, Faults, Identity, IdentityType
from services.ingest.erasures import Erasures
from services.ingest.exports import Exports
from services.ingest.in_order import answers
from services.ingest.inputs import Inputs
from services.ingest.intake import Intake
from services.ingest.live import Views
from services.ingest.live_protos import received_to_proto, statistics_to_proto
from services.ingest.people import People
from services.ingest.protos import batch_from_proto
from services.ingest.store import ErasureRecord, MergeRecord, Store
from services.ingest.table_api import Tables

Context = Any

# How many requests of a stream may be on their way before the next is read.
_STREAM_WINDOW = 32
_CHUNK = 1_000
_PAGE = 100
_EXPORT_BYTES = 64 * 1024
_NUMBER_MAX = 2**63 - 1
_IDENTITY_TYPES: frozenset[int] = frozenset(IdentityType)
# Who watches an input hears of it so often at most, and so often at least.
_WATCH_PAUSE_SECONDS = 0.25
_WATCH_QUIET_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _Outcome:
    batches: int
    events: int
    faults: list[Fault]


class IngestApi(pb_grpc.IngestServiceServicer):
    """Batches in."""

    def __init__(self, inputs: Inputs, intake: Intake, views: Views, clock: Clock) -> None:
        self._inputs = inputs
        self._intake = intake
        self._views = views
        self._clock = clock
        self._tables = Tables(inputs, intake, clock)

    async def IngestBatches(self, request: pb.IngestBatchesRequest, context: Context) -> pb.IngestBatchesResponse:
        """Keep the good batches, name the bad ones."""
        outcome = await self._ingest(account_of(context), request.input_id, request.batches, patient=False)
        return pb.IngestBatchesResponse(accepted_batches=outcome.batches, accepted_events=outcome.events, faults=_to_protos(outcome.faults))

    async def StreamBatches(
        self, request_iterator: AsyncIterator[pb.StreamBatchesRequest], context: Context
    ) -> AsyncIterator[pb.StreamBatchesResponse]:
        """An answer for each request, in their order: `accepted_events` counts the stream so far, the faults are this request's."""
        account_id = account_of(context)

        async def ingest(request: pb.StreamBatchesRequest) -> _Outcome:
            return await self._ingest(account_id, request.input_id, request.batches, patient=True)

        acknowledged = events = 0
        async for outcome in answers(request_iterator, ingest, window=_STREAM_WINDOW):
            acknowledged += 1
            events += outcome.events
            yield pb.StreamBatchesResponse(acknowledged_requests=acknowledged, accepted_events=events, faults=_to_protos(outcome.faults))

    async def IngestTable(
        self, request_iterator: AsyncIterator[pb.IngestTableRequest], context: Context
    ) -> AsyncIterator[pb.IngestTableResponse]:
        """Keep the good rows, name the bad ones."""
        async for answer in self._tables.answers(account_of(context), request_iterator):
            yield answer

    async def GetInputStatistics(self, request: pb.GetInputStatisticsRequest, context: Context) -> live_pb2.InputStatistics:
        """What an input of the account sent, in counts."""
        input = self._inputs.of_account(account_of(context), request.input_id)
        return statistics_to_proto(input.input_id, self._views.of(input), self._clock.now_ms())

    async def WatchInput(self, request: pb.WatchInputRequest, context: Context) -> AsyncIterator[pb.WatchInputResponse]:
        """What is kept of an input, and then what comes; without news the counts alone, now and then."""
        account_id = account_of(context)
        told, first = 0, True
        while True:
            # Asked each time: an input may become inactive.
            input = self._inputs.of_account(account_id, request.input_id)
            live = self._views.of(input)
            # Counts that began anew: all is news.
            told = told if live.number >= told else 0
            number, news = live.number, live.after(told)
            yield pb.WatchInputResponse(
                received=[received_to_proto(one) for one in news],
                missed=0 if first else number - told - len(news),
                statistics=statistics_to_proto(input.input_id, live, self._clock.now_ms()),
            )
            told, first = number, False
            await self._views.news(input, after=told, within_seconds=_WATCH_QUIET_SECONDS)
            await asyncio.sleep(_WATCH_PAUSE_SECONDS)

    async def _ingest(self, account_id: int, input_id: int, sent: Sequence[Any], *, patient: bool) -> _Outcome:
        input = self._inputs.of_account(account_id, input_id)
        if not patient:
            self._intake.check(input)
        now_ms = self._clock.now_ms()
        good: list[Batch] = []
        found: list[Fault] = []
        for index, message in enumerate(sent):
            faults = Faults(f"batches[{index}]")
            batch = batch_from_proto(message, input.platform, now_ms, faults)
            if batch is not None and not faults:
                good.append(batch)
            found += faults.found
        if found:
            self._intake.refuse(input, found)
        if good:
            await self._intake.submit(input, good, nbytes=sum(message.ByteSize() for message in sent), patient=patient)
        return _Outcome(len(good), sum(len(batch.events) for batch in good), found)


class IdentityApi(pb_grpc.IdentityServiceServicer):
    """Who is who."""

    def __init__(self, store: Store, people: People) -> None:
        self._store = store
        self._people = people

    async def LookUpIdentities(self, request: pb.LookUpIdentitiesRequest, context: Context) -> AsyncIterator[pb.LookUpIdentitiesResponse]:
        """The identities of people, in chunks."""
        account_id = account_of(context)
        mpids = list(dict.fromkeys(request.mpids))
        for start in range(0, len(mpids), _CHUNK):
            profiles = await self._store.profiles(account_id, mpids[start : start + _CHUNK], list(request.types))
            if profiles:
                yield pb.LookUpIdentitiesResponse(profiles=[_profile_to_proto(mpid, found) for mpid, found in profiles.items()])

    async def FindProfiles(self, request: pb.FindProfilesRequest, context: Context) -> pb.FindProfilesResponse:
        """The people of identities; an identity that nobody has is left out."""
        account_id = account_of(context)
        asked = [
            (sent, identity)
            for sent in request.identities
            if sent.type in _IDENTITY_TYPES and (identity := normal(sent.type, sent.value)) is not None
        ]
        keys = [key_of(account_id, identity) for _, identity in asked]
        found = await self._store.find(keys)
        return pb.FindProfilesResponse(
            profiles=[pb.FoundProfile(identity=sent, mpid=found[key]) for (sent, _), key in zip(asked, keys, strict=True) if key in found]
        )

    async def ListMerges(self, request: pb.ListMergesRequest, context: Context) -> pb.ListMergesResponse:
        """Who became one with whom, the latest first."""
        size = request.page_size or _PAGE
        before = _before(request.page_token)
        found = await self._store.merges(account_of(context), mpid=request.mpid, before=before, limit=size + 1)
        page = found[:size]
        token = str(page[-1].merge_id) if len(found) > size else ""
        return pb.ListMergesResponse(merges=[_merge_to_proto(record) for record in page], next_page_token=token)

    async def UndoMerge(self, request: pb.UndoMergeRequest, context: Context) -> pb.Merge:
        """Part two people again."""
        return _merge_to_proto(await self._people.part(account_of(context), request.merge_id))


class PrivacyApi(pb_grpc.PrivacyServiceServicer):
    """Erasure and data-subject requests."""

    def __init__(self, erasures: Erasures, exports: Exports) -> None:
        self._erasures = erasures
        self._exports = exports

    async def CreateErasure(self, request: pb.CreateErasureRequest, context: Context) -> pb.Erasure:
        """Erase somebody, by MPID or by an identity."""
        account_id = account_of(context)
        if request.WhichOneof("subject") == "mpid":
            if not request.mpid:
                raise Invalid.of("mpid", "Nobody has the MPID 0; give the person's own.", "MISSING")
            return self._to_proto(await self._erasures.create(account_id, mpid=request.mpid))
        identity = normal(request.identity.type, request.identity.value)
        if request.identity.type not in _IDENTITY_TYPES or identity is None:
            raise Invalid.of("identity", "This names nobody; give a type and a value.", "MISSING")
        return self._to_proto(await self._erasures.create(account_id, identity=identity))

    async def GetErasure(self, request: pb.GetErasureRequest, context: Context) -> pb.Erasure:
        """An erasure with its receipts."""
        return self._to_proto(await self._erasures.get(account_of(context), request.erasure_id))

    async def ListErasures(self, request: pb.ListErasuresRequest, context: Context) -> pb.ListErasuresResponse:
        """The erasures of the account, the latest first."""
        size = request.page_size or _PAGE
        found = await self._erasures.latest(account_of(context), before=_before(request.page_token), limit=size + 1)
        token = str(found[size - 1].erasure_id) if len(found) > size else ""
        return pb.ListErasuresResponse(erasures=[self._to_proto(record) for record in found[:size]], next_page_token=token)

    async def ExportProfile(self, request: pb.ExportProfileRequest, context: Context) -> AsyncIterator[pb.ExportProfileResponse]:
        """All that is held of one person."""
        waiting = b""
        async for piece in self._exports.write(account_of(context), request.mpid):
            waiting += piece
            if len(waiting) > _EXPORT_BYTES:
                yield pb.ExportProfileResponse(chunk=waiting)
                waiting = b""
        yield pb.ExportProfileResponse(chunk=waiting)

    def _to_proto(self, record: ErasureRecord) -> pb.Erasure:
        told = {receipt.service for receipt in record.receipts}
        running = not record.finish_time_ms
        return pb.Erasure(
            erasure_id=record.erasure_id,
            mpid=record.mpid,
            state=pb.ERASURE_STATE_RUNNING if running else pb.ERASURE_STATE_FINISHED,
            create_time_ms=record.create_time_ms,
            finish_time_ms=record.finish_time_ms,
            receipts=[
                pb.ErasureReceipt(service=one.service, removed=one.removed, time_ms=one.time_ms, places=one.places)
                for one in record.receipts
            ],
            waiting_for=[service for service in self._erasures.services if service not in told] if running else [],
        )


def _profile_to_proto(mpid: int, identities: Sequence[Identity]) -> pb.Profile:
    return pb.Profile(mpid=mpid, identities=[_identity_to_proto(one) for one in by_strength(identities)])


def _identity_to_proto(identity: Identity) -> identity_pb2.Identity:
    return identity_pb2.Identity(type=identity.type, value=identity.value)  # type: ignore[arg-type]


def _to_protos(faults: Sequence[Fault]) -> list[pb.BatchFault]:
    return [pb.BatchFault(field=fault.place, description=fault.description, reason=fault.reason.value) for fault in faults]


def _merge_to_proto(record: MergeRecord) -> pb.Merge:
    return pb.Merge(
        merge_id=record.merge_id,
        mpid=record.mpid,
        into_mpid=record.into,
        type=record.type,  # type: ignore[arg-type]
        input_id=record.input_id,
        create_time_ms=record.create_time_ms,
        undo_time_ms=record.undo_time_ms,
        new_mpid=record.new_mpid,
    )


def _before(page_token: str) -> int:
    """Before which entry of a list, the latest first, a page begins."""
    if not page_token:
        return _NUMBER_MAX
    if not page_token.isascii() or not page_token.isdecimal() or int(page_token) > _NUMBER_MAX:
        raise Invalid.of("page_token", "Not a token of this list.", "INVALID_PAGE_TOKEN")
    return int(page_token)
