"""What is enormous: a million values of one attribute, ten thousand attributes, a person with a million events."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from muster.definition.v1 import definition_pb2 as pb

from services.evaluator.engine import AttributeChange, Compiled, Engine, Series, compile_definition
from services.evaluator.engine.facts import EventContext, EventRows
from services.evaluator.engine.sieve import SieveEntry
from services.evaluator.engine.tree import MemberOf, criteria_of
from tests.bench.engine import one_core
from tests.bench.figure import Figure
from tests.evaluator.engine import definitions as d

DAY = 86_400_000
NOW = 1_800_000_000_000
BUY = Series(11, d.CUSTOM, "buy")
MANY = 1_000_000


def _compiled(root: pb.Node) -> Compiled:
    return compile_definition(d.definition(root), workspaces={1: [11]}, workspace_ids=[1], look_back_ms=30 * DAY)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _within(name: str, seconds: float, limit: float) -> Figure:
    return Figure(f"limits: {name}", seconds, "s", None, None, f"< {limit:g} s", seconds < limit)


def _longest_piece(engine: Engine, compiled: Compiled) -> float:
    """Of what an estimate does between two rounds."""
    pieces = []
    for criterion in criteria_of(compiled.members):
        if not isinstance(criterion, MemberOf):
            learnt = False
            while not learnt:
                began = time.perf_counter()
                learnt = engine.learn(criterion)
                pieces.append(time.perf_counter() - began)
            pieces.append(_seconds(lambda one=criterion: engine.hold(one)))  # type: ignore[misc]
    pieces.append(_seconds(lambda: engine.estimate(compiled)))
    return max(pieces)


def _values(many: int) -> list[Figure]:
    people = np.arange(many)
    engine = Engine(look_back_ms=30 * DAY, now_ms=NOW)
    engine.add_activity(1, people)
    values = [f"code {number}" for number in range(many)]
    loading = _seconds(lambda: engine.load_attributes(1, "code", people, values, np.full(many, NOW)))
    longest = _longest_piece(engine, _compiled(d.attribute("code", d.text("pattern", "*9*9*"))))
    engine.activate(1, _compiled(d.attribute("code", d.text("pattern", "*9*9*"))))
    changed = AttributeChange(1, "code", people[:100], [f"new {number}" for number in range(100)], np.full(100, NOW + 1))
    return [
        _within("loading an attribute with 1M values", loading, 10),
        _within("the longest piece of an estimate over 1M values", longest, 0.5),
        _within("a round with 100 changes of them", _seconds(lambda: engine.round(NOW + 1, {}, [changed])), 0.5),
    ]


def _attributes(people: int, attributes: int) -> list[Figure]:
    engine = Engine(look_back_ms=30 * DAY, now_ms=NOW)
    engine.add_activity(1, np.arange(people))
    before = engine.memory_bytes()
    for number in range(attributes):
        own = np.unique(np.arange(100) * (people // 100) + number) % people
        engine.load_attributes(1, f"a{number}", own, ["x"] * len(own), np.full(len(own), NOW))
    used = (engine.memory_bytes() - before) / (100 * attributes)
    one = np.array([5])
    changes = [AttributeChange(1, f"a{number}", one, ["y"], np.array([NOW + 1])) for number in range(attributes)]
    taking = _seconds(lambda: engine.round(NOW + 1, {}, changes))
    return [
        Figure("limits: 10,000 attributes of 100 of 1M people each: memory a value", used, "bytes", None, None, "<= 24", used <= 24),
        _within("a round in which one person gets all 10,000 attributes", taking, 5),
    ]


def _person(many: int) -> list[Figure]:
    engine = Engine(look_back_ms=30 * DAY, now_ms=NOW)
    engine.add_activity(1, np.arange(1_000))
    nobody = np.zeros(many, np.int64)
    times = NOW - 30 * DAY + 1_000 + np.arange(many) * (30 * DAY // many - 1)
    engine.load_events(BUY, nobody, times)
    tests = {"SUM": "5", "MAX": "5", "DISTINCT_COUNT": "5"}
    explaining = 0.0
    definitions = []
    for audience, (function, operand) in enumerate(tests.items()):
        criterion = pb.AggregateCriterion(
            match=pb.EventMatch(type=d.CUSTOM, name="buy"),  # type: ignore[arg-type]
            function=pb.AggregateFunction.Value(f"AGGREGATE_FUNCTION_{function}"),
            attribute="x",
            test=d.number(">", operand),
            when=d.last("20d"),
        )
        definitions.append(_compiled(pb.Node(criterion=pb.Criterion(aggregate=criterion))))
        for sieve in engine.missing(definitions[-1]):
            engine.fill(sieve, nobody, times, np.arange(many) % 50_000, [(SieveEntry(str(number)),) for number in range(50_000)])
        engine.activate(audience, definitions[-1])
    explaining = max(_seconds(lambda one=one: engine.explain(one, 0)) for one in definitions)  # type: ignore[misc]
    rows = EventRows(np.array([0]), np.array([NOW + 1]), ['{"attributes":{"x":"7"}}'], [EventContext()], np.array([0]))
    return [
        _within("a round with an event of a person with 1M, three aggregates", _seconds(lambda: engine.round(NOW + 1, {BUY: rows})), 1),
        _within("explaining this person", explaining, 3),
    ]


def run(scale: float = 1.0) -> list[Figure]:
    """About half a minute at scale 1."""
    many = max(int(MANY * scale), 10_000)
    with one_core():
        return [*_values(many), *_attributes(many, max(int(10_000 * scale), 100)), *_person(many)]
