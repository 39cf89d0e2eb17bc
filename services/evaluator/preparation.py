"""What a definition needs before it can be activated or estimated, brought in piece by piece, so that rounds run in between.

A piece is what one reading of the event store finds, the test of some thousands of an attribute's values, or the computing of one
criterion; from then on rounds keep that right, as for an audience. So whatever a draft costs, nobody waits for longer than a slice of it
and the piece that it ends with.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator

from services.evaluator.engine.compile import Compiled
from services.evaluator.engine.engine import Engine
from services.evaluator.engine.tree import Criterion, MemberOf, criteria_of

SLICE_SECONDS = 0.25


class Slice:
    """The time until others want to go on."""

    def __init__(self, seconds: float | None = None) -> None:
        self._until = time.perf_counter() + (SLICE_SECONDS if seconds is None else seconds)

    @property
    def is_over(self) -> bool:
        """Whether the piece in hand is to be the last."""
        return time.perf_counter() >= self._until


class Preparation:
    """Of one definition. Not thread-safe, save for `end`."""

    def __init__(self, engine: Engine, compiled: Compiled, recall: Callable[[Compiled], Iterator[None]]) -> None:
        """`recall`: lets the engine have what it doesn't hold, and stops after each piece."""
        self.engine = engine
        self.compiled = compiled
        self._recall = recall
        engine.reserve(compiled)  # or two that are prepared in turns might push out, over and over, what the other one had read
        criteria = dict.fromkeys(criterion for criterion in criteria_of(compiled.members) if not isinstance(criterion, MemberOf))
        self._waiting = deque(criteria)
        self._held: list[Criterion] = []
        self._ended = False

    def go_on(self, part: Slice) -> bool:
        """At least one piece, and more until the slice is over; whether all is there now, up to the next round and over it."""
        for _ in self._recall(self.compiled):
            if part.is_over:
                return False
        while self._waiting:
            if self.engine.learn(self._waiting[0]):
                self._held.append(self._waiting.popleft())
                self.engine.hold(self._held[-1])
            if part.is_over:
                break
        return not self._waiting

    def end(self) -> None:
        """It is needed no longer. From any thread: `let_go` does it between two rounds."""
        self._ended = True

    def let_go(self) -> bool:
        """Whether it is over, and so holds nothing any more; not to be called again then."""
        if self._ended:
            while self._held:
                self.engine.let_go(self._held.pop())
            self.engine.give_back(self.compiled)
        return self._ended
