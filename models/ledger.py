"""The ledger in the database: append-only rows, chained by a keyed MAC for each writer.

A chain belongs to one writer (a process). Every row's MAC covers its content and the MAC before
it, and the chain's end is kept beside under a MAC of its own, so that a cut tail shows too. The
key is not in the database: whoever can write rows cannot make them look untouched. What does not
show is a chain that is gone as a whole, or a database put back as it was before: for that, keep
the heads elsewhere too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any

from sqlalchemy import Boolean, Connection, UpdateBase, or_, select

from models.batches import Batch, Row, columns_of, insert_into, upserting
from models.chains import GENESIS, Fault, chain_key, head_mac, row_mac, verify_ledger
from models.clock import Clock, utc_now
from models.consents import nobody_restricted, obstacle
from models.disclosures import Disclosure, DisclosureResult, Verdict, Withheld
from models.errors import ClaimLost
from models.group_commit import GroupCommit, Transaction, WriteApart
from models.identifiers import new_id
from models.settlement import Settlement, StaleChange, settle_jobs
from models.states import State
from models.tables import clipped, disclosure_results, disclosures, jobs, ledger_heads

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Fault", "LedgerWriter", "SqlLedger", "verify_ledger"]


class LedgerWriter:
    """One process's chain. Its methods are group commit writes."""

    def __init__(self, key: bytes, *, clock: Clock = utc_now) -> None:
        self._key = chain_key(key)
        self._clock = clock
        self.start_afresh()

    def start_afresh(self) -> None:
        """Begin a new chain, when nobody knows whether the old one's last rows stand."""
        self._writer = new_id()
        self._seq, self._mac = 0, GENESIS
        self._growth: _Growth | None = None

    def write_disclosures(
        self, transaction: Transaction, items: Sequence[Disclosure]
    ) -> list[ClaimLost | Withheld | None]:
        """Store disclosures, before their bytes leave.

        Only who holds the claim may disclose on its behalf (or who asks the recipient about an
        unknown outcome, see models/reconciliation.py): a worker that was thought dead, and whose
        job was taken over, gets ClaimLost. What an admitted one demands must stand, else it gets
        Withheld. Denials are stored in any case.

        Raises:
            WriteApart: One of several is refused.
        """
        covered = self._growth_in(transaction).stands or not any(
            _uncovered(transaction.connection, item) for item in items if _names_consents(item)
        )
        spared = [{"spared": item.demands.spared} for item in items]
        if covered and self._append(transaction, _DISCLOSURE, map(_disclosure_row, items), spared):
            return [None] * len(items)
        if len(items) > 1:
            raise WriteApart
        lost = ClaimLost("the job was taken over while it was worked on")
        return [_uncovered(transaction.connection, items[0]) or lost]

    def write_results(
        self, transaction: Transaction, items: Sequence[DisclosureResult]
    ) -> list[None]:
        """Store how disclosures ended."""
        self._append(transaction, _RESULT, map(_result_row, items))
        return [None] * len(items)

    def write_settlements(
        self, transaction: Transaction, items: Sequence[Settlement]
    ) -> list[bool | StaleChange]:
        """Settle jobs together with their disclosures' results."""
        if transaction.repeated:
            # What stands is not written again, but the chain must know that it stands.
            self._growth_in(transaction)
        return settle_jobs(transaction, items, self.write_results)

    def _append(
        self,
        transaction: Transaction,
        batch: Batch,
        contents: Iterable[dict[str, Any]],
        asides: Iterable[dict[str, Any]] = repeat({}),
    ) -> bool:
        """Whether all rows were taken; only then has the chain grown.

        Args:
            asides: What the statement needs to know beside each row.
        """
        growth = self._growth_in(transaction)
        if growth.stands:
            return True
        seq, mac, rows = growth.seq, growth.mac, []
        for row, aside in zip(contents, asides, strict=False):
            seq += 1
            mac = row_mac(self._key, mac, self._writer, seq, row)
            rows.append(row | {"writer": self._writer, "seq": seq, "mac": mac} | aside)
        if batch.execute(transaction.connection, rows) < len(rows):
            return False
        growth.seq, growth.mac = seq, mac
        return True

    def _growth_in(self, transaction: Transaction) -> _Growth:
        growth = self._growth
        if growth is None or growth.transaction is not transaction:
            growth = self._growth = _Growth(transaction, self._seq, self._mac)
            if transaction.repeated:
                growth.stands = self._touch_head(growth) != self._seq
            transaction.before_commit(self, self._store_growth)
            transaction.after_commit(self, self._believe_growth)
        return growth

    def _store_growth(self) -> None:
        growth = self._growth
        if growth is not None and growth.seq > self._seq:
            _HEAD.execute(growth.transaction.connection, [self._head(growth)])

    def _believe_growth(self) -> None:
        growth, self._growth = self._growth, None
        if growth is not None and growth.stands:
            # The chain's end is the one that was stored the first time.
            self.start_afresh()
        elif growth is not None:
            self._seq, self._mac = growth.seq, growth.mac

    def _touch_head(self, growth: _Growth) -> int:
        """The number of the chain's end that stands; a chain begins with the end that is given."""
        connection = growth.transaction.connection
        insert = insert_into(connection.dialect.name, ledger_heads)
        # Even what changes nothing waits until the transaction in doubt is over.
        touch = insert.on_conflict_do_update(
            index_elements=[ledger_heads.c.writer], set_={"updated_at": insert.excluded.updated_at}
        )
        seq: int = connection.execute(
            touch.returning(ledger_heads.c.seq), self._head(growth)
        ).scalar_one()
        return seq

    def _head(self, growth: _Growth) -> dict[str, Any]:
        return {
            "writer": self._writer,
            "seq": growth.seq,
            "mac": head_mac(self._key, growth.mac, self._writer, growth.seq),
            "updated_at": self._clock(),
        }


