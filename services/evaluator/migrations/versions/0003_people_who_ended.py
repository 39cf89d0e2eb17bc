"""People who ended: deleted, or one with another."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "ended",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("mpid", sa.BigInteger(), nullable=False),
        sa.Column("into_mpid", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("end_time_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "partition", "mpid", name=op.f("pk_ended")),
    )
    op.create_index("ix_ended_end_time_ms", "ended", ["end_time_ms"])
    with op.batch_alter_table("stored") as stored:
        stored.add_column(sa.Column("erased", sa.BigInteger(), server_default="0", nullable=False))
