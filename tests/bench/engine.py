"""The engine alone on one core: rounds of events over a million people and a thousand audiences.

Beside it, on the same data and the same rounds, the same changes of memberships by SQL (sql.py), and the plain key index that the engine
grew from (prototype.py). Every change of the SQL's rounds is compared, and all memberships at the end with counting every event anew.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from muster.definition.v1 import definition_pb2 as pb
from numpy.typing import NDArray

from services.evaluator.engine import Changes, Engine, Series, compile_definition
from tests.bench.figure import Figure, processor_seconds

HOUR, DAY = 3_600_000, 86_400_000
PEOPLE, EVENTS, AUDIENCES, NAMES = 1_000_000, 20_000_000, 1_000, 200
WINDOWS = (HOUR, 6 * HOUR, DAY, 3 * DAY, 7 * DAY, 14 * DAY, 30 * DAY)
ROUND_EVENTS, ROUNDS, SQL_ROUNDS = 10_000, 6, 2
IDLE_ROUNDS, IDLE_STEP = 11, 50
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


def make_world(scale: float, *, people: int = PEOPLE, events: int = EVENTS, audiences: int = AUDIENCES, seed: int = 7) -> World:
    """The same for the same seed; a share of the given sizes."""
    chance = np.random.default_rng(seed)
    weights = 1 / np.arange(1, NAMES + 1)
    weights /= weights.sum()
    people, events, audiences = int(people * scale), int(events * scale), int(audiences * scale)

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


def memory_gb(kind: str) -> float:
    """`VmRSS`: resident now. `VmHWM`: the most since `forget_peak`."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(kind))
    return int(line.split()[1]) / 2**20


def forget_peak() -> None:
    """Let the peak begin anew at what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


@dataclass
class EngineRun:
    """What the engine took, and what changed in each round."""

    figures: list[Figure]
    events_per_second: float
    activation_seconds: float
    changes: list[dict[int, Changes]]


def load(world: World) -> Engine:
    """An engine with the world's history."""
    engine = Engine(look_back_ms=30 * DAY, now_ms=START)
    engine.add_activity(WORKSPACE, np.arange(world.people))
    for series, (ordinals, times) in by_series(world.names, world.ordinals, world.times).items():
        engine.load_events(series, ordinals, times)
    return engine


def activate(world: World, engine: Engine) -> list[float]:
    """Seconds that each audience took."""
    took = []
    for audience, (shape, counts) in enumerate(world.audiences, start=1):
        definition = pb.Definition(root=SHAPES[shape][0](*[count.node() for count in counts]))
        begin = processor_seconds()
        compiled = compile_definition(definition, workspaces={WORKSPACE: [INPUT]}, workspace_ids=[WORKSPACE], look_back_ms=30 * DAY)
        engine.activate(audience, compiled)
        took.append(processor_seconds() - begin)
    return took


def take_rounds(world: World, engine: Engine) -> tuple[float, list[dict[int, Changes]]]:
    """Events a second, and what changed in each round."""
    took, told = [], []
    for now, names, ordinals, times in world.rounds:
        events = by_series(names, ordinals, times)
        begin = processor_seconds()
        told.append(engine.round(now, events))
        took.append(processor_seconds() - begin)
    return ROUND_EVENTS / float(np.median(took)), told


