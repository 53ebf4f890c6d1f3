"""The provider's own key for each push."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "push_cids",
        sa.Column("reference", sa.String(length=32), nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("cid", sa.String(length=160), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("reference", name=op.f("pk_push_cids")),
    )
    op.create_index("ix_push_cids_issued_at", "push_cids", ["issued_at"])


def downgrade() -> None:
    op.drop_table("push_cids")
