"""Turns of jobs about one person, and the guardian's consent beside a child's verdict."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("turn", sa.Integer(), nullable=True))
    op.add_column("identity_verdicts", sa.Column("guardian_ref", sa.String(64), nullable=True))
    op.create_index(
        "ix_identity_verdicts_guardian", "identity_verdicts", ["backend", "guardian_ref"]
    )


def downgrade() -> None:
    op.drop_index("ix_identity_verdicts_guardian", "identity_verdicts")
    with op.batch_alter_table("identity_verdicts", schema=None) as batch_op:
        batch_op.drop_column("guardian_ref")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_column("turn")
