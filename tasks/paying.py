"""What payment tasks are handed: the books, and each merchant's provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from models.payments.books import Books

if TYPE_CHECKING:
    from integrations.payments import BillLine, Notification, OrderAnswer, RefundAnswer
    from models.attempts import Attempt

__all__ = ["PaymentProvider", "Payments"]


class PaymentProvider(Protocol):
    """One merchant's account at a provider; what to ask about is in ``attempt.held``.

    Each method raises from the error tree. Amounts are whole fen.
    """

    def query_order(self, attempt: Attempt) -> OrderAnswer:
        """What became of ``order_no``."""

    def refund(self, attempt: Attempt) -> RefundAnswer:
        """Give ``amount`` of ``total`` back under ``refund_no``, which does it only once."""

    def query_refund(self, attempt: Attempt) -> RefundAnswer:
        """What became of ``refund_no`` of ``order_no``."""

    def bill(self, attempt: Attempt) -> list[BillLine]:
        """The bill of the day ``bill_date`` (``YYYY-MM-DD``, Beijing)."""


class Payments(Protocol):
    """Everything about money."""

    @property
    def books(self) -> Books:
        """What we know."""

    @property
    def confirm_from(self) -> int:
        """Fen; a payment of so much is confirmed by a query before anybody is told."""

    def of(self, channel: str, merchant: str) -> PaymentProvider:
        """The provider of one merchant; GiveUpError if that merchant is not configured."""

    def app_of(self, channel: str, merchant: str) -> str:
        """The app under which a merchant is paid."""

    def read(
        self, channel: str, merchant: str, headers: Mapping[str, str], body: bytes
    ) -> Notification:
        """Decrypt and read a notification that was believed when it came in."""
