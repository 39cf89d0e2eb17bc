"""Erasures and what other services removed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), autoincrement=True, nullable=False),
        sa.Column("account_id", sa.BigInteger, nullable=False),
        sa.Column("mpid", sa.BigInteger, nullable=False),
        sa.Column("mpids", sa.JSON, nullable=False),
        sa.Column("removed", sa.BigInteger, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("finish_time", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_erasures"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_erasures_account_id_mpid", "erasures", ["account_id", "mpid"])
    op.create_table(
        "receipts",
        sa.Column("erasure_id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("removed", sa.BigInteger, nullable=False),
        sa.Column("places", sa.JSON, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["erasure_id"], ["erasures.id"], name="fk_receipts_erasure_id_erasures"),
        sa.PrimaryKeyConstraint("erasure_id", "service", name="pk_receipts"),
    )
