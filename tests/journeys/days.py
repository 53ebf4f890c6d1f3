"""A day at the till: who buys what, what befalls everybody meanwhile, and how the books stand."""

from __future__ import annotations

import datetime as dt
import random
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import Engine, func, select

import zjj
from integrations.payments import Channel
from integrations.sandbox.merchants import MCHID, SELLER
from models.states import SETTLED, State
from models.tables import jobs, payment_mismatches, payments, refunds
from tests.journeys.houses import House

__all__ = ["CHANNELS", "Day", "Sale", "merchant_of", "write_down"]

CHANNELS: tuple[Channel, ...] = ("wechat_pay_v3", "wechat_pay_v2", "alipay")
_AT_ONCE = 6

Fate = Literal["paid", "large", "full", "partial", "twice", "unpaid", "closed", "wrong", "unknown"]
_FATES: tuple[tuple[Fate, float], ...] = (
    ("paid", 60),
    ("large", 4),
    ("full", 8),
    ("partial", 8),
    ("twice", 4),
    ("unpaid", 4),
    ("closed", 4),
    ("wrong", 4),
    ("unknown", 4),
)


@dataclass(frozen=True)
class Sale:
    """One order. ``paid`` is what the buyer pays, which is not always what is asked."""

    channel: Channel
    order_no: str
    fate: Fate
    amount: int
    paid: int
    refunds: tuple[tuple[str, int], ...] = ()


def today() -> dt.date:
    """In China, where days begin for both providers."""
    return dt.datetime.now(dt.timezone(dt.timedelta(hours=8))).date()


def merchant_of(channel: Channel) -> str:
    """The merchant's number on a channel."""
    return SELLER if channel == "alipay" else MCHID


def write_down(count: int, seed: int) -> list[Sale]:
    """The day's sales: all channels, all fates, in any order."""
    dice = random.Random(seed)
    names, weights = zip(*_FATES, strict=True)
    # Each fate on each channel at least once, whatever the dice say.
    fates = [*names * 3, *dice.choices(names, weights, k=count)][:count]
    sales = [_sale(number, fate, dice) for number, fate in enumerate(fates)]
    dice.shuffle(sales)
    return sales


