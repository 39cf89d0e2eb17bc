"""From the start of the evaluator's process to its readiness, with a store of 1,000,000 people, each with two attributes, and 20,000,000
events; with 100 audiences, and with 1,000; from the snapshot that an earlier start left, and without one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from muster.definition.v1 import account_pb2, audience_pb2, definition_pb2
from muster.definition.v1 import facts_pb2 as definition_facts
from muster.ingest.v1 import event_type_pb2

from cli.part import Service
from services.chassis.app import running
from services.chassis.database import Database
from services.chassis.migrations import Migrations
from services.chassis.outbox import Outbox
from services.evaluator import app, tables
from services.evaluator.engine.facts import Series
from services.evaluator.event_rows import AttributeRow
from services.evaluator.event_store import EventStore
from services.evaluator.event_tables import Tenure
from services.evaluator.intake import EventColumns, columns_of
from services.evaluator.people import People
from services.evaluator.store import ActivityRow, Commit, Store
from tests.bench.figure import Figure
from tests.fakes.nats_server import NatsServer, free_port

PEOPLE, EVENTS, NAMES, AUDIENCES, MORE_AUDIENCES = 1_000_000, 20_000_000, 200, 100, 1_000
ACCOUNT, WORKSPACE, INPUT, PARTITIONS = 7, 71, 711, 8
CHUNK = 500_000
DAY_MS = 86_400_000
BOUND_SECONDS = 15
ROOT = Path(__file__).parents[2]


def run(scale: float) -> list[Figure]:
    """The figures."""
    return asyncio.run(_run(scale))


async def _run(scale: float) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="muster-restart-") as name:
        folder = Path(name)
        await _fill(folder, round(PEOPLE * scale), round(EVENTS * scale))
        server = NatsServer(folder / "nats")
        server.start()
        try:
            evaluator = _evaluator(folder, server.url)
            await _started(evaluator)  # tells everybody's membership for the first time
            told = await _told(folder, 0)
            await evaluator.stop(patience_seconds=30)
            orderly = await _started(evaluator)
            await asyncio.sleep(3)
            evaluator.send(signal.SIGKILL)
            await evaluator.died()
            killed = await _started(evaluator)
            await evaluator.stop(patience_seconds=30)
            await _define(folder, range(AUDIENCES + 1, MORE_AUDIENCES + 1))
            await _started(evaluator)
            await _told(folder, told)
            await evaluator.stop(patience_seconds=60)
            more = await _started(evaluator)
            await evaluator.stop(patience_seconds=60)
            shutil.rmtree(folder / "snapshots")
            without = await _started(evaluator)
            await evaluator.stop(patience_seconds=60)
        finally:
            server.kill()
    return [
        *_figures("evaluator: start to ready", orderly),
        *_figures("evaluator: kill -9, start to ready", killed),
        *_figures("evaluator: start to ready with 1,000 audiences", more),
        *_figures("evaluator: the same without a snapshot", without, bound=False),
    ]


async def _told(folder: Path, more_than: int) -> int:
    """Return once the first round is committed, by which more audiences are told of, and there is a snapshot; of how many it is told."""
    async with asyncio.timeout(300):
        while True:
            told = _count_told(folder)
            if told > more_than:
                return told
            await asyncio.sleep(1)


def _count_told(folder: Path) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{folder / 'evaluator.db'}?mode=ro", uri=True)) as database:
        (told,) = database.execute("SELECT count(DISTINCT audience_id) FROM history").fetchone()
    return int(told) if any(folder.glob("snapshots/*.snapshot")) else 0


@dataclass(frozen=True)
class Started:
    """What a start took until the process was ready, and how large it was at the most."""

    seconds: float
    processor_seconds: float
    peak_gb: float


def _figures(name: str, started: Started, *, bound: bool = True) -> list[Figure]:
    quick, small = not bound or started.seconds <= BOUND_SECONDS, not bound or started.peak_gb < 1.5
    return [
        Figure(name, started.processor_seconds, "s", None, None, "", True),
        Figure(f"{name}, by the clock", started.seconds, "s", None, None, f"at most {BOUND_SECONDS} s" if bound else "", quick),
        Figure(f"{name}, memory at the peak", started.peak_gb, "GB", None, None, "< 1.5" if bound else "", small),
    ]


async def _started(evaluator: Service) -> Started:
    began = time.monotonic()
    await evaluator.start()
    async with asyncio.timeout(600):
        await evaluator.wait_healthy()
    if not evaluator.healthy:
        raise RuntimeError(evaluator.last_words())
    took, process = time.monotonic() - began, Path(f"/proc/{evaluator.pid}")
    ticks = sum(map(int, (process / "stat").read_text().rsplit(")", 1)[1].split()[11:13]))  # of the user and of the system
    peak = next(line for line in (process / "status").read_text().splitlines() if line.startswith("VmHWM"))
    return Started(took, ticks / os.sysconf("SC_CLK_TCK"), int(peak.split()[1]) / 2**20)


def _evaluator(folder: Path, nats_url: str) -> Service:
    port = free_port()
    own = {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "gen")]),
        "MUSTER_TOKEN_SECRET": "a secret for a measurement, for nothing else",
        "MUSTER_DATA_DIR": str(folder),
        "MUSTER_NATS_URL": nats_url,
        "MUSTER_EVALUATOR_GRPC_PORT": str(port),
    }
    command = [sys.executable, "-m", "services.evaluator"]
    return Service("evaluator", command, {**os.environ, **own}, cwd=ROOT, log_path=folder / "evaluator.log", port=port)


async def _fill(folder: Path, people: int, events: int) -> None:
    """Write what an evaluator that took all this would have written."""
    random = np.random.default_rng(7)
    mpids = np.unique(random.integers(-(2**62), 2**62, people))
    event_store = EventStore(f"chdb://{folder / 'events'}")
    event_store.take_over({partition: Tenure() for partition in range(PARTITIONS)})
    now_ms = time.time_ns() // 1_000_000
    series = [Series(INPUT, event_type_pb2.EVENT_TYPE_CUSTOM, f"event {number}") for number in range(NAMES)]
    for start in range(0, events, CHUNK):
        rows = min(CHUNK, events - start)
        event_store.insert(
            ACCOUNT,
            EventColumns(
                mpids=mpids[random.integers(0, len(mpids), rows)],
                times_ms=now_ms - random.integers(0, 30 * DAY_MS, rows),
                event_ids=random.integers(0, 2**62, rows),
                series_codes=np.minimum(random.zipf(1.3, rows) - 1, NAMES - 1).astype(np.int32),
                series=series,
                workspaces=[WORKSPACE] * NAMES,
                partitions=np.zeros(rows, np.int32),  # what of is the same to who owns all
                sequences=np.zeros(rows, np.int64),
                contexts=[("1.0", "42", "iOS", "17")],
                context_codes=np.zeros(rows, np.int32),
                details=[""] * rows,
            ),
            [],
        )
    for attribute, values in (("plan", ["free", "trial", "plus", "pro"]), ("age", list(range(16, 90)))):
        for start in range(0, len(mpids), CHUNK):
            told = zip(mpids[start : start + CHUNK].tolist(), random.choice(values, CHUNK).tolist(), strict=False)
            rows_ = [AttributeRow(WORKSPACE, attribute, mpid, now_ms - DAY_MS, value, 0, 0) for mpid, value in told]
            event_store.insert(ACCOUNT, columns_of([]), rows_)
    event_store.close()
    await _define(folder, range(1, AUDIENCES + 1))
    async with _store(folder) as store:
        everybody = People(ACCOUNT, PARTITIONS)
        _, pages = everybody.take(mpids)
        taken = await store.take_over(range(PARTITIONS), event_store.id)
        commit = Commit(now_ms, event_store.id, moves={p: (one.position, one.position.moved(0)) for p, one in taken.items()})
        commit.pages = [(ACCOUNT, page) for page in pages]
        commit.activity = [(ACCOUNT, ActivityRow(WORKSPACE, page.partition, np.arange(len(page.mpids), dtype=np.uint32))) for page in pages]
        await store.commit(commit)


@asynccontextmanager
async def _store(folder: Path) -> AsyncIterator[Store]:
    database = Database(f"sqlite+aiosqlite:///{folder / 'evaluator.db'}")
    async with running(database, Migrations(database, Path(app.__file__).parent / "migrations")):
        yield Store(database, Outbox(tables.outbox))


async def _define(folder: Path, audiences: range) -> None:
    async with _store(folder) as store:
        for fact, kind, id_ in _definitions(audiences):
            await store.save_definition(ACCOUNT, kind, id_, 1, fact.SerializeToString())


def _definitions(audiences: range) -> list[tuple[definition_facts.DefinitionFact, str, int]]:
    def fact(**state: object) -> definition_facts.DefinitionFact:
        return definition_facts.DefinitionFact(account_id=ACCOUNT, version=1, **state)  # type: ignore[arg-type]

    source = account_pb2.Input(input_id=INPUT, workspace_id=WORKSPACE, name="iOS")
    facts = [
        (fact(account=account_pb2.Account(account_id=ACCOUNT, name="Acme", look_back_days=30)), "account", ACCOUNT),
        (fact(workspace=account_pb2.Workspace(workspace_id=WORKSPACE, name="Shop")), "workspace", WORKSPACE),
        (fact(input=definition_facts.InputCredentials(input=source)), "input", INPUT),
    ]
    for number in audiences:
        nodes = [definition_pb2.Node(criterion=definition_pb2.Criterion(event=_event(number, part))) for part in range(3)]
        audience = audience_pb2.Audience(
            audience_id=number,
            name=f"Audience {number}",
            workspace_ids=[WORKSPACE],
            definition=definition_pb2.Definition(root=definition_pb2.Node(any=definition_pb2.Group(nodes=nodes))),
            state=audience_pb2.AUDIENCE_STATE_ACTIVE,
            revision=1,
        )
        facts.append((fact(audience=audience), "audience", number))
    return facts


def _event(number: int, part: int) -> definition_pb2.EventCriterion:
    """One of the names, more often than that within so many days."""
    match = definition_pb2.EventMatch(type=event_type_pb2.EVENT_TYPE_CUSTOM, name=f"event {(7 * number + 31 * part) % NAMES}")
    event = definition_pb2.EventCriterion(match=match)
    event.when.last.CopyFrom(definition_pb2.Duration(count=1 + (number + 5 * part) % 29, unit=definition_pb2.DURATION_UNIT_DAY))
    event.frequency.CopyFrom(definition_pb2.FrequencyTest(comparison=definition_pb2.COMPARISON_GREATER, value=number % 3))
    return event
