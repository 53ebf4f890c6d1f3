"""Mismatches that the backend is not told of yet; one payment for each order of a merchant."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("payment_mismatches") as batch_op:
        batch_op.add_column(
            sa.Column("told", sa.Boolean(), server_default=sa.true(), nullable=False)
        )
    op.create_index(
        "uq_payments_merchant_order_no", "payments", ["merchant", "order_no"], unique=True
    )


def downgrade() -> None:
    op.drop_index("uq_payments_merchant_order_no", "payments")
    with op.batch_alter_table("payment_mismatches") as batch_op:
        batch_op.drop_column("told")
