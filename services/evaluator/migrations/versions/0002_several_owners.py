"""Several evaluators: owners of partitions, what each event store holds, and history as sums over owners."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "takeovers",
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("partition", "epoch", name=op.f("pk_takeovers")),
    )
    op.create_table(
        "stored",
        sa.Column("store_id", sa.String(length=64), nullable=False),
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("store_id", "partition", name=op.f("pk_stored")),
    )
    with op.batch_alter_table("positions") as positions:
        positions.add_column(sa.Column("epoch", sa.BigInteger(), server_default="0", nullable=False))
    with op.batch_alter_table("batches") as batches:
        batches.add_column(sa.Column("sequence", sa.BigInteger(), server_default="0", nullable=False))
    op.rename_table("history", "history_of_one")
    op.create_table(
        "history",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("audience_id", sa.BigInteger(), nullable=False),
        sa.Column("minute_ms", sa.BigInteger(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("growth", sa.BigInteger(), nullable=False),
        sa.Column("adds", sa.BigInteger(), nullable=False),
        sa.Column("drops", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "audience_id", "minute_ms", "part", name=op.f("pk_history_by_part")),
    )
    op.execute(
        "INSERT INTO history SELECT account_id, audience_id, minute_ms, 0, "
        "size - coalesce(lag(size) OVER (PARTITION BY account_id, audience_id ORDER BY minute_ms), 0), adds, drops FROM history_of_one"
    )
    op.drop_table("history_of_one")
