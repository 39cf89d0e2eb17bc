"""How the engine's cost grows: with the audiences, the people, and the history; and ten million people with a hundred million events.

Each pair is measured in turns in one run: what is told is the ratio of the two.
"""

from __future__ import annotations

from tests.bench import engine as bench
from tests.bench.figure import Figure

LARGE = {"people": 10 * bench.PEOPLE, "events": 5 * bench.EVENTS}


def _cost(scale: float, **sizes: int) -> float:
    """Microseconds an event."""
    world = bench.make_world(scale, **sizes)
    engine = bench.load(world)
    bench.activate(world, engine)
    return 1e6 / bench.take_rounds(world, engine)[0]


def _grown(name: str, scale: float, fewer: dict[str, int], limit: float) -> Figure:
    small, full = _cost(scale, **fewer), _cost(scale)
    growth = full / small
    return Figure(f"growth: an event's cost with 10x {name}", full, "us", small, growth, f"< {limit:g}x", growth < limit)


def _large(scale: float) -> list[Figure]:
    bench.forget_peak()
    before = bench.memory_gb("VmRSS")
    world = bench.make_world(scale, **LARGE)
    engine = bench.load(world)
    activations = bench.activate(world, engine)
    rate, _ = bench.take_rounds(world, engine)
    peak, resident = bench.memory_gb("VmHWM") - before, bench.memory_gb("VmRSS") - before
    return [
        Figure("growth: 10M people, 100M events: in rounds of 10,000", rate, "events/s", None, None, ">= 50,000", rate >= 50_000),
        Figure("growth: 10M people, 100M events: activating all audiences", sum(activations), "s", None, None, "", True),
        Figure("growth: 10M people, 100M events: memory, the raw data included", resident, "GB", None, None, "< 12", resident < 12),
        Figure("growth: 10M people, 100M events: memory at the peak", peak, "GB", None, None, "< 12", peak < 12),
    ]


def run(scale: float = 1.0) -> list[Figure]:
    """About eight minutes at scale 1."""
    with bench.one_core():
        return [
            *_large(scale),
            _grown("audiences", scale, {"audiences": bench.AUDIENCES // 10}, 4),
            _grown("people", scale, {"people": bench.PEOPLE // 10}, 1.2),
            _grown("history", scale, {"events": bench.EVENTS // 10}, 1.5),
        ]
