"""The engine alone on one core: rounds of events over a million people and a thousand audiences.

Beside it, on the same data and the same rounds, the counting as incremental SQL in DuckDB and in the event store's own engine: per round
insert the batch, find for every (name, window) the people whose count may have changed (new events, and events that crossed an edge),
count them again, store the counts. The SQL sides stop there; the engine goes on to memberships. All memberships are compared at the end.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from muster.definition.v1 import definition_pb2 as pb
from numpy.typing import NDArray

from services.evaluator.engine import Engine, Series, compile_definition
from tests.bench.figure import Figure

HOUR, DAY = 3_600_000, 86_400_000
PEOPLE, EVENTS, AUDIENCES, NAMES = 1_000_000, 20_000_000, 1_000, 200
WINDOWS = (HOUR, 6 * HOUR, DAY, 3 * DAY, 7 * DAY, 14 * DAY, 30 * DAY)
ROUND_EVENTS, ROUNDS, SQL_ROUNDS = 10_000, 6, 2
WORKSPACE, INPUT, CUSTOM = 1, 1, 1
START = 1_800_000_000_000

Ints = NDArray[np.int64]
COMPARES: dict[int, Callable[[Ints, int], NDArray[np.bool_]]] = {
    pb.COMPARISON_GREATER_OR_EQUAL: np.greater_equal,
    pb.COMPARISON_LESS: np.less,
    pb.COMPARISON_EQUAL: np.equal,
}


@dataclass(frozen=True)
class Count:
    """One criterion: events of a name within a window, compared with a number."""

    name: int
    window: int
    comparison: int
    number: int

    def node(self) -> pb.Node:
        duration = pb.Duration(count=self.window // HOUR, unit=pb.DURATION_UNIT_HOUR)
        event = pb.EventCriterion(
            match=pb.EventMatch(type=CUSTOM, name=f"event {self.name}"),  # type: ignore[arg-type]  # the number of an EventType
            frequency=pb.FrequencyTest(comparison=self.comparison, value=self.number),  # type: ignore[arg-type]  # a Comparison's
            when=pb.Period(last=duration),
        )
        return pb.Node(criterion=pb.Criterion(event=event))


def _all(*nodes: pb.Node) -> pb.Node:
    return pb.Node(all=pb.Group(nodes=nodes))


def _any(*nodes: pb.Node) -> pb.Node:
    return pb.Node(any=pb.Group(nodes=nodes))


def _not(node: pb.Node) -> pb.Node:
    return pb.Node(exclude=pb.Exclude(node=node))


# Each shape as a definition, and as plain logic over three truths.
SHAPES: list[tuple[Callable[..., pb.Node], Callable[..., NDArray[np.bool_]]]] = [
    (_all, lambda a, b, c: a & b & c),
    (lambda a, b, c: _all(a, _any(b, c)), lambda a, b, c: a & (b | c)),
    (lambda a, b, c: _all(a, b, _not(c)), lambda a, b, c: a & b & ~c),
    (lambda a, b, c: _any(a, _all(b, _not(c))), lambda a, b, c: a | (b & ~c)),
]


@dataclass
class World:
    """Events as columns, audiences, and the rounds to come."""

    people: int
    names: Ints
    ordinals: Ints
    times: Ints
    audiences: list[tuple[int, tuple[Count, Count, Count]]]
    rounds: list[tuple[int, Ints, Ints, Ints]]  # now, names, ordinals, times

    @property
    def windows(self) -> list[tuple[int, int]]:
        """The distinct (name, window) pairs in use."""
        return sorted({(count.name, count.window) for _, counts in self.audiences for count in counts})

    def members(self, counted: Callable[[int, int], Ints]) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """Each audience with its members, by a way to count everybody's events of a (name, window)."""
        for audience, (shape, counts) in enumerate(self.audiences, start=1):
            truths = [COMPARES[count.comparison](counted(count.name, count.window), count.number) for count in counts]
            yield audience, SHAPES[shape][1](*truths)


