"""Consents, restrictions, and whom a job is about beside its subject."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_REFS = ("consent_ref", "guardian_ref")


def upgrade() -> None:
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("guardian_ref", sa.String(length=128), nullable=True))
        for ref in _REFS:
            named = sa.text(f"{ref} IS NOT NULL")
            batch_op.create_index(
                f"ix_jobs_{ref}", [ref], postgresql_where=named, sqlite_where=named
            )
    op.create_table(
        "consents",
        sa.Column("backend", sa.String(length=64), nullable=False),
        sa.Column("ref", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("purpose", sa.String(length=64), nullable=False),
        sa.Column("phone", sa.String(length=64), nullable=True),
        sa.Column("user", sa.String(length=64), nullable=True),
        sa.Column("granted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("policy_version", sa.String(length=32), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("backend", "ref", name=op.f("pk_consents")),
    )
    op.create_table(
        "restrictions",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("backend", sa.String(length=64), nullable=False),
        sa.Column("person", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=16), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lifted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_restrictions")),
    )
    in_force = sa.text("lifted_at IS NULL")
    op.create_index(
        "uq_restrictions_backend_person",
        "restrictions",
        ["person", "backend"],
        unique=True,
        postgresql_where=in_force,
        sqlite_where=in_force,
    )
    op.create_table(
        "job_people",
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("person", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "person", name=op.f("pk_job_people")),
    )
    op.create_index("ix_job_people_person", "job_people", ["person"])


def downgrade() -> None:
    for name in ("job_people", "restrictions", "consents"):
        op.drop_table(name)
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        for ref in _REFS:
            batch_op.drop_index(f"ix_jobs_{ref}")
        batch_op.drop_column("guardian_ref")
