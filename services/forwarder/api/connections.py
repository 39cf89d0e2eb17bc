"""ConnectionService: audiences at partners."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from muster.forwarder.v1 import connection_pb2 as pb
from muster.forwarder.v1 import forwarder_service_pb2 as rpc
from muster.forwarder.v1 import forwarder_service_pb2_grpc as rpc_grpc

from services.chassis.auth import account_of
from services.chassis.clock import Clock
from services.chassis.errors import Invalid, MusterError
from services.chassis.outbox import Relay
from services.chassis.variations import CONTROL_NAME
from services.forwarder import translate
from services.forwarder.api.paging import PAGE_SIZE, number_of, page_of, token_of
from services.forwarder.closing import close
from services.forwarder.connectors.directory import Connectors
from services.forwarder.dispatch import Dispatcher
from services.forwarder.domain import forms
from services.forwarder.domain.connections import Connection, State, paused, resumed
from services.forwarder.errors import (
    AudienceHasTest,
    AudienceNotActive,
    AudienceNotFound,
    ConfigurationNotFound,
    ConnectionExists,
    ConnectionNotFound,
    IdempotencyKeyReused,
    settings_invalid,
)
from services.forwarder.facts import fault_cleared
from services.forwarder.snapshots import Snapshots
from services.forwarder.stores.members import Audience, Following
from services.forwarder.stores.store import Store, Tx

Context = grpc.aio.ServicerContext[Any, Any]


class ConnectionApi(rpc_grpc.ConnectionServiceServicer):
    """Each call is for the account of its token."""

    def __init__(
        self, store: Store, connectors: Connectors, dispatcher: Dispatcher, snapshots: Snapshots, relay: Relay, clock: Clock
    ) -> None:
        self._store = store
        self._connectors = connectors
        self._dispatcher = dispatcher
        self._snapshots = snapshots
        self._relay = relay
        self._clock = clock

    async def ExportPerson(self, request: rpc.ExportPersonRequest, context: Context) -> rpc.ExportPersonResponse:
        async with self._store.read() as tx:
            records = await tx.erasures.records(account_of(context), request.mpid)
        return rpc.ExportPersonResponse(records=[translate.partner_record(record) for record in records])

    async def CreateConnection(self, request: rpc.CreateConnectionRequest, context: Context) -> pb.Connection:
        account_id = account_of(context)

        async def create(tx: Tx) -> Connection:
            # Locks the configuration: of two requests at once the second finds what the first one made.
            settings = await self._settings(tx, account_id, request.configuration_id, dict(request.settings))
            if request.idempotency_key:
                before = await tx.connections.of_key(account_id, request.idempotency_key)
                if before is not None:
                    asked = (request.audience_id, request.variation, request.configuration_id, dict(request.settings))
                    if (before.audience_id, before.variation, before.configuration_id, dict(before.settings)) != asked:
                        raise IdempotencyKeyReused("This key was used for another connection.")
                    return before
            return await self._create(
                tx,
                account_id,
                audience_id=request.audience_id,
                variation=request.variation,
                configuration_id=request.configuration_id,
                settings=settings,
                idempotency_key=request.idempotency_key or None,
            )

        made = await self._store.write(create)
        self._begin([made])
        return await self._told(made)

    async def BulkCreateConnections(self, request: rpc.BulkCreateConnectionsRequest, context: Context) -> rpc.BulkCreateConnectionsResponse:
        account_id = account_of(context)

        async def create(tx: Tx) -> tuple[list[Connection], list[rpc.BulkFault]]:
            settings = await self._settings(tx, account_id, request.configuration_id, dict(request.settings))
            made, faults = [], []
            for audience_id in sorted(set(request.audience_ids)):
                try:
                    await _refuse_test(tx, account_id, audience_id)
                    made.append(
                        await self._create(
                            tx,
                            account_id,
                            audience_id=audience_id,
                            variation="",
                            configuration_id=request.configuration_id,
                            settings=settings,
                            idempotency_key=None,
                        )
                    )
                except MusterError as fault:
                    # Refused before anything was written.
                    faults.append(rpc.BulkFault(audience_id=audience_id, description=fault.message, reason=fault.reason))
            return made, faults

        made, faults = await self._store.write(create)
        self._begin(made)
        return rpc.BulkCreateConnectionsResponse(
            connections=[translate.connection(one, waiting=0, rejected=0) for one in made], faults=faults
        )

    async def GetConnection(self, request: rpc.GetConnectionRequest, context: Context) -> pb.Connection:
        async with self._store.read() as tx:
            found = await _existing(tx, account_of(context), request.connection_id)
            return (await _all_told(tx, [found]))[0]

    async def ListConnections(self, request: rpc.ListConnectionsRequest, context: Context) -> rpc.ListConnectionsResponse:
        after, limit = page_of(request.page_token, request.page_size)
        states = [state for number in request.states if (state := translate.state_of(number)) is not None]
        if request.states and not states:
            return rpc.ListConnectionsResponse()
        async with self._store.read() as tx:
            found = await tx.connections.page(
                account_of(context),
                audience_id=request.audience_id,
                configuration_id=request.configuration_id,
                states=states,
                after=after,
                limit=limit + 1,
            )
            told = await _all_told(tx, found[:limit])
        return rpc.ListConnectionsResponse(connections=told, next_page_token=token_of([one.id for one in found], limit))

    async def PauseConnection(self, request: rpc.PauseConnectionRequest, context: Context) -> pb.Connection:
        account_id = account_of(context)

        async def pause(tx: Tx) -> Connection:
            before = await _existing(tx, account_id, request.connection_id, lock=True)
            after = paused(before, reason="Paused by a person.", now_ms=self._clock.now_ms(), etag=request.etag)
            await tx.save_connection(after)
            return after

        after = await self._store.write(pause)
        self._relay.wake()
        self._dispatcher.look(after.id)
        return await self._told(after)

    async def ResumeConnection(self, request: rpc.ResumeConnectionRequest, context: Context) -> pb.Connection:
        account_id = account_of(context)

        async def resume(tx: Tx) -> Connection:
            before = await _existing(tx, account_id, request.connection_id, lock=True)
            return await self._resume(tx, before, request.etag)

        after = await self._store.write(resume)
        self._relay.wake()
        self._dispatcher.look(after.id)
        return await self._told(after)

    async def ResumeConfiguration(self, request: rpc.ResumeConfigurationRequest, context: Context) -> rpc.ResumeConfigurationResponse:
        account_id = account_of(context)

        async def resume(tx: Tx) -> list[Connection]:
            if await tx.configurations.get(account_id, request.configuration_id) is None:
                raise ConfigurationNotFound("There is no such configuration.", configuration_id=request.configuration_id)
            done: list[Connection] = []
            chosen = {"configuration_id": request.configuration_id, "states": [State.FAULTED], "limit": 500, "lock": True}
            while found := await tx.connections.page(account_id, after=done[-1].id if done else 0, **chosen):  # type: ignore[arg-type]  # the keywords of page
                done += [await self._resume(tx, one, "") for one in found]
            return done

        resumed_now = await self._store.write(resume)
        self._relay.wake()
        for one in resumed_now:
            self._dispatcher.look(one.id)
        async with self._store.read() as tx:
            return rpc.ResumeConfigurationResponse(connections=await _all_told(tx, resumed_now))

    async def DeleteConnection(self, request: rpc.DeleteConnectionRequest, context: Context) -> pb.Connection:
        account_id = account_of(context)

        async def delete(tx: Tx) -> Connection:
            after = await close(tx, account_id, request.connection_id, now_ms=self._clock.now_ms(), etag=request.etag)
            if after is None:
                raise ConnectionNotFound("There is no such connection.", connection_id=request.connection_id)
            return after

        after = await self._store.write(delete)
        self._relay.wake()
        self._dispatcher.look(after.id)
        return await self._told(after)

    async def ReconcileConnection(self, request: rpc.ReconcileConnectionRequest, context: Context) -> pb.Connection:
        account_id = account_of(context)

        async def reconcile(tx: Tx) -> Connection:
            found = await _existing(tx, account_id, request.connection_id, lock=True)
            await tx.members.mark_all(found.id, (account_id, found.audience_id), since_ms=self._clock.now_ms())
            return found

        found = await self._store.write(reconcile)
        self._dispatcher.wake([found.id])
        return await self._told(found)

    async def ListDeliveries(self, request: rpc.ListDeliveriesRequest, context: Context) -> rpc.ListDeliveriesResponse:
        account_id, limit = account_of(context), request.page_size or PAGE_SIZE
        async with self._store.read() as tx:
            # Also those of a deleted connection.
            found = await tx.deliveries.page(account_id, request.connection_id, before=number_of(request.page_token), limit=limit + 1)
            if not found and await tx.connections.get(account_id, request.connection_id) is None:
                raise ConnectionNotFound("There is no such connection.", connection_id=request.connection_id)
        told = [translate.delivery(one) for one in found[:limit]]
        return rpc.ListDeliveriesResponse(deliveries=told, next_page_token=token_of([one.id for one in found], limit))

    async def ListRejectedRecords(self, request: rpc.ListRejectedRecordsRequest, context: Context) -> rpc.ListRejectedRecordsResponse:
        limit = request.page_size or PAGE_SIZE
        async with self._store.read() as tx:
            connection = await _existing(tx, account_of(context), request.connection_id)
            found = await tx.deliveries.list_rejected(connection.id, after=number_of(request.page_token), limit=limit + 1)
        records = [translate.rejected_record(one) for one in found[:limit]]
        return rpc.ListRejectedRecordsResponse(records=records, next_page_token=token_of([one.mpid for one in found], limit))

    async def RetryRejectedRecords(self, request: rpc.RetryRejectedRecordsRequest, context: Context) -> rpc.RetryRejectedRecordsResponse:
        account_id = account_of(context)

        async def retry(tx: Tx) -> int:
            connection = await _existing(tx, account_id, request.connection_id, lock=True)
            taken = await tx.deliveries.take_rejected(connection.id, list(request.mpids))
            await tx.members.mark_one(connection.id, taken, since_ms=self._clock.now_ms())
            return len(taken)

        retried = await self._store.write(retry)
        self._dispatcher.wake([request.connection_id])
        return rpc.RetryRejectedRecordsResponse(retried=retried)

    async def _settings(self, tx: Tx, account_id: int, configuration_id: int, values: dict[str, str]) -> dict[str, str]:
        """The connection's own settings, all faults of which would have been told."""
        configuration = await tx.configurations.get(account_id, configuration_id, lock=True)
        if configuration is None:
            raise ConfigurationNotFound("There is no such configuration.", configuration_id=configuration_id)
        connector = self._connectors.get(configuration.integration_key)
        if connector is not None:
            try:
                forms.read(connector.spec.connection_form, values)
            except forms.FormFaults as found:
                raise settings_invalid("settings", found.faults) from None
        return values

    async def _create(
        self,
        tx: Tx,
        account_id: int,
        *,
        audience_id: int,
        variation: str,
        configuration_id: int,
        settings: dict[str, str],
        idempotency_key: str | None,
    ) -> Connection:
        audience = await _connectable(tx, account_id, audience_id)
        test = await tx.ab_tests.of_audience(account_id, audience_id) if variation else None
        if variation and (test is None or not test.has(variation)):
            names = ", ".join([*(name for name, _ in test.variations), CONTROL_NAME]) if test else ""
            mend = f"it has {names}" if names else "it has no test"
            raise Invalid.of("variation", f"The audience has no variation of this name: {mend}.", "UNKNOWN_VARIATION")
        now_ms = self._clock.now_ms()
        made = await tx.connections.insert(
            account_id,
            audience_id=audience_id,
            variation=variation,
            ab_test_id=test.ab_test_id if test else 0,
            variation_id=test.id_of(variation) if test else 0,
            configuration_id=configuration_id,
            settings=settings,
            now_ms=now_ms,
            idempotency_key=idempotency_key,
        )
        if made is None:
            what = "The variation" if variation else "The audience"
            raise ConnectionExists(f"{what} is connected to this configuration already.", audience_id=audience_id)
        await tx.tell_connection(made)
        if audience.following is Following.NONE:
            await tx.audiences.follow(audience.key, Following.WANTED)
        else:
            await tx.members.mark_all(made.id, audience.key, since_ms=now_ms)
        return made

    async def _resume(self, tx: Tx, before: Connection, etag: str) -> Connection:
        now_ms = self._clock.now_ms()
        after = resumed(before, now_ms=now_ms, etag=etag)
        await tx.save_connection(after)
        if before.state is State.FAULTED:
            waiting = (await tx.connections.waiting_counts([before.id])).get(before.id, 0)
            await tx.announce([fault_cleared(after, waiting=waiting, now_ms=now_ms)], now_ms=now_ms)
        return after

    def _begin(self, made: Sequence[Connection]) -> None:
        self._relay.wake()
        self._snapshots.wake()
        self._dispatcher.wake([one.id for one in made])

    async def _told(self, found: Connection) -> pb.Connection:
        async with self._store.read() as tx:
            return (await _all_told(tx, [found]))[0]


