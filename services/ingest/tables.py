"""The tables of ingest: who is who, what was sent before, and what is still to be published."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, LargeBinary, SmallInteger, Table, Text

from services.chassis.database import ms_column, new_metadata
from services.chassis.outbox import outbox_table

metadata = new_metadata()

# Found by the 16 bytes of `domain.identities.key_of`, so that one short index serves values of any length.
identities = Table(
    "identities",
    metadata,
    Column("key", LargeBinary(16), primary_key=True),
    Column("account_id", BigInteger, nullable=False),
    Column("mpid", BigInteger, nullable=False),
    Column("type", SmallInteger, nullable=False),
    Column("value", Text, nullable=False),
    Index(None, "account_id", "mpid"),
    sqlite_with_rowid=False,
)

# The keys of `domain.dedupe`, kept for the look-back and a day more.
seen = Table(
    "seen",
    metadata,
    Column("key", LargeBinary(16), primary_key=True),
    ms_column("seen_time"),
    Index(None, "seen_time"),
    sqlite_with_rowid=False,
)

outbox = outbox_table(metadata)
