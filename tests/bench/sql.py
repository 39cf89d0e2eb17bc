"""The same rounds as SQL, in DuckDB and in the event store's own engine: the events and the count of every (window, person) are tables.

Incremental, a round inserts its events, finds for every window the people whose count may have changed (new events, and events that
crossed an edge), counts them again, finds the criteria that turn, and works out the audiences of those people before and after. Full, it
counts everybody in every window once. No table of memberships is kept: a thousand audiences of a million people would be hundreds of
millions of rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from muster.definition.v1 import definition_pb2 as pb

from tests.bench.engine import SQL_ROUNDS, START, Ints, World
from tests.bench.figure import processor_seconds

Moves = set[tuple[int, int, int]]  # audience, ordinal, 1 entered or 0 left

# An audience's shape over three truths, and a criterion's comparison, as engine.py numbers them.
TRUE = (
    "(({x} >= {k}.number AND {k}.comparison = 0) OR ({x} < {k}.number AND {k}.comparison = 1) OR ({x} = {k}.number AND {k}.comparison = 2))"
)
SHAPE = (
    "((shape = 0 AND {a} AND {b} AND {c}) OR (shape = 1 AND {a} AND ({b} OR {c})) "
    "OR (shape = 2 AND {a} AND {b} AND NOT {c}) OR (shape = 3 AND ({a} OR ({b} AND NOT {c}))))"
)
TOUCHED = """
    SELECT w.id AS id, w.name AS name, w.width AS width, b.ordinal AS ordinal FROM batch b JOIN windows w ON b.name = w.name
    UNION DISTINCT SELECT w.id, w.name, w.width, e.ordinal FROM by_time e JOIN windows w ON e.name = w.name
    WHERE (e.time >= {before} - w.width AND e.time < {now} - w.width) OR (e.time > {before} AND e.time <= {now})
"""
FRESH = """
    SELECT t.id AS id, t.ordinal AS ordinal, countIf(e.time >= {now} - t.width AND e.time <= {now}) AS counted
    FROM by_person e JOIN touched t ON e.name = t.name AND e.ordinal = t.ordinal GROUP BY t.id, t.ordinal
"""
# What was counted before of the people and windows of another table.
KNOWN = "SELECT id, ordinal, {newest} AS counted FROM counts WHERE (id, ordinal) IN (SELECT id, ordinal FROM {of}) GROUP BY id, ordinal"
MOVED = """
    SELECT f.id AS id, f.ordinal AS ordinal, coalesce(k.counted, 0) AS before, f.counted AS after
    FROM fresh f LEFT JOIN known k ON k.id = f.id AND k.ordinal = f.ordinal WHERE coalesce(k.counted, 0) <> f.counted
"""
PAIRS = f"""
    SELECT DISTINCT u.audience AS audience, m.ordinal AS ordinal FROM moved m JOIN criteria k ON k.window_id = m.id
    JOIN uses u ON u.criterion = k.id WHERE {TRUE.format(x="m.before", k="k")} <> {TRUE.format(x="m.after", k="k")}
"""
NEEDED = """
    SELECT DISTINCT k.window_id AS id, p.ordinal AS ordinal FROM pairs p JOIN uses u ON u.audience = p.audience
    JOIN criteria k ON k.id = u.criterion
"""
TRUTHS = f"""
    SELECT p.audience AS audience, p.ordinal AS ordinal, u.place AS place,
        {TRUE.format(x="coalesce(m.before, n.counted, 0)", k="k")} AS before,
        {TRUE.format(x="coalesce(m.after, n.counted, 0)", k="k")} AS after
    FROM pairs p JOIN uses u ON u.audience = p.audience JOIN criteria k ON k.id = u.criterion
    LEFT JOIN moved m ON m.id = k.window_id AND m.ordinal = p.ordinal LEFT JOIN nearby n ON n.id = k.window_id AND n.ordinal = p.ordinal
