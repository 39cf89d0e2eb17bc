"""The tables of the definition service. Every row belongs to an account, but for the position of the catalogue; of things that were defined
nothing is ever deleted."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    false,
)

from services.chassis.audit import audit_tables
from services.chassis.database import id_column, ms_column, new_metadata
from services.chassis.outbox import outbox_table

metadata = new_metadata()

# Sorted by code points in both databases, so that pages and their order are alike.
_Folded = Text().with_variant(Text(collation="C"), "postgresql")


def _account_id() -> Column[int]:
    return Column("account_id", BigInteger, ForeignKey("accounts.account_id"), nullable=False)


def _version() -> Column[int]:
    """Grows with each change of the row; the etag is made of it."""
    return Column("version", BigInteger, nullable=False)


accounts = Table(
    "accounts",
    metadata,
    id_column("account_id"),
    _version(),
    Column("name", Text, nullable=False),
    Column("look_back_days", Integer, nullable=False),
    ms_column("create_time_ms"),
    # {"rules": [[type, max_values, moves] each], "keep_apart"}; null: the usual ones.
    Column("identity_rules", JSON(none_as_null=True)),
    sqlite_autoincrement=True,
)

workspaces = Table(
    "workspaces",
    metadata,
    id_column("workspace_id"),
    _account_id(),
    _version(),
    Column("name", Text, nullable=False),
    ms_column("create_time_ms"),
    # [kind, attribute, type] each.
    Column("attribute_overrides", JSON, nullable=False, server_default="[]"),
    Index(None, "account_id", "workspace_id"),
    sqlite_autoincrement=True,
)

inputs = Table(
    "inputs",
    metadata,
    id_column("input_id"),
    _account_id(),
    Column("workspace_id", BigInteger, ForeignKey("workspaces.workspace_id"), nullable=False),
    _version(),
    Column("name", Text, nullable=False),
    Column("kind", Integer, nullable=False),
    Column("platform", Integer, nullable=False),
    Column("api_key", Text, nullable=False, unique=True),
    Column("api_secret_sha256", LargeBinary, nullable=False),
    Column("state", Integer, nullable=False),
    ms_column("create_time_ms"),
    Column("allow_key_only", Boolean, nullable=False, server_default=false()),
    Column("events_per_second", BigInteger, nullable=False, server_default="0"),
    Column("events_per_day", BigInteger, nullable=False, server_default="0"),
    Index(None, "account_id", "input_id"),
    sqlite_autoincrement=True,
)

# `definition` here and in the revisions is the message of the contract, serialised.
audiences = Table(
    "audiences",
    metadata,
    id_column("audience_id"),
    _account_id(),
    _version(),
    Column("name", Text, nullable=False),
    Column("name_folded", _Folded, nullable=False),
    Column("external_name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("workspace_ids", JSON, nullable=False),
    Column("input_ids", JSON, nullable=False),
    Column("definition", LargeBinary, nullable=False),
    Column("tags", JSON, nullable=False),
    Column("state", Integer, nullable=False),
    Column("revision", BigInteger, nullable=False),
    ms_column("create_time_ms"),
    ms_column("update_time_ms"),
    Column("created_by", Text, nullable=False),
    Column("updated_by", Text, nullable=False),
    ms_column("delete_time_ms"),
    # Of its A/B test; 0: none.
    Column("ab_test_id", BigInteger, nullable=False, server_default="0"),
    Column("archive_time_ms", BigInteger, nullable=False, server_default="0"),
    # {"activate_time_ms", "deactivate_time_ms", "set_by", "fault"}; null: nothing becomes of it by itself.
    Column("schedule", JSON(none_as_null=True)),
    # The instant of what comes first of the schedule; null: there is nothing.
    ms_column("schedule_time_ms", nullable=True),
    Index(None, "schedule_time_ms"),
    Index(None, "account_id", "name_folded", "audience_id"),
    Index(None, "account_id", "create_time_ms", "audience_id"),
    Index(None, "account_id", "update_time_ms", "audience_id"),
    sqlite_autoincrement=True,
)

# The tags again, a row each, to be searched by.
audience_tags = Table(
    "audience_tags",
    metadata,
    Column("account_id", BigInteger, nullable=False),
    Column("tag", Text, nullable=False),
    Column("audience_id", BigInteger, ForeignKey("audiences.audience_id"), nullable=False),
    PrimaryKeyConstraint("account_id", "tag", "audience_id"),
    Index(None, "audience_id"),
)

# Which audiences' members an audience reads: what its definition says, a row each. A deleted audience uses none.
audience_uses = Table(
    "audience_uses",
    metadata,
    Column("account_id", BigInteger, nullable=False),
    Column("used_audience_id", BigInteger, ForeignKey("audiences.audience_id"), nullable=False),
    Column("audience_id", BigInteger, ForeignKey("audiences.audience_id"), nullable=False),
    PrimaryKeyConstraint("account_id", "used_audience_id", "audience_id"),
    Index(None, "audience_id"),
)

audience_revisions = Table(
    "audience_revisions",
    metadata,
    Column("account_id", BigInteger, nullable=False),
    Column("audience_id", BigInteger, ForeignKey("audiences.audience_id"), nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("definition", LargeBinary, nullable=False),
    Column("workspace_ids", JSON, nullable=False),
    Column("input_ids", JSON, nullable=False),
    Column("author", Text, nullable=False),
    Column("note", Text, nullable=False),
    ms_column("create_time_ms"),
    PrimaryKeyConstraint("audience_id", "revision"),
)

ab_tests = Table(
    "ab_tests",
    metadata,
    id_column("ab_test_id"),
    _account_id(),
    Column("audience_id", BigInteger, ForeignKey("audiences.audience_id"), nullable=False),
    _version(),
    Column("name", Text, nullable=False),
    # [name, percentage] each, in their order.
    Column("variations", JSON, nullable=False),
    ms_column("create_time_ms"),
    Column("created_by", Text, nullable=False),
    ms_column("delete_time_ms"),
    Index(None, "account_id", "audience_id"),
    sqlite_autoincrement=True,
)

# A copy of what the forwarder tells of connections, deleted ones too. `version` tells which fact it is of.
connections = Table(
    "connections",
    metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("connection_id", BigInteger, primary_key=True, autoincrement=False),
    Column("audience_id", BigInteger, nullable=False),
    _version(),
    Column("variation", Text, nullable=False),
    Column("configuration_id", BigInteger, nullable=False),
    Column("configuration_name", Text, nullable=False),
    Column("integration_key", Text, nullable=False),
    # Of muster.forwarder.v1.ConnectionState.
    Column("state", Integer, nullable=False),
    Column("fault", Text, nullable=False),
    Index(None, "account_id", "audience_id"),
)

# A copy of what the sharing service tells of shares that the account offered, ended ones too.
shares = Table(
    "shares",
    metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("share_id", BigInteger, primary_key=True, autoincrement=False),
    Column("audience_id", BigInteger, nullable=False),
    _version(),
    Column("receiver_name", Text, nullable=False),
    # Of muster.sharing.v1.ShareState.
    Column("state", Integer, nullable=False),
    Index(None, "account_id", "audience_id"),
)

# Which thing a create with an idempotency key made, and what was asked for. Account 0: the operator of the installation.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("account_id", BigInteger, nullable=False),
    Column("method", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("request_sha256", LargeBinary, nullable=False),
    Column("thing_id", BigInteger, nullable=False),
    ms_column("create_time_ms"),
    PrimaryKeyConstraint("account_id", "method", "key"),
)

# The catalogue: what has arrived, by the input that it came from. No person is in it.
catalogue_names = Table(
    "catalogue_names",
    metadata,
    Column("account_id", BigInteger, nullable=False),
    Column("workspace_id", BigInteger, nullable=False),
    Column("input_id", BigInteger, nullable=False),
    Column("type", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("name_folded", _Folded, nullable=False),
    Column("count", BigInteger, nullable=False),
    ms_column("first_ms"),
    ms_column("last_ms"),
    PrimaryKeyConstraint("account_id", "workspace_id", "input_id", "type", "name"),
)

# `type` and `event_name` are those of the events that it comes with; 0 and empty for an attribute of users. Then how many values read as
# what, and a ValueSketch.
catalogue_attributes = Table(
    "catalogue_attributes",
    metadata,
    Column("account_id", BigInteger, nullable=False),
    Column("workspace_id", BigInteger, nullable=False),
    Column("input_id", BigInteger, nullable=False),
    Column("kind", Integer, nullable=False),
    Column("type", Integer, nullable=False),
    Column("event_name", Text, nullable=False),
    Column("attribute", Text, nullable=False),
    Column("attribute_folded", _Folded, nullable=False),
    Column("count", BigInteger, nullable=False),
    ms_column("first_ms"),
    ms_column("last_ms"),
    Column("strings", BigInteger, nullable=False),
    Column("numbers", BigInteger, nullable=False),
    Column("booleans", BigInteger, nullable=False),
    Column("dates", BigInteger, nullable=False),
    Column("lists", BigInteger, nullable=False),
    Column("sketch", LargeBinary, nullable=False),
    PrimaryKeyConstraint("account_id", "workspace_id", "input_id", "kind", "type", "event_name", "attribute"),
)

# How many rows of those two a workspace has, and how much came under names beyond the bound.
catalogue_workspaces = Table(
    "catalogue_workspaces",
    metadata,
    Column("account_id", BigInteger, nullable=False),
    Column("workspace_id", BigInteger, nullable=False),
    Column("names", BigInteger, nullable=False),
    Column("attributes", BigInteger, nullable=False),
    Column("unlisted_events", BigInteger, nullable=False),
    Column("unlisted_attributes", BigInteger, nullable=False),
    PrimaryKeyConstraint("account_id", "workspace_id"),
)

# What people say of a name; `kind` is a CatalogueKind, `type` 0 for attributes.
catalogue_entries = Table(
    "catalogue_entries",
    metadata,
    Column("account_id", BigInteger, nullable=False),
    Column("workspace_id", BigInteger, nullable=False),
    Column("kind", Integer, nullable=False),
    Column("type", Integer, nullable=False),
    Column("name", Text, nullable=False),
    _version(),
    Column("description", Text, nullable=False),
    Column("deprecated", Boolean, nullable=False),
    Column("deprecation_note", Text, nullable=False),
    ms_column("update_time_ms"),
    Column("updated_by", Text, nullable=False),
    PrimaryKeyConstraint("account_id", "workspace_id", "kind", "type", "name"),
)

# One row: up to which message of which stream EVENTS all is in the catalogue, and which process reads on until when.
catalogue_reading = Table(
    "catalogue_reading",
    metadata,
    Column("reading_id", Integer, primary_key=True, autoincrement=False),
    Column("stream", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("owner", Text, nullable=False),
    ms_column("lease_until_ms"),
)

# The batches that are in it, for a day: one may be published again under another number.
catalogue_batches = Table(
    "catalogue_batches",
    metadata,
    Column("batch_id", Text, primary_key=True),
    ms_column("take_time_ms"),
    Index(None, "take_time_ms"),
)

outbox = outbox_table(metadata)

audit_heads, audit_entries = audit_tables(metadata)
