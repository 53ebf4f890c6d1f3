"""The tables. Columns hold ids, codes, times and pseudonyms; personal data only sealed."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    TextClause,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
    true,
)
from sqlalchemy.dialects import postgresql

__all__ = [
    "UtcDateTime",
    "alarms",
    "api_keys",
    "attempts",
    "audits",
    "circuits",
    "clipped",
    "codes",
    "coming",
    "consents",
    "data_keys",
    "disclosure_results",
    "disclosures",
    "identity_verdicts",
    "job_people",
    "jobs",
    "ledger_heads",
    "limits",
    "login_phones",
    "metadata",
    "pauses",
    "payment_mismatches",
    "payment_notifications",
    "payment_transitions",
    "payments",
    "push_cids",
    "refunds",
    "replay_items",
    "replays",
    "restrictions",
    "unannounced",
    "waiting",
    "webhook_endpoints",
    "workers",
]

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(column_0_N_label)s",
    }
)


class UtcDateTime(TypeDecorator[dt.datetime]):
    """Aware UTC datetimes on every database; SQLite forgets the zone, so it is put back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(
        self,
        value: dt.datetime | None,
        dialect: Dialect,  # noqa: ARG002 - SQLAlchemy's signature
    ) -> dt.datetime | None:
        """Refuse a naive datetime, bring others to UTC."""
        if value is not None and value.tzinfo is None:
            raise TypeError("a naive datetime has no place in the database")
        return value if value is None else value.astimezone(dt.UTC)

    def process_result_value(
        self,
        value: dt.datetime | None,
        dialect: Dialect,  # noqa: ARG002 - SQLAlchemy's signature
    ) -> dt.datetime | None:
        """Always aware, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


def clipped(code: str | None) -> str | None:
    """What of a code fits its column: how long it is, a provider decides."""
    return None if code is None else code[:_CODE_LENGTH]


_Id = String(32)
_CODE_LENGTH = 160
_Code = String(_CODE_LENGTH)
_Digest = String(64)
_Text = String(200)
_Json = JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")

jobs = Table(
    "jobs",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("kind", String(64), nullable=False),
    Column("queue", String(32), nullable=False),
    Column("backend", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("sealed", LargeBinary),
    Column("bucket", String(10)),
    Column("policy_version", String(32), nullable=False),
    Column("subject", _Digest),
    Column("consent_ref", String(128)),
    Column("guardian_ref", String(128)),
    Column("idempotency", _Digest),
    Column("fingerprint", _Digest, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("claims", Integer, nullable=False, default=0),
    Column("fence", Integer, nullable=False, default=0),
    Column("asked", Integer, nullable=False, default=0, server_default="0"),
    Column("turn", Integer),
    Column("nonce", _Id),
    Column("claimed_by", _Id),
    Column("claimed_at", UtcDateTime),
    Column("run_at", UtcDateTime, nullable=False),
    Column("dispatched_at", UtcDateTime),
    Column("expires_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("settled_at", UtcDateTime),
    Column("reason", _Code),
    Column("provider_code", _Code),
    Column("result", _Json),
    Column("lane", String(128)),
    Column("position", Integer),
    Column("announces", Boolean, nullable=False, default=False, server_default=false()),
    Column("announced", String(16)),
    Column("forgets", Boolean, nullable=False, default=False, server_default=false()),
    # The digest covers backend and kind, so it stands alone.
    UniqueConstraint("idempotency"),
)


# Indexes over the few rows that are not settled, so they stay small for ever. SQLite takes one only
# for a question that has these very words in it, or a single state for a single state.
coming = text("state IN ('scheduled', 'retrying')")
"""Jobs that are not queued yet."""
waiting = text("state IN ('scheduled', 'queued', 'retrying')")
"""Jobs that nobody has begun."""


def _live_index(name: str, where: TextClause, *columns: str) -> Index:
    return Index(
        name, *(jobs.c[each] for each in columns), postgresql_where=where, sqlite_where=where
    )


_live_index("ix_jobs_due", coming, "run_at")
_live_index("ix_jobs_undispatched", text("state = 'queued'"), "queue", "dispatched_at")
_live_index("ix_jobs_expiring", waiting, "expires_at")
_live_index("ix_jobs_claimed_by", text("state IN ('running')"), "claimed_by")
_live_index("ix_jobs_unknown", text("state IN ('unknown')"), "run_at")
for _ref in (jobs.c.consent_ref, jobs.c.guardian_ref):
    _named = _ref.is_not(None)
    Index(f"ix_jobs_{_ref.name}", _ref, postgresql_where=_named, sqlite_where=_named)
Index("ix_jobs_subject", jobs.c.subject)
Index("ix_jobs_bucket", jobs.c.bucket)
Index("ix_jobs_settled_at", jobs.c.settled_at)
_in_lane = jobs.c.lane.is_not(None)
Index(
    "ix_jobs_lane", jobs.c.lane, jobs.c.position, postgresql_where=_in_lane, sqlite_where=_in_lane
)
unannounced = text("announces AND settled_at IS NOT NULL AND coalesce(announced, '') <> state")
"""Jobs of whose end their backend has not been told."""
Index(
    "ix_jobs_unannounced",
    jobs.c.settled_at,
    postgresql_where=unannounced,
    sqlite_where=unannounced,
)

attempts = Table(
    "attempts",
    metadata,
    Column("job_id", _Id, primary_key=True),
    Column("fence", Integer, primary_key=True),
    Column("number", Integer, nullable=False),
    Column("worker_id", _Id, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime, nullable=False),
    Column("event", String(16), nullable=False),
    Column("counted", Boolean, nullable=False),
    Column("code", _Code),
    Column("provider_code", _Code),
    Column("milliseconds", Float, nullable=False),
)

disclosures = Table(
    "disclosures",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("job_id", _Id, nullable=False, index=True),
    Column("kind", String(64), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("operation", String(64), nullable=False),
    Column("recipient", String(64), nullable=False),
    Column("host", String(255), nullable=False),
    Column("purpose", String(64), nullable=False),
    Column("clauses", _Json, nullable=False),
    Column("policy_version", String(32), nullable=False),
    Column("categories", _Json, nullable=False),
    Column("stripped", _Json, nullable=False),
    Column("subject", _Digest, index=True),
    Column("consent_ref", String(128)),
    Column("verdict", String(16), nullable=False),
    Column("reason", _Code),
    Column("at", UtcDateTime, nullable=False),
    Column("writer", _Id, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("mac", _Digest, nullable=False),
    Column("guardian_ref", String(128)),
    UniqueConstraint("writer", "seq"),
    Index("ix_disclosures_recipient_at", "recipient", "at"),
)

disclosure_results = Table(
    "disclosure_results",
    metadata,
    Column("disclosure_id", _Id, nullable=False, index=True),
    Column("result", String(16), nullable=False),
    Column("http_status", Integer),
    Column("provider_code", _Code),
    Column("provider_request_id", _Code),
    Column("at", UtcDateTime, nullable=False),
    Column("milliseconds", Float, nullable=False),
    Column("writer", _Id, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("mac", _Digest, nullable=False),
)

ledger_heads = Table(
    "ledger_heads",
    metadata,
    Column("writer", _Id, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("mac", _Digest, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)

workers = Table(
    "workers",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("queues", _Json, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("beats", BigInteger, nullable=False),
    Column("stopped_at", UtcDateTime),
)

data_keys = Table(
    "data_keys",
    metadata,
    Column("bucket", String(10), primary_key=True),
    Column("wrapped", LargeBinary),
    Column("master_key", String(32), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("destroyed_at", UtcDateTime),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("backend", String(64), nullable=False),
    Column("digest", _Digest, nullable=False, unique=True),
    Column("scopes", _Text, nullable=False, server_default="enqueue read"),
    Column("created_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime),
)

audits = Table(
    "audits",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", String(64), nullable=False),
    Column("action", String(32), nullable=False),
    Column("target", String(64), nullable=False, index=True),
    Column("reason", _Text, nullable=False),
    Column("detail", _Json),
)

replays = Table(
    "replays",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("actor", String(64), nullable=False),
    Column("reason", _Text, nullable=False),
    Column("even_if_sent", Boolean, nullable=False),
    # Whose jobs: a backend asked for it, and workers carry it out. None: somebody at a terminal.
    Column("backend", String(64)),
    Column("fingerprint", _Digest),
)

replay_items = Table(
    "replay_items",
    metadata,
    Column("replay_id", _Id, primary_key=True),
    Column("job_id", _Id, primary_key=True),
    Column("fence", Integer, nullable=False),
    Column("verdict", String(64)),
    Column("at", UtcDateTime),
)
_pending = replay_items.c.verdict.is_(None)
Index(
    "ix_replay_items_pending",
    replay_items.c.replay_id,
    postgresql_where=_pending,
    sqlite_where=_pending,
)

pauses = Table(
    "pauses",
    metadata,
    Column("scope", String(16), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("since", UtcDateTime, nullable=False),
    Column("until", UtcDateTime),
    Column("actor", String(64), nullable=False),
    Column("reason", _Text, nullable=False),
)

# Verification codes and limits (models/codes.py, models/allowances.py). One row for each place
# (phone, scene and backend): a new code takes the place of the older.

codes = Table(
    "codes",
    metadata,
    Column("place", _Digest, primary_key=True),
    Column("subject", _Digest, nullable=False, index=True),
    Column("job_id", _Id, nullable=False, index=True),
    Column("backend", String(64), nullable=False),
    Column("scene", String(32), nullable=False),
    Column("checked_by", String(64), nullable=False),
    Column("digest", _Digest, nullable=False),
    Column("guesses", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
    Column("used_at", UtcDateTime),
    Column("used_by", _Digest),
)

limits = Table(
    "limits",
    metadata,
    Column("key", _Digest, primary_key=True),
    Column("taken", _Json, nullable=False),
    Column("kept_until", UtcDateTime, nullable=False, index=True),
)

alarms = Table(
    "alarms",
    metadata,
    Column("scope", String(80), primary_key=True),
    Column("since", UtcDateTime, nullable=False),
    Column("until", UtcDateTime, nullable=False),
    Column("refused", BigInteger, nullable=False),
    Column("announced", Boolean, nullable=False),
)

circuits = Table(
    "circuits",
    metadata,
    Column("recipient", String(64), primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("trips", Integer, nullable=False),
    Column("open_until", UtcDateTime),
    Column("probing", Boolean, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
)

# What people have agreed to, and what they have forbidden; pseudonyms only.

consents = Table(
    "consents",
    metadata,
    Column("backend", String(64), primary_key=True),
    Column("ref", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("purpose", String(64), nullable=False),
    Column("phone", _Digest),
    Column("user", _Digest),
    Column("granted_at", UtcDateTime, nullable=False),
    Column("policy_version", String(32), nullable=False),
    Column("recorded_at", UtcDateTime, nullable=False),
    Column("withdrawn_at", UtcDateTime),
)

restrictions = Table(
    "restrictions",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("backend", String(64), nullable=False),
    Column("person", _Digest, nullable=False),
    Column("reason", String(16), nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Column("lifted_at", UtcDateTime),
)
_in_force = restrictions.c.lifted_at.is_(None)
Index(
    "uq_restrictions_backend_person",
    restrictions.c.person,
    restrictions.c.backend,
    unique=True,
    postgresql_where=_in_force,
    sqlite_where=_in_force,
)

# Who else a job is about, beside its subject. Apart from the ledger, whose rows cannot change, so
# that a person can be forgotten; kept as long as the ledger is.
job_people = Table(
    "job_people",
    metadata,
    Column("job_id", _Id, primary_key=True),
    Column("person", _Digest, primary_key=True),
    Index("ix_job_people_person", "person"),
)

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("backend", String(64), nullable=False, index=True),
    Column("url", String(512), nullable=False),
    Column("events", _Json, nullable=False),
    Column("key_id", String(16), nullable=False),
    Column("secret", LargeBinary, nullable=False),
    Column("master_key", String(32), nullable=False),
    Column("previous_key_id", String(16)),
    Column("previous_secret", LargeBinary),
    Column("previous_master_key", String(32)),
    Column("previous_until", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("disabled_at", UtcDateTime),
    Column("disabled_because", _Code),
)

# Money: what is expected, what became of it, and what needs a person. Numbers of orders and refunds,
# amounts and states only; who paid is nowhere.

_Number = String(64)
"""Ours or the provider's: of an order, a refund, a payment."""

