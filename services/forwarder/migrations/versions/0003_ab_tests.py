"""A/B tests of audiences, and connections of their variations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "ab_tests",
        sa.Column("account_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ab_test_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("audience_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("variations", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "ab_test_id", name="pk_ab_tests"),
    )
    op.create_index("ix_ab_tests_audience", "ab_tests", ["account_id", "audience_id"])
    op.add_column("connections", sa.Column("ab_test_id", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("connections", sa.Column("variation_id", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("connections", "variation_id")
    op.drop_column("connections", "ab_test_id")
    op.drop_table("ab_tests")
