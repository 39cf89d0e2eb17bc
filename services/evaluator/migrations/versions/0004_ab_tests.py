"""Who takes part in A/B tests, and what becomes of their variations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "participants",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("ab_test_id", sa.BigInteger(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=False),
        sa.Column("locals", sa.LargeBinary(), nullable=False),
        sa.Column("times", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "ab_test_id", "partition", "round", name=op.f("pk_participants")),
    )
    op.create_table(
        "variation_history",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("ab_test_id", sa.BigInteger(), nullable=False),
        sa.Column("variation_id", sa.Integer(), nullable=False),
        sa.Column("minute_ms", sa.BigInteger(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("adds", sa.BigInteger(), nullable=False),
        sa.Column("drops", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "ab_test_id", "variation_id", "minute_ms", "part", name=op.f("pk_variation_history")),
    )
