"""People who end: deleted, or one with another, over partitions, restarts and crashes."""

from __future__ import annotations

from typing import Any

import pytest
from muster.definition.v1 import definition_pb2
from muster.ingest.v1 import event_pb2, event_type_pb2, facts_pb2, identity_pb2
from sqlalchemy import select

from services.chassis.app import PartFailed
from services.chassis.dead_letters import DeadLetters
from services.chassis.partition import partition_of
from services.chassis.streams import ERASURES, EVENTS
from services.evaluator import profiles, tables
from services.evaluator.endings import Endings, messages_of, pieces_of
from services.evaluator.event_rows import AttributeRow
from services.evaluator.intake import Arrived, decode
from services.evaluator.store import Commit, Store
from tests.evaluator.conftest import Evaluator, Home, members
from tests.evaluator.world import ACCOUNT, INPUT, INSTALL, PARTITIONS, SESSION_START, WORKSPACE, Happening, criterion
from tests.fakes.clock import ManualClock

HOUR = 3_600_000
ANNA = 11
BEN = next(mpid for mpid in range(20, 99) if partition_of(ACCOUNT, mpid, PARTITIONS) != partition_of(ACCOUNT, ANNA, PARTITIONS))
CARL = next(mpid for mpid in range(20, 99) if partition_of(ACCOUNT, mpid, PARTITIONS) == partition_of(ACCOUNT, ANNA, PARTITIONS))


async def audiences(home: Home) -> None:
    """1: three sessions or more. 2: fewer than three."""
    often = criterion(SESSION_START, fewer_than=3)
    definition = definition_pb2.Definition()
    definition.root.exclude.node.CopyFrom(often)
    await home.world.workspace()
    await home.world.audience(1, definition)
    await home.world.audience(2, definition_pb2.Definition(root=often))


def are(home: Home, often: set[int], seldom: set[int]) -> bool:
    return home.follower.members[1] == often and home.follower.members[2] == seldom


async def left_of(home: Home, evaluator: Evaluator, mpid: int) -> list[Any]:
    """What the databases have of somebody: pages of people, events, changes."""
    async with evaluator.store._database.read() as connection:
        pages = [row.mpids for row in await connection.execute(select(tables.people))]
    paged = [page for page in pages if mpid.to_bytes(8, "little", signed=True) in [page[i : i + 8] for i in range(0, len(page), 8)]]

    def stored() -> list[Any]:
        client = evaluator.rounds._store_of_events()._client
        return [
            row
            for table in ("events", "attributes")
            for row in client.query(f"SELECT mpid, time_ms FROM muster.{table} WHERE mpid = {mpid}").result_rows
        ]

    return [*paged, *await evaluator.rounds._in_thread(stored)]


async def erased(home: Home, evaluator: Evaluator, clock: ManualClock) -> None:
    """Let time pass until nothing of those who ended is left in the event store."""
    for _ in range(50):
        await clock.advance(6)
        await home.until(lambda: evaluator.rounds.as_of_ms == clock.now_ms())
        if not await evaluator.store.not_erased(range(PARTITIONS), evaluator.rounds._store_of_events().id):
            return
    pytest.fail("it goes on for ever")


async def test_a_merged_person_leaves_and_all_that_was_told_is_told_again_of_who_stays(home: Home, clock: ManualClock) -> None:
    now = clock.now_ms()
    await audiences(home)
    async with home.evaluator() as evaluator:
        await home.world.events([Happening(ANNA, now - HOUR), Happening(ANNA, now - 2 * HOUR), Happening(BEN, now), Happening(CARL, now)])
        await home.until(lambda: are(home, set(), {ANNA, BEN, CARL}))
        await home.world.merge(ANNA, BEN, now)
        await home.until(lambda: are(home, {BEN}, {CARL}))
        await home.world.events([Happening(ANNA, now), Happening(CARL, now)])  # on its way when they were merged
        await home.world.merge(BEN, CARL, now)
        await home.until(lambda: are(home, {CARL}, set()))
        assert await members(evaluator, 1) == {CARL}
        await erased(home, evaluator, clock)
        assert await left_of(home, evaluator, ANNA) == []
    async with home.evaluator() as evaluator:  # built from the stores
        await home.world.events([Happening(50, clock.now_ms())])
        await home.until(lambda: are(home, {CARL}, {50}))
        assert await members(evaluator, 1) == {CARL}
        assert await left_of(home, evaluator, ANNA) == await left_of(home, evaluator, BEN) == []
        assert len(await left_of(home, evaluator, CARL)) == 1 + 6
        # Once the stream brings something for somebody merged long ago, it is told of the one who stays.
        for _ in range(2):
            await home.world.events([Happening(ANNA, clock.now_ms(), INSTALL)])
        await home.world.delete(BEN, now)
        await home.until(lambda: are(home, set(), {50}))


