"""Indexes that the services' questions can use: what comes due, and what was not dispatched."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_jobs_due", "jobs")
    _create("ix_jobs_due", ["run_at"], "state IN ('scheduled', 'retrying')")
    _create("ix_jobs_undispatched", ["queue", "dispatched_at"], "state = 'queued'")


def downgrade() -> None:
    op.drop_index("ix_jobs_undispatched", "jobs")
    op.drop_index("ix_jobs_due", "jobs")
    _create("ix_jobs_due", ["run_at"], "state IN ('scheduled', 'queued', 'retrying')")


def _create(name: str, columns: list[str], states: str) -> None:
    where = sa.text(states)
    op.create_index(name, "jobs", columns, postgresql_where=where, sqlite_where=where)
