"""Who uses an audience, and what ends with it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import grpc
from hypothesis import given
from hypothesis import strategies as st
from muster.definition.v1 import audience_pb2
from muster.definition.v1 import definition_service_pb2 as pb
from muster.forwarder.v1 import connection_pb2
from muster.sharing.v1 import sharing_service_pb2

from services.chassis.audit import Audit
from services.chassis.bus import Bus
from services.chassis.database import Database
from services.chassis.migrations import migrate
from services.chassis.outbox import Outbox
from services.definition import tables
from services.definition.app import MIGRATIONS
from services.definition.domain.uses import ConnectionUse, outermost_first
from services.definition.store import Store
from tests.definition.builders import definition, member_of
from tests.definition.conftest import Home, Service, refused
from tests.definition.others import offer, split, tell
from tests.fakes.waiting import eventually

SENDING, FAULTED, GONE = (
    connection_pb2.CONNECTION_STATE_SENDING,
    connection_pb2.CONNECTION_STATE_FAULTED,
    connection_pb2.CONNECTION_STATE_DELETED,
)
DELETED = audience_pb2.AUDIENCE_STATE_DELETED


async def uses(home: Home, audience_id: int, *, cascade: bool = False) -> pb.ListAudienceUsesResponse:
    request = pb.ListAudienceUsesRequest(audience_id=audience_id, cascade=cascade)
    said: pb.ListAudienceUsesResponse = await home.audiences.ListAudienceUses(request)
    return said


async def delete(home: Home, audience_id: int, *, digest: str | None = None) -> audience_pb2.Audience:
    request = pb.DeleteAudienceRequest(audience_id=audience_id, cascade=digest is not None, uses_digest=digest or "")
    gone: audience_pb2.Audience = await home.audiences.DeleteAudience(request)
    return gone


async def test_connections_are_known_in_their_newest_state(home: Home, bus: Bus) -> None:
    audience = (await home.audience()).audience_id
    await tell(bus, home, audience, connection_id=900 + audience, version=2, state=FAULTED, fault="429 Too Many Requests")

    async def known() -> bool:
        return len((await uses(home, audience)).connections) == 1

    await eventually(known)
    (connection,) = (await uses(home, audience)).connections
    assert (connection.configuration_name, connection.integration_key, connection.fault) == ("Hook", "webhook", "429 Too Many Requests")
    await tell(bus, home, audience, connection_id=900 + audience, version=1)
    await tell(bus, home, audience, connection_id=901 + audience)

    async def both() -> bool:
        return len((await uses(home, audience)).connections) == 2

    await eventually(both)
    assert [one.state for one in (await uses(home, audience)).connections] == [FAULTED, SENDING], "what is older changes nothing"
    await tell(bus, home, audience, connection_id=900 + audience, version=3, state=GONE)
    await tell(bus, home, audience, connection_id=901 + audience, version=2, state=GONE)

    async def gone() -> bool:
        return not (await uses(home, audience)).connections

    await eventually(gone)


async def test_an_audience_that_is_used_is_not_deleted_and_all_uses_are_named(home: Home, bus: Bus) -> None:
    inner = (await home.audience()).audience_id
    outer = (await home.audience("Outer", definition=definition(member_of(inner)))).audience_id
    test = await split(home, inner)
    await tell(bus, home, inner, connection_id=800 + inner)

    async def known() -> bool:
        return bool((await uses(home, inner)).connections)

    await eventually(known)
    failure = await refused(delete(home, inner))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "AUDIENCE_IN_USE")
    assert failure.metadata["user_ids"] == str(outer)
    assert failure.metadata["ab_test_ids"] == str(test.ab_test_id)
    assert failure.metadata["connection_ids"] == str(800 + inner)
    assert "Outer" in failure.message
    assert "Hook" in failure.message


async def test_shares_are_uses_while_they_wait_or_were_accepted(home: Home, bus: Bus) -> None:
    audience = (await home.audience()).audience_id
    number = 500 + audience
    await offer(bus, home, audience, share_id=number, state=sharing_service_pb2.SHARE_STATE_PENDING)
    await offer(bus, home, audience, share_id=number + 1, state=sharing_service_pb2.SHARE_STATE_ACCEPTED, received=True)

    async def becomes(states: list[int]) -> None:
        async def so() -> bool:
            return [one.state for one in (await uses(home, audience)).shares] == states

        await eventually(so)

    await becomes([sharing_service_pb2.SHARE_STATE_PENDING])
    failure = await refused(delete(home, audience))
    assert (failure.reason, failure.metadata["share_ids"]) == ("AUDIENCE_IN_USE", str(number))
    assert "Globex" in failure.message
    await offer(bus, home, audience, share_id=number, version=2, state=sharing_service_pb2.SHARE_STATE_ACCEPTED)
    await becomes([sharing_service_pb2.SHARE_STATE_ACCEPTED])
    shown = await uses(home, audience, cascade=True)
    await offer(bus, home, audience, share_id=number, version=3, state=sharing_service_pb2.SHARE_STATE_ENDED)
    await becomes([])
    failure = await refused(delete(home, audience, digest=shown.digest))
    assert failure.reason == "USES_CHANGED"
    assert (await delete(home, audience)).state == DELETED


async def test_a_deletion_cascades_over_just_what_was_shown(home: Home) -> None:
    inner = (await home.audience("Inner")).audience_id
    middle = (await home.audience("Middle", definition=definition(member_of(inner)))).audience_id
    outer = (await home.audience("Outer", definition=definition(member_of(middle)))).audience_id
    other = (await home.audience("Other")).audience_id
    test = await split(home, middle)
    failure = await refused(delete(home, inner, digest=""))
    assert [(one.field, one.reason) for one in failure.violations] == [("uses_digest", "MISSING")]
    shown = await uses(home, inner, cascade=True)
    assert [one.audience_id for one in shown.audiences] == [outer, middle]
    assert [one.ab_test_id for one in shown.ab_tests] == [test.ab_test_id]
    assert [one.audience_id for one in (await uses(home, inner)).audiences] == [middle], "directly"
    more = await split(home, outer)
    failure = await refused(delete(home, inner, digest=shown.digest))
    assert (failure.code, failure.reason) == (grpc.StatusCode.ABORTED, "USES_CHANGED")
    shown = await uses(home, inner, cascade=True)
    assert {one.ab_test_id for one in shown.ab_tests} == {test.ab_test_id, more.ab_test_id}
    assert (await delete(home, inner, digest=shown.digest)).state == DELETED
    for number in (middle, outer):
        found = await home.audiences.GetAudience(pb.GetAudienceRequest(audience_id=number))
        assert (found.state, found.ab_test_id) == (DELETED, 0)
    assert (await home.audiences.GetAudience(pb.GetAudienceRequest(audience_id=other))).state != DELETED


async def test_another_account_sees_and_ends_nothing(service: Service, home: Home, bus: Bus) -> None:
    audience = (await home.audience()).audience_id
    stranger = await service.home()
    for call in (uses(stranger, audience), delete(stranger, audience, digest="x")):
        failure = await refused(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "AUDIENCE_NOT_FOUND")


graphs = st.integers(1, 7).flatmap(
    lambda size: st.fixed_dictionaries(
        {number: st.frozensets(st.integers(1, number - 1) if number > 1 else st.nothing()) for number in range(1, size + 1)}
    )
)


@given(graphs)
def test_all_users_come_and_each_before_those_that_it_reads(reads: dict[int, frozenset[int]]) -> None:
    order = outermost_first(1, reads)
    wanted, grown = {1}, True
    while grown:
        more = {user for user, read in reads.items() if read & wanted} | wanted
        grown, wanted = more != wanted, more
    assert sorted(order) == sorted(wanted - {1})
    for place, user in enumerate(order):
        assert not reads[user] & set(order[:place])


def test_a_chain_of_many_levels_is_walked() -> None:
    assert outermost_first(0, {number: {number - 1} for number in range(1, 5_000)}) == list(range(4_999, 0, -1))


async def test_of_two_processes_that_are_first_told_of_a_connection_the_newest_state_stays(database: Database) -> None:
    await migrate(database, MIGRATIONS)
    store = Store(database, Outbox(tables.outbox), Audit("test", tables.audit_heads, tables.audit_entries))
    told = ConnectionUse(
        connection_id=4,
        audience_id=2,
        variation="",
        configuration_id=3,
        configuration_name="Hook",
        integration_key="webhook",
        state=SENDING,
        fault="",
    )

    async def later() -> None:
        async with store.transaction(1, now_ms=1) as tx:
            await tx.take_connection(replace(told, state=FAULTED, fault="429"), 2)

    async with store.transaction(1, now_ms=1) as tx:
        await tx.take_connection(told, 1)
        other = asyncio.create_task(later())
        await asyncio.sleep(0.2)
        assert not other.done()
    await other
    async with store.read(1) as scope:
        assert [one.fault for one in await scope.connections_of([2])] == ["429"]
