from __future__ import annotations

import asyncio
from collections.abc import Sequence

import nats
import pytest
from structlog.testing import capture_logs

from services.chassis import log as logs
from services.chassis.bus import Bus, Outgoing, Published, PublishFailed, headers_of
from services.chassis.streams import DEFINITIONS, EVENTS, MEMBERSHIPS, STREAMS, Stream, events_subject
from tests.fakes.nats_server import NatsServer
from tests.fakes.waiting import eventually


def batch(count: int, *, prefix: str = "m") -> list[Outgoing]:
    return [Outgoing(events_subject(number % 8), f"{number}".encode(), f"{prefix}{number}") for number in range(count)]


async def stored(bus: Bus, stream: str = EVENTS) -> list[str]:
    """The bodies of a stream in its order."""
    js = bus.jetstream
    last = (await js.stream_info(stream)).state.last_seq
    return [((await js.get_msg(stream, seq=number)).data or b"").decode() for number in range(1, last + 1)]


async def test_every_stream_is_made_and_making_them_again_changes_nothing(bus: Bus) -> None:
    with capture_logs() as lines:
        await bus.ensure_streams()
    assert lines == []
    infos = {info.config.name: info.config for info in await bus.jetstream.streams_info()}
    assert set(infos) == {stream.name for stream in STREAMS}
    assert infos[DEFINITIONS].max_msgs_per_subject == 1
    assert infos[MEMBERSHIPS].max_age == 7 * 24 * 3600
    assert infos[EVENTS].subjects == ["muster.events.*", "muster.profiles.*"]
    assert infos[EVENTS].duplicate_window == 120


async def test_a_stream_of_an_earlier_version_is_updated_and_keeps_its_messages(bus: Bus) -> None:
    await bus.publish("muster.faults.1", b"kept", message_id="1")
    await bus.ensure_stream(Stream("FAULTS", ("muster.faults.*", "muster.failures.*"), "Wider.", max_age_seconds=3600))
    config = (await bus.jetstream.stream_info("FAULTS")).config
    assert (config.subjects, config.max_age) == (["muster.faults.*", "muster.failures.*"], 3600)
    assert await stored(bus, "FAULTS") == ["kept"]


async def test_a_publish_returns_where_the_stream_holds_the_message(bus: Bus) -> None:
    first = await bus.publish("muster.events.3", b"a", message_id="1")
    second = await bus.publish("muster.events.3", b"b", message_id="2", headers={"Muster-Account": "5"})
    assert (first, second) == (Published(EVENTS, 1, duplicate=False), Published(EVENTS, 2, duplicate=False))
    raw = await bus.jetstream.get_msg(EVENTS, seq=2)
    assert raw.headers == {"Nats-Msg-Id": "2", "Muster-Account": "5"}


async def test_the_same_message_id_is_kept_once(bus: Bus) -> None:
    await bus.publish("muster.events.3", b"a", message_id="1")
    assert await bus.publish("muster.events.3", b"a", message_id="1") == Published(EVENTS, 1, duplicate=True)


async def test_many_messages_keep_their_order(bus: Bus) -> None:
    answers = await bus.publish_many(batch(5_000))
    assert [answer.sequence for answer in answers] == list(range(1, 5_001))


async def test_several_publishers_of_one_process_do_not_mix_up_their_answers(bus: Bus) -> None:
    groups = await asyncio.gather(*(bus.publish_many(batch(500, prefix=f"{group}.")) for group in range(6)))
    assert sorted(answer.sequence for group in groups for answer in group) == list(range(1, 3_001))
    assert all([answer.sequence for answer in group] == sorted(answer.sequence for answer in group) for group in groups)


async def test_a_subject_without_a_stream_is_refused(bus: Bus) -> None:
    with pytest.raises(PublishFailed, match="No stream"):
        await bus.publish("elsewhere", b"", message_id="1")


async def test_a_refused_message_does_not_keep_the_others_from_the_stream(bus: Bus) -> None:
    answers = await bus.publish_each([*batch(2), Outgoing("elsewhere", b"", "x"), *batch(2, prefix="n")])
    assert [isinstance(answer, Published) for answer in answers] == [True, True, False, True, True]


async def test_publishing_while_nats_is_away_fails_soon_and_works_again_afterwards(nats_server: NatsServer, bus: Bus) -> None:
    await bus.publish("muster.events.1", b"before", message_id="1")
    nats_server.stop()
    with pytest.raises(PublishFailed):
        await bus.publish("muster.events.1", b"during", message_id="2")
    nats_server.start()
    await bus.publish("muster.events.1", b"after", message_id="3")
    await eventually(lambda: bus.is_connected)
    assert await stored(bus) == ["before", "after"]


async def test_what_a_killed_nats_had_not_acknowledged_can_be_published_again_in_order(nats_server: NatsServer, bus: Bus) -> None:
    messages = batch(20_000)
    publishing = asyncio.create_task(bus.publish_each(messages, timeout_seconds=20))

    async def under_way() -> bool:
        return bool((await bus.jetstream.stream_info(EVENTS)).state.messages > 1_000)

    await eventually(under_way)
    nats_server.kill()
    answers: Sequence[Published | PublishFailed] = await publishing
    refused = [index for index, answer in enumerate(answers) if isinstance(answer, PublishFailed)]
    assert refused, "the server was killed too late"
    assert refused == list(range(refused[0], 20_000))
    nats_server.start()
    await bus.publish_many(messages[refused[0] :], timeout_seconds=20)
    await eventually(lambda: bus.is_connected)
    connection = await nats.connect(nats_server.url)
    subscription = await connection.jetstream().subscribe("muster.events.*", ordered_consumer=True)
    bodies = [int((await subscription.next_msg(timeout=5)).data) for _ in range(20_000)]
    assert bodies == list(range(20_000))
    await connection.close()


async def test_a_service_may_start_before_nats(nats_server: NatsServer) -> None:
    nats_server.stop()
    bus = Bus(nats_server.url, name="early")
    starting = asyncio.create_task(bus.start())
    await asyncio.sleep(0.3)
    assert not starting.done()
    nats_server.start()
    await asyncio.wait_for(starting, 10)
    await bus.publish("muster.events.1", b"", message_id="1")
    await bus.stop()


async def test_two_services_that_start_at_once_both_find_the_streams(nats_server: NatsServer) -> None:
    buses = [Bus(nats_server.url, name=f"{number}") for number in range(4)]
    await asyncio.gather(*(bus.start() for bus in buses))
    assert len(await buses[0].jetstream.streams_info()) == len(STREAMS)
    for bus in buses:
        await bus.stop()


async def test_a_message_carries_account_schema_and_trace() -> None:
    assert headers_of(5) == {"Muster-Account": "5", "Muster-Schema": "1"}
    logs.bind(trace_id="abc")
    assert headers_of(5, schema=2) == {"Muster-Account": "5", "Muster-Schema": "2", "Muster-Trace": "abc"}


def test_a_header_that_nats_would_garble_is_refused() -> None:
    with pytest.raises(ValueError, match="ASCII"):
        Outgoing("muster.events.1", b"", "1", {"Muster-Name": "未来"})


def test_no_two_streams_take_one_subject() -> None:
    subjects = [subject for stream in STREAMS for subject in stream.subjects]
    assert len(subjects) == len({subject.split(".")[1] for subject in subjects})
