"""The tables of the forwarder. JSON texts and the encodings in them are made in `stores/`."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Column, ForeignKey, Index, Integer, LargeBinary, Table, Text, UniqueConstraint, text

from services.chassis.audit import audit_tables
from services.chassis.database import id_column, ms_column, new_metadata
from services.chassis.outbox import outbox_table

metadata = new_metadata()


def _id(name: str, *, primary_key: bool = False) -> Column[int]:
    # Never numbered by the database: these come from elsewhere.
    return Column(name, BigInteger, nullable=False, primary_key=primary_key, autoincrement=False)


configurations = Table(
    "configurations",
    metadata,
    id_column(),
    _id("account_id"),
    Column("integration_key", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("settings", JSON, nullable=False),
    # Apart from the settings: never returned, never logged.
    Column("secrets", JSON, nullable=False),
    Column("version", BigInteger, nullable=False),
    ms_column("create_time"),
    ms_column("update_time"),
    ms_column("delete_time", nullable=True),
    Column("idempotency_key", Text),
    UniqueConstraint("account_id", "idempotency_key"),
    sqlite_autoincrement=True,
)

connections = Table(
    "connections",
    metadata,
    id_column(),
    _id("account_id"),
    _id("audience_id"),
    Column("variation", Text, nullable=False),
    # Of the variation; 0: the whole audience.
    Column("ab_test_id", BigInteger, nullable=False, server_default="0"),
    Column("variation_id", Integer, nullable=False, server_default="0"),
    Column("configuration_id", ForeignKey("configurations.id"), nullable=False, index=True),
    Column("settings", JSON, nullable=False),
    Column("state", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("fault_cause", Integer),
    Column("fault_message", Text),
    ms_column("fault_time", nullable=True),
    Column("fault_waiting", BigInteger),
    Column("pause_reason", Text, nullable=False),
    # Whether the partner was told that the connection started, and what it answered.
    Column("subscribed", Boolean, nullable=False),
    Column("subscription", JSON, nullable=False),
    Column("delivered_members", BigInteger, nullable=False),
    ms_column("last_delivery_time", nullable=True),
    ms_column("create_time"),
    ms_column("update_time"),
    Column("idempotency_key", Text),
    # The process that works for it, until when unless it says so again.
    Column("lease_owner", Text),
    ms_column("lease_end"),
    UniqueConstraint("account_id", "idempotency_key"),
    Index(
        "uq_connections_live",
        "account_id",
        "audience_id",
        "variation",
        "configuration_id",
        unique=True,
        sqlite_where=text("state <> 'deleted'"),
        postgresql_where=text("state <> 'deleted'"),
    ),
    sqlite_autoincrement=True,
)

# A copy of what the definition service tells.
audiences = Table(
    "audiences",
    metadata,
    _id("account_id", primary_key=True),
    _id("audience_id", primary_key=True),
    Column("name", Text, nullable=False),
    Column("external_name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    # Whether its members are followed here: they are, from a snapshot on, while it has connections.
    Column("following", Text, nullable=False),
    Column("follow_mark", BigInteger, nullable=False),
)

# A copy of what the definition service tells: [name, percentage] of each variation; none of a deleted test.
ab_tests = Table(
    "ab_tests",
    metadata,
    _id("account_id", primary_key=True),
    _id("ab_test_id", primary_key=True),
    _id("audience_id"),
    Column("version", BigInteger, nullable=False),
    Column("variations", JSON, nullable=False),
    Index("ix_ab_tests_audience", "account_id", "audience_id"),
)

# A copy of what the evaluator tells, for connected audiences.
members = Table(
    "members",
    metadata,
    _id("account_id", primary_key=True),
    _id("audience_id", primary_key=True),
    _id("mpid", primary_key=True),
    Index("ix_members_mpid", "account_id", "mpid"),
    sqlite_with_rowid=False,
)

# Where that copy stands.
member_rounds = Table(
    "member_rounds",
    metadata,
    _id("account_id", primary_key=True),
    _id("audience_id", primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("round", BigInteger, nullable=False),
    Column("piece", Integer, nullable=False),
    Column("pieces", Integer, nullable=False),
    ms_column("as_of"),
)

# Membership facts that came while a snapshot was being taken, to be looked at after it, in their order.
held_facts = Table(
    "held_facts",
    metadata,
    id_column(),
    _id("account_id"),
    _id("audience_id"),
    Column("body", LargeBinary, nullable=False),
    Index("ix_held_facts_audience", "account_id", "audience_id"),
    sqlite_autoincrement=True,
)

# The people to look at. `mark` is another number with each marking.
waiting = Table(
    "waiting",
    metadata,
    _id("connection_id", primary_key=True),
    _id("mpid", primary_key=True),
    Column("mark", BigInteger, nullable=False),
    ms_column("since"),
    Index("ix_waiting_since", "connection_id", "since"),
    sqlite_with_rowid=False,
)

# What the partner last accepted of each person.
ledger = Table(
    "ledger",
    metadata,
    _id("connection_id", primary_key=True),
    _id("mpid", primary_key=True),
    Column("identities", Text, nullable=False),
    ms_column("accept_time"),
    sqlite_with_rowid=False,
)

deliveries = Table(
    "deliveries",
    metadata,
    id_column(),
    _id("account_id"),
    _id("connection_id"),
    Column("request_id", Text, nullable=False, unique=True),
    Column("purpose", Text, nullable=False),
    # What the request is made of, so that each try is alike; gone once it is finished.
    Column("audience_name", Text, nullable=False),
    Column("subscription", JSON, nullable=False),
    Column("changes", Text),
    Column("outcome", Text, nullable=False),
    # Whether the partner may have taken it, although it did not say so.
    Column("in_doubt", Boolean, nullable=False),
    Column("adds", Integer, nullable=False),
    Column("drops", Integer, nullable=False),
    Column("updates", Integer, nullable=False),
    Column("rejected", Integer, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("message", Text, nullable=False),
    ms_column("create_time"),
    ms_column("finish_time", nullable=True),
    Index("ix_deliveries_connection", "connection_id", "id"),
    Index("ix_deliveries_finish", "finish_time"),
    Index(
        "uq_deliveries_pending",
        "connection_id",
        unique=True,
        sqlite_where=text("outcome = 'pending'"),
        postgresql_where=text("outcome = 'pending'"),
    ),
    sqlite_autoincrement=True,
)

# People who were deleted, of whom partners may still have something.
erasures = Table(
    "erasures",
    metadata,
    _id("account_id", primary_key=True),
    _id("mpid", primary_key=True),
    # Where they were, in words, and how many records.
    Column("places", JSON, nullable=False),
    Column("records", BigInteger, nullable=False),
    ms_column("since"),
)

rejected_records = Table(
    "rejected_records",
    metadata,
    _id("connection_id", primary_key=True),
    _id("mpid", primary_key=True),
    Column("kind", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    ms_column("time"),
)

outbox = outbox_table(metadata)

audit_heads, audit_entries = audit_tables(metadata)
