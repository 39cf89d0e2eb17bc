"""What a filter is filled from: all events that an engine was told of, kept as an event store would keep them."""

from collections.abc import Sequence

import msgspec
import numpy as np

from services.evaluator.engine import Compiled, Engine
from services.evaluator.engine.details import Happening
from services.evaluator.engine.facts import EventContext, EventRows, Series
from services.evaluator.engine.reading import Reading
from tests.model.facts import Event

to_json = msgspec.json.Encoder(decimal_format="number").encode


def details_of(event: Event) -> str:
    """The details as the stream brings them."""
    return to_json(event.details).decode() if event.details else ""


def rows_of(column: Sequence[tuple[int, Event]]) -> EventRows:
    """Events of one series, each with its person, for the engine."""
    return EventRows(
        np.array([ordinal for ordinal, _ in column], np.int64),
        np.array([event.time_ms for _, event in column], np.int64),
        [details_of(event) for _, event in column],
        [EventContext(*event.context) for _, event in column],
    )


def fill(engine: Engine, past: Sequence[tuple[int, Event]], *compiled: Compiled, keep: bool = False) -> None:
    """Let the engine have what is missing, from the past in the order in which it came. `keep`: also for other filters of the same."""
    for sieve in engine.missing(*compiled):
        own = [(ordinal, event) for ordinal, event in past if sieve.match.source.reads(Series(event.input_id, event.type, event.name))]
        rows = rows_of(own)
        happenings = [Happening(*known) for known in zip(rows.details, rows.contexts, strict=True)]
        engine.fill(sieve, rows.ordinals, rows.times_ms, np.arange(len(own)), [sieve.entries(one) for one in happenings])
        if keep:
            reading = Reading(happenings, in_order=True)
            reading.add(rows.ordinals, rows.times_ms, np.arange(len(own)))
            engine.keep(sieve.match.source, sieve.subjects, reading)
