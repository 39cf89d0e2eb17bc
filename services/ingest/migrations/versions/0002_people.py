"""People who are one with others, and erasures."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("identities", sa.Column("enter_time", sa.BigInteger, nullable=False, server_default="0"))
    op.create_table(
        "merged",
        sa.Column("account_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("mpid", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("into", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "mpid", name="pk_merged"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_merged_account_id_into", "merged", ["account_id", "into"])
    op.create_table(
        "merges",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), autoincrement=True, nullable=False),
        sa.Column("account_id", sa.BigInteger, nullable=False),
        sa.Column("mpid", sa.BigInteger, nullable=False),
        sa.Column("into", sa.BigInteger, nullable=False),
        sa.Column("type", sa.SmallInteger, nullable=False),
        sa.Column("input_id", sa.BigInteger, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("undo_time", sa.BigInteger, nullable=True),
        sa.Column("new_mpid", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_merges"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_merges_account_id_mpid", "merges", ["account_id", "mpid"])
    op.create_index("ix_merges_account_id_into", "merges", ["account_id", "into"])
    op.create_table(
        "revisions",
        sa.Column("account_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("account_id", name="pk_revisions"),
    )
