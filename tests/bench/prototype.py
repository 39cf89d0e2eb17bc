"""The plain key index that the engine grew from, measured beside it where MUSTER_BENCH_PROTOTYPE names its file (keyindex_prototype.py).

It counts in windows and keeps memberships; it has no store, no commit and no messages.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from muster.definition.v1 import definition_pb2 as pb

from services.evaluator.engine import Series
from tests.bench import engine as bench
from tests.bench.figure import processor_seconds

FILE = os.environ.get("MUSTER_BENCH_PROTOTYPE", "")
EPOCH = bench.START - 40 * bench.DAY
OPERATORS: dict[int, str] = {pb.COMPARISON_GREATER_OR_EQUAL: ">=", pb.COMPARISON_LESS: "<", pb.COMPARISON_EQUAL: "=="}


def _module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prototype", FILE)
    if spec is None or spec.loader is None:
        raise SystemExit(f"MUSTER_BENCH_PROTOTYPE: {FILE} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Prototype:
    """The same world in it."""

    def __init__(self, world: bench.World) -> None:
        module = _module()
        self._engine: Any = module.Engine(world.people, 30 * bench.DAY, bench.START - EPOCH)
        for series, (ordinals, times) in bench.by_series(world.names, world.ordinals, world.times).items():
            self._engine.load(series.name, ordinals, times - EPOCH)
        begin = processor_seconds()
        for audience, (shape, counts) in enumerate(world.audiences, start=1):
            criteria = [(f"event {count.name}", count.window, OPERATORS[count.comparison], count.number) for count in counts]
            self._engine.activate(audience, module.SHAPES[shape], criteria)
        self.activation_seconds = processor_seconds() - begin

    def round(self, now: int, events: dict[Series, tuple[bench.Ints, bench.Ints]]) -> tuple[float, dict[int, tuple[int, int]]]:
        """Seconds that a round took, and how many entered and left each audience."""
        told = {series.name: (ordinals, times - EPOCH) for series, (ordinals, times) in events.items()}
        begin = processor_seconds()
        changes = self._engine.round(now - EPOCH, told)
        took = processor_seconds() - begin
        return took, {audience: (len(added), len(dropped)) for audience, (added, dropped) in changes.items()}


@dataclass
class PrototypeRun:
    """What it took, and how many entered and left each audience in each round."""

    events_per_second: float
    activation_seconds: float
    changes: list[dict[int, tuple[int, int]]]


def run(world: bench.World) -> PrototypeRun:
    """The rounds of the world."""
    prototype = Prototype(world)
    rounds = [prototype.round(now, bench.by_series(names, ordinals, times)) for now, names, ordinals, times in world.rounds]
    rate = bench.ROUND_EVENTS / float(np.median([took for took, _ in rounds]))
    return PrototypeRun(rate, prototype.activation_seconds, [changes for _, changes in rounds])
