"""The loop against a strict partner that fails by plan."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import replace

import pytest

from services.forwarder.domain.connections import Connection, State
from services.forwarder.domain.faults import Cause
from services.forwarder.domain.identities import Identity, Kind
from services.forwarder.domain.reconcile import Waiting
from services.forwarder.domain.retry import RetryPolicy
from services.forwarder.stores.deliveries import Deliveries, Outcome
from services.forwarder.stores.members import Audience
from services.forwarder.stores.store import Tx
from tests.fakes.waiting import eventually
from tests.fakes.webhook_partner import Cut, Fault, Hang, Malformed, Reject, Slow, Status, Suspend, Well
from tests.forwarder.desk import ACCOUNT, AUDIENCE, Desk


async def test_a_new_connection_subscribes_and_then_tells_every_member(either_desk: Desk) -> None:
    desk = either_desk
    id = await desk.connect()
    await desk.change(added=[1, 2, -3])
    dispatcher = await desk.begin()
    dispatcher.wake([id])
    await desk.settled(id)
    assert desk.partner.mpids(AUDIENCE) == {1, 2, -3}
    assert desk.partner.subscription_requests == [(AUDIENCE, "add")]
    assert desk.partner.told(AUDIENCE, -3) == {("email", "p-3@example.com")}
    connection = await desk.connection(id)
    assert connection.subscribed
    assert connection.subscription == {"list": "42"}
    assert connection.delivered_members == 3
    assert connection.last_delivery_time_ms


async def test_leaving_coming_and_changing_are_told_as_delete_add_and_update(either_desk: Desk) -> None:
    desk = either_desk
    id = await desk.connect()
    dispatcher = await desk.begin()
    await desk.change(added=[1, 2])
    dispatcher.wake([id])
    await desk.settled(id)
    await desk.change(added=[3], dropped=[1])
    await desk.identify(2, (Kind.EMAIL, "new@example.com"), (Kind.IOS_ADVERTISING_ID, "AAAA"))
    dispatcher.wake([id])
    await desk.settled(id)
    assert desk.partner.mpids(AUDIENCE) == {2, 3}
    assert desk.partner.told(AUDIENCE, 2) == {("email", "new@example.com"), ("ios_advertising_id", "AAAA")}
    assert (await desk.connection(id)).delivered_members == 2
    # The worker may take them in one delivery or in two.
    later = (await desk.deliveries(id))[2:]
    assert all(one.outcome is Outcome.ACCEPTED for one in later)
    assert [sum(counts) for counts in zip(*[(one.adds, one.drops, one.updates) for one in later], strict=True)] == [1, 1, 1]
    assert desk.partner.counts.doubled == desk.partner.counts.absent == 0


async def test_a_person_who_comes_and_goes_before_being_sent_is_not_sent_at_all(desk: Desk) -> None:
    id = await desk.connect()
    await desk.change(added=[1])
    await desk.change(dropped=[1])
    (await desk.begin()).wake([id])
    await desk.settled(id)
    assert desk.partner.counts.adds == desk.partner.counts.deletes == 0


async def test_a_member_without_an_accepted_identity_is_not_sent_until_one_comes(desk: Desk) -> None:
    id = await desk.connect(identity_types="email")
    dispatcher = await desk.begin()
    desk.people.identities[1] = [Identity(Kind.CUSTOMER_ID, "c1")]
    await desk.change(added=[1])
    dispatcher.wake([id])
    await desk.settled(id)
    assert desk.partner.mpids(AUDIENCE) == set()
    await desk.identify(1, (Kind.CUSTOMER_ID, "c1"), (Kind.EMAIL, "a@example.com"))
    dispatcher.wake([id])
    await desk.settled(id)
    assert desk.partner.told(AUDIENCE, 1) == {("email", "a@example.com")}
    await desk.identify(1, (Kind.CUSTOMER_ID, "c1"))
    dispatcher.wake([id])
    await desk.settled(id)
    assert desk.partner.mpids(AUDIENCE) == set()


async def test_many_members_go_in_batches_of_the_configured_size(desk: Desk) -> None:
    id = await desk.connect(batch_size="40")
    await desk.change(added=range(1, 101))
    (await desk.begin()).wake([id])
    await desk.settled(id)
    assert desk.partner.batches == [40, 40, 20]


async def test_identities_go_hashed_where_the_configuration_says_so(desk: Desk) -> None:
    id = await desk.connect(encoding="sha256", device_encoding="raw")
    await desk.identify(1, (Kind.EMAIL, " A@Example.com "), (Kind.ANDROID_ID, "Device"))
    await desk.change(added=[1])
    (await desk.begin()).wake([id])
    await desk.settled(id)
    told = desk.partner.members[AUDIENCE][1]
    assert ("device_identities", "android_id", "raw", "Device") in told
    hashed = hashlib.sha256(b"a@example.com").hexdigest()
    assert ("user_identities", "email", "sha256", hashed) in told


RETRIED: list[Fault] = [
    Status(500, "broken"),
    Status(500, "broken", processed=True),
    Status(503),
    Status(502, processed=True),
    Status(429, "slow down"),
    Status(429, "slow down", retry_after="0"),
    Hang(),
    Hang(processed=True),
    Cut(),
    Cut(processed=True),
    Malformed(),
    Malformed(b'{"type": "audience_subscription_response", "id": "x"}'),
    Malformed(b'{"type": "audience_membership_change_response", "id": 7}'),
]


@pytest.mark.parametrize("fault", RETRIED, ids=repr)
async def test_a_passing_fault_is_retried_under_the_same_request_id(desk: Desk, fault: Fault) -> None:
    id = await desk.connect()
    await desk.change(added=[1, 2])
    desk.partner.plan.append(fault)
    (await desk.begin()).wake([id])
    await desk.settled(id)
    assert desk.partner.mpids(AUDIENCE) == {1, 2}
    assert desk.partner.counts.doubled == 0
    assert desk.partner.counts.adds == 2
    delivery = (await desk.deliveries(id))[-1]
    assert (delivery.outcome, delivery.tries) == (Outcome.ACCEPTED, 2)
    assert (await desk.connection(id)).state is State.SENDING


async def test_retry_after_is_waited_for(desk: Desk) -> None:
    id = await desk.connect()
    await desk.change(added=[1])
    desk.partner.plan.append(Status(429, retry_after="1"))
    began = time.monotonic()
    (await desk.begin()).wake([id])
    await desk.settled(id)
    assert time.monotonic() - began >= 1


FAULTS: list[tuple[Fault, Cause, str]] = [
    (Status(401, '{"message": "who are you"}'), Cause.AUTHENTICATION, "401 Unauthorized: who are you"),
    (Status(403, "not yours"), Cause.PERMISSION, "403 Forbidden: not yours"),
    (Status(404), Cause.LIST_GONE, "404 Not Found"),
    (Status(410, "<html><p>gone</p></html>"), Cause.LIST_GONE, "410 Gone"),
    (Status(400, '{"error": {"message": "bad\\nbody"}}'), Cause.REFUSED, "400 Bad Request: bad body"),
    (Status(302, location="http://127.0.0.1:1/"), Cause.REFUSED, "302 Found: redirects are not followed"),
]


@pytest.mark.parametrize(("fault", "cause", "message"), FAULTS, ids=lambda value: str(value)[:40])
async def test_a_lasting_fault_faults_the_connection_at_once(desk: Desk, fault: Fault, cause: Cause, message: str) -> None:
    id = await desk.connect()
    await desk.change(added=[1, 2, 3])
    desk.partner.always = fault
    (await desk.begin()).wake([id])
    connection = await desk.becomes(id, State.FAULTED)
    assert connection.fault is not None
    assert (connection.fault.cause, connection.fault.message, connection.fault.waiting_changes) == (cause, message, 3)
    assert (await desk.deliveries(id))[-1].tries == 1
    assert (await desk.deliveries(id))[-1].outcome is Outcome.FAILED
    assert desk.announced == 1


EXHAUSTED: list[tuple[Fault, Cause, str]] = [
    (Status(429, "slow down"), Cause.RATE_LIMIT, "429 Too Many Requests: slow down"),
    (Status(500, "oh no"), Cause.PARTNER_DOWN, "500 Internal Server Error: oh no"),
    (Hang(), Cause.PARTNER_DOWN, "The partner did not answer in time."),
    (Cut(), Cause.PARTNER_DOWN, "The line was cut before the answer."),
]


@pytest.mark.parametrize(("fault", "cause", "message"), EXHAUSTED, ids=lambda value: str(value)[:40])
async def test_a_fault_that_stays_is_retried_and_then_faults(desk: Desk, fault: Fault, cause: Cause, message: str) -> None:
    id = await desk.connect()
    await desk.change(added=[1])
    desk.partner.always = fault
    (await desk.begin()).wake([id])
    connection = await desk.becomes(id, State.FAULTED)
    assert connection.fault is not None
    assert (connection.fault.cause, connection.fault.message) == (cause, message)
    assert (await desk.deliveries(id))[-1].tries == desk.policy.tries


async def test_a_retry_after_beyond_the_limit_faults_at_once(desk: Desk) -> None:
    id = await desk.connect()
    await desk.change(added=[1])
    desk.partner.always = Status(429, "come back tomorrow", retry_after="86400")
    (await desk.begin()).wake([id])
    connection = await desk.becomes(id, State.FAULTED)
    assert connection.fault is not None
    assert connection.fault.message == "429 Too Many Requests: come back tomorrow"
    assert (await desk.deliveries(id))[-1].tries == 1


async def test_a_faulted_connection_sends_nothing_more_until_it_is_resumed(desk: Desk) -> None:
    id = await desk.connect()
    await desk.change(added=[1])
    desk.partner.plan.append(Status(401))
    dispatcher = await desk.begin(sweeps=True)
    dispatcher.wake([id])
    await desk.becomes(id, State.FAULTED)
    asked = desk.partner.counts.requests
    await desk.change(added=[2])
    dispatcher.wake([id])
    await asyncio.sleep(0.3)
    assert desk.partner.counts.requests == asked
    assert await desk.waiting(id) == 2
    await desk.resume(id)
    dispatcher.look(id)
    await desk.settled(id)
    assert desk.partner.mpids(AUDIENCE) == {1, 2}


async def test_a_resumed_connection_sends_only_the_difference(either_desk: Desk) -> None:
    desk = either_desk
    id = await desk.connect()
    dispatcher = await desk.begin()
    await desk.change(added=range(1, 101))
    dispatcher.wake([id])
    await desk.settled(id)
    desk.partner.always = Status(403)
    await desk.change(added=[101], dropped=[1])
    dispatcher.wake([id])
    await desk.becomes(id, State.FAULTED)
    # 101 goes again and 1 comes back while nothing is sent; 102 comes, 2 goes.
    await desk.change(added=[1, 102], dropped=[101, 2])
    desk.partner.always = None
    before = desk.partner.counts.adds
    await desk.resume(id)
    dispatcher.look(id)
    await desk.settled(id)
    assert desk.partner.mpids(AUDIENCE) == {*range(1, 101), 102} - {2}
    assert desk.partner.counts.adds - before == 1
    assert desk.partner.counts.deletes == 1
    assert desk.partner.counts.doubled == desk.partner.counts.absent == 0


async def test_a_delivery_in_doubt_is_repeated_first_when_resumed(desk: Desk) -> None:
    id = await desk.connect()
    dispatcher = await desk.begin()
    await desk.change(added=[1])
    desk.partner.plan += [Cut(processed=True), Hang(), Hang()]
    dispatcher.wake([id])
    await desk.becomes(id, State.FAULTED)
    # The partner has 1 already, although nobody here knows.
    await desk.change(dropped=[1], added=[2])
    asked = len(desk.partner.request_ids)
    await desk.resume(id)
    dispatcher.look(id)
    await desk.settled(id)
    assert desk.partner.request_ids[asked] == desk.partner.request_ids[asked - 1]
    assert desk.partner.mpids(AUDIENCE) == {2}
    assert desk.partner.counts.repeated == 1
    assert desk.partner.counts.doubled == desk.partner.counts.absent == 0


async def test_a_delivery_that_was_refused_after_a_doubt_is_not_repeated_for_ever(desk: Desk) -> None:
    id = await desk.connect()
    dispatcher = await desk.begin()
    await desk.change(added=[1])
    desk.partner.plan += [Cut(), Status(422, "no such thing")]
    dispatcher.wake([id])
    await desk.becomes(id, State.FAULTED)
    assert (await desk.deliveries(id))[-1].outcome is Outcome.FAILED
    await desk.resume(id)
    dispatcher.look(id)
    await desk.settled(id)
    assert desk.partner.mpids(AUDIENCE) == {1}


@pytest.mark.parametrize("processed", [False, True])
async def test_after_a_crash_the_delivery_is_sent_again_under_the_same_request_id(either_desk: Desk, processed: bool) -> None:
    desk = either_desk
    desk.timeout_seconds = 30
    id = await desk.connect()
    first = await desk.begin()
    await desk.change(added=[1, 2])
    desk.partner.plan.append(Hang(processed=processed))
    asked = desk.partner.counts.requests
    first.wake([id])
    await desk.partner.until(lambda: desk.partner.counts.requests >= asked + 2 and not desk.partner.plan)
    await asyncio.sleep(0.05)
    await desk.kill(first)
    pending = (await desk.deliveries(id))[-1]
    assert pending.outcome is Outcome.PENDING
    await desk.change(dropped=[2])
    second = await desk.begin()
    second.wake([id])
    await desk.settled(id)
    assert pending.request_id in desk.partner.request_ids
    assert desk.partner.mpids(AUDIENCE) == {1}
    assert desk.partner.counts.doubled == desk.partner.counts.absent == 0
    assert desk.partner.counts.repeated == processed


async def test_a_partner_that_hangs_delays_no_other(desk: Desk) -> None:
    desk.timeout_seconds = 30
    slow, quick = await desk.connect(1), await desk.connect(2)
    dispatcher = await desk.begin(grace_seconds=0)
    await desk.change(added=[1], audience_id=1)
    desk.partner.plan.append(Hang())
    dispatcher.wake([slow])
    await desk.partner.until(lambda: not desk.partner.plan)
    for mpid in range(10, 15):
        await desk.change(added=[mpid], audience_id=2)
        began = time.monotonic()
        dispatcher.wake([quick])
        await desk.settled(quick)
        assert time.monotonic() - began < 1
    assert desk.partner.mpids(2) == {10, 11, 12, 13, 14}
    assert desk.partner.mpids(1) == set()


async def test_a_partner_that_suspends_pauses_the_connection_with_that_reason(desk: Desk) -> None:
    id = await desk.connect()
    dispatcher = await desk.begin()
    await desk.change(added=[1])
    desk.partner.plan.append(Suspend())
    dispatcher.wake([id])
    connection = await desk.becomes(id, State.PAUSED)
    assert "suspend_subscription" in connection.pause_reason
    assert connection.delivered_members == 1
    await desk.change(added=[2])
    dispatcher.wake([id])
    await asyncio.sleep(0.1)
    assert desk.partner.mpids(AUDIENCE) == {1}
    await desk.resume(id)
    dispatcher.look(id)
    await desk.settled(id)
    assert desk.partner.mpids(AUDIENCE) == {1, 2}


async def test_a_record_that_the_partner_rejects_is_kept_and_blocks_nobody(either_desk: Desk) -> None:
    desk = either_desk
    id = await desk.connect()
    dispatcher = await desk.begin()
    await desk.change(added=[1, 2, 3])
    desk.partner.plan.append(Reject(frozenset({2}), "not a person"))
    dispatcher.wake([id])
    await desk.settled(id)
    assert desk.partner.mpids(AUDIENCE) == {1, 3}
    assert [(one.mpid, one.reason) for one in await desk.rejected(id)] == [(2, "not a person")]
    assert (await desk.connection(id)).delivered_members == 2
    assert (await desk.deliveries(id))[-1].rejected == 1
    await desk.identify(2, (Kind.EMAIL, "better@example.com"))
    dispatcher.wake([id])
    await desk.settled(id)
    assert desk.partner.mpids(AUDIENCE) == {1, 2, 3}
    assert await desk.rejected(id) == []


async def test_pausing_ends_the_retries_and_resuming_goes_on(desk: Desk) -> None:
    desk.policy = RetryPolicy(tries=100, first_seconds=30, most_seconds=30, total_seconds=1000)
    id = await desk.connect()
    await desk.change(added=[1])
    desk.partner.plan += [Status(503), Well()]
    dispatcher = await desk.begin()
    dispatcher.wake([id])
    await desk.partner.until(lambda: len(desk.partner.plan) == 1)
    await desk.pause(id)
    dispatcher.look(id)

    async def aside() -> bool:
        return (await desk.deliveries(id))[-1].outcome is Outcome.FAILED

    await eventually(aside)
    assert desk.partner.mpids(AUDIENCE) == set()
    await desk.resume(id)
    dispatcher.look(id)
    await desk.settled(id)
    assert desk.partner.mpids(AUDIENCE) == {1}


async def test_a_deleted_connection_tells_the_partner_and_forgets(either_desk: Desk) -> None:
    desk = either_desk
    id = await desk.connect()
    dispatcher = await desk.begin()
    await desk.change(added=[1])
    dispatcher.wake([id])
    await desk.settled(id)
    await desk.delete(id)
    dispatcher.look(id)
    await desk.settled(id)
    assert desk.partner.subscription_requests == [(AUDIENCE, "add"), (AUDIENCE, "delete")]
    assert (await desk.deliveries(id))[-1].outcome is Outcome.ACCEPTED
    assert await desk.waiting(id) == 0


async def test_the_last_message_of_a_deleted_connection_is_given_up_when_the_partner_is_down(desk: Desk) -> None:
    id = await desk.connect()
    dispatcher = await desk.begin()
    await desk.change(added=[1])
    dispatcher.wake([id])
    await desk.settled(id)
    desk.partner.plan_for.add("audience_subscription_request")
    desk.partner.always = Status(500, "gone fishing")
    await desk.delete(id)
    dispatcher.look(id)
    await desk.settled(id)
    last = (await desk.deliveries(id))[-1]
    assert (last.outcome, last.message) == (Outcome.FAILED, "500 Internal Server Error: gone fishing")


async def test_a_connection_deleted_while_its_request_is_in_flight_leaves_no_ledger(desk: Desk) -> None:
    desk.timeout_seconds = 5
    id = await desk.connect()
    dispatcher = await desk.begin()
    await desk.change(added=[1])
    desk.partner.plan.append(Slow(0.3))
    dispatcher.wake([id])
    await desk.partner.until(lambda: desk.partner.counts.adds == 1)
    await desk.delete(id)
    dispatcher.look(id)
    await desk.settled(id)
    assert (await desk.connection(id)).delivered_members == 0
    assert desk.partner.subscription_requests[-1] == (AUDIENCE, "delete")


async def test_nothing_is_lost_while_ingest_is_down(desk: Desk) -> None:
    id = await desk.connect()
    dispatcher = await desk.begin()
    desk.people.down = True
    await desk.change(added=[1])
    dispatcher.wake([id])
    await asyncio.sleep(0.3)
    assert (await desk.connection(id)).state is State.SENDING
    assert desk.people.asked >= 1
    desk.people.down = False
    await desk.settled(id)
    assert desk.partner.mpids(AUDIENCE) == {1}


async def test_an_audience_that_is_not_active_is_empty_for_its_partner(desk: Desk) -> None:
    id = await desk.connect()
    dispatcher = await desk.begin()
    await desk.change(added=[1, 2])
    dispatcher.wake([id])
    await desk.settled(id)
    await desk.audience(state="inactive", version=2)
    await desk.store.write(lambda tx: tx.members.mark_all(id, (ACCOUNT, AUDIENCE), since_ms=1))
    dispatcher.wake([id])
    await desk.settled(id)
    assert desk.partner.mpids(AUDIENCE) == set()
    await desk.audience(state="active", version=3)
    await desk.store.write(lambda tx: tx.members.mark_all(id, (ACCOUNT, AUDIENCE), since_ms=1))
    dispatcher.wake([id])
    await desk.settled(id)
    assert desk.partner.mpids(AUDIENCE) == {1, 2}


async def test_two_processes_share_the_connections_without_sending_twice(either_desk: Desk) -> None:
    desk = either_desk
    ids = [await desk.connect(number) for number in range(1, 6)]
    for number in range(1, 6):
        await desk.change(added=range(1, 51), audience_id=number)
    one, two = await desk.begin(owner="one", sweeps=True), await desk.begin(owner="two", sweeps=True)
    one.wake(ids)
    two.wake(ids)
    for id in ids:
        await desk.settled(id)
    assert all(desk.partner.mpids(number) == set(range(1, 51)) for number in range(1, 6))
    assert desk.partner.counts.doubled == desk.partner.counts.repeated == 0
    assert desk.partner.counts.adds == 250


async def test_a_stopping_process_lets_the_request_in_flight_end(desk: Desk) -> None:
    desk.timeout_seconds = 5
    id = await desk.connect()
    await desk.change(added=[1])
    desk.partner.plan.append(Slow(0.3))
    dispatcher = await desk.begin(grace_seconds=3)
    dispatcher.wake([id])
    await desk.partner.until(lambda: not desk.partner.plan)
    await dispatcher.stop()
    assert (await desk.deliveries(id))[-1].outcome is Outcome.ACCEPTED
    assert (await desk.connection(id)).delivered_members == 1


async def test_the_pace_of_a_configuration_is_kept(desk: Desk) -> None:
    id = await desk.connect(batch_size="1", requests_per_second="20")
    await desk.change(added=range(1, 11))
    began = time.monotonic()
    (await desk.begin()).wake([id])
    await desk.settled(id)
    # Subscribing is the first request, each person one more.
    assert time.monotonic() - began >= 10 / 20


@pytest.mark.parametrize("what", ["audience", "configuration"])
async def test_a_change_between_two_looks_at_the_database_is_not_lost(
    either_desk: Desk, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    desk = either_desk
    configuration_id = await desk.configure()
    id = await desk.connect(configuration_id=configuration_id)
    await desk.identify(1, (Kind.EMAIL, "a@example.com"), (Kind.CUSTOMER_ID, "c1"))
    await desk.change(added=[1])
    read_waiting = Deliveries.waiting
    changed: list[bool] = []

    async def change(tx: Tx) -> None:
        if what == "audience":
            await tx.audiences.save(Audience(ACCOUNT, AUDIENCE, "Sports fans", "", "inactive", 2))
        else:
            before = await tx.configurations.get(ACCOUNT, configuration_id)
            assert before is not None
            await tx.configurations.save(replace(before, version=2, settings={**before.settings, "identity_types": "email"}))
        await tx.members.mark_all(id, (ACCOUNT, AUDIENCE), since_ms=1)

    async def late(self: Deliveries, connection: Connection, limit: int) -> list[Waiting]:
        if not changed:
            changed.append(True)
            await desk.store.write(change)
        return await read_waiting(self, connection, limit)

    monkeypatch.setattr(Deliveries, "waiting", late)
    (await desk.begin()).wake([id])
    await desk.settled(id)
    if what == "audience":
        assert desk.partner.mpids(AUDIENCE) == set()
    else:
        assert desk.partner.told(AUDIENCE, 1) == {("email", "a@example.com")}
