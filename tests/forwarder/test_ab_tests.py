"""Variations of A/B tests at partners (semantics: A/B tests)."""

from __future__ import annotations

import grpc
import numpy as np
from muster.forwarder.v1 import connection_pb2 as pb
from muster.forwarder.v1 import forwarder_service_pb2 as rpc

from services.chassis.variations import variations_of
from services.forwarder.domain.ab_tests import id_downstream
from tests.fakes.waiting import eventually
from tests.forwarder.office import Office, refused

PEOPLE = range(1, 41)
SHARES = {"Blue": 30, "Red": 30}
TEST = 5


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
