"""The catalogue: events counted on one core and written, and how long it takes to complete a name among ten thousand."""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from muster.ingest.v1 import facts_pb2

from services.chassis.database import Database
from services.chassis.migrations import migrate
from services.definition.app import MIGRATIONS
from services.definition.catalogue_intake import CatalogueIntake, Window
from services.definition.catalogue_store import CatalogueScope
from services.definition.domain.catalogue import NAMES_MAX, AttributeScope, CatalogueKind
from services.definition.sightings import fact_of, sightings_of
from tests.bench.engine import one_core
from tests.bench.figure import Figure, processor_seconds

EVENTS, WINDOW, MESSAGE = 500_000, 50_000, 5_000
NAMES, PEOPLE = 200, 1_000_000
QUESTIONS = 300
FAR_MS = 2**60

Attributes = Callable[[random.Random], dict[str, object]]


def nothing(chance: random.Random) -> dict[str, object]:
    return {}


def usual(chance: random.Random) -> dict[str, object]:
    return {"plan": chance.choice(["gold", "silver", "free"]), "price": chance.randrange(1_000), "in_stock": chance.random() < 0.9}


def with_a_number_of_its_own(chance: random.Random) -> dict[str, object]:
    return {**usual(chance), "order": f"o-{chance.randrange(10**12)}"}


def message(chance: random.Random, events: int, attributes: Attributes, names: Sequence[str]) -> facts_pb2.EventBatch:
    """Of an account and an input, popular names more often."""
    batch = facts_pb2.EventBatch(batch_id=f"{chance.getrandbits(128):032x}", account_id=1, receive_time_ms=1)
    batch.sources.add(input_id=11, workspace_id=1)
    batch.kinds.extend(facts_pb2.EventKind(type=1, name=name) for name in names)  # type: ignore[arg-type]
    for _ in range(events):
        batch.mpids.append(chance.randrange(1, PEOPLE))
        batch.source_indexes.append(0)
        batch.kind_indexes.append(int(len(names) * chance.random() ** 2))
        held = attributes(chance)
        batch.details.append(json.dumps({"attributes": held}) if held else "")
    return batch


def _profiles(people: int) -> float:
    """Changes a second of the processor, of three attributes each."""
    chance = random.Random(9)
    bodies = []
    for _ in range(0, people, MESSAGE):
        made = facts_pb2.ProfileChanges(batch_id=f"{chance.getrandbits(128):032x}", account_id=1, receive_time_ms=1)
        for _ in range(MESSAGE):
            change = made.changes.add(mpid=chance.randrange(1, PEOPLE), workspace_id=1, input_id=11)
            change.set_attributes["plan"].string_value = chance.choice(["gold", "silver", "free"])
            change.set_attributes["age"].number_value = str(chance.randrange(18, 90))
            change.set_attributes["email"].string_value = f"{chance.randrange(10**9)}@example.com"
        bodies.append(made.SerializeToString())
    begin = processor_seconds()
    sightings_of([fact_of("muster.profiles.0", body) for body in bodies])
    return people / (processor_seconds() - begin)


async def _intake(folder: Path, events: int, attributes: Attributes) -> tuple[float, float]:
    """Events a second of the processor: counted, and counted and written."""
    chance = random.Random(7)
    names = [f"event {number}" for number in range(NAMES)]
    window = min(events, WINDOW)

    def bodies() -> list[bytes]:
        return [message(chance, min(MESSAGE, window), attributes, names).SerializeToString() for _ in range(0, window, MESSAGE)]

    windows = [bodies() for _ in range(0, events, window)]
    database = Database(f"sqlite+aiosqlite:///{folder / f'{attributes.__name__}.db'}")
    await database.start()
    await migrate(database, MIGRATIONS)
    intake = CatalogueIntake(database, "bench")
    await intake.take_lease(stream="s", now_ms=1, until_ms=FAR_MS)
    counting = 0.0
    begin = processor_seconds()
    for number, sent in enumerate(windows):
        start = processor_seconds()
        facts = [fact_of("muster.events.0", body) for body in sent]
        sightings = sightings_of(facts)
        counting += processor_seconds() - start
        ids = [fact.batch_id for fact in facts]
        await intake.add(Window(sightings, ids, "s", number, number + 1), now_ms=0, until_ms=FAR_MS)
    whole = processor_seconds() - begin
    await database.stop()
    return events / counting, events / whole


