"""Snapshots of the index: a start that uses one has the same index as one that reads all events; what doesn't fit is not used."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs

from services.evaluator.engine.engine import Engine
from services.evaluator.engine.facts import Series
from services.evaluator.engine.tree import Match
from services.evaluator.people import RETIRED, Page
from services.evaluator.rounds import Account
from services.evaluator.snapshots import Origin, Snapshot, Snapshots
from services.evaluator.store import Position
from tests.evaluator.conftest import Evaluator, Home, members
from tests.evaluator.world import ACCOUNT, INSTALL, SESSION_START, Happening, criterion, seed_definition
from tests.fakes.clock import ManualClock

DAY, HOUR = 86_400_000, 3_600_000
NOW = 1_800_000_000_000
ORIGIN = Origin(ACCOUNT, "a store", 4, 30 * DAY)
AT = {0: Position(70, 7, 3), 2: Position(80, 9, 4)}
PEOPLE = {0: np.array([11, RETIRED, 13]), 2: np.array([-5])}
PAGES = [Page(0, 0, np.array([11, RETIRED])), Page(0, 2, np.array([13, 14])), Page(2, 0, np.array([-5]))]


def engine_of(events: int = 500, seed: int = 3) -> Engine:
    """With events in several runs, some too far in the future for a key."""
    chance, engine = np.random.default_rng(seed), Engine(look_back_ms=30 * DAY, now_ms=NOW)
    for part in range(3):
        for number in range(5):
            times = NOW - chance.integers(-HOUR, 30 * DAY, events >> part)
            engine.load_events(Series(1, 1, f"event {number}"), chance.integers(0, 9, len(times)), times)
    engine.load_events(Series(1, 1, "event 1"), np.array([4, 8]), np.array([NOW + 250 * DAY, NOW + 400 * DAY]))
    return engine


def snapshot_of(engine: Engine) -> Snapshot:
    return Snapshot(ORIGIN, AT, PEOPLE, engine.kept())


def events_in(engine: Engine) -> list[tuple[Series | Match, int, int]]:
    """All that the index has, from both of its orders, which have the same."""
    index = engine._index
    waits = [(index.series[code], person, at) for part in index._waiting for code, person, at in _rows(*part)]
    people, times, codes = index.everything()
    found = sorted([(index.series[code], person, at) for code, person, at in _rows(codes, people, times)] + waits)
    runs = [one for run in index._by_series.runs for one in _rows(*run)]
    by_series = [(index.series[key >> 34], person, (key & (1 << 34) - 1) + index._epoch) for key, person in runs]
    assert sorted(by_series + waits) == found
    return found


def _rows(*columns: NDArray[np.integer]) -> Iterator[tuple[int, ...]]:
    return zip(*(column.tolist() for column in columns), strict=True)


def taken_back(snapshot: Snapshot | None) -> Engine:
    assert snapshot is not None
    engine = Engine(look_back_ms=30 * DAY, now_ms=NOW + DAY)
    engine.take_back(snapshot.index, np.empty(0, np.int64))
    return engine


def test_what_is_written_is_read(tmp_path: Path) -> None:
    engine = engine_of()
    Snapshots(tmp_path).keep(snapshot_of(engine))
    found = Snapshots(tmp_path).find(ORIGIN, NOW, AT, PAGES)
    assert events_in(taken_back(found)) == events_in(engine)
    assert found is not None
    assert (found.positions, {p: mpids.tolist() for p, mpids in found.people.items()}) == (AT, {p: m.tolist() for p, m in PEOPLE.items()})
    assert Snapshots(tmp_path / "elsewhere").find(ORIGIN, NOW, AT, PAGES) is None
    Snapshots(None).keep(snapshot_of(engine))
    assert Snapshots(None).find(ORIGIN, NOW, AT, PAGES) is None


def test_of_deleted_people_and_of_filters_nothing_is_written(tmp_path: Path) -> None:
    engine = engine_of()
    engine.delete(np.array([2, 4]))
    Snapshots(tmp_path).keep(snapshot_of(engine))
    left = events_in(taken_back(Snapshots(tmp_path).find(ORIGIN, NOW, AT, PAGES)))
    assert left == [one for one in events_in(engine) if one[1] not in (2, 4)]
    assert left


def test_a_run_of_which_nothing_is_left_is_none() -> None:
    engine, series = Engine(look_back_ms=30 * DAY, now_ms=NOW), Series(1, 1, "event")
    engine.load_events(series, np.arange(100), np.full(100, NOW))
    engine.load_events(series, np.array([2]), np.array([NOW]))
    engine.delete(np.array([2]))
    kept = engine.kept()
    by_series = [kept.block_of(*run, by_person=False) for run in kept.by_series]
    by_person = [kept.block_of(*run, by_person=True) for run in kept.by_person]
    again = taken_back(replace(snapshot_of(engine), index=replace(kept, by_series=by_series, by_person=by_person)))
    again.load_events(series, np.array([7]), np.array([NOW]))
    assert events_in(again) == sorted((series, person, NOW) for person in [*range(100), 7] if person != 2)


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("it is of another account", lambda: (replace(ORIGIN, store_id="another"), NOW, AT, PAGES)),
        ("it is of another account", lambda: (replace(ORIGIN, partitions=8), NOW, AT, PAGES)),
        ("it is of another account", lambda: (replace(ORIGIN, look_back_ms=31 * DAY), NOW, AT, PAGES)),
        ("it is of the future", lambda: (ORIGIN, NOW - 1, AT, PAGES)),
        ("partition 2 is another's", lambda: (ORIGIN, NOW, {0: AT[0]}, PAGES)),
        ("it is ahead of what is committed of partition 2", lambda: (ORIGIN, NOW, {**AT, 2: Position(79, 9, 4)}, PAGES)),
        ("it is ahead of what is committed of partition 0", lambda: (ORIGIN, NOW, {**AT, 0: Position(70, 6, 3)}, PAGES)),
        ("it is ahead of what is committed of partition 0", lambda: (ORIGIN, NOW, {**AT, 0: Position(70, 7, 2)}, PAGES)),
        ("it is of other people", lambda: (ORIGIN, NOW, AT, [*PAGES[:2], Page(2, 0, np.array([-6]))])),
        ("it is of other people", lambda: (ORIGIN, NOW, AT, PAGES[1:])),
        ("it is of other people", lambda: (ORIGIN, NOW, AT, [Page(0, 0, np.array([11, 12])), *PAGES[1:]])),
    ],
)
def test_one_that_is_no_beginning_of_what_is_committed_is_not_used(reason: str, change: Callable[[], tuple], tmp_path: Path) -> None:  # type: ignore[type-arg]
    snapshots = Snapshots(tmp_path)
    snapshots.keep(snapshot_of(engine_of()))
    with capture_logs() as lines:
        assert snapshots.find(*change()) is None
    assert [(line["event"], reason in line["reason"]) for line in lines] == [("snapshot_not_used", True)]


def test_one_of_earlier_with_people_who_ended_since_is_used(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    snapshots.keep(snapshot_of(engine_of()))
    later = {**AT, 0: Position(99, 9, 5), 1: Position(5, 1, 1)}
    assert snapshots.find(ORIGIN, NOW + DAY, later, [Page(0, 0, np.array([RETIRED, RETIRED])), *PAGES[1:]]) is not None


def test_one_that_is_damaged_anywhere_is_not_used(tmp_path: Path) -> None:
    snapshots, engine = Snapshots(tmp_path), engine_of(40)
    snapshots.keep(snapshot_of(engine))
    (path,) = tmp_path.iterdir()
    whole, expected = path.read_bytes(), events_in(engine)
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        assert snapshots.find(ORIGIN, NOW, AT, PAGES) is None
    used = 0
    for place in range(0, len(whole), 5):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        found = snapshots.find(ORIGIN, NOW, AT, PAGES)
        if found is not None:  # the place is between two arrays
            used += 1
            assert events_in(taken_back(found)) == expected
    assert used < len(whole) // 5 // 2


def write_on_and_on(folder: Path) -> None:
    snapshots, engines = Snapshots(folder), [engine_of(200_000, seed) for seed in (1, 2)]
    while True:
        for engine in engines:
            snapshots.keep(snapshot_of(engine))


def test_a_process_that_is_killed_while_it_writes_leaves_a_whole_one(tmp_path: Path) -> None:
    writer = multiprocessing.get_context("spawn").Process(target=write_on_and_on, args=(tmp_path,))
    writer.start()
    path, begun = tmp_path / f"{ACCOUNT}.snapshot", tmp_path / f"{ACCOUNT}.writing"
    while not path.exists() or not begun.exists() or begun.stat().st_size < 1_000_000:
        assert writer.is_alive()
        time.sleep(0.001)
    os.kill(writer.pid or 0, signal.SIGKILL)
    writer.join()
    assert begun.exists()
    assert Snapshots(tmp_path).find(ORIGIN, NOW, AT, PAGES) is not None
    Snapshots(tmp_path).keep(snapshot_of(engine_of(40)))
    assert not begun.exists()
    assert events_in(taken_back(Snapshots(tmp_path).find(ORIGIN, NOW, AT, PAGES))) == events_in(engine_of(40))


def test_one_that_is_given_up_or_has_no_room_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots = Snapshots(tmp_path)
    snapshots.keep(snapshot_of(engine_of(40)))
    with monkeypatch.context() as patch, capture_logs() as lines:
        patch.setattr(os, "fsync", _no_room)
        snapshots.keep(snapshot_of(engine_of(50)))
    assert [line["event"] for line in lines] == ["snapshot_not_written"]
    snapshots.stop()
    snapshots.keep(snapshot_of(engine_of(60)))
    assert [path.suffix for path in tmp_path.iterdir()] == [".snapshot"]
    assert events_in(taken_back(snapshots.find(ORIGIN, NOW, AT, PAGES))) == events_in(engine_of(40))


def _no_room(_: int) -> None:
    raise OSError(28, "No space left on device")


# --- with an evaluator


def index_of(account: Account) -> list[tuple[Series | Match, int, int]]:
    """Events by MPID, of those who are somebody."""
    mpids = account.population.people.mpids
    found = [(series, int(mpids(np.array([ordinal]))[0]), at) for series, ordinal, at in events_in(account.population.engine)]
    return sorted(one for one in found if one[1] != RETIRED)


def written(home: Home) -> bool:
    folder = home.settings.snapshots
    return folder is not None and any(folder.glob("*.snapshot"))


async def saved(home: Home, evaluator: Evaluator) -> None:
    """All that was told is in the snapshot."""
    await home.until(lambda: written(home) and all(not one.unsaved for one in evaluator.rounds._accounts.values()))
    if evaluator.rounds._keeping is not None:
        await evaluator.rounds._keeping


async def test_a_start_with_a_snapshot_has_what_one_without_has(home: Home, clock: ManualClock) -> None:
    now = clock.now_ms()
    people = list(range(11, 31))
    await home.world.workspace()
    await home.world.audience(1, seed_definition())
    first = [Happening(mpid, now - mpid * HOUR, kind) for mpid in people for kind in (INSTALL, SESSION_START)]
    async with home.evaluator() as evaluator:
        await home.world.events(first)
        await home.until(lambda: home.follower.members[1] == set(people))
        await saved(home, evaluator)
    home.settings = home.settings.model_copy(update={"snapshot_events": 10**6})  # the one that is there gets old
    async with home.evaluator() as evaluator:
        await home.world.events([Happening(mpid, now - HOUR, SESSION_START) for mpid in people[:8]] * 2)
        await home.world.delete(people[0], now)
        await home.world.merge(people[1], people[9], now)
        await home.until(lambda: home.follower.members[1] == set(people[8:]) - {people[9]})
        await home.world.events([Happening(people[0], now, INSTALL), Happening(99, now, INSTALL)])
        await home.until(lambda: home.follower.members[1] == {people[0], 99, *people[8:]} - {people[9]})
    expected, indexes = home.follower.members[1], []
    for snapshots in ("", None):
        settings = home.settings
        home.settings = settings.model_copy(update={"snapshot_folder": snapshots})
        with capture_logs() as lines:
            async with home.evaluator() as evaluator:
                assert await members(evaluator, 1) == expected
                indexes.append(await evaluator.rounds.ask(ACCOUNT, index_of))
        assert [line["event"] for line in lines if "snapshot" in line["event"]] == ([] if snapshots == "" else ["snapshot_used"])
        home.settings = settings
    assert indexes[0] == indexes[1]
    assert len(indexes[0]) > len(first)


async def test_types_and_audiences_that_changed_after_the_snapshot_are_those_of_now(home: Home, clock: ManualClock) -> None:
    now = clock.now_ms()
    await home.world.workspace()
    await home.world.audience(1, seed_definition())
    async with home.evaluator() as evaluator:
        await home.world.events([Happening(11, now, INSTALL), Happening(12, now, SESSION_START)])
        await home.until(lambda: home.follower.members[1] == {11})
        await saved(home, evaluator)
    await home.world.account(look_back_days=2)  # another index
    async with home.evaluator() as evaluator:
        await home.world.events([Happening(13, now, INSTALL)])
        await home.until(lambda: home.follower.members[1] == {11, 13})
        await saved(home, evaluator)
    await home.world.input(999)
    await home.world.audience(1, seed_definition(), active=False)
    root = criterion(SESSION_START, hours=1)
    await home.world.audience(2, type(seed_definition())(root=root))
    async with home.evaluator() as evaluator:
        await home.until(partial(_are, home, {1: set(), 2: {12}}))
        assert await members(evaluator, 2) == {12}


def _are(home: Home, expected: dict[int, set[int]]) -> bool:
    return all(home.follower.members[audience_id] == some for audience_id, some in expected.items())


async def test_an_hour_after_somebody_ended_no_snapshot_names_them(home: Home, clock: ManualClock) -> None:
    now = clock.now_ms()
    await home.world.workspace()
    await home.world.audience(1, seed_definition())
    async with home.evaluator() as evaluator:
        await home.world.events([Happening(mpid, now, INSTALL) for mpid in (11, 12)])
        await home.until(lambda: home.follower.members[1] == {11, 12})
        await saved(home, evaluator)
        assert names(home) == {11, 12}
        await home.world.delete(11, now)
        await home.until(lambda: home.follower.members[1] == {12})
        await clock.advance(3601)
        await home.until(lambda: names(home) == {12})


def names(home: Home) -> set[int]:
    assert home.settings.snapshots is not None
    (path,) = home.settings.snapshots.glob("*.snapshot")
    body = np.frombuffer(path.read_bytes()[: path.stat().st_size // 8 * 8], "<i8")
    return set(body[np.isin(body, [11, 12])].tolist())