def make_world(scale: float, seed: int = 7) -> World:
    """The same for the same seed."""
    chance = np.random.default_rng(seed)
    weights = 1 / np.arange(1, NAMES + 1)
    weights /= weights.sum()
    people, events, audiences = int(PEOPLE * scale), int(EVENTS * scale), int(AUDIENCES * scale)

    def some(number: int, first: int, last: int) -> tuple[Ints, Ints, Ints]:
        return chance.choice(NAMES, number, p=weights), chance.integers(0, people, number), chance.integers(first, last, number)

    made = []
    for audience in range(audiences):
        counts = [
            Count(
                int(chance.choice(NAMES, p=weights)),
                int(chance.choice(WINDOWS)),
                int(chance.choice(list(COMPARES))),
                int(chance.integers(1, 4)),
            )
            for _ in range(3)
        ]
        made.append((audience % len(SHAPES), (counts[0], counts[1], counts[2])))
    rounds = []
    for number in range(1, ROUNDS + 1):
        now = START + number * 1000
        rounds.append((now, *some(ROUND_EVENTS, now - 1000, now + 500)))  # some a little in the future
    return World(people, *some(events, START - 30 * DAY, START + 1), made, rounds)


def by_series(names: Ints, ordinals: Ints, times: Ints) -> dict[Series, tuple[Ints, Ints]]:
    order = np.argsort(names, kind="stable")
    ends = np.searchsorted(names[order], np.arange(NAMES + 1))
    return {
        Series(INPUT, CUSTOM, f"event {name}"): (ordinals[order[i:j]], times[order[i:j]])
        for name, (i, j) in enumerate(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))
        if j > i
    }


def _memory_gb(kind: str) -> float:
    """`VmRSS`: resident now. `VmHWM`: the most since `_forget_peak`."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(kind))
    return int(line.split()[1]) / 2**20


def _forget_peak() -> None:
    """Let the peak begin anew at what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


@dataclass
class EngineRun:
    """What the engine took, and the members after the rounds that SQL repeats."""

    figures: list[Figure]
    events_per_second: float
    after_sql_rounds: dict[int, Ints]
    differences: int


def run_engine(world: World) -> EngineRun:
    """Load, activate, idle rounds, rounds of events; compared with full recomputation at the end."""
    _forget_peak()
    raw_gb = _memory_gb("VmRSS")
    engine = Engine(look_back_ms=30 * DAY, now_ms=START)
    engine.add_activity(WORKSPACE, np.arange(world.people))
    for series, (ordinals, times) in by_series(world.names, world.ordinals, world.times).items():
        engine.load_events(series, ordinals, times)
    activations = []
    for audience, (shape, counts) in enumerate(world.audiences, start=1):
        definition = pb.Definition(root=SHAPES[shape][0](*[count.node() for count in counts]))
        begin = time.perf_counter()
        compiled = compile_definition(definition, workspaces={WORKSPACE: [INPUT]}, workspace_ids=[WORKSPACE], look_back_ms=30 * DAY)
        engine.activate(audience, compiled)
        activations.append(time.perf_counter() - begin)
    now, idle = START, []
    for _ in range(5):
        now += 100
        begin = time.perf_counter()
        engine.round(now, {})
        idle.append(time.perf_counter() - begin)
    took, changes, after_sql_rounds = [], 0, {}
    for number, (now, names, ordinals, times) in enumerate(world.rounds, start=1):
        events = by_series(names, ordinals, times)
        begin = time.perf_counter()
        changed = engine.round(now, events)
        took.append(time.perf_counter() - begin)
        changes += sum(len(change.added) + len(change.dropped) for change in changed.values())
        if number == SQL_ROUNDS:
            after_sql_rounds = {audience: engine.members(audience) for audience in range(1, len(world.audiences) + 1)}
    resident, peak = _memory_gb("VmRSS") - raw_gb, _memory_gb("VmHWM") - raw_gb
    rate = ROUND_EVENTS / float(np.median(took))
    differences = _recompute(world, engine)
    longest = max(activations)
    figures = [
        Figure("engine: events in rounds of 10,000", rate, "events/s", None, None, ">= 50,000", rate >= 50_000),
        Figure("engine: membership changes a round", changes / len(world.rounds), "changes", None, None, "", True),
        Figure("engine: a round with no new event, longest", max(idle) * 1000, "ms", None, None, "< 50", max(idle) < 0.05),
        Figure("engine: activating an audience, longest", longest * 1000, "ms", None, None, "< 250", longest < 0.25),
        Figure("engine: activating all audiences", sum(activations), "s", None, None, "", True),
        Figure("engine: resident memory after the rounds, over the raw data", resident, "GB", None, None, "", True),
        Figure("engine: resident memory at the peak, over the raw data", peak, "GB", None, None, "< 2.5", peak < 2.5),
        Figure("engine: differences from full recomputation", differences, "members", None, None, "= 0", differences == 0),
    ]
    return EngineRun(figures, rate, after_sql_rounds, differences)


