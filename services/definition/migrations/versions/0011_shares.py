"""A copy of what the sharing service tells of shares."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "shares",
        sa.Column("account_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("share_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("audience_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("receiver_name", sa.Text(), nullable=False),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "share_id", name=op.f("pk_shares")),
    )
    op.create_index(op.f("ix_shares_account_id_audience_id"), "shares", ["account_id", "audience_id"])


def downgrade() -> None:
    op.drop_table("shares")