async def test_a_deleted_person_is_gone_from_everywhere_and_comes_back_as_a_new_one(home: Home, clock: ManualClock) -> None:
    now = clock.now_ms()
    await audiences(home)
    async with home.evaluator() as evaluator:
        await home.world.attributes(ANNA, {"plan": "pro"}, now)
        await home.world.events([Happening(ANNA, now - hours * HOUR) for hours in range(4)] + [Happening(BEN, now)])
        await home.until(lambda: are(home, {ANNA}, {BEN}))
        await home.world.delete(ANNA, now)
        await home.until(lambda: are(home, set(), {BEN}))
        explained = await evaluator.rounds.ask(ACCOUNT, lambda account: account.population.explain(1, ANNA))
        assert explained is None
        await home.world.events([Happening(ANNA, now)])
        await home.until(lambda: are(home, set(), {ANNA, BEN}))
        await erased(home, evaluator, clock)
        assert len(await left_of(home, evaluator, ANNA)) == 2  # a page that has the new one, and one event
    async with home.evaluator() as evaluator:
        await home.world.events([Happening(BEN, now), Happening(BEN, now)])
        await home.until(lambda: are(home, {BEN}, {ANNA}))
        await home.world.delete(ANNA, now)
        await home.until(lambda: are(home, {BEN}, set()))
    async with home.evaluator() as evaluator:
        assert await members(evaluator, 2) == set()
        assert await evaluator.rounds.ask(ACCOUNT, lambda account: len(account.population.people)) == 1
        await erased(home, evaluator, clock)
        assert await left_of(home, evaluator, ANNA) == []
        # A receipt for each of the two deletions, once the event store has nothing left: of an attribute and five events, and of one event.
        await home.until(lambda: receipts(home, 2))
        await home.world.delete(12345, now)  # nobody ever heard of
        await erased(home, evaluator, clock)
        await home.until(lambda: receipts(home, 3))
    told = [(done.mpid, done.service, done.removed) for done in await receipts_of(home)]
    assert told == [(ANNA, "evaluator", 5), (ANNA, "evaluator", 1), (12345, "evaluator", 0)]


async def receipts_of(home: Home) -> list[facts_pb2.ErasureDone]:
    last = (await home.bus.jetstream.stream_info(ERASURES)).state.last_seq
    messages = [await home.bus.jetstream.get_msg(ERASURES, number) for number in range(1, last + 1)]
    return [facts_pb2.ErasureDone.FromString(message.data or b"") for message in messages]


async def receipts(home: Home, count: int) -> bool:
    return len(await receipts_of(home)) == count


async def test_of_somebody_who_is_deleted_and_comes_back_in_one_round_only_a_difference_is_told(home: Home, clock: ManualClock) -> None:
    now = clock.now_ms()
    await audiences(home)
    async with home.evaluator():
        await home.world.events([Happening(ANNA, now), Happening(BEN, now)])
        await home.until(lambda: are(home, set(), {ANNA, BEN}))
    await home.world.delete(ANNA, now)
    await home.world.events([Happening(ANNA, now), Happening(CARL, now)])
    async with home.evaluator() as evaluator:  # which takes both in one round
        await home.until(lambda: are(home, set(), {ANNA, BEN, CARL}))
        told = [part for one in home.follower.messages if one.audience_id == 2 for part in one.partitions]
        assert [mpid for part in told for mpid in part.added].count(ANNA) == 1, "whoever follows knows them by their MPID only"
        assert [mpid for part in told for mpid in part.dropped] == []
        assert await members(evaluator, 2) == {ANNA, BEN, CARL}
    async with home.evaluator() as evaluator:
        assert await members(evaluator, 2) == {ANNA, BEN, CARL}
        await home.world.delete(ANNA, now)
        await home.until(lambda: are(home, set(), {BEN, CARL}))


