"""What becomes of texts after a provider accepted them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_UNDECIDED = sa.text("state = 'accepted'")


def upgrade() -> None:
    op.create_table(
        "deliveries",
        sa.Column("reference", sa.String(length=32), nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("backend", sa.String(length=64), nullable=False),
        sa.Column("road", sa.String(length=32), nullable=False),
        sa.Column("scene", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("biz_id", sa.String(length=160), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=160), nullable=True),
        sa.Column("provider_code", sa.String(length=160), nullable=True),
        sa.Column("source", sa.String(length=16), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("bucket", sa.String(length=10), nullable=True),
        sa.Column("ask_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("reference"),
    )
    op.create_index("ix_deliveries_accepted_at", "deliveries", ["accepted_at"])
    op.create_index(
        "ix_deliveries_ask_at",
        "deliveries",
        ["ask_at"],
        postgresql_where=_UNDECIDED,
        sqlite_where=_UNDECIDED,
    )


def downgrade() -> None:
    op.drop_table("deliveries")
