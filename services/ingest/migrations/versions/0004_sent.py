"""What was sent before, by the ten minutes in which it came."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "sent",
        sa.Column("span", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("key", sa.LargeBinary(16), nullable=False),
        sa.PrimaryKeyConstraint("span", "key", name="pk_sent"),
        sqlite_with_rowid=False,
    )
    op.execute("INSERT INTO sent (span, key) SELECT seen_time / 600000, key FROM seen")
    op.drop_table("seen")
