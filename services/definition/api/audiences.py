"""Audiences, by gRPC: drafts, edits, activation, clones, revisions, and the judgement of definitions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from muster.definition.v1 import audience_pb2
from muster.definition.v1 import definition_service_pb2 as pb
from muster.definition.v1 import definition_service_pb2_grpc as pb_grpc

from services.chassis.auth import account_of
from services.chassis.clock import Clock, to_ms
from services.chassis.database import uncut
from services.chassis.errors import Invalid
from services.chassis.outbox import Relay

from ..deleting import delete
from ..domain.accounts import Account
from ..domain.audiences import (
    Audience,
    Edit,
    archived,
    cloned,
    draft,
    edited,
    finished,
    judge_audience,
    judge_name,
    judge_texts,
    name_of_copy,
    restoring,
    revision_of,
    scheduled,
    transferred,
    unarchived,
    with_edit,
)
from ..domain.etags import check_etag, check_required_etag
from ..domain.faults import Findings, Place, Verdict
from ..domain.lifecycle import Move
from ..domain.listing import Position, SortKey, page_size_of, position_of, query_of, token_of
from ..domain.schedules import judge_schedule
from ..domain.texts import check_note, folded
from ..domain.validation import judge
from ..domain.warnings.advice import advice, used_names
from ..figures import FiguresOf
from ..store import Store, Transaction
from ..translation import EDITABLE, audience_to_proto, edit_of, fault_to_proto, revision_to_proto, schedule_of, uses_to_proto
from .requests import Context, author, create_of, mask_paths, refuse
from .rows import list_rows

_REVISION_MAX = 2**63 - 1


class InvalidSchedule(Invalid):
    """A schedule has faults, each with its place."""


class AudienceApi(pb_grpc.AudienceServiceServicer):
    """The AudienceService of the contract."""

    def __init__(self, store: Store, relay: Relay, clock: Clock, figures: FiguresOf, scheduled: Callable[[], None]) -> None:
        """`scheduled` is called when there is another schedule."""
        self._store = store
        self._relay = relay
        self._clock = clock
        self._figures = figures
        self._scheduled = scheduled

    @uncut
    async def CreateAudience(self, request: pb.CreateAudienceRequest, context: Context) -> audience_pb2.Audience:
        now = self._clock.now()
        create = create_of("CreateAudience", request, request.idempotency_key)
        async with self._store.transaction(account_of(context), now_ms=to_ms(now)) as tx:
            account = await tx.locked_account()
            if (earlier := await tx.earlier(create)) is not None:
                return audience_to_proto(await tx.audience(earlier))
            wanted = draft(edit_of(request.audience), account_id=tx.account_id, author=author(), now_ms=to_ms(now))
            verdict = judge_name(wanted, await tx.named(wanted.name)) + judge_audience(wanted, await tx.surroundings(account, wanted), now)
            refuse(verdict.faults)
            audience = await tx.add_audience(finished(wanted))
            await tx.keep_revision(revision_of(audience, note=""))
            await tx.remember(create, audience.audience_id)
        self._relay.wake()
        return audience_to_proto(audience)

    async def GetAudience(self, request: pb.GetAudienceRequest, context: Context) -> audience_pb2.Audience:
        async with self._store.read(account_of(context)) as scope:
            return audience_to_proto(await scope.audience(request.audience_id))

    async def ListAudiences(self, request: pb.ListAudiencesRequest, context: Context) -> pb.ListAudiencesResponse:
        query = query_of(
            states=request.states, tags=request.tags, search=request.search, order_by=request.order_by, archived=request.archived
        )
        after = position_of(request.page_token, query.digest, key_type=str if query.sort is SortKey.NAME else int)
        async with self._store.read(account_of(context)) as scope:
            page, total = await scope.audiences(query, after=after, limit=page_size_of(request.page_size))
        page = page.fitting([audience.definition.ByteSize() for audience in page.items])
        return pb.ListAudiencesResponse(
            audiences=[audience_to_proto(audience) for audience in page.items],
            next_page_token=token_of(query.position_of(page.items[-1]), query.digest) if page.more else "",
            total_size=total,
        )

    async def ListAudienceRows(self, request: pb.ListAudienceRowsRequest, context: Context) -> pb.ListAudienceRowsResponse:
        return await list_rows(self._store, self._figures, account_of(context), request)

    @uncut
    async def UpdateAudience(self, request: pb.UpdateAudienceRequest, context: Context) -> audience_pb2.Audience:
        findings = Findings()
        check_note(request.note, Place(findings, "note"))
        refuse(findings.faults)
        edit = edit_of(request.audience, mask_paths(request.update_mask, request.audience, EDITABLE, what="audience"))
        now = self._clock.now()
        async with self._store.transaction(account_of(context), now_ms=to_ms(now)) as tx:
            account = await tx.locked_account()
            before = await tx.audience(request.audience.audience_id)
            check_required_etag(request.audience.etag, before.version, what="audience")
            audience = await _save_edit(tx, account, before, edit, note=request.note, now=now)
        self._relay.wake()
        return audience_to_proto(audience)

    @uncut
    async def ActivateAudience(self, request: pb.ActivateAudienceRequest, context: Context) -> audience_pb2.Audience:
        now = self._clock.now()
        async with self._store.transaction(account_of(context), now_ms=to_ms(now)) as tx:
            account = await tx.locked_account()
            before = await tx.audience(request.audience_id)
            check_etag(request.etag, before.version, what="audience")
            active = transferred(before, Move.ACTIVATE, author=author(), now_ms=to_ms(now))
            if active is not before:
                refuse(judge_audience(active, await tx.surroundings(account, active), now).faults)
                await tx.save_audience(active)
        self._relay.wake()
        return audience_to_proto(active)

    @uncut
    async def DeactivateAudience(self, request: pb.DeactivateAudienceRequest, context: Context) -> audience_pb2.Audience:
        now_ms = self._clock.now_ms()
        async with self._store.transaction(account_of(context), now_ms=now_ms) as tx:
            await tx.locked_account()
            before = await tx.audience(request.audience_id)
            check_etag(request.etag, before.version, what="audience")
            inactive = transferred(before, Move.DEACTIVATE, author=author(), now_ms=now_ms)
            if inactive is not before:
                await tx.save_audience(inactive)
        self._relay.wake()
        return audience_to_proto(inactive)

    @uncut
    async def ArchiveAudience(self, request: pb.ArchiveAudienceRequest, context: Context) -> audience_pb2.Audience:
        return await self._change(request.audience_id, request.etag, context, archived)

    @uncut
    async def UnarchiveAudience(self, request: pb.UnarchiveAudienceRequest, context: Context) -> audience_pb2.Audience:
        return await self._change(request.audience_id, request.etag, context, unarchived)

    @uncut
    async def ScheduleAudience(self, request: pb.ScheduleAudienceRequest, context: Context) -> audience_pb2.Audience:
        now = self._clock.now()
        schedule = schedule_of(request.schedule, author=author())
        refuse(judge_schedule(schedule, to_ms(now)), InvalidSchedule)
        async with self._store.transaction(account_of(context), now_ms=to_ms(now)) as tx:
            account = await tx.locked_account()
            before = await tx.audience(request.audience_id)
            check_etag(request.etag, before.version, what="audience")
            after = scheduled(before, schedule, author=author(), now_ms=to_ms(now))
            if after is not before:
                if schedule.activate_time_ms:
                    refuse(judge_audience(after, await tx.surroundings(account, after), now).faults)
                await tx.save_audience(after)
        self._relay.wake()
        self._scheduled()
        return audience_to_proto(after)

    async def ListAudienceUses(self, request: pb.ListAudienceUsesRequest, context: Context) -> pb.ListAudienceUsesResponse:
        async with self._store.read(account_of(context)) as scope:
            audience = await scope.audience(request.audience_id)
            uses = await scope.uses_of(audience.audience_id, cascade=request.cascade)
        return uses_to_proto(uses, with_digest=request.cascade)

    @uncut
    async def DeleteAudience(self, request: pb.DeleteAudienceRequest, context: Context) -> audience_pb2.Audience:
        now_ms = self._clock.now_ms()
        async with self._store.transaction(account_of(context), now_ms=now_ms) as tx:
            await tx.locked_account()
            before = await tx.audience(request.audience_id)
            check_etag(request.etag, before.version, what="audience")
            deleted = await delete(tx, before, author=author(), now_ms=now_ms, cascade=request.cascade, digest=request.uses_digest)
        self._relay.wake()
        return audience_to_proto(deleted)

    @uncut
    async def CloneAudience(self, request: pb.CloneAudienceRequest, context: Context) -> audience_pb2.Audience:
        now_ms = self._clock.now_ms()
        create = create_of("CloneAudience", request, request.idempotency_key)
        async with self._store.transaction(account_of(context), now_ms=now_ms) as tx:
            await tx.locked_account()
            if (earlier := await tx.earlier(create)) is not None:
                return audience_to_proto(await tx.audience(earlier))
            original = await tx.audience(request.audience_id)
            name = request.name
            if not name:
                taken = await tx.names_like("Copy of ")
                name = name_of_copy(original.name, lambda wanted: folded(wanted) in taken)
            wanted = cloned(original, name=name, author=author(), now_ms=now_ms)
            refuse((judge_name(wanted, await tx.named(wanted.name)) + judge_texts(wanted)).faults)
            clone = await tx.add_audience(wanted)
            await tx.keep_revision(revision_of(clone, note=f"Cloned from the audience {original.audience_id}."))
            await tx.remember(create, clone.audience_id)
        self._relay.wake()
        return audience_to_proto(clone)

    async def _change(self, audience_id: int, etag: str, context: Context, change: Callable[..., Audience]) -> audience_pb2.Audience:
        now_ms = self._clock.now_ms()
        async with self._store.transaction(account_of(context), now_ms=now_ms) as tx:
            await tx.locked_account()
            before = await tx.audience(audience_id)
            check_etag(etag, before.version, what="audience")
            after = change(before, author=author(), now_ms=now_ms)
            if after is not before:
                await tx.save_audience(after)
        self._relay.wake()
        return audience_to_proto(after)

    async def ValidateDefinition(self, request: pb.ValidateDefinitionRequest, context: Context) -> pb.ValidateDefinitionResponse:
        now = self._clock.now()
        asked = Edit(workspace_ids=tuple(request.workspace_ids), input_ids=tuple(request.input_ids), definition=request.definition)
        async with self._store.read(account_of(context)) as scope:
            account = await scope.account()
            if request.audience_id:
                audience = with_edit(await scope.audience(request.audience_id), asked)
            else:
                audience = draft(asked, account_id=scope.account_id, author=author(), now_ms=to_ms(now))
            surroundings = await scope.surroundings(account, audience)
            verdict = judge(audience.definition, surroundings, now)
            if not verdict.faults:
                known = await scope.catalogue.known(used_names(audience.definition, surroundings))
        if not verdict.faults:
            # In a thread: the nearest of a thousand names takes its time.
            verdict += Verdict(warnings=await asyncio.to_thread(advice, audience.definition, surroundings, known, now))
        return pb.ValidateDefinitionResponse(
            faults=[fault_to_proto(fault) for fault in verdict.faults], warnings=[fault_to_proto(fault) for fault in verdict.warnings]
        )

    async def ListAudienceRevisions(self, request: pb.ListAudienceRevisionsRequest, context: Context) -> pb.ListAudienceRevisionsResponse:
        """The newest first."""
        listed = f"revisions {request.audience_id}"
        after = position_of(request.page_token, listed)
        async with self._store.read(account_of(context)) as scope:
            await scope.audience(request.audience_id)
            page = await scope.revisions(
                request.audience_id, before=after.id if after else _REVISION_MAX, limit=page_size_of(request.page_size)
            )
        page = page.fitting([revision.definition.ByteSize() for revision in page.items])
        last = page.items[-1].revision if page.items else 0
        return pb.ListAudienceRevisionsResponse(
            revisions=[revision_to_proto(revision) for revision in page.items],
            next_page_token=token_of(Position(last, last), listed) if page.more else "",
        )

    @uncut
    async def RestoreAudienceRevision(self, request: pb.RestoreAudienceRevisionRequest, context: Context) -> audience_pb2.Audience:
        now = self._clock.now()
        async with self._store.transaction(account_of(context), now_ms=to_ms(now)) as tx:
            account = await tx.locked_account()
            before = await tx.audience(request.audience_id)
            check_etag(request.etag, before.version, what="audience")
            revision = await tx.revision(request.audience_id, request.revision)
            note = f"Restored from revision {revision.revision}."
            audience = await _save_edit(tx, account, before, restoring(revision), note=note, now=now)
        self._relay.wake()
        return audience_to_proto(audience)


async def _save_edit(tx: Transaction, account: Account, before: Audience, edit: Edit, *, note: str, now: datetime) -> Audience:
    """The audience after an edit, saved if it differs, with a revision if its meaning does."""
    asked = with_edit(before, edit)
    named = judge_name(asked, await tx.named(asked.name, but=before.audience_id) if asked.name != before.name else [])
    if edit.touches_meaning:
        refuse((named + judge_audience(asked, await tx.surroundings(account, asked), now)).faults)
    else:
        # What was saved may have become wrong since, as when the look-back was shortened; that must not forbid a new name.
        refuse((named + judge_texts(asked)).faults)
    after = edited(before, asked, author=author(), now_ms=to_ms(now))
    if after is not before:
        await tx.save_audience(after)
    if after.revision != before.revision:
        await tx.keep_revision(revision_of(after, note=note))
    return after
