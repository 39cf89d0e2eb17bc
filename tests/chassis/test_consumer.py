from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from services.chassis.app import running
from services.chassis.bus import Bus, Outgoing
from services.chassis.consumer import Consumer, Hopeless, Message, PullSubscription
from services.chassis.dead_letters import DeadLetter, DeadLetters
from services.chassis.errors import Unavailable
from services.chassis.streams import DEFINITIONS, MEMBERSHIPS, SHARES, definitions_subject
from tests.fakes.nats_server import NatsServer
from tests.fakes.waiting import eventually

SUBJECT = "muster.memberships.1.7"


async def send(bus: Bus, *names: str, subject: str = SUBJECT) -> None:
    await bus.publish_many([Outgoing(subject, name.encode(), f"{subject} {name}", {"Muster-Account": "1"}) for name in names])


class Recorder:
    """A handler that keeps the bodies it took, after `act` had its say."""

    def __init__(self, act: Callable[[list[Message]], Awaitable[Any]] | None = None) -> None:
        self.taken: list[str] = []
        self._act = act

    async def handle(self, messages: list[Message]) -> None:
        if self._act is not None:
            await self._act(messages)
        self.taken += [message.data.decode() for message in messages]

    async def has(self, count: int) -> list[str]:
        await eventually(lambda: len(self.taken) >= count)
        return self.taken


def consumer(bus: Bus, recorder: Recorder, **options: Any) -> Consumer:
    return Consumer(bus, MEMBERSHIPS, "test", recorder.handle, service="test", **options)


async def all_acknowledged(subject: Consumer) -> None:
    async def acknowledged() -> bool:
        return await subject.pull.pending() == 0

    await eventually(acknowledged)


async def letters_of(bus: Bus, count: int) -> list[DeadLetter]:
    letters = DeadLetters(bus, "test")

    async def there() -> bool:
        return len(await letters.list()) >= count

    await eventually(there)
    return await letters.list()


async def test_messages_are_handled_in_order_and_acknowledged(bus: Bus) -> None:
    recorder = Recorder()
    subject = consumer(bus, recorder)
    names = [f"{number}" for number in range(1_000)]
    await send(bus, *names[:500])
    async with running(subject):
        await send(bus, *names[500:])
        assert await recorder.has(1_000) == names
        await all_acknowledged(subject)


async def test_large_messages_come_in_portions_that_fit_into_memory(bus: Bus) -> None:
    sizes: list[int] = []

    async def weigh(messages: list[Message]) -> None:
        sizes.append(sum(len(message.data) for message in messages))

    recorder = Recorder(weigh)
    for number in range(40):
        await bus.publish(SUBJECT, b"%08d" % number * 100_000, message_id=f"{number}")
    with capture_logs() as lines:
        async with running(consumer(bus, recorder)):
            taken = await recorder.has(40)
    assert [int(body[:8]) for body in taken] == list(range(40))
    assert max(sizes) <= 17_000_000
    assert [line for line in lines if line["log_level"] != "debug"] == []


async def test_a_message_knows_where_it_comes_from(bus: Bus) -> None:
    seen: list[Message] = []

    async def look(messages: list[Message]) -> None:
        seen.extend(messages)

    recorder = Recorder(look)
    await send(bus, "a", "b")
    async with running(consumer(bus, recorder)):
        await recorder.has(2)
    second = seen[1]
    assert (second.subject, second.stream, second.stream_sequence, second.tries, second.pending) == (SUBJECT, MEMBERSHIPS, 2, 1, 0)
    assert second.headers["Muster-Account"] == "1"
    assert second.publish_time_ms > 1_700_000_000_000


async def test_only_the_subjects_asked_for_come(bus: Bus) -> None:
    recorder = Recorder()
    await send(bus, "mine")
    await send(bus, "other", subject="muster.memberships.2.7")
    await send(bus, "mine too", subject="muster.memberships.3.7")
    async with running(consumer(bus, recorder, filter_subjects=["muster.memberships.1.*", "muster.memberships.3.*"])):
        assert await recorder.has(2) == ["mine", "mine too"]


