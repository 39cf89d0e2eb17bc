"""ConnectionService over gRPC, and the facts that come and go over NATS."""

from __future__ import annotations

import asyncio

import grpc
from muster.forwarder.v1 import connection_pb2 as pb
from muster.forwarder.v1 import facts_pb2
from muster.forwarder.v1 import forwarder_service_pb2 as rpc

from services.chassis.streams import connections_subject
from tests.fakes.waiting import eventually
from tests.fakes.webhook_partner import Reject, Status, Suspend
from tests.forwarder.office import ACCOUNT, Office, refused

SENDING, PAUSED, FAULTED, DELETED = (
    pb.CONNECTION_STATE_SENDING,
    pb.CONNECTION_STATE_PAUSED,
    pb.CONNECTION_STATE_FAULTED,
    pb.CONNECTION_STATE_DELETED,
)


def connect(audience_id: int, configuration_id: int, key: str = "", variation: str = "") -> rpc.CreateConnectionRequest:
    return rpc.CreateConnectionRequest(audience_id=audience_id, configuration_id=configuration_id, idempotency_key=key, variation=variation)


async def test_a_new_connection_gets_everybody_and_then_every_change(either_office: Office) -> None:
    office = either_office
    made = await office.connected(1, [1, 2, -3])
    assert (made.state, made.audience_id, made.variation) == (SENDING, 1, "")
    office.around.emails[4] = "p4@example.com"
    await office.change(1, 2, 1, added=[4], dropped=[1])
    await eventually(lambda: office.partner.mpids(1) == {2, -3, 4})
    await office.identify(2, "new@example.com")
    await eventually(lambda: office.partner.told(1, 2) == {("email", "new@example.com")})
    found = await office.becomes(made.connection_id, lambda one: one.waiting_changes == 0)
    assert (found.delivered_members, found.state) == (3, SENDING)
    assert found.last_delivery_time_ms >= made.create_time_ms
    assert (office.partner.counts.doubled, office.partner.counts.absent) == (0, 0)


async def test_a_membership_fact_that_comes_again_is_not_sent_again(office: Office) -> None:
    await office.connected(1, [1])
    office.around.emails[2] = "p2@example.com"
    for _ in range(3):
        await office.change(1, 2, 1, added=[2])
        await asyncio.sleep(0.003)
    await office.taken("MEMBERSHIPS", "forwarder-memberships")
    await eventually(lambda: office.partner.mpids(1) == {1, 2})
    assert office.partner.counts.adds == 2


async def test_only_an_active_audience_can_be_connected(office: Office) -> None:
    configuration = await office.configuration()
    for state in ("DRAFT", "INACTIVE"):
        await office.define(1, state=state)
        failure = await refused(office.call.CreateConnection(connect(1, configuration.configuration_id)))
        assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "AUDIENCE_NOT_ACTIVE")
    await office.define(1, state="DELETED")
    for audience_id in (1, 2):
        failure = await refused(office.call.CreateConnection(connect(audience_id, configuration.configuration_id)))
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "AUDIENCE_NOT_FOUND")


async def test_faults_of_a_request_to_connect_are_told(office: Office) -> None:
    configuration = await office.configuration()
    await office.define(1)
    failure = await refused(office.call.CreateConnection(connect(0, 0)))
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert {one.field for one in failure.violations} == {"audience_id", "configuration_id"}
    failure = await refused(office.call.CreateConnection(connect(1, configuration.configuration_id + 1)))
    assert failure.reason == "CONFIGURATION_NOT_FOUND"
    failure = await refused(office.call.CreateConnection(connect(1, configuration.configuration_id, variation="A")))
    assert failure.violations[0].field == "variation"
    request = connect(1, configuration.configuration_id)
    request.settings["colour"] = "red"
    failure = await refused(office.call.CreateConnection(request))
    assert [(one.field, one.reason) for one in failure.violations] == [('settings["colour"]', "UNKNOWN_SETTING")]