"""
SIDES = ", ".join(f"max(CASE WHEN place = {n} THEN {side} END) AS {side}_{n}" for side in ("before", "after") for n in (0, 1, 2))
CHANGES = f"""
    SELECT r.audience AS audience, r.ordinal AS ordinal, {SHAPE.format(a="after_0", b="after_1", c="after_2")} AS entered
    FROM (SELECT audience, ordinal, {SIDES} FROM truths GROUP BY audience, ordinal) r JOIN audiences a ON a.id = r.audience
    WHERE {SHAPE.format(a="before_0", b="before_1", c="before_2")} <> {SHAPE.format(a="after_0", b="after_1", c="after_2")}
"""
FULL = """
    SELECT w.id AS id, e.ordinal AS ordinal, count(*) AS counted FROM by_time e JOIN windows w ON e.name = w.name
    WHERE e.time >= {now} - w.width AND e.time <= {now} GROUP BY w.id, e.ordinal
"""


@dataclass
class SqlRun:
    """Seconds of an incremental round and of a full count, and what changed in each round."""

    round_seconds: float
    full_seconds: float
    moves: list[Moves]


def _tables(world: World) -> dict[str, pa.Table]:
    """What is defined, as tables."""
    windows = {pair: place for place, pair in enumerate(world.windows)}
    numbers = {pb.COMPARISON_GREATER_OR_EQUAL: 0, pb.COMPARISON_LESS: 1, pb.COMPARISON_EQUAL: 2}
    criteria = {count: place for place, count in enumerate(dict.fromkeys(count for _, counts in world.audiences for count in counts))}
    uses = [
        (audience, place, criteria[count])
        for audience, (_, counts) in enumerate(world.audiences, start=1)
        for place, count in enumerate(counts)
    ]

    def table(**columns: list[int]) -> pa.Table:
        return pa.table({name: pa.array(column, pa.int64()) for name, column in columns.items()})

    return {
        "windows": table(id=list(windows.values()), name=[name for name, _ in windows], width=[width for _, width in windows]),
        "criteria": table(
            id=list(criteria.values()),
            window_id=[windows[count.name, count.window] for count in criteria],
            comparison=[numbers[count.comparison] for count in criteria],  # type: ignore[index]  # the number of a Comparison
            number=[count.number for count in criteria],
        ),
        "uses": table(audience=[use[0] for use in uses], place=[use[1] for use in uses], criterion=[use[2] for use in uses]),
        "audiences": table(id=list(range(1, len(world.audiences) + 1)), shape=[shape for shape, _ in world.audiences]),
    }


def _batch(names: Ints, ordinals: Ints, times: Ints) -> pa.Table:
    return pa.table({"name": names.astype(np.int16), "ordinal": ordinals.astype(np.int32), "time": times})


# The tables of a round, each made from the ones before.
STEPS = (
    ("touched", TOUCHED),
    ("fresh", FRESH),
    ("known", KNOWN.replace("{of}", "fresh")),
    ("moved", MOVED),
    ("pairs", PAIRS),
    ("needed", NEEDED),
    ("nearby", KNOWN.replace("{of}", "needed")),
    ("truths", TRUTHS),
    ("changes", CHANGES),
)


def _rounds(world: World, take: Callable[[pa.Table, int, int, int], Moves]) -> tuple[float, list[Moves]]:
    before, took, moves = START, [], []
    for number, (now, *columns) in enumerate(world.rounds[:SQL_ROUNDS], start=1):
        batch = _batch(*columns)
        begin = processor_seconds()
        moves.append(take(batch, number, before, now))
        took.append(processor_seconds() - begin)
        before = now
    return float(np.median(took)), moves


def run_duckdb(world: World) -> SqlRun:
    """In DuckDB, on one thread."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET threads = 1; SET preserve_insertion_order = false; SET enable_progress_bar = false")
    connection.execute("CREATE MACRO countIf(condition) AS count(*) FILTER (condition)")
    history = _batch(world.names, world.ordinals, world.times)
    connection.register("history", history)
    connection.execute("CREATE TABLE events AS SELECT * FROM history ORDER BY name, time")
    connection.unregister("history")
    for name, table in _tables(world).items():
        connection.register("given", table)
        connection.execute(f"CREATE TABLE {name} AS SELECT * FROM given")

    def placed(query: str, **values: object) -> str:
        filled = query.format(newest="any_value(counted)", **values).replace("UNION DISTINCT", "UNION")
        return filled.replace(" by_time ", " events ").replace(" by_person ", " events ")

    begin = processor_seconds()
    connection.execute(f"CREATE TABLE counts AS {placed(FULL, now=START)}")
    full = processor_seconds() - begin

    def take(batch: pa.Table, number: int, before: int, now: int) -> Moves:
        connection.register("batch", batch)
        connection.execute("INSERT INTO events SELECT * FROM batch")
        for name, query in STEPS:
            connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {placed(query, before=before, now=now)}")
        connection.execute("DELETE FROM counts USING fresh WHERE counts.id = fresh.id AND counts.ordinal = fresh.ordinal")
        connection.execute("INSERT INTO counts SELECT id, ordinal, counted FROM fresh")
        return _moves(*connection.execute("SELECT audience, ordinal, entered FROM changes").fetchnumpy().values())

    seconds, moves = _rounds(world, take)
    return SqlRun(seconds, full, moves)


