"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("look_back_days", sa.Integer(), nullable=False),
        sa.Column("create_time_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_accounts")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("thing_id", sa.BigInteger(), nullable=False),
        sa.Column("create_time_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "method", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "audiences",
        sa.Column("audience_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_folded", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("external_name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("workspace_ids", sa.JSON(), nullable=False),
        sa.Column("input_ids", sa.JSON(), nullable=False),
        sa.Column("definition", sa.LargeBinary(), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("create_time_ms", sa.BigInteger(), nullable=False),
        sa.Column("update_time_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.Column("delete_time_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_audiences_account_id")),
        sa.PrimaryKeyConstraint("audience_id", name=op.f("pk_audiences")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        op.f("ix_audiences_account_id_create_time_ms_audience_id"), "audiences", ["account_id", "create_time_ms", "audience_id"]
    )
    op.create_index(op.f("ix_audiences_account_id_name_folded_audience_id"), "audiences", ["account_id", "name_folded", "audience_id"])
    op.create_index(
        op.f("ix_audiences_account_id_update_time_ms_audience_id"), "audiences", ["account_id", "update_time_ms", "audience_id"]
    )
    op.create_table(
        "workspaces",
        sa.Column("workspace_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("create_time_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_workspaces_account_id")),
        sa.PrimaryKeyConstraint("workspace_id", name=op.f("pk_workspaces")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_workspaces_account_id_workspace_id"), "workspaces", ["account_id", "workspace_id"])
    op.create_table(
        "audience_revisions",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("audience_id", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("definition", sa.LargeBinary(), nullable=False),
        sa.Column("workspace_ids", sa.JSON(), nullable=False),
        sa.Column("input_ids", sa.JSON(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("create_time_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["audience_id"], ["audiences.audience_id"], name=op.f("fk_audience_revisions_audience_id")),
        sa.PrimaryKeyConstraint("audience_id", "revision", name=op.f("pk_audience_revisions")),
    )
    op.create_table(
        "audience_tags",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("audience_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["audience_id"], ["audiences.audience_id"], name=op.f("fk_audience_tags_audience_id")),
        sa.PrimaryKeyConstraint("account_id", "tag", "audience_id", name=op.f("pk_audience_tags")),
    )
    op.create_index(op.f("ix_audience_tags_audience_id"), "audience_tags", ["audience_id"])
    op.create_table(
        "audience_uses",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("used_audience_id", sa.BigInteger(), nullable=False),
        sa.Column("audience_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["audience_id"], ["audiences.audience_id"], name=op.f("fk_audience_uses_audience_id")),
        sa.ForeignKeyConstraint(["used_audience_id"], ["audiences.audience_id"], name=op.f("fk_audience_uses_used_audience_id")),
        sa.PrimaryKeyConstraint("account_id", "used_audience_id", "audience_id", name=op.f("pk_audience_uses")),
    )
    op.create_index(op.f("ix_audience_uses_audience_id"), "audience_uses", ["audience_id"])
    op.create_table(
        "inputs",
        sa.Column("input_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.Column("platform", sa.Integer(), nullable=False),
        sa.Column("api_key", sa.Text(), nullable=False),
        sa.Column("api_secret_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("create_time_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_inputs_account_id")),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.workspace_id"], name=op.f("fk_inputs_workspace_id")),
        sa.PrimaryKeyConstraint("input_id", name=op.f("pk_inputs")),
        sa.UniqueConstraint("api_key", name=op.f("uq_inputs_api_key")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_inputs_account_id_input_id"), "inputs", ["account_id", "input_id"])


def downgrade() -> None:
    op.drop_table("inputs")
    op.drop_table("audience_uses")
    op.drop_table("audience_tags")
    op.drop_table("audience_revisions")
    op.drop_table("workspaces")
    op.drop_table("audiences")
    op.drop_table("outbox")
    op.drop_table("idempotency_keys")
    op.drop_table("accounts")