async def test_an_audience_is_connected_once_and_a_repeated_request_is_the_same(either_office: Office) -> None:
    office = either_office
    office.around.members[1] = ([], {0: 1})
    await office.define(1)
    configuration = (await office.configuration()).configuration_id
    at_once = await asyncio.gather(*[office.call.CreateConnection(connect(1, configuration, key="k")) for _ in range(5)])
    assert len({one.connection_id for one in at_once}) == 1
    failure = await refused(office.call.CreateConnection(connect(1, configuration)))
    assert (failure.code, failure.reason) == (grpc.StatusCode.ALREADY_EXISTS, "CONNECTION_EXISTS")
    await office.define(2)
    failure = await refused(office.call.CreateConnection(connect(2, configuration, key="k")))
    assert (failure.code, failure.reason) == (grpc.StatusCode.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED")


async def test_bulk_connect_lists_what_it_made_and_what_it_could_not_with_the_reasons(either_office: Office) -> None:
    office = either_office
    configuration = (await office.configuration()).configuration_id
    await office.connected(1, [1], configuration)
    office.around.members[2] = ([5], {0: 1})
    office.around.emails[5] = "p5@example.com"
    await office.define(2)
    await office.define(3, state="DRAFT")
    await office.define(4, account_id=8)
    answer = await office.call.BulkCreateConnections(
        rpc.BulkCreateConnectionsRequest(audience_ids=[1, 2, 2, 3, 4], configuration_id=configuration)
    )
    assert [one.audience_id for one in answer.connections] == [2]
    assert {one.audience_id: one.reason for one in answer.faults} == {
        1: "CONNECTION_EXISTS",
        3: "AUDIENCE_NOT_ACTIVE",
        4: "AUDIENCE_NOT_FOUND",
    }
    assert all(one.description for one in answer.faults)
    await eventually(lambda: office.partner.mpids(2) == {5})


async def test_connections_are_listed_by_audience_configuration_and_state_in_pages(office: Office) -> None:
    first, second = (await office.configuration()).configuration_id, (await office.configuration()).configuration_id
    made = [(await office.connected(number, [], first)).connection_id for number in range(1, 4)]
    made.append((await office.connected(1, [], second)).connection_id)
    await office.call.PauseConnection(rpc.PauseConnectionRequest(connection_id=made[1]))
    await office.call.DeleteConnection(rpc.DeleteConnectionRequest(connection_id=made[2]))

    async def listed(**wanted: object) -> list[int]:
        seen, token = list[int](), ""
        while True:
            page = await office.call.ListConnections(rpc.ListConnectionsRequest(page_size=1, page_token=token, **wanted))  # type: ignore[arg-type]  # its fields
            seen += [one.connection_id for one in page.connections]
            if not (token := page.next_page_token):
                return seen

    assert await listed() == [made[0], made[1], made[3]]
    assert await listed(audience_id=1) == [made[0], made[3]]
    assert await listed(configuration_id=second) == [made[3]]
    assert await listed(states=[PAUSED]) == [made[1]]
    assert await listed(states=[DELETED]) == [made[2]]
    assert await listed(states=[FAULTED]) == []
    # A state that this version does not know is not the same as any.
    assert await listed(states=[99]) == []


async def test_pausing_resuming_and_deleting_move_the_state_and_the_etag(office: Office) -> None:
    made = await office.connected(1, [1])
    id = made.connection_id
    paused = await office.call.PauseConnection(rpc.PauseConnectionRequest(connection_id=id, etag=made.etag))
    assert (paused.state, paused.pause_reason, paused.etag != made.etag) == (PAUSED, "Paused by a person.", True)
    for call in (
        office.call.PauseConnection(rpc.PauseConnectionRequest(connection_id=id, etag=made.etag)),
        office.call.ResumeConnection(rpc.ResumeConnectionRequest(connection_id=id, etag=made.etag)),
        office.call.DeleteConnection(rpc.DeleteConnectionRequest(connection_id=id, etag=made.etag)),
    ):
        failure = await refused(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.ABORTED, "STALE_ETAG")
    # Pausing what is paused, or resuming what sends, is no fault.
    assert (await office.call.PauseConnection(rpc.PauseConnectionRequest(connection_id=id))).etag == paused.etag
    office.around.emails[2] = "p2@example.com"
    await office.change(1, 2, 1, added=[2])
    await office.becomes(id, lambda one: one.waiting_changes == 1)
    assert office.partner.mpids(1) == {1}
    resumed = await office.call.ResumeConnection(rpc.ResumeConnectionRequest(connection_id=id, etag=paused.etag))
    assert (resumed.state, resumed.pause_reason) == (SENDING, "")
    await eventually(lambda: office.partner.mpids(1) == {1, 2})
    deleted = await office.call.DeleteConnection(rpc.DeleteConnectionRequest(connection_id=id))
    assert deleted.state == DELETED
    await eventually(lambda: office.partner.subscription_requests == [(1, "add"), (1, "delete")])
    failure = await refused(office.call.GetConnection(rpc.GetConnectionRequest(connection_id=id)))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "CONNECTION_NOT_FOUND")