async def _completion(folder: Path) -> tuple[float, float]:
    """Milliseconds of the processor within which 95 of 100 questions are answered: for a name, and for an attribute."""
    chance = random.Random(8)
    words = ["add", "view", "cart", "product", "open", "screen", "share", "buy", "offer", "search"]
    names = [f"{chance.choice(words)} {chance.choice(words)} {number}" for number in range(NAMES_MAX)]
    database = Database(f"sqlite+aiosqlite:///{folder / 'names.db'}")
    await database.start()
    await migrate(database, MIGRATIONS)
    intake = CatalogueIntake(database, "bench")
    await intake.take_lease(stream="s", now_ms=1, until_ms=FAR_MS)
    batch = message(chance, 10 * NAMES_MAX, lambda chance: {}, names)
    # An attribute with each name, so that there are as many of those.
    batch.kind_indexes[:NAMES_MAX] = range(NAMES_MAX)
    batch.details[:NAMES_MAX] = [
        json.dumps({"attributes": {f"{chance.choice(words)} {number % 2_000}": "x"}}) for number in range(NAMES_MAX)
    ]
    await intake.add(Window(sightings_of([batch]), [], "s", 0, 1), now_ms=0, until_ms=FAR_MS)
    took: dict[bool, list[float]] = {True: [], False: []}
    attributes = AttributeScope(1, (CatalogueKind.EVENT_ATTRIBUTE, CatalogueKind.PRODUCT_ATTRIBUTE))
    for number in range(QUESTIONS):
        search = chance.choice(words)[: 1 + number % 4]
        of_names = number % 2 == 0
        begin = processor_seconds()
        async with database.read() as connection:
            scope = CatalogueScope(connection, 1)
            if of_names:
                found: Sequence[object] = await scope.names(1, search=search, limit=51)
            else:
                found = await scope.attributes(attributes, {}, search=search, limit=51)
        took[of_names].append(1_000 * (processor_seconds() - begin))
        assert len(found) == 51
    await database.stop()
    return sorted(took[True])[int(0.95 * len(took[True]))], sorted(took[False])[int(0.95 * len(took[False]))]


def run(scale: float = 1.0) -> list[Figure]:
    """About a minute at scale 1."""
    events = max(MESSAGE, int(EVENTS * scale) // MESSAGE * MESSAGE)
    figures = []
    with one_core(), tempfile.TemporaryDirectory(prefix="muster-bench-", ignore_cleanup_errors=True) as folder:
        for name, attributes, least in (
            ("events without attributes", nothing, 200_000),
            ("events with 3 attributes", usual, 50_000),
            ("events with 4, one an id", with_a_number_of_its_own, 20_000),
        ):
            counted, written = asyncio.run(_intake(Path(folder), events, attributes))
            bound, ok = f">= {least:,}", written >= least
            figures.append(Figure(f"catalogue: {name}, counted and written", written, "events/s", counted, written / counted, bound, ok))
        people = _profiles(max(MESSAGE, events // 10))
        title = "catalogue: changes of profiles with 3 attributes, one an e-mail, counted"
        figures.append(Figure(title, people, "changes/s", None, None, "", True))
        for name, milliseconds in zip(("name", "attribute"), asyncio.run(_completion(Path(folder))), strict=True):
            title = f"catalogue: one {name} of 10,000 completed, 95 of 100 within"
            figures.append(Figure(title, milliseconds, "ms", None, None, "< 50", milliseconds < 50))
    return figures