def run_engine(world: World) -> EngineRun:
    """Load, activate, rounds of events, idle rounds; compared with full recomputation at the end."""
    forget_peak()
    raw_gb = memory_gb("VmRSS")
    engine = load(world)
    activations = activate(world, engine)
    rate, told = take_rounds(world, engine)
    now = world.rounds[-1][0]
    idle = []
    for _ in range(IDLE_ROUNDS):
        now += IDLE_STEP
        begin = processor_seconds()
        engine.round(now, {})
        idle.append(processor_seconds() - begin)
    changes = sum(len(change.added) + len(change.dropped) for changed in told for change in changed.values())
    resident, peak = memory_gb("VmRSS") - raw_gb, memory_gb("VmHWM") - raw_gb
    differences = _recompute(world, engine, now)
    longest = max(activations)
    figures = [
        Figure("engine: events in rounds of 10,000", rate, "events/s", None, None, ">= 50,000", rate >= 50_000),
        Figure("engine: membership changes a round", changes / len(world.rounds), "changes", None, None, "", True),
        Figure("engine: a round with no new event, longest", max(idle) * 1000, "ms", None, None, "< 15", max(idle) < 0.015),
        Figure("engine: activating an audience, longest", longest * 1000, "ms", None, None, "< 250", longest < 0.25),
        Figure("engine: activating all audiences", sum(activations), "s", None, None, "< 1", sum(activations) < 1),
        Figure("engine: resident memory after the rounds, over the raw data", resident, "GB", None, None, "", True),
        Figure("engine: resident memory at the peak, over the raw data", peak, "GB", None, None, "< 1.5", peak < 1.5),
        Figure("engine: differences from full recomputation", differences, "members", None, None, "= 0", differences == 0),
    ]
    return EngineRun(figures, rate, sum(activations), told)


def _recompute(world: World, engine: Engine, now: int) -> int:
    """How many memberships differ from counting every event anew."""
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


@contextmanager
def one_core() -> Iterator[None]:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    yield
    os.sched_setaffinity(0, allowed)


def run(scale: float = 1.0) -> list[Figure]:
    """All figures of the engine; about six minutes at scale 1."""
    world = make_world(scale)
    with one_core():
        engine = run_engine(world)
        figures = list(engine.figures)
        figures += _beside_prototype(world, engine)
        figures += _beside_sql(world, engine)
    return figures


def _beside(name: str, engine: EngineRun, rate: float, least: float) -> Figure:
    ratio = engine.events_per_second / rate
    return Figure(f"engine: beside {name}", engine.events_per_second, "events/s", rate, ratio, f">= {least:g}x", ratio >= least)


def _beside_prototype(world: World, engine: EngineRun) -> list[Figure]:
    from tests.bench import prototype

    if not prototype.FILE:
        return []
    beside = prototype.run(world)
    counted = [{audience: (len(change.added), len(change.dropped)) for audience, change in told.items()} for told in engine.changes]
    wrong = sum(theirs != ours for theirs, ours in zip(beside.changes, counted, strict=True))
    ratio = beside.activation_seconds / engine.activation_seconds
    return [
        _beside("the plain key index", engine, beside.events_per_second, 1.2),
        Figure("engine: rounds that differ from it", wrong, "rounds", None, None, "= 0", wrong == 0),
        Figure("engine: activating all, beside it", engine.activation_seconds, "s", beside.activation_seconds, ratio, ">= 1x", ratio >= 1),
    ]


def _beside_sql(world: World, engine: EngineRun) -> list[Figure]:
    from tests.bench import sql

    figures = []
    with tempfile.TemporaryDirectory(prefix="muster-bench-", ignore_cleanup_errors=True) as folder:
        for name, found in (("DuckDB", sql.run_duckdb(world)), ("the store's SQL", sql.run_store(world, folder))):
            wrong = sum(len(moves ^ _moves(told)) for moves, told in zip(found.moves, engine.changes, strict=False))
            figures += [
                _beside(f"{name}, incremental", engine, ROUND_EVENTS / found.round_seconds, 20),
                _beside(f"{name}, counting all anew", engine, ROUND_EVENTS / found.full_seconds, 20),
                Figure(f"engine: changes that differ from {name}", wrong, "changes", None, None, "= 0", wrong == 0),
            ]
    return figures


def _moves(changes: dict[int, Changes]) -> set[tuple[int, int, int]]:
    entered = {(audience, person, 1) for audience, change in changes.items() for person in change.added.tolist()}
    return entered | {(audience, person, 0) for audience, change in changes.items() for person in change.dropped.tolist()}
