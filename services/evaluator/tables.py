"""The evaluator's tables: what it knows of definitions, where it stands in the stream, and what it last told of every audience."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, String, Table

from services.chassis.database import ms_column, new_metadata
from services.chassis.outbox import outbox_table

metadata = new_metadata()

outbox = outbox_table(metadata)

# Local copies of facts, the newest of each; `fact` is a DefinitionFact.
definitions = Table(
    "definitions",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("kind", String(20), primary_key=True),
    Column("id", BigInteger, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("fact", LargeBinary, nullable=False),
)

# How far each partition of the stream is taken, its last round, and the number of its owner. A commit compares what it started from.
positions = Table(
    "positions",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, nullable=False),
    Column("round", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False, server_default="0"),
)

# Where each owner of a partition began: what earlier ones wrote to the event store after that sequence was never committed.
takeovers = Table(
    "takeovers",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, nullable=False),
)

# Up to where each event store holds a partition whole. With a store for each process, a new owner's may lack what others took. Of
# who ended up to `erased` it holds nothing any more.
stored = Table(
    "stored",
    metadata,
    Column("store_id", String(64), primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, nullable=False),
    Column("erased", BigInteger, nullable=False, server_default="0"),
)

# Batches taken, so that one which is published again after a crash of its sender counts once; `sequence` is the one that counted.
batches = Table(
    "batches",
    metadata,
    Column("batch_id", String(64), primary_key=True),
    ms_column("take_time_ms"),
    Column("sequence", BigInteger, nullable=False, server_default="0"),
    Index("ix_batches_take_time_ms", "take_time_ms"),
)

# People by partition in the order of their local numbers; `mpids` is packed int64, little-endian, 0 for somebody who ended.
people = Table(
    "people",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("first_local", BigInteger, primary_key=True),
    Column("mpids", LargeBinary, nullable=False),
)

# Who ended: nothing counts that was told of the MPID up to that sequence of the stream. `into_mpid` is whom they are one with; 0: they
# were deleted.
ended = Table(
    "ended",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("mpid", BigInteger, primary_key=True),
    Column("into_mpid", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    ms_column("end_time_ms"),
    Index("ix_ended_end_time_ms", "end_time_ms"),
)

# Who had their first activity in a workspace in a round, by packed local numbers (uint32): the candidates of its audiences, for good.
activity = Table(
    "activity",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("workspace_id", BigInteger, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("round", BigInteger, primary_key=True),
    Column("locals", LargeBinary, nullable=False),
)

# What a round changed in a partition, of all audiences of an account (journal.py); folded into `members` from time to time.
changes = Table(
    "changes",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("round", BigInteger, primary_key=True),
    Column("payload", LargeBinary, nullable=False),
)

# Members of an audience in a partition at `round`, as a Roaring bitmap of local numbers.
members = Table(
    "members",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("audience_id", BigInteger, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("round", BigInteger, nullable=False),
    Column("locals", LargeBinary, nullable=False),
)

# Who began in a round to take part in an A/B test: packed local numbers (uint32), and since when each does (int64).
participants = Table(
    "participants",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("ab_test_id", BigInteger, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("round", BigInteger, primary_key=True),
    Column("locals", LargeBinary, nullable=False),
    Column("times", LargeBinary, nullable=False),
)

# Adds and drops of a variation by minute, of the partitions of one owner; `part` as in `history`.
variation_history = Table(
    "variation_history",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("ab_test_id", BigInteger, primary_key=True),
    Column("variation_id", Integer, primary_key=True),
    Column("minute_ms", BigInteger, primary_key=True),
    Column("part", Integer, primary_key=True),
    Column("adds", BigInteger, nullable=False),
    Column("drops", BigInteger, nullable=False),
)

# Adds and drops of an audience by minute, and by how much it grew; its size is the sum of all growth. `part` keeps owners apart: the
# lowest of the partitions that the writer had. Whoever owns that partition counts the row among its own.
history = Table(
    "history",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("audience_id", BigInteger, primary_key=True),
    Column("minute_ms", BigInteger, primary_key=True),
    Column("part", Integer, primary_key=True),
    Column("growth", BigInteger, nullable=False),
    Column("adds", BigInteger, nullable=False),
    Column("drops", BigInteger, nullable=False),
)
