"""People who were deleted, of whom partners may still have something."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column("account_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("mpid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("places", sa.JSON(), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "mpid", name="pk_erasures"),
    )


def downgrade() -> None:
    op.drop_table("erasures")
