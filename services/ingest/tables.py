"""The tables of ingest: who is who, who is one with whom, who was erased, what was sent before, and what is still to be published."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, SmallInteger, Table, Text

from services.chassis.database import id_column, ms_column, new_metadata
from services.chassis.outbox import outbox_table

metadata = new_metadata()


def _id(name: str, *, primary_key: bool = False) -> Column[int]:
    # Never numbered by the database: these come from elsewhere.
    return Column(name, BigInteger, nullable=False, primary_key=primary_key, autoincrement=False)


# Found by the 16 bytes of `domain.identities.key_of`, so that one short index serves values of any length. An identity keeps the MPID that
# it was entered with when that person becomes one with another: whose it is now, is in `merged`.
identities = Table(
    "identities",
    metadata,
    Column("key", LargeBinary(16), primary_key=True),
    Column("account_id", BigInteger, nullable=False),
    Column("mpid", BigInteger, nullable=False),
    Column("type", SmallInteger, nullable=False),
    Column("value", Text, nullable=False),
    Column("enter_time", BigInteger, nullable=False, server_default="0"),
    Index(None, "account_id", "mpid"),
    sqlite_with_rowid=False,
)

# Whom somebody is one with, in the end: never somebody who is one with another.
merged = Table(
    "merged",
    metadata,
    _id("account_id", primary_key=True),
    _id("mpid", primary_key=True),
    Column("into", BigInteger, nullable=False),
    Index(None, "account_id", "into"),
    sqlite_with_rowid=False,
)

# The record of it: who was one with whom since when, by what, and whether they were parted again.
merges = Table(
    "merges",
    metadata,
    id_column(),
    Column("account_id", BigInteger, nullable=False),
    Column("mpid", BigInteger, nullable=False),
    Column("into", BigInteger, nullable=False),
    Column("type", SmallInteger, nullable=False),
    Column("input_id", BigInteger, nullable=False),
    ms_column("create_time"),
    ms_column("undo_time", nullable=True),
    Column("new_mpid", BigInteger),
    Index(None, "account_id", "mpid"),
    Index(None, "account_id", "into"),
    sqlite_autoincrement=True,
)

# Grows whenever an identity that was known becomes another person's or nobody's, so that what is held in memory is looked up again.
revisions = Table(
    "revisions",
    metadata,
    _id("account_id", primary_key=True),
    Column("revision", BigInteger, nullable=False),
)

# Who was erased, and what each service removed of them.
erasures = Table(
    "erasures",
    metadata,
    id_column(),
    Column("account_id", BigInteger, nullable=False),
    Column("mpid", BigInteger, nullable=False),
    # With those who were one with that person, as texts: JSON numbers are not exact everywhere.
    Column("mpids", JSON, nullable=False),
    # How many identities went.
    Column("removed", BigInteger, nullable=False),
    ms_column("create_time"),
    ms_column("finish_time", nullable=True),
    Index(None, "account_id", "mpid"),
    sqlite_autoincrement=True,
)

receipts = Table(
    "receipts",
    metadata,
    Column("erasure_id", ForeignKey("erasures.id"), primary_key=True, autoincrement=False),
    Column("service", Text, primary_key=True),
    Column("removed", BigInteger, nullable=False),
    # Names of places.
    Column("places", JSON, nullable=False),
    ms_column("create_time"),
)

# The keys of `domain.dedupe`, by the ten minutes in which they came (`seen.py`).
sent = Table(
    "sent",
    metadata,
    Column("span", Integer, primary_key=True, autoincrement=False),
    Column("key", LargeBinary(16), primary_key=True),
    sqlite_with_rowid=False,
)

outbox = outbox_table(metadata)
