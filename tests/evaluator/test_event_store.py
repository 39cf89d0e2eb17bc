"""The event store, in this process or where MUSTER_TEST_CLICKHOUSE says. Its tests share one and keep to accounts of their own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal

import numpy as np
import pytest

from services.evaluator import event_store
from services.evaluator.engine.details import Happening, Place, Subject
from services.evaluator.engine.facts import EventContext, Point, Property, PropertyKind, Series
from services.evaluator.engine.filters import Filter
from services.evaluator.engine.sieve import Sieve, SieveEntry
from services.evaluator.engine.strings import StringTest, Way
from services.evaluator.engine.tree import Match
from services.evaluator.engine.values import Comparison, ExistsTest, NumberTest, TextTest
from services.evaluator.event_rows import AttributeRow
from services.evaluator.event_store import EventStore
from services.evaluator.event_tables import Tenure
from services.evaluator.intake import EventColumns
from services.evaluator.readings import point_of
from tests.fakes.event_stores import EventStores

SERIES = [Series(1, 1, "signed up"), Series(2, 4, ""), Series(1, 1, "Ünïcode \u0000 name"), Series(1, 3, "purchase")]


@pytest.fixture(scope="module")
def store(event_stores: EventStores, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EventStore]:
    store = EventStore(event_stores.url(tmp_path_factory.mktemp("events")))
    store.take_over({partition: Tenure(1, 10**9) for partition in range(4)})
    yield store
    store.close()


def columns(
    mpids: list[int],
    times: list[int],
    codes: list[int],
    *,
    partition: int = 3,
    sequence: int = 10,
    details: list[str] | None = None,
    contexts: list[tuple[str, str, str, str]] | None = None,
) -> EventColumns:
    rows = len(mpids)
    return EventColumns(
        mpids=np.array(mpids, np.int64),
        times_ms=np.array(times, np.int64),
        event_ids=np.arange(rows, dtype=np.int64),
        series_codes=np.array(codes, np.int32),
        series=SERIES,
        workspaces=[8, 8, 8, 8],
        partitions=np.full(rows, partition, np.int32),
        sequences=np.full(rows, sequence, np.int64),
        contexts=contexts or [("1.0", "42", "iOS", "17")],
        context_codes=np.arange(rows, dtype=np.int32) if contexts else np.zeros(rows, np.int32),
        details=details or [""] * rows,
    )


def rows_of(store: EventStore, account_id: int, since_ms: int = 0, after: Mapping[int, int] | None = None) -> list[tuple[Series, int, int]]:
    return sorted(
        (block.series[code], mpid, time)
        for block in store.events(account_id, since_ms, after)
        for code, mpid, time in zip(block.codes.tolist(), block.mpids.tolist(), block.times_ms.tolist(), strict=True)
    )


def test_events_come_back_by_series_from_an_instant_on(store: EventStore) -> None:
    store.insert(21, columns([-5, 6, 7, 2**63 - 1], [100, 200, 300, 400], [0, 1, 2, 0]), [])
    assert rows_of(store, 21, 200) == sorted([(SERIES[1], 6, 200), (SERIES[2], 7, 300), (SERIES[0], 2**63 - 1, 400)])
    assert rows_of(store, 22) == []
    assert store.sources(21) == [(8, 1), (8, 2)] or store.sources(21) == [(8, 2), (8, 1)]


def test_after_a_snapshot_only_what_came_later_comes(store: EventStore) -> None:
    for partition, sequence in ((0, 10), (0, 11), (1, 4), (1, 5), (3, 1)):
        store.insert(24, columns([10 * partition + 1], [sequence], [0], partition=partition, sequence=sequence), [])
    some = {0: 10, 1: 5}
    assert [(mpid, time) for _, mpid, time in rows_of(store, 24, after=some)] == [(1, 11), (31, 1)]
    assert [(mpid, time) for _, mpid, time in rows_of(store, 24, after={**some, 2: 0, 3: 0})] == [(1, 11), (31, 1)]
    assert rows_of(store, 24, after={0: 11, 1: 5, 2: 20, 3: 7}) == []
    assert len(rows_of(store, 24, after={})) == 5


def test_one_person_s_past_is_told_in_the_order_of_its_arrival(store: EventStore) -> None:
    store.insert(31, columns([5, 6, 5, 5], [300, 200, 100, 400], [0, 0, 1, 0], sequence=2), [])
    store.insert(31, columns([5], [250], [0], sequence=1), [])
    past, since = store.events_of(31, 5, {1}, 200, 400, most=10)
    assert since == 200
    assert {series: rows.times_ms.tolist() for series, rows in past.items()} == {SERIES[0]: [250, 300]}
    assert past[SERIES[0]].contexts == [("1.0", "42", "iOS", "17")] * 2
    assert past[SERIES[0]].details == [""] * 2
    assert set(store.events_of(31, 5, {1, 4}, 0, 400, most=10)[0]) == {SERIES[0], SERIES[1]}
    rows = [
        AttributeRow(8, "plan", 5, 100, Decimal("19.90"), 3, 2),
        AttributeRow(8, "plan", 5, 100, None, 3, 2),
        AttributeRow(8, "plan", 5, 50, "old", 3, 3),
        AttributeRow(9, "plan", 5, 100, "elsewhere", 3, 2),
        AttributeRow(8, "plan", 6, 100, "another's", 3, 2),
    ]
    store.insert(31, columns([], [], []), rows)
    assert store.changes_of(31, 5, {(8, "plan"), (8, "age")}) == {
        (8, "plan"): [(100, Decimal("19.90")), (100, None), (50, "old")],
        (8, "age"): [],
    }


def test_what_was_never_committed_is_taken_out_again(store: EventStore) -> None:
    store.insert(23, columns([1], [100], [0], partition=1, sequence=5), [])
    late = AttributeRow(8, "plan", 2, 100, "gold", 2, 9)
    store.insert(23, columns([2, 3], [100, 100], [0, 0], partition=2, sequence=9), [late])
    everything = {0: Tenure(2, 10**9), 3: Tenure(2, 10**9)}
    assert store.take_over({**everything, 1: Tenure(2, 5), 2: Tenure(2, 8)}) == 2
    assert rows_of(store, 23) == [(SERIES[0], 1, 100)]
    assert list(store.attributes(23)) == []
    assert store.take_over({**everything, 1: Tenure(2, 5), 2: Tenure(2, 8)}) == 0


def test_thousands_of_attributes_are_read_back_by_a_few_queries(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = ["", "'", "\\", "\\'", '"', "a\0b", "Straße", "🧭", "{names:Array(String)}", "[", "],['"]
    names = [*odd, *(f"attribute {number}" for number in range(2_500 - len(odd)))]
    rows = [AttributeRow(8, name, mpid, 100 + mpid, f"{name} of {mpid}", 1, 1) for name in names for mpid in (1, 2)]
    rows += [AttributeRow(9, "attribute 7", 3, 100, None, 1, 1), AttributeRow(8, "model", 1, 100, "X", 1, 1, "device")]
    store.insert(27, columns([], [], []), rows)
    asked = 0

    def counted(query: Callable[..., object]) -> Callable[..., object]:
        def counting(*args: object, **options: object) -> object:
            nonlocal asked
            asked += 1
            return query(*args, **options)

        return counting

    for name in ("query", "query_column_block_stream"):
        monkeypatch.setattr(store._client, name, counted(getattr(store._client, name)))
    found = {
        (workspace, attribute): dict(zip(mpids.tolist(), zip(values, times.tolist(), strict=True), strict=True))
        for workspace, attribute, mpids, values, times in store.attributes(27)
    }
    expected: dict[tuple[int, object], object] = {(8, name): {m: (f"{name} of {m}", 100 + m) for m in (1, 2)} for name in names}
    expected |= {(9, "attribute 7"): {3: (None, 100)}, (8, Property(PropertyKind.DEVICE, "model")): {1: ("X", 100)}}
    assert found == expected
    assert asked == 6


def test_the_latest_value_of_an_attribute_wins_and_keeps_its_form(store: EventStore) -> None:
    rows = [
        AttributeRow(8, "plan", 1, 200, "new", 1, 1),
        AttributeRow(8, "plan", 1, 100, "late but older", 1, 2),
        AttributeRow(8, "plan", 2, 100, "gone soon", 1, 3),
        AttributeRow(8, "plan", 2, 101, None, 1, 4),
        AttributeRow(8, "plan", 3, 100, "first", 1, 5),
        AttributeRow(8, "plan", 3, 100, "received last", 1, 6),
        AttributeRow(8, "price", 1, 100, Decimal("19.90"), 1, 7),
        AttributeRow(8, "vip", 1, 100, True, 1, 8),
        AttributeRow(8, "likes", 1, 100, ("tea", "19.90"), 1, 9),
        AttributeRow(8, "number as text", 1, 100, "19.90", 1, 9),
    ]
    store.insert(24, columns([], [], []), rows)
    found = {
        (attribute, mpid): value
        for _, attribute, mpids, values, _ in store.attributes(24)
        for mpid, value in zip(mpids.tolist(), values, strict=True)
    }
    assert found == {
        ("plan", 1): "new",
        ("plan", 2): None,
        ("plan", 3): "received last",
        ("price", 1): Decimal("19.90"),
        ("vip", 1): True,
        ("likes", 1): ["tea", "19.90"],
        ("number as text", 1): "19.90",
    }
    assert str(found["price", 1]) == "19.90"


LEVEL = Subject(Place.ATTRIBUTE, "level")
PRICE = Subject(Place.PRODUCT_FIELD, "price")
AMOUNT = Subject(Place.FIELD, "total_amount")
WRITTEN = [
    "",
    "{}",
    '{"attributes":{"level":"gold"}}',
    '{"attributes":{"level":"Gold","other":"}{\\"level\\":5"}}',
    '{"attributes":{"other":"}{","level":"gold"}}',
    '{"attributes": {"level" : "gold"}}',
    '{"attributes":{"l\\u0065vel":"gold"}}',
    '{"attributes":{"level":"g\\u006fld"}}',
    '{"attributes":{"other":"level"},"total_amount":5}',
    '{"attributes":{"level":19.90}}',
    '{"attributes":{"level":19.9}}',
    '{"attributes":{"level":123456789012345678901234567890.5}}',
    '{"attributes":{"level":12345678901234567890123456789012}}',
    '{"attributes":{"level":true}}',
    '{"attributes":{"level":["gold","x"]}}',
    '{"attributes":{"level":[]}}',
    '{"attributes":{"level":{"level":1}}}',
    '{"attributes":{"other":{"level":"gold"}}}',
    '{"attributes":{"level":null}}',
    '{"products":[{"attributes":{"level":"gold"},"price":5}],"total_amount":5.00}',
    '{"attributes":{"level":"gold"},"products":[{"attributes":{"level":"tin"},"price":5.0},{"price":[1]}]}',
    '{"products":[{"name":"a ]} \\" b","price":7},{"price":19.90}],"total_amount":12345678901234567890123}',
    '{"products":5,"total_amount":"5"}',
    '{"total_amount":1e400}',
    "[1]",
    "no JSON",
    '{"attributes":{"level":"gold"}',
]


def past_of(store: EventStore, account_id: int, sieve: Sieve, since_ms: int = 0) -> list[tuple[int, int, list[SieveEntry]]]:
    """(MPID, time, entries) of what the sieve takes."""
    return sorted(
        (mpid, time, list(entries))
        for part in store.recall(account_id, sieve.match.source, sieve.subjects, since_ms)
        for mpid, time, place in zip(part.mpids.tolist(), part.times_ms.tolist(), part.which.tolist(), strict=True)
        if (entries := sieve.entries(part.happenings[place]))
    )


@pytest.mark.parametrize(("groups", "whole"), [(50_000, 4), (50_000, 0), (3, 4)])
@pytest.mark.parametrize(
    "where",
    [
        [Filter(LEVEL, TextTest(StringTest.of(Way.EQUALS, ["gold"])))],
        [Filter(LEVEL, TextTest(StringTest.of(Way.EQUALS, ["19.90"])))],
        [Filter(LEVEL, NumberTest(Comparison.GREATER, Decimal("1e29")))],
        [Filter(LEVEL, ExistsTest(exists=False))],
        [Filter(LEVEL, ExistsTest())],
        [Filter(PRICE, NumberTest(Comparison.GREATER_OR_EQUAL, Decimal(5)))],
        [Filter(AMOUNT, NumberTest(Comparison.EQUAL, Decimal(5)))],
        [Filter(AMOUNT, TextTest(StringTest.of(Way.EQUALS, ["5"]))), Filter(PRICE, ExistsTest(exists=False))],
        [Filter(Subject(Place.CONTEXT, "platform"), TextTest(StringTest.of(Way.EQUALS, ["ios"])))],
    ],
)
def test_the_past_of_a_filter_is_what_passes_when_looked_at_one_by_one(
    store: EventStore, where: list[Filter], groups: int, whole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_store, "_GROUPS_MAX", groups)
    monkeypatch.setattr(event_store, "_WHOLE_TIMES", whole)
    contexts = [("", "", "iOS" if i % 2 else "", str(i)) for i in range(len(WRITTEN))]
    rows = len(WRITTEN)
    if not store.sources(25):
        store.insert(25, columns(list(range(rows)), [500] * rows, [0] * rows, details=WRITTEN, contexts=contexts), [])
    sieve = Sieve(Match(1, "signed up", frozenset({1}), tuple(where)))
    happenings = [Happening(details, EventContext(*context)) for details, context in zip(WRITTEN, contexts, strict=True)]
    expected = [(mpid, 500, list(found)) for mpid, one in enumerate(happenings) if (found := sieve.entries(one))]
    assert past_of(store, 25, sieve) == expected
    assert len(expected) not in (0, rows)


def test_the_past_is_that_of_the_type_the_names_and_the_inputs(store: EventStore) -> None:
    store.insert(26, columns([1, 2, 3, 4], [100, 200, 300, 50], [0, 1, 2, 0], details=['{"attributes":{"level":1}}'] * 4), [])
    where = (Filter(LEVEL, ExistsTest()),)

    def people(type_: int, name: str | StringTest | None, *inputs: int) -> list[int]:
        return [mpid for mpid, _, _ in past_of(store, 26, Sieve(Match(type_, name, frozenset(inputs), where)), 100)]

    assert people(1, "signed up", 1, 2) == [1]
    assert people(1, None, 1) == [1, 3]
    assert people(1, StringTest.of(Way.CONTAINS, ["\0 NAME"]), 1) == [3]
    assert people(1, SERIES[2].name, 1) == [3]
    assert people(4, None, 1, 2) == [2]
    assert people(1, None, 2) == []
    assert people(1, None) == []
    assert people(1, "it's {not:Int64} 'a' name\\", 1) == []


def test_events_of_one_instant_keep_the_order_in_which_they_came(store: EventStore) -> None:
    for sequence, mpids in ((7, [1, 2, 1]), (5, [1, 2])):
        details = [f'{{"attributes":{{"level":"{sequence}.{i}"}}}}' for i in range(len(mpids))]
        store.insert(27, columns(mpids, [100] * len(mpids), [0] * len(mpids), sequence=sequence, details=details), [])
    sieve = Sieve(Match(1, None, frozenset({1})), LEVEL)
    parts = list(store.recall(27, sieve.match, sieve.subjects, 0))
    found = sorted(
        (arrival, mpid, sieve.entries(part.happenings[place])[0].value)
        for part in parts
        for arrival, mpid, place in zip(part.arrivals.tolist(), part.mpids.tolist(), part.which.tolist(), strict=True)
    )
    assert [(mpid, value) for _, mpid, value in found] == [(1, "5.0"), (2, "5.1"), (1, "7.0"), (2, "7.1"), (1, "7.2")]


def test_what_an_owner_of_before_still_writes_never_counts(store: EventStore) -> None:
    others = {partition: Tenure(9, 10**9) for partition in (0, 2, 3)}
    store.take_over({**others, 1: Tenure(5, 10**9)})
    store.insert(125, columns([1], [100], [0], partition=1, sequence=20), [])
    committed = rows_of(store, 125)
    # The owner 5 is replaced at 20 by the owner 6, and that one at 30 by this one; both write on.
    store.insert(125, columns([2], [100], [0], partition=1, sequence=21), [])
    store.take_over({**others, 1: Tenure(6, 10**9)})
    store.insert(125, columns([3, 4], [100, 100], [0, 0], partition=1, sequence=31), [AttributeRow(8, "plan", 3, 100, "gold", 1, 31)])
    now = Tenure(7, 30, before=((5, 20), (6, 30)))
    assert store.take_over({**others, 1: now}) == 3
    store.take_over({**others, 1: Tenure(6, 10**9)})
    store.insert(125, columns([5], [100], [0], partition=1, sequence=32), [])
    store._tenures = {**others, 1: now}
    store.insert(125, columns([6], [100], [0], partition=1, sequence=32), [])
    assert rows_of(store, 125) == [*committed, (SERIES[0], 6, 100)]
    assert list(store.attributes(125)) == []


def test_rows_of_partitions_of_others_are_not_read(store: EventStore) -> None:
    store.take_over({partition: Tenure(1, 10**9) for partition in range(4)})
    store.insert(126, columns([1], [100], [0], partition=1), [AttributeRow(8, "plan", 1, 100, "gold", 1, 1)])
    store.take_over({2: Tenure(2, 10**9)})
    assert (rows_of(store, 126), store.sources(126), list(store.attributes(126))) == ([], [], [])
    store.take_over({1: Tenure(2, 10**9)})
    assert rows_of(store, 126) == [(SERIES[0], 1, 100)]


def settle(store: EventStore) -> None:
    """Wait for what goes on in the background."""
    while store.is_deleting():
        time.sleep(0.01)


def test_people_who_ended_count_no_longer_and_are_erased(store: EventStore) -> None:
    store.take_over({partition: Tenure(1, 10**9) for partition in range(4)})
    told = [AttributeRow(8, "plan", mpid, 100, "gold", 1, 5) for mpid in (1, 2)]
    store.insert(130, columns([1, 1, 2], [97, 98, 99], [0, 0, 0], partition=1, sequence=5), told)
    store.insert(131, columns([1], [97], [0], partition=1, sequence=5), [])
    assert store.erase() == {}
    store.hide(130, {1: 6, 3: 6})
    left = [(SERIES[0], 2, 99)]
    assert rows_of(store, 130) == left
    assert [mpids.tolist() for _, _, mpids, _, _ in store.attributes(130)] == [[2]]
    assert len(rows_of(store, 131)) == 1
    store.insert(130, columns([1], [100], [0], partition=1, sequence=7), [])  # somebody new
    left = sorted([*left, (SERIES[0], 1, 100)])
    assert sorted(rows_of(store, 130)) == left
    assert store.erase() is None
    store.hide(130, {2: 8})  # meanwhile
    settle(store)
    assert store.erase() == {(130, 1): 3, (130, 3): 0}
    assert rows_of(store, 130) == [(SERIES[0], 1, 100)]
    assert store.erase() is None
    settle(store)
    assert store.erase() == {(130, 2): 2}
    store.take_over({partition: Tenure(1, 10**9) for partition in range(4)})  # nothing is hidden any more, it is gone
    assert rows_of(store, 130) == [(SERIES[0], 1, 100)]
    assert list(store.attributes(130)) == []
    store.take_over({partition: Tenure(1, 10**9) for partition in range(4)}, {130: {1: 9}})
    assert rows_of(store, 130) == []


def test_events_that_are_too_old_are_dropped_by_account_and_those_of_commerce_stay(store: EventStore) -> None:
    store.take_over({partition: Tenure(1, 10**9) for partition in range(4)})
    for account_id in (127, 128):
        store.insert(account_id, columns([1, 2, 3], [99, 100, 99], [0, 0, 3]), [])
    assert store.forget({100: [127], 50: [128]}) == 1
    settle(store)
    assert rows_of(store, 127) == [(SERIES[0], 2, 100), (SERIES[3], 3, 99)]
    assert len(rows_of(store, 128)) == 3
    assert store.forget({}) == 0


def test_of_old_events_stays_when_somebody_was_seen_and_where_last(store: EventStore) -> None:
    store.take_over({partition: Tenure(1, 10**9) for partition in range(4)})
    old = columns([1, 1, 1, 2], [97, 98, 99, 100], [0, 0, 0, 0])
    old.details[:] = ['{"location":{"latitude":1,"longitude":2}}', '{"location":{"latitude":3.5,"longitude":4}}', "", ""]
    store.insert(129, old, [])
    workspace = old.workspaces[0]

    def known() -> tuple[object, ...]:
        seen = (dict(zip(*map(np.ndarray.tolist, store.seen(129, workspace, 1_000, first=first)), strict=True)) for first in (True, False))
        mpids, details, times = store.places(129, workspace, 1_000)
        return *seen, mpids.tolist(), [point_of(text) for text in details], times.tolist()

    before = known()
    assert before == ({1: 97, 2: 100}, {1: 99, 2: 100}, [1], [Point(3.5, 4.0)], [98])
    assert store.forget({100: [129]}) == 3
    settle(store)
    assert rows_of(store, 129) == [(SERIES[0], 2, 100)]
    assert known() == before
