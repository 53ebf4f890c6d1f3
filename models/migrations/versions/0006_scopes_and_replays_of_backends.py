"""Scopes of API keys; replays that belong to a backend."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("api_keys", schema=None) as batch_op:
        # Keys that exist go on doing what they could do.
        batch_op.add_column(
            sa.Column(
                "scopes", sa.String(length=200), server_default="enqueue read", nullable=False
            )
        )
    with op.batch_alter_table("replays", schema=None) as batch_op:
        batch_op.add_column(sa.Column("backend", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("fingerprint", sa.String(length=64), nullable=True))
    with op.batch_alter_table("replay_items", schema=None) as batch_op:
        batch_op.create_index(
            "ix_replay_items_pending",
            ["replay_id"],
            unique=False,
            postgresql_where=sa.text("verdict IS NULL"),
            sqlite_where=sa.text("verdict IS NULL"),
        )


def downgrade() -> None:
    with op.batch_alter_table("replay_items", schema=None) as batch_op:
        batch_op.drop_index("ix_replay_items_pending")
    with op.batch_alter_table("replays", schema=None) as batch_op:
        batch_op.drop_column("fingerprint")
        batch_op.drop_column("backend")
    with op.batch_alter_table("api_keys", schema=None) as batch_op:
        batch_op.drop_column("scopes")