def _recompute(world: World, engine: Engine) -> int:
    """How many memberships differ from counting every event anew."""
    now = world.rounds[-1][0]
    names = np.concatenate([world.names, *[names for _, names, _, _ in world.rounds]])
    ordinals = np.concatenate([world.ordinals, *[ordinals for _, _, ordinals, _ in world.rounds]])
    times = np.concatenate([world.times, *[times for _, _, _, times in world.rounds]])
    order = np.argsort(names, kind="stable")
    starts = np.searchsorted(names[order], np.arange(NAMES + 1))
    kept: dict[tuple[int, int], Ints] = {}

    def counted(name: int, window: int) -> Ints:
        if (name, window) not in kept:
            own = order[starts[name] : starts[name + 1]]
            inside = (times[own] >= now - window) & (times[own] <= now)
            kept[name, window] = np.bincount(ordinals[own][inside], minlength=world.people).astype(np.int16)
        return kept[name, window]

    wrong = 0
    for audience, members in world.members(counted):
        found = np.zeros(world.people, bool)
        found[engine.members(audience)] = True
        wrong += int((found != members).sum())
    return wrong


TOUCHED = """
    SELECT w.id AS id, w.name AS name, w.width AS width, b.ordinal AS ordinal FROM batch b JOIN windows w ON b.name = w.name
    UNION DISTINCT SELECT w.id, w.name, w.width, e.ordinal FROM {by_time} e JOIN windows w ON e.name = w.name
    WHERE (e.time >= {before} - w.width AND e.time < {now} - w.width) OR (e.time > {before} AND e.time <= {now})
"""
RECOUNT = """
    SELECT t.id AS id, t.ordinal AS ordinal, countIf(e.time >= {now} - t.width AND e.time <= {now}) AS counted
    FROM {by_person} e JOIN touched t ON e.name = t.name AND e.ordinal = t.ordinal GROUP BY t.id, t.ordinal
"""
FIRST = """
    SELECT w.id AS id, e.ordinal AS ordinal, count(*) AS counted FROM {by_time} e JOIN windows w ON e.name = w.name
    WHERE e.time >= {now} - w.width AND e.time <= {now} GROUP BY w.id, e.ordinal
"""


def _batch(names: Ints, ordinals: Ints, times: Ints) -> pa.Table:
    return pa.table({"name": names.astype(np.int16), "ordinal": ordinals.astype(np.int32), "time": times})


def _windows(world: World) -> pa.Table:
    pairs = world.windows
    return pa.table(
        {
            "id": pa.array(range(len(pairs)), pa.int32()),
            "name": pa.array([name for name, _ in pairs], pa.int16()),
            "width": pa.array([width for _, width in pairs], pa.int64()),
        }
    )


