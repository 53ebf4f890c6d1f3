"""Verdicts about identities; jobs that forget their payload at every end."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("forgets", sa.Boolean(), server_default=sa.false(), nullable=False)
        )
    op.create_table(
        "identity_verdicts",
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("backend", sa.String(length=64), nullable=False),
        sa.Column("consent_ref", sa.String(length=64), nullable=False),
        sa.Column("provider_request_id", sa.String(length=160), nullable=True),
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", name=op.f("pk_identity_verdicts")),
    )
    for column in ("at", "subject"):
        op.create_index(f"ix_identity_verdicts_{column}", "identity_verdicts", [column])
    op.create_index("ix_identity_verdicts_consent", "identity_verdicts", ["backend", "consent_ref"])


def downgrade() -> None:
    op.drop_table("identity_verdicts")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_column("forgets")
