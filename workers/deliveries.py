"""Deliveries: taking in what is reported of texts, and sending to ask where nobody reports."""

from __future__ import annotations

from collections.abc import Sequence

from integrations.aliyun.receipts import SmsReceipt, reason_of
from models.clock import Clock, utc_now
from models.deliveries import Report, write_reports
from models.group_commit import GroupCommit
from models.pseudonyms import Pseudonyms

__all__ = ["DeliveryReports"]


class DeliveryReports:
    """Takes receipts in; what does not fit a text of ours changes nothing."""

    def __init__(
        self, commits: GroupCommit, pseudonyms: Pseudonyms, *, clock: Clock = utc_now
    ) -> None:
        self._commits = commits
        self._pseudonyms = pseudonyms
        self._clock = clock

    def take(self, receipts: Sequence[SmsReceipt]) -> int:
        """Store receipts; returns how many told something new.

        Raises:
            DatabaseUnavailable: Some are not stored; all may be brought again.
        """
        now = self._clock()
        futures = [
            self._commits.submit(
                write_reports,
                Report(
                    reference=receipt.out_id,
                    subject=self._pseudonyms.subject(receipt.phone),
                    biz_id=receipt.biz_id,
                    delivered=receipt.delivered,
                    reason=None if receipt.delivered else reason_of(receipt.code),
                    provider_code=receipt.code,
                    seconds=receipt.seconds,
                    source="receipt",
                    at=now,
                ),
            )
            for receipt in receipts
        ]
        return sum(future.result() for future in futures)