payments = Table(
    "payments",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("backend", String(64), nullable=False),
    Column("channel", String(16), nullable=False),
    Column("merchant", String(32), nullable=False),
    Column("order_no", String(32), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("state", String(24), nullable=False),
    Column("paid_at", UtcDateTime),
    Column("closed_at", UtcDateTime),
    Column("provider_no", _Number),
    Column("refunded", BigInteger, nullable=False),
    Column("flagged", Boolean, nullable=False),
    Column("version", Integer, nullable=False),
    Column("asked", Integer, nullable=False),
    Column("ask_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    UniqueConstraint("channel", "merchant", "order_no"),
    # An order number is one order at WeChat Pay, whichever version of its API speaks of it.
    Index("uq_payments_merchant_order_no", "merchant", "order_no", unique=True),
    Index("ix_payments_backend_order_no", "backend", "order_no"),
    Index("ix_payments_merchant_paid_at", "merchant", "paid_at"),
)
_to_ask = payments.c.ask_at.is_not(None)
Index("ix_payments_ask_at", payments.c.ask_at, postgresql_where=_to_ask, sqlite_where=_to_ask)

payment_transitions = Table(
    "payment_transitions",
    metadata,
    Column("payment_id", _Id, primary_key=True),
    Column("transition", String(96), primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("source", String(16), nullable=False),
)

payment_notifications = Table(
    "payment_notifications",
    metadata,
    Column("digest", _Digest, primary_key=True),
    Column("channel", String(16), nullable=False),
    Column("merchant", String(32), nullable=False),
    Column("job_id", _Id, nullable=False),
    Column("received_at", UtcDateTime, nullable=False, index=True),
    Column("outcome", String(32)),
)

refunds = Table(
    "refunds",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("payment_id", _Id, nullable=False, index=True),
    Column("backend", String(64), nullable=False),
    Column("channel", String(16), nullable=False),
    Column("merchant", String(32), nullable=False),
    Column("refund_no", _Number, nullable=False),
    Column("amount", BigInteger),
    Column("reason", String(32)),
    Column("state", String(16), nullable=False),
    Column("provider_no", _Number),
    Column("job_id", _Id),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    UniqueConstraint("channel", "merchant", "refund_no"),
    Index("ix_refunds_backend_refund_no", "backend", "refund_no"),
)

payment_mismatches = Table(
    "payment_mismatches",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("mark", _Digest, nullable=False),
    Column("backend", String(64), nullable=False),
    Column("channel", String(16), nullable=False),
    Column("merchant", String(32), nullable=False),
    Column("order_no", _Number),
    Column("refund_no", _Number),
    Column("reason", String(32), nullable=False),
    Column("expected", BigInteger),
    Column("received", BigInteger),
    Column("told", Boolean, nullable=False, server_default=true()),
    Column("at", UtcDateTime, nullable=False),
    Column("resolved_at", UtcDateTime),
    Column("resolved_by", String(64)),
    Column("resolution", _Text),
)
_unresolved = payment_mismatches.c.resolved_at.is_(None)
Index(
    "uq_payment_mismatches_mark",
    payment_mismatches.c.mark,
    unique=True,
    postgresql_where=_unresolved,
    sqlite_where=_unresolved,
)

# Numbers that a login brought home, sealed until their backend takes them.

login_phones = Table(
    "login_phones",
    metadata,
    Column("job_id", _Id, primary_key=True),
    Column("backend", String(64), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("bucket", String(10), nullable=False),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
)

# Keys under which pushes may be repeated.

push_cids = Table(
    "push_cids",
    metadata,
    Column("reference", _Id, primary_key=True),
    Column("job_id", _Id, nullable=False),
    Column("cid", _Code, nullable=False),
    Column("issued_at", UtcDateTime, nullable=False, index=True),
)

# Verdicts about people, found again by a keyed fingerprint of what was checked.

identity_verdicts = Table(
    "identity_verdicts",
    metadata,
    Column("fingerprint", _Digest, primary_key=True),
    Column("verdict", String(16), nullable=False),
    Column("at", UtcDateTime, nullable=False, index=True),
    Column("subject", _Digest, nullable=False, index=True),
    Column("backend", String(64), nullable=False),
    Column("consent_ref", String(64), nullable=False),
    Column("guardian_ref", String(64)),
    Column("provider_request_id", _Code),
    Column("job_id", _Id, nullable=False),
    Index("ix_identity_verdicts_consent", "backend", "consent_ref"),
    Index("ix_identity_verdicts_guardian", "backend", "guardian_ref"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("reference", _Id, primary_key=True),
    Column("job_id", _Id, nullable=False),
    Column("backend", String(64), nullable=False),
    Column("road", String(32), nullable=False),
    Column("scene", String(32), nullable=False),
    Column("subject", _Digest, nullable=False),
    Column("biz_id", _Code),
    Column("state", String(16), nullable=False),
    Column("reason", _Code),
    Column("provider_code", _Code),
    Column("source", String(16)),
    Column("seconds", Float),
    Column("accepted_at", UtcDateTime, nullable=False, index=True),
    Column("settled_at", UtcDateTime),
    Column("sealed", LargeBinary),
    Column("bucket", String(10)),
    Column("ask_at", UtcDateTime),
)
_undecided = deliveries.c.state == "accepted"
Index(
    "ix_deliveries_ask_at",
    deliveries.c.ask_at,
    postgresql_where=_undecided,
    sqlite_where=_undecided,
)