def _sale(number: int, fate: Fate, dice: random.Random) -> Sale:
    amount = dice.randrange(1_000_000, 5_000_000) if fate == "large" else dice.randrange(2, 900_000)
    paid, backs = amount, {}
    if fate in {"unpaid", "closed"}:
        paid = 0
    elif fate == "wrong":
        paid = dice.choice([amount - 1, amount * 100])
    elif fate == "full":
        backs = {"a": amount}
    elif fate == "partial":
        backs = {"a": dice.randrange(1, amount)}
    elif fate == "twice":
        first = dice.randrange(1, amount)
        backs = {"a": first, "b": amount - first}
    return Sale(
        CHANNELS[number // len(_FATES) % 3 if number < len(_FATES) * 3 else number % 3],
        f"till-{number:06}",
        fate,
        amount,
        paid,
        tuple((f"back-{number:06}-{name}", fen) for name, fen in backs.items()),
    )


@dataclass
class Day:
    """One day of a house that is running."""

    house: House
    engine: Engine
    sales: list[Sale]
    seconds_to_pay: float
    """Until an order that nobody pays expires."""
    begun: dt.date = field(default_factory=today)

    def befall(self, hour: int) -> None:
        """Callbacks are doubled, late, out of order, lost, and signed with ever newer keys."""
        wanted = {
            "urls": {
                channel: f"{self.house.url}/v1/callbacks/{path}/{merchant_of(channel)}"
                for channel, path in zip(
                    CHANNELS, ("wechat-pay", "wechat-pay-v2", "alipay"), strict=True
                )
            },
            "scale": 0.02,
            "percent_twice": 20,
            "percent_lost": 10,
            "mixed_within": 1.5,
            "migration_day": hour,
            "seed": hour,
        }
        self.house.sandbox("callbacks", wanted, method="PUT")

    def spoil(self) -> None:
        """From now on providers answer with errors, with pages, with nothing, or not at all."""
        for kind, percent in (("status", 4), ("drop", 2), ("reset", 2), ("garbage", 2)):
            fault = {"kind": kind, "percent": percent}
            self.house.sandbox("faults", fault | ({"status": 502} if kind == "status" else {}))

    def mend(self) -> None:
        """Providers are well again."""
        self.house.sandbox("faults", method="DELETE")

    def sell(self, sales: list[Sale]) -> None:
        """Everybody orders, and those who will, pay."""
        with self._client() as client, ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda sale: self._sell(client, sale), sales))

    def give_back(self, sales: list[Sale]) -> None:
        """What was sold comes back; each eighth refund fails at its provider."""
        with self._client() as client:
            wanted = [(sale, *refund) for sale in sales for refund in sale.refunds]
            for number, (sale, refund_no, amount) in enumerate(wanted):
                if number % 8 == 0:
                    self.house.sandbox("faults", _failing(sale.channel))
                client.refunds.start(
                    channel=sale.channel,
                    merchant=merchant_of(sale.channel),
                    order_no=sale.order_no,
                    refund_no=refund_no,
                    amount=amount,
                    reason="customer_request",
                )

    def tell_again(self, sales: list[Sale]) -> None:
        """WeChat Pay tells of refunds over API v2, too, unsigned and as late as it likes."""
        for sale in sales:
            if sale.channel == "wechat_pay_v2":
                for refund_no, _ in sale.refunds:
                    told = {"channel": sale.channel, "refund_no": refund_no}
                    self.house.sandbox("refunds", told)

    @contextmanager
    def nobody_writes(self) -> Iterator[None]:
        """Somebody holds on to the database; meant for SQLite."""
        with sqlite3.connect(self.house.data / "zjj.db", isolation_level=None) as other:
            other.execute("BEGIN EXCLUSIVE")
            yield
            other.execute("ROLLBACK")
        other.close()

    def calm(self) -> bool:
        """Whether nothing is left to be asked, done, told or delivered."""
        with self.engine.connect() as connection:
            asking = connection.scalar(
                select(func.count()).select_from(payments).where(payments.c.ask_at.is_not(None))
            )
            working = connection.scalar(
                select(func.count()).select_from(jobs).where(_HAS_MORE_TO_DO)
            )
        return not (asking or working or self.house.sandbox("callbacks")["waiting"])

    def rows(self, name: Literal["payments", "refunds", "mismatches"]) -> list[Any]:
        """What our books say."""
        table = {"payments": payments, "refunds": refunds, "mismatches": payment_mismatches}[name]
        with self.engine.connect() as connection:
            return list(connection.execute(select(table)))

    def theirs(self) -> dict[str, dict[str, Any]]:
        """What the providers' books say, by order number."""
        return {
            order["order_no"]: order
            for channel in ("wechat_pay_v3", "alipay")
            for order in self.house.sandbox(f"books?channel={channel}")
        }

    def compare_bills(self) -> None:
        """Have the bill of each provider compared, of the day or of both that it touched."""
        for channel in ("wechat_pay_v3", "alipay"):
            for date in sorted({self.begun, today()}):
                done = self.house.command(
                    *("jobs", "enqueue", "payment_bill", "--backend", "demo", "--wait", "50"),
                    *(f"channel={channel}", f"merchant={merchant_of(channel)}"),
                    f"bill_date={date}",
                )
                assert done.returncode == 0, done.stdout + done.stderr

    def _sell(self, client: zjj.Client, sale: Sale) -> None:
        if sale.fate != "unknown":
            expires_in = self.seconds_to_pay if sale.fate == "unpaid" else 3600
            client.payments.expect(
                channel=sale.channel,
                merchant=merchant_of(sale.channel),
                order_no=sale.order_no,
                amount=sale.amount,
                expires_at=dt.datetime.now(dt.UTC) + dt.timedelta(seconds=expires_in),
            )
        if sale.fate == "closed":
            self._till(sale, action="open", total=sale.amount)
            self._till(sale, action="close")
        elif sale.paid:
            self._till(sale, action="pay", total=sale.paid)

    def _till(self, sale: Sale, **wanted: object) -> None:
        self.house.sandbox("orders", {"channel": sale.channel, "order_no": sale.order_no, **wanted})

    def _client(self) -> zjj.Client:
        key = (self.house.data / "demo.key").read_text()
        return zjj.Client(self.house.url, key, timeout=20, attempts=30)


_HAS_MORE_TO_DO = jobs.c.state.not_in([*SETTLED]) | (
    # Its worker was killed over it, and it is being found out what became of it.
    (jobs.c.state == State.UNKNOWN) & jobs.c.kind.in_(["refund", "webhook"])
)


def _failing(channel: Channel) -> dict[str, object]:
    if channel == "alipay":
        return {
            "kind": "code",
            "code": "ACQ.TRADE_NOT_ALLOW_REFUND",
            "action": "alipay.trade.refund",
            "times": 1,
        }
    return {"kind": "undelivered", "code": "ABNORMAL", "action": "refund", "times": 1}
