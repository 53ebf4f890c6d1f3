"""Payments expected and made, their transitions, refunds, notifications and mismatches."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def _text(name: str, length: int, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(length=length), nullable=nullable)


def _time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _fen(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "payments",
        _text("id", 32),
        _text("backend", 64),
        _text("channel", 16),
        _text("merchant", 32),
        _text("order_no", 32),
        _fen("amount"),
        _text("currency", 3),
        _time("expires_at"),
        _text("state", 24),
        _time("paid_at", nullable=True),
        _time("closed_at", nullable=True),
        _text("provider_no", 64, nullable=True),
        _fen("refunded"),
        sa.Column("flagged", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("asked", sa.Integer(), nullable=False),
        _time("ask_at", nullable=True),
        _time("created_at"),
        _time("updated_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payments")),
        sa.UniqueConstraint(
            "channel", "merchant", "order_no", name=op.f("uq_payments_channel_merchant_order_no")
        ),
    )
    to_ask = sa.text("ask_at IS NOT NULL")
    op.create_index(
        "ix_payments_ask_at", "payments", ["ask_at"], postgresql_where=to_ask, sqlite_where=to_ask
    )
    op.create_index("ix_payments_backend_order_no", "payments", ["backend", "order_no"])
    op.create_index("ix_payments_merchant_paid_at", "payments", ["merchant", "paid_at"])
    op.create_table(
        "payment_transitions",
        _text("payment_id", 32),
        _text("transition", 96),
        _time("at"),
        _text("source", 16),
        sa.PrimaryKeyConstraint("payment_id", "transition", name=op.f("pk_payment_transitions")),
    )
    op.create_table(
        "payment_notifications",
        _text("digest", 64),
        _text("channel", 16),
        _text("merchant", 32),
        _text("job_id", 32),
        _time("received_at"),
        _text("outcome", 32, nullable=True),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_payment_notifications")),
    )
    op.create_index(
        "ix_payment_notifications_received_at", "payment_notifications", ["received_at"]
    )
    op.create_table(
        "refunds",
        _text("id", 32),
        _text("payment_id", 32),
        _text("backend", 64),
        _text("channel", 16),
        _text("merchant", 32),
        _text("refund_no", 64),
        _fen("amount", nullable=True),
        _text("reason", 32, nullable=True),
        _text("state", 16),
        _text("provider_no", 64, nullable=True),
        _text("job_id", 32, nullable=True),
        _time("created_at"),
        _time("updated_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refunds")),
        sa.UniqueConstraint(
            "channel", "merchant", "refund_no", name=op.f("uq_refunds_channel_merchant_refund_no")
        ),
    )
    op.create_index("ix_refunds_payment_id", "refunds", ["payment_id"])
    op.create_index("ix_refunds_backend_refund_no", "refunds", ["backend", "refund_no"])
    op.create_table(
        "payment_mismatches",
        _text("id", 32),
        _text("mark", 64),
        _text("backend", 64),
        _text("channel", 16),
        _text("merchant", 32),
        _text("order_no", 64, nullable=True),
        _text("refund_no", 64, nullable=True),
        _text("reason", 32),
        _fen("expected", nullable=True),
        _fen("received", nullable=True),
        _time("at"),
        _time("resolved_at", nullable=True),
        _text("resolved_by", 64, nullable=True),
        _text("resolution", 200, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payment_mismatches")),
    )
    unresolved = sa.text("resolved_at IS NULL")
    op.create_index(
        "uq_payment_mismatches_mark",
        "payment_mismatches",
        ["mark"],
        unique=True,
        postgresql_where=unresolved,
        sqlite_where=unresolved,
    )


def downgrade() -> None:
    for name in (
        "payment_mismatches",
        "refunds",
        "payment_notifications",
        "payment_transitions",
        "payments",
    ):
        op.drop_table(name)
