"""One person's past, as the event store has it."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import numpy as np
import pytest
from muster.ingest.v1 import event_type_pb2

from services.evaluator import past
from services.evaluator.engine.facts import Point, Property, PropertyKind, Series
from services.evaluator.engine.periods import Window
from services.evaluator.engine.tree import AttributeDate, AttributeTest, Criterion, EventCount, Match
from services.evaluator.engine.values import ExistsTest
from services.evaluator.event_rows import AttributeRow
from services.evaluator.event_store import EventStore
from services.evaluator.event_tables import Tenure
from services.evaluator.intake import EventColumns
from services.evaluator.past import past_of
from tests.fakes.event_stores import EventStores

COMMERCE, CUSTOM = event_type_pb2.EVENT_TYPE_COMMERCE, event_type_pb2.EVENT_TYPE_CUSTOM
PURCHASE, REFUND, SIGNED_UP = Series(1, COMMERCE, "purchase"), Series(1, COMMERCE, "refund"), Series(2, CUSTOM, "signed up")
ANNA, SHOP, CLUB = -5, 8, 9
EVENTS = [
    (PURCHASE, SHOP, 700, '{"total_amount":19.90}'),
    (REFUND, SHOP, 900, '{"products":[{"price":"2.5","quantity":2}]}'),
    (SIGNED_UP, CLUB, 650, '{"location":{"latitude":52.5,"longitude":13.4}}'),
    (SIGNED_UP, CLUB, 100, ""),
]
TOTAL, PLACE = Property(PropertyKind.LIFETIME_VALUE), Property(PropertyKind.LOCATION)
LAST, PLAN = Property(PropertyKind.LAST_SEEN), Property(PropertyKind.USER_ATTRIBUTE, "plan")


@pytest.fixture(scope="module")
def store(event_stores: EventStores, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EventStore]:
    store = EventStore(event_stores.url(tmp_path_factory.mktemp("events")))
    store.take_over({3: Tenure(1, 10**9)})
    rows = len(EVENTS)
    columns = EventColumns(
        mpids=np.full(rows, ANNA, np.int64),
        times_ms=np.array([time for _, _, time, _ in EVENTS], np.int64),
        event_ids=np.arange(rows, dtype=np.int64),
        series_codes=np.arange(rows, dtype=np.int32),
        series=[series for series, _, _, _ in EVENTS],
        workspaces=[workspace for _, workspace, _, _ in EVENTS],
        partitions=np.full(rows, 3, np.int32),
        sequences=np.full(rows, 10, np.int64),
        contexts=[("", "", "", "")],
        context_codes=np.zeros(rows, np.int32),
        details=[details for _, _, _, details in EVENTS],
    )
    plans = [AttributeRow(SHOP, "plan", ANNA, time, value, 3, 10) for time, value in ((50, "free"), (950, "pro"))]
    store.insert(41, columns, plans)
    yield store
    store.close()


def changes(store: EventStore, *criteria: Criterion) -> dict[tuple[int, Property], object]:
    return dict(past_of(store, 41, ANNA, criteria, 1_000, 300).changes)


def known(workspace: int, attribute: Property) -> AttributeTest:
    return AttributeTest(workspace, attribute, ExistsTest())


def test_events_are_told_from_a_look_back_before_the_one_that_counts(store: EventStore) -> None:
    def times(type_: int) -> dict[Series, list[int]]:
        count = EventCount(Match(type_, None, frozenset({1, 2})), Window(300, 0), 1)
        return {series: rows[1].tolist() for series, rows in past_of(store, 41, ANNA, [count], 1_000, 300).events.items()}

    assert times(CUSTOM) == {SIGNED_UP: [650]}
    assert times(COMMERCE) == {}


def test_of_very_many_events_the_latest_are_told(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    count = EventCount(Match(CUSTOM, None, frozenset({1, 2})), Window(300, 0), 1)
    assert past_of(store, 41, ANNA, [count], 1_000, 300).events_from == 400
    monkeypatch.setattr(past, "EVENTS_MAX", 1)
    told = past_of(store, 41, ANNA, [count], 950, 300)
    assert (list(told.events), told.events_from) == ([], 350)
    told = past_of(store, 41, ANNA, [count], 1_000, 300)
    assert (told.events[SIGNED_UP][1].tolist(), told.events_from) == ([650], 651)


def test_values_are_told_with_all_their_changes(store: EventStore) -> None:
    assert changes(store, known(SHOP, PLAN), known(CLUB, PLAN)) == {(SHOP, PLAN): [(50, "free"), (950, "pro")], (CLUB, PLAN): []}


def test_what_follows_from_events_is_told_by_workspace(store: EventStore) -> None:
    assert changes(store, known(SHOP, TOTAL)) == {(SHOP, TOTAL): [(700, Decimal("19.90")), (900, Decimal("-5.0"))]}
    assert changes(store, known(CLUB, PLACE), known(SHOP, PLACE)) == {(CLUB, PLACE): [(650, Point(52.5, 13.4))], (SHOP, PLACE): []}
    seen = changes(store, AttributeDate(SHOP, LAST, Window()), AttributeDate(CLUB, LAST, Window()))
    assert seen == {(SHOP, LAST): [(50, None), (700, None), (900, None), (950, None)], (CLUB, LAST): [(100, None), (650, None)]}


def test_of_what_follows_from_very_many_events_the_latest_is_told(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past, "EVENTS_MAX", 2)
    told = past_of(store, 41, ANNA, [AttributeDate(SHOP, LAST, Window())], 1_000, 300)
    assert told.changes == {(SHOP, LAST): [(900, None), (950, None)]}
    assert told.known_from == {(SHOP, LAST): 900}


def test_since_when_somebody_is_known_is_told_by_workspace(store: EventStore) -> None:
    assert past_of(store, 41, ANNA, [], 1_000, 300).heard == {SHOP: 50, CLUB: 100}
    assert past_of(store, 41, 77, [], 1_000, 300).heard == {}
