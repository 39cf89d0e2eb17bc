"""A/B tests."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "ab_tests",
        sa.Column("ab_test_id", _Id, primary_key=True),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("audience_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("variations", sa.JSON(), nullable=False),
        sa.Column("create_time_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("delete_time_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_ab_tests_account_id_accounts")),
        sa.ForeignKeyConstraint(["audience_id"], ["audiences.audience_id"], name=op.f("fk_ab_tests_audience_id_audiences")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_ab_tests_account_id_audience_id"), "ab_tests", ["account_id", "audience_id"])
    op.add_column("audiences", sa.Column("ab_test_id", sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("audiences", "ab_test_id")
    op.drop_table("ab_tests")
