"""Variations of A/B tests at partners (semantics: A/B tests)."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import numpy as np
import pytest
from muster.definition.v1 import audience_pb2
from muster.definition.v1 import facts_pb2 as definition_facts
from muster.forwarder.v1 import connection_pb2 as pb
from muster.forwarder.v1 import forwarder_service_pb2 as rpc

from services.chassis.clock import SystemClock
from services.chassis.pull import Message
from services.chassis.variations import variations_of
from services.forwarder.domain.ab_tests import id_downstream
from services.forwarder.domain.connections import Connection, State
from services.forwarder.messages import DefinitionMessages
from services.forwarder.stores.ab_tests import AbTests
from services.forwarder.stores.members import Audiences
from services.forwarder.stores.store import Store, Tx
from tests.fakes.waiting import eventually
from tests.forwarder.office import Office, refused
from tests.forwarder.test_stores import configure

PEOPLE = range(1, 41)
SHARES = {"Blue": 30, "Red": 30}
TEST = 5
NO_BUS: Any = None


def dealt(people: range, ab_test_id: int = TEST) -> dict[str, set[int]]:
    """Who is in which variation."""
    places = variations_of(ab_test_id, list(SHARES.values()), np.array(people, np.int64)).tolist()
    names = [*SHARES, "Control"]
    return {name: {mpid for mpid, place in zip(people, places, strict=True) if names[place] == name} for name in names}


async def connected(office: Office, variation: str, configuration_id: int) -> pb.Connection:
    request = rpc.CreateConnectionRequest(audience_id=1, configuration_id=configuration_id, variation=variation)
    made: pb.Connection = await office.call.CreateConnection(request)
    return made


async def test_each_variation_gets_its_people_under_its_own_name_and_number(either_office: Office) -> None:
    office = either_office
    configuration = (await office.configuration()).configuration_id
    whole = await office.connected(1, PEOPLE, configuration)
    await office.split(1, TEST, SHARES)
    expected = dealt(PEOPLE)
    numbers = {name: id_downstream(1, TEST, place) for name, place in {"Blue": 1, "Red": 2, "Control": 0}.items()}
    for name, number in numbers.items():
        made = await connected(office, name, configuration)
        assert made.variation == name
        await eventually(lambda number=number, name=name: office.partner.mpids(number) == expected[name])  # type: ignore[misc]  # of this turn
        assert office.partner.subscriptions[number] == f"Sports fans - {name}"
    assert office.partner.mpids(whole.audience_id) == set(PEOPLE)

    office.around.emails |= {mpid: f"p{mpid}@example.com" for mpid in range(41, 61)}
    await office.change(1, 2, 1, added=list(range(41, 61)), dropped=[1, 2, 3])
    after = dealt(range(4, 61))
    await eventually(lambda: all(office.partner.mpids(number) == after[name] for name, number in numbers.items()))
    assert (office.partner.counts.doubled, office.partner.counts.absent) == (0, 0)


async def test_a_deleted_test_ends_the_connections_of_its_variations_only(office: Office) -> None:
    configuration = (await office.configuration()).configuration_id
    whole = await office.connected(1, PEOPLE, configuration)
    await office.split(1, TEST, SHARES)
    blue = await connected(office, "Blue", configuration)
    number = id_downstream(1, TEST, 1)
    await eventually(lambda: office.partner.mpids(number) == dealt(PEOPLE)["Blue"])
    await office.split(1, TEST, {})
    failure = await refused(office.call.GetConnection(rpc.GetConnectionRequest(connection_id=blue.connection_id)))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "CONNECTION_NOT_FOUND")
    assert (
        await office.call.GetConnection(rpc.GetConnectionRequest(connection_id=whole.connection_id))
    ).state == pb.CONNECTION_STATE_SENDING
    await eventually(lambda: number not in office.partner.subscriptions)
    # Another test of the same names is another split.
    await office.split(1, 6, SHARES)
    await connected(office, "Blue", configuration)
    await eventually(lambda: office.partner.mpids(id_downstream(1, 6, 1)) == dealt(PEOPLE, 6)["Blue"])


async def test_variations_that_there_are_not_are_refused_with_those_that_there_are(office: Office) -> None:
    configuration = (await office.configuration()).configuration_id
    await office.connected(1, [1], configuration)
    failure = await refused(connected(office, "Blue", configuration))
    assert [(one.field, one.reason) for one in failure.violations] == [("variation", "UNKNOWN_VARIATION")]
    assert "no test" in failure.violations[0].description
    await office.split(1, TEST, SHARES)
    failure = await refused(connected(office, "Green", configuration))
    assert "Blue, Red, Control" in failure.violations[0].description
    await connected(office, "Blue", configuration)
    failure = await refused(connected(office, "Blue", configuration))
    assert failure.reason == "CONNECTION_EXISTS"


async def test_bulk_connect_refuses_an_audience_with_a_test(office: Office) -> None:
    configuration = (await office.configuration()).configuration_id
    await office.define(1)
    await office.split(1, TEST, SHARES)
    request = rpc.BulkCreateConnectionsRequest(audience_ids=[1], configuration_id=configuration)
    answer = await office.call.BulkCreateConnections(request)
    assert [(one.audience_id, one.reason) for one in answer.faults] == [(1, "AUDIENCE_HAS_TEST")]
    assert not answer.connections
    await office.split(1, TEST, {})
    assert [one.audience_id for one in (await office.call.BulkCreateConnections(request)).connections] == [1]


def told(version: int, **state: Any) -> Message:
    """A fact of the definition service."""
    fact = definition_facts.DefinitionFact(account_id=7, version=version, **state)
    return Message("", fact.SerializeToString(), {}, "DEFINITIONS", version, 1, 0, 0, "", NO_BUS)


def split(*variations: tuple[str, int]) -> audience_pb2.AbTest:
    parts = [audience_pb2.Variation(variation_id=place, name=name, percentage=share) for place, (name, share) in enumerate(variations, 1)]
    return audience_pb2.AbTest(ab_test_id=TEST, audience_id=1, variations=parts)


def audience_of(state: audience_pb2.AudienceState.ValueType) -> audience_pb2.Audience:
    return audience_pb2.Audience(audience_id=1, name="Fans", state=state)


@pytest.fixture
def definitions(store: Store) -> DefinitionMessages:
    return DefinitionMessages(store, SystemClock(), lambda ids: None, lambda: None)


async def test_of_the_states_of_a_test_that_come_together_the_newest_counts(definitions: DefinitionMessages, store: Store) -> None:
    await definitions.handle([told(2, ab_test=split()), told(1, ab_test=split(("Blue", 30)))])
    async with store.read() as tx:
        assert await tx.ab_tests.of_audience(7, 1) is None


async def test_a_connection_that_is_made_while_its_test_ends_ends_with_it(definitions: DefinitionMessages, store: Store) -> None:
    await definitions.handle([told(1, audience=audience_of(audience_pb2.AUDIENCE_STATE_ACTIVE)), told(1, ab_test=split(("Blue", 30)))])
    configuration = await configure(store)
    ending: list[asyncio.Task[None]] = []

    async def connect(tx: Tx) -> Connection | None:
        await tx.audiences.get((7, 1), lock=True)
        assert await tx.ab_tests.of_audience(7, 1) is not None
        ending.append(asyncio.create_task(definitions.handle([told(2, ab_test=split())])))
        await asyncio.sleep(0.3)
        return await tx.connections.insert(
            7,
            audience_id=1,
            variation="Blue",
            ab_test_id=TEST,
            variation_id=1,
            configuration_id=configuration,
            settings={},
            now_ms=1,
            idempotency_key=None,
        )

    made = await store.write(connect)
    await asyncio.gather(*ending)
    assert made is not None
    async with store.read() as tx:
        found = await tx.connections.get(7, made.id)
        assert found is not None
        assert found.state is State.DELETED


@pytest.mark.parametrize(
    ("reads", "older", "newer"),
    [
        (
            (Audiences, "get_many"),
            told(1, audience=audience_of(audience_pb2.AUDIENCE_STATE_DRAFT)),
            told(2, audience=audience_of(audience_pb2.AUDIENCE_STATE_ACTIVE)),
        ),
        ((AbTests, "get"), told(1, ab_test=split(("Blue", 30))), told(2, ab_test=split())),
    ],
    ids=["audience", "test"],
)
async def test_of_two_processes_that_are_first_told_of_something_the_newest_state_stays(
    reads: tuple[type, str],
    older: Message,
    newer: Message,
    definitions: DefinitionMessages,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    others = list[asyncio.Task[None]]()
    read = getattr(*reads)

    async def slowly(self: Any, *asked: Any, **options: Any) -> Any:
        found = await read(self, *asked, **options)
        if not others:
            # The older state has found nothing; before it is written, the newer one comes and goes.
            others.append(asyncio.create_task(definitions.handle([newer])))
            await asyncio.wait(others, timeout=0.5)
        return found

    monkeypatch.setattr(*reads, slowly)
    await definitions.handle([older])
    await asyncio.gather(*others)
    async with store.read() as tx:
        audience, test = await tx.audiences.get((7, 1)), await tx.ab_tests.get(7, TEST)
        assert [one.version for one in (audience, test) if one is not None] == [2]