async def test_a_crash_at_a_merge_loses_and_doubles_nothing(home: Home, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    now = clock.now_ms()
    await audiences(home)
    commit, ends = Store.commit, 0

    async def failing(store: Store, round_: Commit) -> None:
        nonlocal ends
        if round_.ended:
            ends += 1
            if ends == 1:
                raise RuntimeError("the power fails")
        await commit(store, round_)
        if round_.ended and ends == 2:
            raise RuntimeError("the power fails again")

    monkeypatch.setattr(Store, "commit", failing)
    with pytest.raises((PartFailed, ExceptionGroup, RuntimeError)):
        async with home.evaluator() as evaluator:
            await home.world.events([Happening(ANNA, now - HOUR), Happening(ANNA, now - 2 * HOUR), Happening(BEN, now)])
            await home.until(lambda: are(home, set(), {ANNA, BEN}))
            await home.world.merge(ANNA, BEN, now)
            await home.until(lambda: ends == 1)
            await evaluator.rounds.stop()
            raise RuntimeError("ended")
    with pytest.raises((PartFailed, ExceptionGroup, RuntimeError)):
        async with home.evaluator():
            await home.until(lambda: ends == 2)
            raise RuntimeError("ended")
    async with home.evaluator():
        await home.until(lambda: are(home, {BEN}, set()))
        last = (await home.bus.jetstream.stream_info(EVENTS)).state.last_seq
        told = [(await home.bus.jetstream.get_msg(EVENTS, seq=number)).data for number in range(1, last + 1)]
        assert sum(facts_pb2.EventBatch.FromString(body or b"").batch_id.startswith("again-") for body in told[-1:]) == 1
        await home.world.events([Happening(50, now)])
        await home.until(lambda: are(home, {BEN}, {50}))


async def test_what_is_told_again_does_not_bring_somebody_back_who_was_deleted_after_it_was_told(home: Home, clock: ManualClock) -> None:
    now = clock.now_ms()
    await audiences(home)
    await home.world.events([Happening(ANNA, now), Happening(BEN, now)])
    await home.world.merge(ANNA, BEN, now)
    await home.world.delete(BEN, now)  # in the stream before anything is told again
    async with home.evaluator() as evaluator:
        await home.world.events([Happening(50, now)])
        await home.until(lambda: are(home, set(), {50}))
        await evaluator.rounds.flush()
        end = (await home.bus.jetstream.stream_info(EVENTS)).state.last_seq
        assert end == 6  # five that were told, and what is told again
        await home.until(lambda: max(at.sequence for at in evaluator.rounds.positions.values()) == end)
        await home.world.events([Happening(51, now)])
        await home.until(lambda: are(home, set(), {50, 51}))
        assert await evaluator.rounds.ask(ACCOUNT, lambda account: len(account.population.people)) == 2


async def test_who_is_new_before_and_after_somebody_ends_in_one_round_is_kept(home: Home, clock: ManualClock) -> None:
    now = clock.now_ms()
    await audiences(home)
    await home.world.events([Happening(mpid, now) for mpid in (ANNA, 50, 50, 51, 52, 53)])
    await home.world.delete(ANNA, now)
    await home.world.events([Happening(mpid, now) for mpid in (54, 55, 56, 57, 50)])
    everybody = set(range(50, 58))
    for _ in range(3):  # in the second, built from the stores
        async with home.evaluator() as evaluator:
            await home.until(lambda: are(home, {50}, everybody - {50}))
            assert await members(evaluator, 2) == everybody - {50}
            assert await evaluator.rounds.ask(ACCOUNT, lambda account: len(account.population.people)) == len(everybody)
            assert await evaluator.rounds.ask(ACCOUNT, lambda account: account.population.candidates([WORKSPACE])) == len(everybody)
            await home.world.events([Happening(50, now)])


async def test_an_identity_that_was_lost_before_it_is_told_again_stays_lost(home: Home, clock: ManualClock) -> None:
    now = clock.now_ms()
    await audiences(home)

    def email(value: str) -> identity_pb2.Identity:
        return identity_pb2.Identity(type=identity_pb2.IDENTITY_TYPE_EMAIL, value=value)

    await home.world.profiles([facts_pb2.ProfileChange(mpid=ANNA, time_ms=now, added_identities=[email("old@x.y"), email("kept@x.y")])])
    await home.world.merge(ANNA, BEN, now)
    # In the stream before anything is told again of the one who stays; the other one comes back.
    await home.world.profiles([facts_pb2.ProfileChange(mpid=BEN, time_ms=now, removed_identities=[email("old@x.y"), email("kept@x.y")])])
    await home.world.profiles([facts_pb2.ProfileChange(mpid=BEN, time_ms=now, added_identities=[email("kept@x.y")])])
    async with home.evaluator() as evaluator:

        def names() -> list[str]:
            told = evaluator.rounds._store_of_events().identities_of(ACCOUNT, BEN, ["8"])["8"]
            held: dict[str, bool] = {identity: not gone for _, identity, gone in told}
            return [identity for identity, is_held in held.items() if is_held]

        await home.until(lambda: max((at.sequence for at in evaluator.rounds.positions.values()), default=0) >= 5)
        assert await evaluator.rounds._in_thread(names) == ["kept@x.y"]


async def test_people_merged_in_a_circle_end_as_a_dead_letter_and_stop_nobody(home: Home, clock: ManualClock) -> None:
    now = clock.now_ms()
    await audiences(home)
    await home.world.merge(ANNA, BEN, now)
    await home.world.merge(BEN, ANNA, now)
    async with home.evaluator():
        await home.world.events([Happening(ANNA, now), Happening(50, now)])
        await home.until(lambda: are(home, set(), {50}))
        letters = DeadLetters(home.bus, "evaluator")

        async def buried() -> bool:
            return "merged in a circle" in " ".join(letter.reason for letter in await letters.list())

        await home.until(buried)
        await home.world.events([Happening(51, now)])
        await home.until(lambda: are(home, set(), {50, 51}))


def test_told_again_is_what_was_told() -> None:
    change = facts_pb2.ProfileChange(mpid=ANNA, workspace_id=WORKSPACE, time_ms=5, removed_attributes=["gone"])
    for name, value in {
        "text": identity_pb2.AttributeValue(string_value="5"),
        "number": identity_pb2.AttributeValue(number_value="19.90"),
        "no number": identity_pb2.AttributeValue(number_value="NaN"),
        "truth": identity_pb2.AttributeValue(boolean_value=False),
        "list": identity_pb2.AttributeValue(list_value=identity_pb2.StringList(values=["a", "b"])),
    }.items():
        change.set_attributes[name].CopyFrom(value)
    change.device.CopyFrom(event_pb2.Device(model="Pixel", platform="Android"))
    change.attribution.CopyFrom(event_pb2.Attribution(campaign="summer"))
    change.consents.add(regulation="GDPR", purpose="marketing", consented=False, time_ms=3)
    change.added_identities.add(type=identity_pb2.IDENTITY_TYPE_EMAIL, value="anna@example.com")
    change.added_identities.add(type=identity_pb2.IDENTITY_TYPE_EMAIL, value="old@example.com")
    change.location.latitude, change.location.longitude = 52.5, 13.4
    here = facts_pb2.ProfileChange(mpid=BEN, workspace_id=WORKSPACE, time_ms=9)
    removed = facts_pb2.ProfileChange(mpid=ANNA, workspace_id=WORKSPACE, time_ms=7)
    removed.removed_identities.add(type=identity_pb2.IDENTITY_TYPE_EMAIL, value="old@example.com")
    message = Arrived(3, 1, "b", ACCOUNT, 9)
    told = [row for one in (change, here, removed) for row in profiles.rows_of(message, one)]

    def said(rows: list[AttributeRow]) -> list[Any]:
        """Without the identities that came and went; being there is said by any row of the time."""
        email = (profiles._IDENTITY, str(int(identity_pb2.IDENTITY_TYPE_EMAIL)))
        kept = [row for row in rows if row.kind not in ("identity gone", "here") and "old" not in str(row.value)]
        values = sorted((row.mpid, row.kind, row.attribute, str(row.value), type(row.value).__name__, row.time_ms) for row in kept)
        assert (email in [(row.kind, row.attribute) for row in kept]) is True
        return [values, sorted({(row.mpid, row.workspace_id, row.time_ms) for row in rows})]

    again = [row for one in profiles.told_again(told) for row in profiles.rows_of(message, one)]
    assert said(again) == said(told)
    assert not [row for row in again if "old" in str(row.value)]


def profile_changes(sequence: int, *changes: facts_pb2.ProfileChange) -> Arrived:
    body = facts_pb2.ProfileChanges(batch_id=f"p{sequence}", account_id=ACCOUNT, changes=changes)
    return Arrived(0, sequence, body.batch_id, ACCOUNT, 1_000, profiles=body)


def event_batch(sequence: int, *mpids: int) -> Arrived:
    rows = len(mpids)
    body = facts_pb2.EventBatch(
        batch_id=f"e{sequence}",
        account_id=ACCOUNT,
        sources=[facts_pb2.EventSource(input_id=INPUT, workspace_id=WORKSPACE)],
        kinds=[facts_pb2.EventKind(type=event_type_pb2.EVENT_TYPE_CUSTOM, name="buy")],
        contexts=[facts_pb2.EventContext()],
        mpids=mpids,
        times_ms=range(rows),
        event_ids=range(rows),
        source_indexes=[0] * rows,
        kind_indexes=[0] * rows,
        context_indexes=[0] * rows,
        details=[""] * rows,
    )
    return Arrived(0, sequence, body.batch_id, ACCOUNT, 1_000, events=body)


def cut(arrived: list[Arrived], endings: Endings) -> list[tuple[list[list[int]], dict[int, int], list[int]]]:
    """Of each piece: whom its messages are about, who ends as whom, and of whom something is told again."""
    found = []
    for piece in pieces_of(arrived, endings):
        ends = {ended.mpid: ended.into for ended in piece.ends}
        found.append(([message.mpids.tolist() for message in piece.arrived], ends, [told.mpid for told in piece.told]))
        endings.enter((ended.mpid, ended.into, ended.sequence) for ended in piece.ends)
    return found


def test_messages_are_cut_where_people_end() -> None:
    of_anna, of_ben = (facts_pb2.ProfileChange(mpid=mpid, workspace_id=WORKSPACE) for mpid in (ANNA, BEN))
    merge = facts_pb2.ProfileChange(mpid=ANNA, merged_into=BEN)
    found = cut(
        [
            event_batch(1, ANNA, BEN),
            profile_changes(2, of_ben, of_anna, merge),
            event_batch(3, ANNA, BEN, ANNA),
            profile_changes(4, of_anna, facts_pb2.ProfileChange(mpid=BEN, deleted=True)),
            event_batch(5, BEN),
        ],
        Endings(),
    )
    assert found == [
        ([[ANNA, BEN], [BEN]], {ANNA: BEN}, []),
        ([[BEN]], {BEN: 0}, [BEN, BEN, BEN]),
        ([[BEN]], {}, []),
    ]


def test_somebody_is_not_merged_into_themselves() -> None:
    assert cut([profile_changes(1, facts_pb2.ProfileChange(mpid=ANNA, merged_into=ANNA))], Endings()) == [([[ANNA]], {}, [])]


def test_what_is_told_again_goes_to_the_partition_of_who_stays_in_messages_that_fit() -> None:
    endings = Endings()
    endings.enter([(ANNA, BEN, 1)])
    large = event_batch(7, *[ANNA] * 5_000)
    (piece,) = pieces_of([large, profile_changes(8, facts_pb2.ProfileChange(mpid=ANNA, workspace_id=WORKSPACE, time_ms=4))], endings)
    assert piece.arrived == []
    messages = list(messages_of(ACCOUNT, PARTITIONS, piece.told))
    arrived = [decode(message.subject, 100, message.payload, PARTITIONS) for message in messages]
    assert [one.rows for one in arrived] == [2_000, 2_000, 1_000, 1]
    assert len({one.batch_id for one in arrived}) == len({message.message_id for message in messages}) == 4
    assert {mpid for one in arrived for mpid in one.mpids.tolist()} == {BEN}
    assert [one.told_sequence for one in arrived] == [7, 7, 7, 8]
    assert [time for one in arrived[:3] if one.events for time in one.events.times_ms] == list(range(5_000))
    # Told again once more, it is still from then.
    endings.enter([(BEN, CARL, 9)])
    (piece,) = pieces_of(arrived, endings)
    assert {decode(m.subject, 200, m.payload, PARTITIONS).told_sequence for m in messages_of(ACCOUNT, PARTITIONS, piece.told)} == {7, 8}
