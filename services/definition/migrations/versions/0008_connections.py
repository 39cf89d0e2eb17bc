"""A copy of what the forwarder tells of connections."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "connections",
        sa.Column("account_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("connection_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("audience_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("variation", sa.Text(), nullable=False),
        sa.Column("configuration_id", sa.BigInteger(), nullable=False),
        sa.Column("configuration_name", sa.Text(), nullable=False),
        sa.Column("integration_key", sa.Text(), nullable=False),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("fault", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "connection_id", name=op.f("pk_connections")),
    )
    op.create_index(op.f("ix_connections_account_id_audience_id"), "connections", ["account_id", "audience_id"])


def downgrade() -> None:
    op.drop_table("connections")
