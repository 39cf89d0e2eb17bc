"""Identities, what was seen before, and the outbox."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "identities",
        sa.Column("key", sa.LargeBinary(16), nullable=False),
        sa.Column("account_id", sa.BigInteger, nullable=False),
        sa.Column("mpid", sa.BigInteger, nullable=False),
        sa.Column("type", sa.SmallInteger, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_identities"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_identities_account_id_mpid", "identities", ["account_id", "mpid"])
    op.create_table(
        "seen",
        sa.Column("key", sa.LargeBinary(16), nullable=False),
        sa.Column("seen_time", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_seen"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_seen_seen_time", "seen", ["seen_time"])
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), autoincrement=True, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("headers", sa.JSON, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sqlite_autoincrement=True,
    )