async def test_a_fault_shows_everywhere_is_told_and_ends_when_a_person_resumes(office: Office) -> None:
    made = await office.connected(1, [1])
    office.partner.always = Status(403, '{"message": "not yours"}')
    office.around.emails |= {2: "p2@example.com", 3: "p3@example.com"}
    await office.change(1, 2, 1, added=[2], dropped=[1])
    found = await office.becomes(made.connection_id, lambda one: one.state == FAULTED)
    assert (found.fault.cause, found.fault.message) == (pb.FAULT_CAUSE_PERMISSION, "403 Forbidden: not yours")
    assert found.fault.waiting_changes == found.waiting_changes == 2
    assert found.fault.time_ms
    configuration = await office.call.GetConfiguration(rpc.GetConfigurationRequest(configuration_id=made.configuration_id))
    assert configuration.faulted_connections == 1
    asked = office.partner.counts.requests
    await office.change(1, 3, 2, added=[1, 3])
    await office.becomes(made.connection_id, lambda one: one.waiting_changes == 3)
    await asyncio.sleep(0.5)
    assert office.partner.counts.requests == asked
    office.partner.always = None
    before = office.partner.counts.adds, office.partner.counts.deletes
    answer = await office.call.ResumeConfiguration(rpc.ResumeConfigurationRequest(configuration_id=made.configuration_id))
    assert [(one.connection_id, one.state) for one in answer.connections] == [(made.connection_id, SENDING)]
    await office.becomes(made.connection_id, lambda one: one.waiting_changes == 0)
    # 1 went and came back while nothing was sent: there is nothing to tell of it.
    assert office.partner.mpids(1) == {1, 2, 3}
    assert (office.partner.counts.adds - before[0], office.partner.counts.deletes - before[1]) == (2, 0)
    facts = [facts_pb2.FaultFact.FromString(one) for one in await _published(office, f"muster.faults.{ACCOUNT}", 2)]
    assert [(fact.raised, fact.connection.connection_id) for fact in facts] == [(True, made.connection_id), (False, made.connection_id)]
    assert facts[0].connection.fault.message == "403 Forbidden: not yours"


