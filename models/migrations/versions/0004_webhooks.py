"""Webhook endpoints; lanes; which jobs' ends are announced."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_IN_LANE = sa.text("lane IS NOT NULL")
_UNANNOUNCED = sa.text("announces AND settled_at IS NOT NULL AND coalesce(announced, '') <> state")


def upgrade() -> None:
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("lane", sa.String(length=128), nullable=True))
        batch_op.add_column(sa.Column("position", sa.Integer(), nullable=True))
        batch_op.add_column(
            sa.Column("announces", sa.Boolean(), server_default=sa.false(), nullable=False)
        )
        batch_op.add_column(sa.Column("announced", sa.String(length=16), nullable=True))
        batch_op.create_index(
            "ix_jobs_lane",
            ["lane", "position"],
            unique=False,
            postgresql_where=_IN_LANE,
            sqlite_where=_IN_LANE,
        )
        batch_op.create_index(
            "ix_jobs_unannounced",
            ["settled_at"],
            unique=False,
            postgresql_where=_UNANNOUNCED,
            sqlite_where=_UNANNOUNCED,
        )
    op.create_table(
        "webhook_endpoints",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("backend", sa.String(length=64), nullable=False),
        sa.Column("url", sa.String(length=512), nullable=False),
        sa.Column(
            "events",
            sa.JSON(none_as_null=True).with_variant(
                postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), "postgresql"
            ),
            nullable=False,
        ),
        sa.Column("key_id", sa.String(length=16), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("master_key", sa.String(length=32), nullable=False),
        sa.Column("previous_key_id", sa.String(length=16), nullable=True),
        sa.Column("previous_secret", sa.LargeBinary(), nullable=True),
        sa.Column("previous_master_key", sa.String(length=32), nullable=True),
        sa.Column("previous_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_because", sa.String(length=160), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_endpoints")),
    )
    with op.batch_alter_table("webhook_endpoints", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_webhook_endpoints_backend"), ["backend"], unique=False)


def downgrade() -> None:
    op.drop_table("webhook_endpoints")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index("ix_jobs_unannounced")
        batch_op.drop_index("ix_jobs_lane")
        for name in ("announced", "announces", "position", "lane"):
            batch_op.drop_column(name)
