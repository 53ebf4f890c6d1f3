"""The books as a task may read them; what it finds out is written with its settle."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, Engine

from models.database import answering
from models.payments.mismatches import Mismatch, is_known
from models.payments.views import (
    PaymentView,
    RefundView,
    find_payment,
    find_refund,
    payments_paid,
    payments_under,
)

__all__ = ["Books"]

T = TypeVar("T")


class Books:
    """Reads payments; every method may raise DatabaseUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def payment(self, channel: str, merchant: str, order_no: str) -> PaymentView | None:
        """The payment that a provider speaks of, or None."""
        return self._read(lambda c: find_payment(c, channel, merchant, order_no))

    def payments_under(self, backend: str, order_no: str) -> list[PaymentView]:
        """A backend's payments under one order number."""
        return self._read(lambda c: payments_under(c, backend, order_no))

    def refund(self, backend: str, refund_no: str) -> RefundView | None:
        """A backend's refund, or None."""
        return self._read(lambda c: find_refund(c, backend, refund_no))

    def paid(
        self, channel: str, merchant: str, begin: dt.datetime, end: dt.datetime
    ) -> list[PaymentView]:
        """What a merchant was paid in ``[begin, end)``, or gave back then."""
        return self._read(lambda c: payments_paid(c, channel, merchant, begin, end))

    def unknown_yet(self, *mismatches: Mismatch) -> tuple[Mismatch, ...]:
        """Those of them that do not wait for a person yet."""
        return self._read(lambda c: tuple(each for each in mismatches if not is_known(c, each)))

    def _read(self, read: Callable[[Connection], T]) -> T:
        with answering(), self._engine.connect() as connection:
            return read(connection)