async def test_a_message_that_fails_once_comes_again(bus: Bus) -> None:
    tries: list[int] = []

    async def fail_once(messages: list[Message]) -> None:
        tries.extend(message.tries for message in messages)
        if messages[0].tries == 1:
            raise ValueError("not yet")

    recorder = Recorder(fail_once)
    await send(bus, "a")
    async with running(consumer(bus, recorder)):
        assert await recorder.has(1) == ["a"]
    assert tries == [1, 2]


async def test_one_bad_message_keeps_none_of_its_batch_from_being_handled(bus: Bus) -> None:
    async def refuse(messages: list[Message]) -> None:
        if any(message.data == b"bad" for message in messages):
            raise ValueError("what is this")

    recorder = Recorder(refuse)
    await send(bus, "a", "bad", "b", "c")
    subject = consumer(bus, recorder, max_tries=2)
    async with running(subject):
        assert await recorder.has(3) == ["a", "b", "c"]
        await all_acknowledged(subject)
        (letter,) = await DeadLetters(bus, "test").list()
    assert (letter.subject, letter.data, letter.tries, letter.consumer) == (SUBJECT, b"bad", 2, "test")
    assert letter.reason == "ValueError: what is this"
    assert letter.headers == {"Muster-Account": "1"}


async def test_a_hopeless_message_is_given_up_at_once(bus: Bus) -> None:
    async def give_up(messages: list[Message]) -> None:
        raise Hopeless("100% une sorte à venir: 未来\nand a second line")

    subject = consumer(bus, Recorder(give_up))
    await send(bus, "a")
    async with running(subject):
        await all_acknowledged(subject)
    (letter,) = await DeadLetters(bus, "test").list()
    assert (letter.tries, letter.reason) == (1, "100% une sorte à venir: 未来 and a second line")


async def test_an_outage_is_waited_out_without_counting_as_tries(bus: Bus) -> None:
    calls = 0

    async def away(messages: list[Message]) -> None:
        nonlocal calls
        calls += 1
        if calls < 5:
            raise Unavailable("the database is away")

    recorder = Recorder(away)
    await send(bus, "a", "b", "c")
    async with running(consumer(bus, recorder, max_tries=1)):
        assert await recorder.has(3) == ["a", "b", "c"]
    assert await DeadLetters(bus, "test").list() == []


async def test_a_long_handler_keeps_its_messages(bus: Bus) -> None:
    async def long(messages: list[Message]) -> None:
        await asyncio.sleep(1.2)

    recorder = Recorder(long)
    subject = consumer(bus, recorder, ack_wait_seconds=0.5, batch=1)
    await send(bus, "a", "b")
    async with running(subject):
        await recorder.has(2)
        await all_acknowledged(subject)
    assert recorder.taken == ["a", "b"]


async def test_what_a_killed_process_had_in_hand_comes_first_and_at_once(bus: Bus, nats_server: NatsServer) -> None:
    dying = Bus(nats_server.url, name="dying")
    await dying.start()
    pull = PullSubscription(dying, MEMBERSHIPS, "test", ack_wait_seconds=60)
    await pull.start()
    await send(bus, "a", "b", "c")
    taken: list[Message] = []
    while len(taken) < 3:
        taken += await pull.fetch(3, 1)
    await taken[0].ack()
    await dying.connection.flush()
    await dying.connection.close()
    await send(bus, "d")
    recorder = Recorder()
    async with running(consumer(bus, recorder, ack_wait_seconds=60)):
        async with asyncio.timeout(3):
            assert await recorder.has(3) == ["b", "c", "d"]