def run_duckdb(world: World) -> tuple[float, tuple[Ints, Ints, Ints]]:
    """Seconds a round, and the counts at the end as columns (window's id, ordinal, count)."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET threads = 1; SET preserve_insertion_order = false; SET enable_progress_bar = false")
    connection.execute("CREATE MACRO countIf(condition) AS count(*) FILTER (condition)")
    history = _batch(world.names, world.ordinals, world.times)
    connection.register("history", history)
    connection.execute("CREATE TABLE events AS SELECT * FROM history ORDER BY name, time")
    connection.unregister("history")
    connection.register("given", _windows(world))
    connection.execute("CREATE TABLE windows AS SELECT * FROM given")
    connection.execute(f"CREATE TABLE counts AS {FIRST.format(by_time='events', now=START)}")
    before, took = START, []
    for now, *columns in world.rounds[:SQL_ROUNDS]:
        connection.register("batch", _batch(*columns))
        begin = time.perf_counter()
        connection.execute("INSERT INTO events SELECT * FROM batch")
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE touched AS {TOUCHED.format(by_time='events', before=before, now=now)}".replace(
                "UNION DISTINCT", "UNION"
            )
        )
        connection.execute(f"CREATE OR REPLACE TEMP TABLE fresh AS {RECOUNT.format(by_person='events', now=now)}")
        connection.execute("DELETE FROM counts USING fresh WHERE counts.id = fresh.id AND counts.ordinal = fresh.ordinal")
        connection.execute("INSERT INTO counts SELECT * FROM fresh")
        took.append(time.perf_counter() - begin)
        before = now
    found = connection.execute("SELECT id, ordinal, counted FROM counts ORDER BY id").fetchnumpy()
    return float(np.median(took)), (found["id"], found["ordinal"], found["counted"])


def run_store(world: World, folder: str) -> tuple[float, tuple[Ints, Ints, Ints]]:
    """The same in ClickHouse, as the event store runs it; the newest count of a pair is the one that holds."""
    import clickhouse_connect

    client = clickhouse_connect.get_client(dsn=f"chdb://{folder}", settings={"max_threads": 1})
    client.command("CREATE DATABASE bench")
    client.command("USE bench")
    columns = "name Int16, ordinal Int32, time Int64"
    client.command(f"CREATE TABLE bench.by_time ({columns}) ENGINE = MergeTree ORDER BY (name, time)")
    client.command(f"CREATE TABLE bench.by_person ({columns}) ENGINE = MergeTree ORDER BY (name, ordinal)")
    client.command("CREATE TABLE bench.windows (id Int32, name Int16, width Int64) ENGINE = Memory")
    client.command(
        "CREATE TABLE bench.counts (id Int32, ordinal Int32, counted UInt32, round UInt32) ENGINE = MergeTree ORDER BY (id, ordinal)"
    )
    history = _batch(world.names, world.ordinals, world.times)
    for table in ("by_time", "by_person"):
        client.insert_arrow(f"bench.{table}", history)
    client.insert_arrow("bench.windows", _windows(world))
    tables = {"by_time": "bench.by_time", "by_person": "bench.by_person"}

    def placed(query: str, **values: int) -> str:
        filled = query.format(**tables, **values)
        for table in ("windows", "batch", "touched"):
            filled = filled.replace(f" {table} ", f" bench.{table} ")
        return filled

    client.command(f"INSERT INTO bench.counts SELECT id, ordinal, counted, 0 FROM ({placed(FIRST, now=START)})")
    before, took = START, []
    for number, (now, *batch) in enumerate(world.rounds[:SQL_ROUNDS], start=1):
        table = _batch(*batch)
        begin = time.perf_counter()
        client.command(f"CREATE OR REPLACE TABLE bench.batch ({columns}) ENGINE = Memory")
        for name in ("batch", "by_time", "by_person"):
            client.insert_arrow(f"bench.{name}", table)
        client.command("CREATE OR REPLACE TABLE bench.touched (id Int32, name Int16, width Int64, ordinal Int32) ENGINE = Memory")
        client.command(f"INSERT INTO bench.touched {placed(TOUCHED, before=before, now=now)}")
        client.command(f"INSERT INTO bench.counts SELECT id, ordinal, counted, {number} FROM ({placed(RECOUNT, now=now)})")
        took.append(time.perf_counter() - begin)
        before = now
    newest = "SELECT id, ordinal, argMax(counted, round) AS counted FROM bench.counts GROUP BY id, ordinal ORDER BY id"
    found = client.query_arrow(newest)
    client.close()
    return float(np.median(took)), (found["id"].to_numpy(), found["ordinal"].to_numpy(), found["counted"].to_numpy())


def _compare(world: World, engine: EngineRun, counts: tuple[Ints, Ints, Ints]) -> int:
    """How many memberships of the engine differ from those that the counts of SQL make."""
    ids, ordinals, counted = counts
    places = {pair: place for place, pair in enumerate(world.windows)}
    starts = np.searchsorted(ids, np.arange(len(places) + 1))

    def of(name: int, window: int) -> Ints:
        own = slice(starts[places[name, window]], starts[places[name, window] + 1])
        dense = np.zeros(world.people, np.int64)
        dense[ordinals[own]] = counted[own]
        return dense

    wrong = 0
    for audience, members in world.members(of):
        found = np.zeros(world.people, bool)
        found[engine.after_sql_rounds[audience]] = True
        wrong += int((found != members).sum())
    return wrong


@contextmanager
def _one_core() -> Iterator[None]:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    yield
    os.sched_setaffinity(0, allowed)


def run(scale: float = 1.0) -> list[Figure]:
    """All figures of the engine; about four minutes at scale 1."""
    world = make_world(scale)
    with _one_core():
        engine = run_engine(world)
        figures = list(engine.figures)
        folder = tempfile.mkdtemp(prefix="muster-bench-")
        for name, (seconds, counts) in (("DuckDB", run_duckdb(world)), ("the store's SQL", run_store(world, folder))):
            rate = ROUND_EVENTS / seconds
            ratio = engine.events_per_second / rate
            wrong = _compare(world, engine, counts)
            figures += [
                Figure(f"engine: beside {name}, incremental", engine.events_per_second, "events/s", rate, ratio, ">= 12x", ratio >= 12),
                Figure(f"engine: differences from {name}", wrong, "members", None, None, "= 0", wrong == 0),
            ]
        shutil.rmtree(folder, ignore_errors=True)
    return figures
