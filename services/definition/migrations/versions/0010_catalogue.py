"""The catalogue: what names there are in the data."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_folded = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "catalogue_names",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("input_id", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_folded", _folded, nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("first_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "workspace_id", "input_id", "type", "name", name=op.f("pk_catalogue_names")),
    )
    op.create_table(
        "catalogue_attributes",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("input_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.Column("type", sa.Integer(), nullable=False),
        sa.Column("event_name", sa.Text(), nullable=False),
        sa.Column("attribute", sa.Text(), nullable=False),
        sa.Column("attribute_folded", _folded, nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("first_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_ms", sa.BigInteger(), nullable=False),
        sa.Column("strings", sa.BigInteger(), nullable=False),
        sa.Column("numbers", sa.BigInteger(), nullable=False),
        sa.Column("booleans", sa.BigInteger(), nullable=False),
        sa.Column("dates", sa.BigInteger(), nullable=False),
        sa.Column("lists", sa.BigInteger(), nullable=False),
        sa.Column("sketch", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint(
            "account_id", "workspace_id", "input_id", "kind", "type", "event_name", "attribute", name=op.f("pk_catalogue_attributes")
        ),
    )
    op.create_table(
        "catalogue_workspaces",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("names", sa.BigInteger(), nullable=False),
        sa.Column("attributes", sa.BigInteger(), nullable=False),
        sa.Column("unlisted_events", sa.BigInteger(), nullable=False),
        sa.Column("unlisted_attributes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "workspace_id", name=op.f("pk_catalogue_workspaces")),
    )
    op.create_table(
        "catalogue_entries",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.Column("type", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("deprecated", sa.Boolean(), nullable=False),
        sa.Column("deprecation_note", sa.Text(), nullable=False),
        sa.Column("update_time_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "workspace_id", "kind", "type", "name", name=op.f("pk_catalogue_entries")),
    )
    op.create_table(
        "catalogue_reading",
        sa.Column("reading_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("reading_id", name=op.f("pk_catalogue_reading")),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("lease_until_ms", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "catalogue_batches",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", name=op.f("pk_catalogue_batches")),
        sa.Column("take_time_ms", sa.BigInteger(), nullable=False),
    )
    op.create_index(op.f("ix_catalogue_batches_take_time_ms"), "catalogue_batches", ["take_time_ms"])


def downgrade() -> None:
    for name in (
        "catalogue_batches",
        "catalogue_reading",
        "catalogue_entries",
        "catalogue_workspaces",
        "catalogue_attributes",
        "catalogue_names",
    ):
        op.drop_table(name)