async def _existing(tx: Tx, account_id: int, id: int, *, lock: bool = False) -> Connection:
    found = await tx.connections.get(account_id, id, lock=lock)
    if found is None or found.state is State.DELETED:
        raise ConnectionNotFound("There is no such connection.", connection_id=id)
    return found


async def _connectable(tx: Tx, account_id: int, audience_id: int) -> Audience:
    audience = await tx.audiences.get((account_id, audience_id), lock=True)
    if audience is None or audience.state == "deleted":
        raise AudienceNotFound("There is no such audience.", audience_id=audience_id)
    if not audience.is_live:
        raise AudienceNotActive("Only an active audience can be connected: activate it first.", audience_id=audience_id)
    return audience


async def _refuse_test(tx: Tx, account_id: int, audience_id: int) -> None:
    if (test := await tx.ab_tests.of_audience(account_id, audience_id)) is not None:
        names = ", ".join([*(name for name, _ in test.variations), CONTROL_NAME])
        message = f"The audience has an A/B test: connect it, or its variations ({names}), one by one."
        raise AudienceHasTest(message, audience_id=audience_id)


async def _all_told(tx: Tx, found: Sequence[Connection]) -> list[pb.Connection]:
    ids = [one.id for one in found]
    waiting, rejected = await tx.connections.waiting_counts(ids), await tx.connections.rejected_counts(ids)
    return [translate.connection(one, waiting=waiting.get(one.id, 0), rejected=rejected.get(one.id, 0)) for one in found]