def run_store(world: World, folder: str) -> SqlRun:
    """In ClickHouse, as the event store runs it; the newest count of a pair is the one that holds."""
    import clickhouse_connect

    settings = {"max_threads": 1, "join_use_nulls": 1}
    client = clickhouse_connect.get_client(dsn=f"chdb://{folder}", settings=settings)
    client.command("CREATE DATABASE bench")
    columns = "name Int16, ordinal Int32, time Int64"
    client.command(f"CREATE TABLE bench.by_time ({columns}) ENGINE = MergeTree ORDER BY (name, time)")
    client.command(f"CREATE TABLE bench.by_person ({columns}) ENGINE = MergeTree ORDER BY (name, ordinal)")
    client.command(
        "CREATE TABLE bench.counts (id Int64, ordinal Int32, counted UInt64, round UInt32) ENGINE = MergeTree ORDER BY (id, ordinal)"
    )
    history = _batch(world.names, world.ordinals, world.times)
    for table in ("by_time", "by_person"):
        client.insert_arrow(f"bench.{table}", history)
    for name, given in _tables(world).items():
        client.command(f"CREATE TABLE bench.{name} ({', '.join(f'{column} Int64' for column in given.column_names)}) ENGINE = Memory")
        client.insert_arrow(f"bench.{name}", given)
    names = ["by_time", "by_person", "batch", "windows", "criteria", "uses", "audiences", "counts", *(name for name, _ in STEPS)]

    def placed(query: str, **values: object) -> str:
        filled = query.format(newest="argMax(counted, round)", **values)
        for clause in ("FROM", "JOIN"):
            for name in names:
                for end in (" ", ")"):
                    filled = filled.replace(f"{clause} {name}{end}", f"{clause} bench.{name}{end}")
        return filled

    begin = processor_seconds()
    client.command(f"INSERT INTO bench.counts SELECT id, ordinal, counted, 0 FROM ({placed(FULL, now=START)})")
    full = processor_seconds() - begin

    def take(batch: pa.Table, number: int, before: int, now: int) -> Moves:
        client.command(f"CREATE OR REPLACE TABLE bench.batch ({columns}) ENGINE = Memory")
        for name in ("batch", "by_time", "by_person"):
            client.insert_arrow(f"bench.{name}", batch)
        for name, query in STEPS:
            client.command(f"CREATE OR REPLACE TABLE bench.{name} ENGINE = Memory AS {placed(query, before=before, now=now)}")
        client.command(f"INSERT INTO bench.counts SELECT id, ordinal, counted, {number} FROM bench.fresh")
        found = client.query_arrow("SELECT audience, ordinal, toInt64(entered) AS entered FROM bench.changes")
        return _moves(*(found[name].to_numpy() for name in ("audience", "ordinal", "entered")))

    seconds, moves = _rounds(world, take)
    client.close()
    return SqlRun(seconds, full, moves)


def _moves(audiences: Ints, ordinals: Ints, entered: Ints) -> Moves:
    return set(zip(audiences.tolist(), ordinals.tolist(), (int(one) for one in entered.tolist()), strict=True))
