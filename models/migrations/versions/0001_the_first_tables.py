"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("backend", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_keys_digest")),
    )
    op.create_table(
        "attempts",
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("worker_id", sa.String(length=32), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("event", sa.String(length=16), nullable=False),
        sa.Column("counted", sa.Boolean(), nullable=False),
        sa.Column("code", sa.String(length=160), nullable=True),
        sa.Column("provider_code", sa.String(length=160), nullable=True),
        sa.Column("milliseconds", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "fence", name=op.f("pk_attempts")),
    )
    op.create_table(
        "data_keys",
        sa.Column("bucket", sa.String(length=10), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=True),
        sa.Column("master_key", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("destroyed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("bucket", name=op.f("pk_data_keys")),
    )
    op.create_table(
        "disclosure_results",
        sa.Column("disclosure_id", sa.String(length=32), nullable=False),
        sa.Column("result", sa.String(length=16), nullable=False),
        sa.Column("http_status", sa.Integer(), nullable=True),
        sa.Column("provider_code", sa.String(length=160), nullable=True),
        sa.Column("provider_request_id", sa.String(length=160), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("milliseconds", sa.Float(), nullable=False),
        sa.Column("writer", sa.String(length=32), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("mac", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("writer", "seq", name=op.f("pk_disclosure_results")),
    )
    with op.batch_alter_table("disclosure_results", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_disclosure_results_disclosure_id"), ["disclosure_id"], unique=False
        )

    op.create_table(
        "disclosures",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("operation", sa.String(length=64), nullable=False),
        sa.Column("recipient", sa.String(length=64), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("purpose", sa.String(length=64), nullable=False),
        sa.Column(
            "clauses",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=False,
        ),
        sa.Column("policy_version", sa.String(length=32), nullable=False),
        sa.Column(
            "categories",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "stripped",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=False,
        ),
        sa.Column("subject", sa.String(length=64), nullable=True),
        sa.Column("consent_ref", sa.String(length=128), nullable=True),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=160), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("writer", sa.String(length=32), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("mac", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_disclosures")),
        sa.UniqueConstraint("writer", "seq", name=op.f("uq_disclosures_writer_seq")),
    )
    with op.batch_alter_table("disclosures", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_disclosures_job_id"), ["job_id"], unique=False)
        batch_op.create_index("ix_disclosures_recipient_at", ["recipient", "at"], unique=False)
        batch_op.create_index(batch_op.f("ix_disclosures_subject"), ["subject"], unique=False)

    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("queue", sa.String(length=32), nullable=False),
        sa.Column("backend", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("bucket", sa.String(length=10), nullable=True),
        sa.Column("policy_version", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=True),
        sa.Column("consent_ref", sa.String(length=128), nullable=True),
        sa.Column("idempotency", sa.String(length=64), nullable=True),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("claims", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("claimed_by", sa.String(length=32), nullable=True),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("run_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("dispatched_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.String(length=160), nullable=True),
        sa.Column("provider_code", sa.String(length=160), nullable=True),
        sa.Column(
            "result",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=True,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("idempotency", name=op.f("uq_jobs_idempotency")),
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index("ix_jobs_bucket", ["bucket"], unique=False)
        batch_op.create_index(
            "ix_jobs_claimed_by",
            ["claimed_by"],
            unique=False,
            postgresql_where=sa.text("state IN ('running')"),
            sqlite_where=sa.text("state IN ('running')"),
        )
        batch_op.create_index(
            "ix_jobs_due",
            ["run_at"],
            unique=False,
            postgresql_where=sa.text("state IN ('scheduled', 'queued', 'retrying')"),
            sqlite_where=sa.text("state IN ('scheduled', 'queued', 'retrying')"),
        )
        batch_op.create_index(
            "ix_jobs_expiring",
            ["expires_at"],
            unique=False,
            postgresql_where=sa.text("state IN ('scheduled', 'queued', 'retrying')"),
            sqlite_where=sa.text("state IN ('scheduled', 'queued', 'retrying')"),
        )
        batch_op.create_index("ix_jobs_settled_at", ["settled_at"], unique=False)
        batch_op.create_index("ix_jobs_subject", ["subject"], unique=False)

    op.create_table(
        "ledger_heads",
        sa.Column("writer", sa.String(length=32), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("mac", sa.String(length=64), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("writer", name=op.f("pk_ledger_heads")),
    )
    op.create_table(
        "workers",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column(
            "queues",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=False,
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("beats", sa.BigInteger(), nullable=False),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )


def downgrade() -> None:
    op.drop_table("workers")
    op.drop_table("ledger_heads")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index("ix_jobs_subject")
        batch_op.drop_index("ix_jobs_settled_at")
        batch_op.drop_index(
            "ix_jobs_expiring",
            postgresql_where=sa.text("state IN ('scheduled', 'queued', 'retrying')"),
            sqlite_where=sa.text("state IN ('scheduled', 'queued', 'retrying')"),
        )
        batch_op.drop_index(
            "ix_jobs_due",
            postgresql_where=sa.text("state IN ('scheduled', 'queued', 'retrying')"),
            sqlite_where=sa.text("state IN ('scheduled', 'queued', 'retrying')"),
        )
        batch_op.drop_index(
            "ix_jobs_claimed_by",
            postgresql_where=sa.text("state IN ('running')"),
            sqlite_where=sa.text("state IN ('running')"),
        )
        batch_op.drop_index("ix_jobs_bucket")

    op.drop_table("jobs")
    with op.batch_alter_table("disclosures", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_disclosures_subject"))
        batch_op.drop_index("ix_disclosures_recipient_at")
        batch_op.drop_index(batch_op.f("ix_disclosures_job_id"))

    op.drop_table("disclosures")
    with op.batch_alter_table("disclosure_results", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_disclosure_results_disclosure_id"))

    op.drop_table("disclosure_results")
    op.drop_table("data_keys")
    op.drop_table("attempts")
    op.drop_table("api_keys")
