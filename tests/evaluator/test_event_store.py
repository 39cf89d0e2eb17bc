"""The event store, on the embedded engine. There is one per process, so its tests share one and keep to accounts of their own."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from services.evaluator.engine.facts import Series
from services.evaluator.event_store import AttributeRow, EventStore
from services.evaluator.event_tables import Tenure
from services.evaluator.intake import EventColumns

SERIES = [Series(1, 1, "signed up"), Series(2, 4, ""), Series(1, 1, "Ünïcode \u0000 name")]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EventStore]:
    folder: Path = tmp_path_factory.mktemp("events")
    store = EventStore(f"chdb://{folder}")
    store.take_over({partition: Tenure(1, 10**9) for partition in range(4)})
    yield store
    store.close()


def columns(mpids: list[int], times: list[int], codes: list[int], *, partition: int = 3, sequence: int = 10) -> EventColumns:
    rows = len(mpids)
    return EventColumns(
        mpids=np.array(mpids, np.int64),
        times_ms=np.array(times, np.int64),
        event_ids=np.arange(rows, dtype=np.int64),
        series_codes=np.array(codes, np.int32),
        series=SERIES,
        workspaces=[8, 8, 8],
        partitions=np.full(rows, partition, np.int32),
        sequences=np.full(rows, sequence, np.int64),
        contexts=[("1.0", "42", "iOS", "17")],
        context_codes=np.zeros(rows, np.int32),
        details=[""] * rows,
    )


def rows_of(store: EventStore, account_id: int, since_ms: int = 0) -> list[tuple[Series, int, int]]:
    return sorted(
        (series, mpid, time)
        for series, mpids, times in store.events(account_id, since_ms)
        for mpid, time in zip(mpids.tolist(), times.tolist(), strict=True)
    )


def test_events_come_back_by_series_from_an_instant_on(store: EventStore) -> None:
    store.insert(21, columns([-5, 6, 7, 2**63 - 1], [100, 200, 300, 400], [0, 1, 2, 0]), [])
    assert rows_of(store, 21, 200) == sorted([(SERIES[1], 6, 200), (SERIES[2], 7, 300), (SERIES[0], 2**63 - 1, 400)])
    assert rows_of(store, 22) == []
    assert store.sources(21) == [(8, 1), (8, 2)] or store.sources(21) == [(8, 2), (8, 1)]


def test_one_person_s_past_is_told_in_the_order_of_its_arrival(store: EventStore) -> None:
    store.insert(31, columns([5, 6, 5, 5], [300, 200, 100, 400], [0, 0, 1, 0], sequence=2), [])
    store.insert(31, columns([5], [250], [0], sequence=1), [])
    past = store.events_of(31, 5, {1}, 200, 400)
    assert {series: rows.times_ms.tolist() for series, rows in past.items()} == {SERIES[0]: [250, 300]}
    assert past[SERIES[0]].contexts == [("1.0", "42", "iOS", "17")] * 2
    assert past[SERIES[0]].details == [""] * 2
    assert set(store.events_of(31, 5, {1, 4}, 0, 400)) == {SERIES[0], SERIES[1]}
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