async def test_every_state_of_a_connection_is_told(office: Office) -> None:
    async def told(connection_id: int) -> facts_pb2.ConnectionFact:
        message = await office.bus.jetstream.get_last_msg("CONNECTIONS", connections_subject(ACCOUNT, connection_id))
        return facts_pb2.ConnectionFact.FromString(message.data or b"")

    async def becomes(connection_id: int, state: int, name: str = "Hook") -> None:
        async def so() -> bool:
            fact = await told(connection_id)
            return (fact.connection.state, fact.configuration_name, fact.integration_key) == (state, name, "webhook")

        await eventually(so)

    made = await office.connected(1, [1])
    await becomes(made.connection_id, SENDING)
    await office.call.PauseConnection(rpc.PauseConnectionRequest(connection_id=made.connection_id))
    await becomes(made.connection_id, pb.CONNECTION_STATE_PAUSED)
    configuration = pb.Configuration(configuration_id=made.configuration_id, name="Other")
    request = rpc.UpdateConfigurationRequest(configuration=configuration)
    request.update_mask.paths.append("name")
    await office.call.UpdateConfiguration(request)
    await becomes(made.connection_id, pb.CONNECTION_STATE_PAUSED, "Other")
    version = (await told(made.connection_id)).version
    await office.call.DeleteConnection(rpc.DeleteConnectionRequest(connection_id=made.connection_id))
    await becomes(made.connection_id, pb.CONNECTION_STATE_DELETED, "Other")
    assert (await told(made.connection_id)).version > version


async def test_deliveries_are_listed_the_newest_first_with_what_became_of_them(office: Office) -> None:
    made = await office.connected(1, [1, 2])
    office.partner.plan.append(Status(503))
    await office.change(1, 2, 1, dropped=[2])
    await eventually(lambda: office.partner.mpids(1) == {1})
    await office.becomes(made.connection_id, lambda one: one.waiting_changes == 0)

    async def page(token: str = "") -> rpc.ListDeliveriesResponse:
        request = rpc.ListDeliveriesRequest(connection_id=made.connection_id, page_size=2, page_token=token)
        found: rpc.ListDeliveriesResponse = await office.call.ListDeliveries(request)
        return found

    first = await page()
    second = await page(first.next_page_token)
    told = [*first.deliveries, *second.deliveries]
    assert [(one.adds, one.drops, one.tries, one.outcome) for one in told] == [
        (0, 1, 2, pb.DELIVERY_OUTCOME_ACCEPTED),
        (2, 0, 1, pb.DELIVERY_OUTCOME_ACCEPTED),
        (0, 0, 1, pb.DELIVERY_OUTCOME_ACCEPTED),
    ]
    assert second.next_page_token == ""
    assert set(office.partner.request_ids) == {one.request_id for one in told}
    assert all(one.finish_time_ms >= one.create_time_ms > 0 for one in told)


async def test_rejected_records_are_listed_and_sent_again_when_asked(office: Office) -> None:
    made = await office.connected(1, [1])
    id = made.connection_id
    office.partner.plan.append(Reject(frozenset({2, 3}), "no such person"))
    office.around.emails |= {2: "p2@example.com", 3: "p3@example.com", 4: "p4@example.com"}
    await office.change(1, 2, 1, added=[2, 3, 4])
    found = await office.becomes(id, lambda one: one.rejected_records == 2)
    assert found.state == SENDING
    assert office.partner.mpids(1) == {1, 4}
    listed = await office.call.ListRejectedRecords(rpc.ListRejectedRecordsRequest(connection_id=id))
    assert [(one.mpid, one.reason) for one in listed.records] == [(2, "no such person"), (3, "no such person")]
    assert (await office.call.RetryRejectedRecords(rpc.RetryRejectedRecordsRequest(connection_id=id, mpids=[2, 99]))).retried == 1
    await eventually(lambda: office.partner.mpids(1) == {1, 2, 4})
    assert (await office.call.RetryRejectedRecords(rpc.RetryRejectedRecordsRequest(connection_id=id))).retried == 1
    await eventually(lambda: office.partner.mpids(1) == {1, 2, 3, 4})
    await office.becomes(id, lambda one: one.rejected_records == 0)


async def test_a_reconcile_of_what_is_right_sends_nothing(office: Office) -> None:
    made = await office.connected(1, [1, 2])
    asked = office.partner.counts.requests
    looked_at = await office.call.ReconcileConnection(rpc.ReconcileConnectionRequest(connection_id=made.connection_id))
    assert looked_at.connection_id == made.connection_id
    await office.becomes(made.connection_id, lambda one: one.waiting_changes == 0)
    assert office.partner.counts.requests == asked
    # What was changed behind our back, an identity whose message never came, is found.
    office.around.emails[1] = "new@example.com"
    await office.call.ReconcileConnection(rpc.ReconcileConnectionRequest(connection_id=made.connection_id))
    await eventually(lambda: office.partner.told(1, 1) == {("email", "new@example.com")})


