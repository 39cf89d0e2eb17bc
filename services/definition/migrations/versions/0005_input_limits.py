"""How much an input may send."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("inputs", sa.Column("events_per_second", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("inputs", sa.Column("events_per_day", sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("inputs", "events_per_day")
    op.drop_column("inputs", "events_per_second")
