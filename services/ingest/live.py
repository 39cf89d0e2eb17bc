"""What each input sent lately, for whoever looks on. In memory: of this process, since it was started."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

from services.chassis.clock import Clock
from services.ingest.domain.live import Live
from services.ingest.domain.model import Batch, Fault
from services.ingest.domain.table import Table
from services.ingest.inputs import Input

# Of more inputs the one that was silent the longest is forgotten: its counts begin anew.
_INPUTS_MAX = 200


class Views:
    """The inputs' latest, and who waits for more of it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._started_ms = clock.now_ms()
        self._lives: OrderedDict[int, Live] = OrderedDict()
        self._waiting: dict[int, set[asyncio.Event]] = {}

    def of(self, input: Input) -> Live:
        """What is known of an input; nothing yet, if it sent nothing."""
        return self._lives.get(input.input_id) or Live(self._started_ms)

    def accepted(self, input: Input, batches: Sequence[Batch]) -> None:
        """What was accepted of a request."""
        self._live(input).accept(batches, self._clock.now_ms())
        self._wake(input)

    def accepted_table(self, input: Input, table: Table) -> None:
        """The same of a table."""
        self._live(input).accept_table(table, self._clock.now_ms())
        self._wake(input)

    def refused(self, input: Input, faults: Sequence[Fault]) -> None:
        """What was wrong with a request."""
        self._live(input).refuse(faults, self._clock.now_ms())
        self._wake(input)

    def turned_away(self, input: Input, reason: str) -> None:
        """A request was not taken, whatever it held."""
        self._live(input).turn_away(reason, self._clock.now_ms())
        self._wake(input)

    async def news(self, input: Input, *, after: int, within_seconds: float) -> None:
        """Return once the input has sent something after the `after`-th, or after so long."""
        if self.of(input).number > after:
            return
        event = asyncio.Event()
        waiting = self._waiting.setdefault(input.input_id, set())
        waiting.add(event)
        try:
            async with asyncio.timeout(within_seconds):
                await event.wait()
        except TimeoutError:
            # Silence is an answer, too.
            return
        finally:
            waiting.discard(event)
            if not waiting:
                self._waiting.pop(input.input_id, None)

    def _live(self, input: Input) -> Live:
        live = self._lives.get(input.input_id)
        if live is None:
            live = self._lives[input.input_id] = Live(self._started_ms if len(self._lives) < _INPUTS_MAX else self._clock.now_ms())
            if len(self._lives) > _INPUTS_MAX:
                self._lives.popitem(last=False)
        self._lives.move_to_end(input.input_id)
        return live

    def _wake(self, input: Input) -> None:
        for event in self._waiting.get(input.input_id, ()):
            event.set()