async def test_a_partner_that_suspends_pauses_its_connection(office: Office) -> None:
    made = await office.connected(1, [1])
    office.partner.plan.append(Suspend())
    await office.change(1, 2, 1, dropped=[1])
    found = await office.becomes(made.connection_id, lambda one: one.state == PAUSED)
    assert "suspend_subscription" in found.pause_reason


async def test_an_audience_that_becomes_inactive_is_emptied_and_one_that_is_deleted_ends_its_connections(office: Office) -> None:
    made = await office.connected(1, [1, 2])
    await office.define(1, state="INACTIVE")
    await eventually(lambda: office.partner.mpids(1) == set())
    await office.define(1)
    await eventually(lambda: office.partner.mpids(1) == {1, 2})
    await office.define(1, state="DELETED")
    await eventually(lambda: office.partner.subscription_requests[-1] == (1, "delete"))
    failure = await refused(office.call.GetConnection(rpc.GetConnectionRequest(connection_id=made.connection_id)))
    assert failure.reason == "CONNECTION_NOT_FOUND"


async def test_a_connection_waits_for_an_evaluator_that_does_not_answer(office: Office) -> None:
    await office.define(1)
    configuration = await office.configuration()
    await office.call.CreateConnection(connect(1, configuration.configuration_id))
    # Told while nobody knows the members: held, and looked at after the snapshot.
    office.around.emails |= {1: "p1@example.com", 2: "p2@example.com"}
    await office.change(1, 2, 1, added=[2])
    await office.taken("MEMBERSHIPS", "forwarder-memberships")
    office.around.members[1] = ([1], {0: 1})
    await eventually(lambda: office.partner.mpids(1) == {1, 2})


async def test_a_restarted_process_goes_on_where_the_last_one_stopped(either_office: Office) -> None:
    office = either_office
    made = await office.connected(1, [1])
    await office.stop()
    office.around.emails |= {2: "p2@example.com"}
    await office.change(1, 2, 1, added=[2], dropped=[1])
    await office.start()
    await eventually(lambda: office.partner.mpids(1) == {2})
    assert (await office.becomes(made.connection_id, lambda one: one.waiting_changes == 0)).delivered_members == 1
    assert (office.partner.counts.doubled, office.partner.counts.absent) == (0, 0)


async def test_another_accounts_connection_does_not_exist(office: Office) -> None:
    id = (await office.connected(1, [1])).connection_id
    other = office.caller(8)
    for call in (
        other.GetConnection(rpc.GetConnectionRequest(connection_id=id)),
        other.PauseConnection(rpc.PauseConnectionRequest(connection_id=id)),
        other.ResumeConnection(rpc.ResumeConnectionRequest(connection_id=id)),
        other.DeleteConnection(rpc.DeleteConnectionRequest(connection_id=id)),
        other.ReconcileConnection(rpc.ReconcileConnectionRequest(connection_id=id)),
        other.ListDeliveries(rpc.ListDeliveriesRequest(connection_id=id)),
        other.ListRejectedRecords(rpc.ListRejectedRecordsRequest(connection_id=id)),
        other.RetryRejectedRecords(rpc.RetryRejectedRecordsRequest(connection_id=id)),
    ):
        failure = await refused(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "CONNECTION_NOT_FOUND")
    assert not (await other.ListConnections(rpc.ListConnectionsRequest())).connections


async def _published(office: Office, subject: str, count: int) -> list[bytes]:
    """The first messages of a subject, once there are so many."""
    subscription = await office.bus.jetstream.subscribe(subject, ordered_consumer=True)
    found = [(await subscription.next_msg(timeout=5)).data for _ in range(count)]
    await subscription.unsubscribe()
    return found