async def test_stopping_gives_back_what_was_fetched_ahead(bus: Bus) -> None:
    first = PullSubscription(bus, MEMBERSHIPS, "test", ack_wait_seconds=60)
    await first.start()
    await send(bus, "a", "b", "c", "d")
    async with asyncio.timeout(5):
        (one,) = await first.fetch(1, 1)
        await one.ack()
        while await first.fetch(3, 0.1) == []:
            pass
    await first.stop()
    second = PullSubscription(bus, MEMBERSHIPS, "test", ack_wait_seconds=60)
    await second.start()
    taken: list[str] = []
    async with asyncio.timeout(5):
        while len(taken) < 3:
            taken += [message.data.decode() for message in await second.fetch(10, 1)]
    assert taken == ["b", "c", "d"]
    await second.stop()


async def test_over_restarts_of_nats_messages_may_come_again_but_never_before_an_earlier_one_has_come(
    bus: Bus, nats_server: NatsServer
) -> None:
    count = 6_000
    newest = 0
    gaps: list[int] = []

    async def follow(messages: list[Message]) -> None:
        nonlocal newest
        for message in messages:
            if message.stream_sequence > newest + 1:
                gaps.append(message.stream_sequence)
            newest = max(newest, message.stream_sequence)
        await asyncio.sleep(0.005)

    await send(bus, *[f"{number}" for number in range(count)])
    subject = consumer(bus, Recorder(follow), batch=50)
    async with running(subject):
        for reached in (1_000, 2_500, 4_000):
            await eventually(lambda: newest > reached)  # noqa: B023 - awaited within the round
            await asyncio.to_thread(nats_server.restart)
        await eventually(lambda: newest == count)
        await all_acknowledged(subject)
    assert gaps == []


async def test_a_consumer_outlives_restarts_of_nats(bus: Bus, nats_server: NatsServer) -> None:
    recorder = Recorder()
    subject = consumer(bus, recorder)
    async with running(subject):
        for round_number in range(3):
            await send(bus, f"{round_number}")
            await recorder.has(round_number + 1)
            await asyncio.to_thread(nats_server.restart)
        await send(bus, "last")
        await recorder.has(4)
        await all_acknowledged(subject)
    assert sorted(set(recorder.taken)) == ["0", "1", "2", "last"]


async def test_a_deleted_consumer_is_made_again(bus: Bus) -> None:
    recorder = Recorder()
    async with running(consumer(bus, recorder)):
        await send(bus, "a")
        await recorder.has(1)
        await bus.jetstream.delete_consumer(MEMBERSHIPS, "test")
        await send(bus, "b")
        await eventually(lambda: "b" in recorder.taken)


async def test_a_deleted_stream_is_made_again(bus: Bus) -> None:
    recorder = Recorder()
    async with running(consumer(bus, recorder)):
        await send(bus, "a")
        await recorder.has(1)
        await bus.jetstream.delete_stream(MEMBERSHIPS)
        await bus.ensure_streams()
        await send(bus, "b")
        await eventually(lambda: "b" in recorder.taken)


async def test_the_newest_state_of_each_subject_builds_a_copy(bus: Bus) -> None:
    for revision in range(3):
        for audience in (1, 2):
            await bus.publish(definitions_subject(1, "audience", audience), b"%d" % revision, message_id=f"{audience}.{revision}")
    pull = PullSubscription(bus, DEFINITIONS, "copy", inactive_seconds=60)
    await pull.start()
    taken = await pull.fetch(10, 1)
    assert [(message.subject, message.data) for message in taken] == [
        ("muster.definitions.1.audience.1", b"2"),
        ("muster.definitions.1.audience.2", b"2"),
    ]
    assert taken[-1].pending == 0
    assert await pull.pending() == 2
    await pull.ack_many(taken)
    await bus.connection.flush()

    async def acknowledged() -> bool:  # the server takes an acknowledgement in when it comes to it
        return await pull.pending() == 0

    await eventually(acknowledged)
    assert await pull.fetch(10, 0.1) == []
    await pull.stop()


