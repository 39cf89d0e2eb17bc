"""Audiences that are archived, and what becomes of audiences by themselves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("audiences", sa.Column("archive_time_ms", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("audiences", sa.Column("schedule", sa.JSON()))
    op.add_column("audiences", sa.Column("schedule_time_ms", sa.BigInteger()))
    op.create_index(op.f("ix_audiences_schedule_time_ms"), "audiences", ["schedule_time_ms"])


def downgrade() -> None:
    op.drop_index(op.f("ix_audiences_schedule_time_ms"), "audiences")
    op.drop_column("audiences", "schedule_time_ms")
    op.drop_column("audiences", "schedule")
    op.drop_column("audiences", "archive_time_ms")
