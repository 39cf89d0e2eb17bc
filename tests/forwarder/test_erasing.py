"""People who were deleted are gone from partners, and that is told once it is so."""

from __future__ import annotations

from muster.forwarder.v1 import connection_pb2 as pb
from muster.forwarder.v1 import forwarder_service_pb2 as rpc

from tests.fakes.waiting import eventually
from tests.forwarder.office import EMAIL, Office

AUDIENCE = 1


async def test_a_deleted_person_is_gone_from_the_partner_before_it_is_told(either_office: Office) -> None:
    office = either_office
    made = await office.connected(AUDIENCE, [11, 12])
    other = await office.connected(2, [12])
    await office.delete(11)
    await eventually(lambda: office.partner.mpids(AUDIENCE) == {12})
    # The evaluator may be the later one to say so: until then the copy of the members has the person.
    await office.taken("EVENTS", "forwarder-profiles")
    assert await office.receipts() == []
    await office.change(AUDIENCE, 2, 1, dropped=[11])

    async def told() -> bool:
        return len(await office.receipts()) == 1

    await eventually(told)
    (done,) = await office.receipts()
    assert (done.account_id, done.mpid, done.service, done.removed) == (7, 11, "forwarder", 1)
    assert list(done.places) == [f"webhook, connection {made.connection_id}"]
    assert office.partner.mpids(2) == {12}
    assert other.connection_id != made.connection_id


async def test_a_paused_connection_keeps_an_erasure_waiting_until_it_is_resumed(office: Office) -> None:
    made = await office.connected(AUDIENCE, [11, 12])
    await office.becomes(made.connection_id, lambda now: now.delivered_members == 2)
    made = await office.call.GetConnection(rpc.GetConnectionRequest(connection_id=made.connection_id))
    await office.call.PauseConnection(rpc.PauseConnectionRequest(connection_id=made.connection_id, etag=made.etag))
    await office.delete(11)
    await office.change(AUDIENCE, 2, 1, dropped=[11])
    # Somebody whom no partner has does not wait for it.
    await office.delete(99)

    async def told() -> bool:
        return [done.mpid for done in await office.receipts()] == [99]

    await eventually(told)
    assert office.partner.mpids(AUDIENCE) == {11, 12}
    paused = await office.becomes(made.connection_id, lambda now: now.state == pb.CONNECTION_STATE_PAUSED)
    await office.call.ResumeConnection(rpc.ResumeConnectionRequest(connection_id=made.connection_id, etag=paused.etag))

    async def told_of_both() -> bool:
        return [done.mpid for done in await office.receipts()] == [99, 11]

    await eventually(told_of_both)
    assert office.partner.mpids(AUDIENCE) == {12}


async def test_what_partners_have_of_a_person_is_told(office: Office) -> None:
    made = await office.connected(AUDIENCE, [11, 12])
    await office.becomes(made.connection_id, lambda now: now.delivered_members == 2)
    (record,) = (await office.call.ExportPerson(rpc.ExportPersonRequest(mpid=11))).records
    assert (record.connection_id, record.integration_key, record.audience_id) == (made.connection_id, "webhook", AUDIENCE)
    assert [(one.type, one.encoding, one.value) for one in record.identities] == [(EMAIL, "raw", "p11@example.com")]
    assert record.accept_time_ms
    assert not (await office.call.ExportPerson(rpc.ExportPersonRequest(mpid=13))).records
    assert not (await office.caller(8).ExportPerson(rpc.ExportPersonRequest(mpid=11))).records