async def test_a_replayed_letter_comes_again_and_is_gone_from_the_letters(bus: Bus) -> None:
    broken = True

    async def refuse(messages: list[Message]) -> None:
        if broken:
            raise Hopeless("broken")

    recorder = Recorder(refuse)
    letters = DeadLetters(bus, "test")
    subject = consumer(bus, recorder)
    await send(bus, "a", "b", "c")
    async with running(subject):
        await all_acknowledged(subject)
        first, *_ = await letters.list()
        broken = False
        assert await letters.replay([first.sequence]) == 1
        assert await recorder.has(1) == ["a"]
        assert await letters.replay([first.sequence]) == 0
        assert await letters.replay() == 2
        assert await recorder.has(3) == ["a", "b", "c"]
        assert await letters.list() == []


async def test_a_letter_that_fails_again_after_replay_is_a_letter_again(bus: Bus) -> None:
    async def refuse(messages: list[Message]) -> None:
        raise Hopeless("still broken")

    letters = DeadLetters(bus, "test")
    subject = consumer(bus, Recorder(refuse))
    await send(bus, "a", "b")
    async with running(subject):
        await all_acknowledged(subject)
        before = [letter.sequence for letter in await letters.list()]
        assert await letters.replay() == 2
        after = await letters_of(bus, 2)
    assert [letter.data for letter in after] == [b"a", b"b"]
    assert min(letter.sequence for letter in after) > max(before)


async def test_a_service_sees_and_replays_its_own_letters_only(bus: Bus) -> None:
    async def refuse(messages: list[Message]) -> None:
        raise Hopeless("broken")

    mine, other = (
        Consumer(bus, SHARES, name, Recorder(refuse).handle, service=name, filter_subjects=[f"muster.shares.{number}"])
        for number, name in enumerate(("mine", "other"))
    )
    await send(bus, "x", subject="muster.shares.0")
    await send(bus, "y", subject="muster.shares.1")
    async with running(mine, other):
        await all_acknowledged(mine)
        await all_acknowledged(other)
    (letter,) = await DeadLetters(bus, "mine").list()
    (foreign,) = await DeadLetters(bus, "other").list()
    assert letter.data == b"x"
    assert await DeadLetters(bus, "mine").get(foreign.sequence) is None
    assert await DeadLetters(bus, "mine").replay([foreign.sequence]) == 0


async def test_the_letters_are_listed_page_by_page(bus: Bus) -> None:
    async def refuse(messages: list[Message]) -> None:
        raise Hopeless("broken")

    subject = consumer(bus, Recorder(refuse))
    await send(bus, *[f"{number}" for number in range(5)])
    async with running(subject):
        await all_acknowledged(subject)
    letters = DeadLetters(bus, "test")
    first = await letters.list(limit=3)
    rest = await letters.list(after=first[-1].sequence, limit=3)
    assert [letter.data for letter in first + rest] == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_replayed_state_never_replaces_a_newer_one(bus: Bus) -> None:
    async def refuse_old(messages: list[Message]) -> None:
        if messages[0].data == b"old":
            raise Hopeless("broken")

    subject_name = definitions_subject(1, "audience", 1)
    recorder = Recorder(refuse_old)
    subject = Consumer(bus, DEFINITIONS, "test", recorder.handle, service="test")
    async with running(subject):
        await bus.publish(subject_name, b"old", message_id="1")
        letters = DeadLetters(bus, "test")
        await letters_of(bus, 1)
        await bus.publish(subject_name, b"new", message_id="2")
        await recorder.has(1)
        assert await letters.replay() == 1
        assert await letters.list() == []
    assert (await bus.jetstream.get_last_msg(DEFINITIONS, subject_name)).data == b"new"


async def test_a_consumer_that_cannot_be_reached_ends_quickly(bus: Bus) -> None:
    subject = consumer(bus, Recorder())
    began = asyncio.get_running_loop().time()
    async with running(subject):
        await asyncio.sleep(0.05)
    assert asyncio.get_running_loop().time() - began < 0.5


def test_a_durable_name_must_be_one_that_nats_takes(bus: Bus) -> None:
    with pytest.raises(ValueError, match="durable"):
        PullSubscription(bus, MEMBERSHIPS, "two.words")