@dataclass(slots=True)
class _Growth:
    """The end of a chain within a transaction that is not committed yet."""

    transaction: Transaction
    seq: int
    mac: str
    stands: bool = False
    """The transaction repeats one that turned out to stand."""


class SqlLedger:
    """The gate's ledger: a disclosure is durable before :meth:`record` returns."""

    def __init__(self, commits: GroupCommit, writer: LedgerWriter) -> None:
        self._commits = commits
        self._writer = writer

    def record(self, disclosure: Disclosure) -> None:
        """Store it.

        Raises:
            Withheld: What it demands does not stand; it is not stored.
            DatabaseUnavailable: It is not stored, so the bytes must not leave.
        """
        self._commits.run(self._writer.write_disclosures, disclosure)


def _disclosure_row(item: Disclosure) -> dict[str, Any]:
    return {
        "id": item.id,
        "job_id": item.job_id,
        "kind": item.kind,
        "attempt": item.attempt,
        "fence": item.fence,
        "operation": item.operation,
        "recipient": item.recipient,
        "host": item.host,
        "purpose": item.purpose,
        "clauses": item.clauses,
        "policy_version": item.policy_version,
        "categories": item.categories,
        "stripped": item.stripped,
        "subject": item.subject,
        "consent_ref": item.consent_ref,
        "guardian_ref": item.guardian_ref,
        "verdict": item.verdict,
        "reason": clipped(item.reason),
        "at": item.at,
    }


def _result_row(item: DisclosureResult) -> dict[str, Any]:
    return {
        "disclosure_id": item.disclosure_id,
        "result": item.result,
        "http_status": item.http_status,
        "provider_code": clipped(item.provider_code),
        "provider_request_id": clipped(item.provider_request_id),
        "at": item.at,
        # As it will be read back: 0 and 0.0 have different MACs.
        "milliseconds": float(item.milliseconds),
    }


def _names_consents(item: Disclosure) -> bool:
    return item.demands.consent is not None or item.demands.guardian is not None


def _uncovered(connection: Connection, item: Disclosure) -> Withheld | None:
    """Why an admitted disclosure must not happen after all."""
    if item.verdict is not Verdict.ADMITTED:
        return None
    reason = obstacle(
        connection,
        item.demands,
        job_id=item.job_id,
        subject=item.subject,
        purpose=item.purpose,
        policy_version=item.policy_version,
    )
    return None if reason is None else Withheld("nothing that stands covers it", code=reason)


def _disclose(_: str, row: Row) -> UpdateBase:
    # An unknown job has a claimant only while the recipient is asked about it.
    asking = (jobs.c.state == State.UNKNOWN) & (jobs.c.asked > 0) & jobs.c.claimed_by.is_not(None)
    held = (jobs.c.fence == row["fence"]) & or_(jobs.c.state == State.RUNNING, asking)
    free = or_(row["spared"], nobody_restricted(row["job_id"], row["subject"]))
    columns = [column.name for column in disclosures.c]
    allowed = (
        select(*(row[name] for name in columns))
        .where(jobs.c.id == row["job_id"], or_(held & free, row["verdict"] == Verdict.DENIED))
        # Whoever wants to take the job over waits, and then sees the disclosure.
        .with_for_update(read=True, of=jobs)
    )
    return disclosures.insert().from_select(columns, allowed)


_DISCLOSURE = Batch(columns_of(disclosures) | {"spared": Boolean()}, _disclose)
_RESULT = Batch(
    columns_of(disclosure_results),
    lambda _, row: disclosure_results.insert().from_select(list(row.keys()), select(*row.values())),
)

_HEAD = Batch(
    columns_of(ledger_heads),
    lambda dialect, row: upserting(dialect, ledger_heads, row, ("seq", "mac", "updated_at")),
)
