"""Callbacks of payments and refunds, signed and sealed for real, sent as the providers send them.

Each is delivered to the configured URL until it is acknowledged, after the waits that the provider
documents, multiplied by ``scale``. On demand callbacks are doubled, mixed up, lost, and signed with
WeChat Pay's newer key as it migrates from day to day.

Waits: pay.weixin.qq.com, "Payment result notification"; opendocs.alipay.com, "Asynchronous
notification". Migration: "Switch from platform certificates to the WeChat Pay public key".
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import heapq
import json
import random
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode, urlsplit

import httpx
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.padding import PKCS7
from pydantic import BaseModel, ConfigDict, Field, field_validator

from integrations.money import yuan_of
from integrations.payments import Channel
from integrations.sandbox.alipay import moment
from integrations.sandbox.merchants import ALIPAY_APP, APPID, MCHID, SELLER, till_keys
from integrations.sandbox.till import Buyer
from integrations.sandbox.wechat_pay_content import paid_v2, refunded, transaction
from integrations.sandbox.wechat_pay_signing import sign_message
from integrations.wechat_pay.v2 import Algorithm, signature
from models.clock import BEIJING

if TYPE_CHECKING:
    from integrations.sandbox.alipay import AlipayProvider
    from integrations.sandbox.till import Order, Refund

__all__ = ["MIGRATION", "WAITS", "CallbackPlan", "Courier", "Message", "Messages"]

_WECHAT = (15, 15, 30, 180, 600, 1200, 1800, 1800, 1800, 3600, *(10800,) * 3, *(21600,) * 2)
WAITS: dict[Channel, tuple[int, ...]] = {
    "wechat_pay_v3": _WECHAT,
    "wechat_pay_v2": _WECHAT,
    "alipay": (240, 600, 600, 3600, 7200, 21600, 54000),
}
"""Seconds from one delivery to the next."""
MIGRATION = (0.0, 0.1, 1.0, 5.0, 10.0, 20.0, 50.0, 100.0)
"""Percent of callbacks that bear WeChat Pay's newer key, by the day of the migration."""

_TIMEOUT = 5.0


class CallbackPlan(BaseModel):
    """Where callbacks go, and what befalls them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    urls: dict[Channel, str] = Field(default_factory=dict)
    """By channel, on loopback; a channel without one sends nothing."""
    scale: float = Field(default=1, ge=0)
    """Multiplies every wait."""
    percent_twice: float = Field(default=0, ge=0, le=100)
    """Delivered a second time although acknowledged."""
    percent_lost: float = Field(default=0, ge=0, le=100)
    """Never sent at all."""
    mixed_within: float = Field(default=0, ge=0)
    """Seconds by which a delivery may be late, by chance, so that the order is lost."""
    migration_day: int = Field(default=0, ge=0, le=7)
    algorithm: Algorithm = "HMAC-SHA256"
    """Of API v2."""
    seed: int = 0

    @field_validator("urls")
    @classmethod
    def _on_loopback(cls, urls: dict[Channel, str]) -> dict[Channel, str]:
        if any(
            urlsplit(url).hostname not in {"127.0.0.1", "localhost", "::1"} for url in urls.values()
        ):
            raise ValueError("the sandbox calls nobody but this machine")
        return urls


@dataclass(frozen=True, slots=True)
class Message:
    """One callback; each delivery is signed anew, its content stays."""

    channel: Channel
    reference: str
    """The order or refund number."""
    sign: Callable[[bool], tuple[dict[str, str], bytes]] = field(repr=False)
    """Headers and body; with WeChat Pay's newer key or not."""


class Messages:
    """Writes callbacks about orders and refunds.

    Args:
        alipay: Whose orders they are.
        clock: Returns seconds since 1970.
    """

    def __init__(
        self,
        alipay: AlipayProvider,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._alipay = alipay
        self._clock = clock

    def paid(self, channel: Channel, order: Order, algorithm: Algorithm = "HMAC-SHA256") -> Message:
        """That an order was paid."""
        if channel == "alipay":
            return self._form(order.order_no, {})
        if channel == "wechat_pay_v2":
            texts = paid_v2(order)
            return self._xml(
                order.order_no, {**_v2_head(), "result_code": "SUCCESS", **texts}, algorithm
            )
        content = transaction(order)
        return self._json(
            order.order_no, "TRANSACTION.SUCCESS", {**content, "trade_state": "SUCCESS"}
        )

    def refunded(self, channel: Channel, order: Order, refund: Refund) -> Message:
        """What became of a refund."""
        if channel == "alipay":
            more = {
                "refund_fee": yuan_of(str(order.given_back)),
                "gmt_refund": f"{moment(refund.at)}.000",
                "out_biz_no": refund.refund_no,
            }
            return self._form(order.order_no, more, refund.refund_no)
        if channel == "wechat_pay_v2":
            return self._sealed_xml(order, refund)
        content = refunded(order, refund, refund.result)
        status = {"refunded": "SUCCESS", "closed": "CLOSED"}.get(refund.result, "ABNORMAL")
        for name in ("channel", "create_time", "status"):
            del content[name]
        del content["amount"]["currency"]
        content |= {"mchid": MCHID, "refund_status": status}
        return self._json(refund.refund_no, f"REFUND.{status}", content)

    def _json(self, reference: str, event: str, content: dict[str, Any]) -> Message:
        keys, nonce = till_keys(), secrets.token_hex(6)
        sealed = AESGCM(keys.api_v3_key.encode()).encrypt(
            nonce.encode(), json.dumps(content, ensure_ascii=False).encode(), b"transaction"
        )
        resource = {
            "algorithm": "AEAD_AES_256_GCM",
            "ciphertext": base64.b64encode(sealed).decode(),
            "associated_data": "transaction",
            "nonce": nonce,
            "original_type": event.partition(".")[0].lower(),
        }
        now = dt.datetime.fromtimestamp(self._clock(), BEIJING)
        body = json.dumps(
            {
                "id": secrets.token_hex(16),
                "create_time": now.isoformat(timespec="seconds"),
                "resource_type": "encrypt-resource",
                "event_type": event,
                "summary": "沙箱",
                "resource": resource,
            },
            ensure_ascii=False,
        ).encode()

        def sign(newer: bool) -> tuple[dict[str, str], bytes]:  # noqa: FBT001  # called by place
            headers = sign_message(keys, body, self._clock(), newer=newer)
            return {**headers, "content-type": "application/json"}, body

        return Message("wechat_pay_v3", reference, sign)

    def _xml(self, reference: str, texts: dict[str, str], algorithm: Algorithm | None) -> Message:
        if algorithm is not None:
            texts = {**texts, "sign": signature(texts, till_keys().api_v2_key, algorithm)}
        inner = "\n".join(f"<{name}><![CDATA[{text}]]></{name}>" for name, text in texts.items())
        body = f"<xml>{inner}</xml>".encode()
        return Message("wechat_pay_v2", reference, lambda _: ({"content-type": "text/xml"}, body))

    def _sealed_xml(self, order: Order, refund: Refund) -> Message:
        results = {"refunded": "SUCCESS", "closed": "REFUNDCLOSE"}
        texts = {
            "transaction_id": order.provider_no,
            "out_trade_no": order.order_no,
            "refund_id": refund.provider_no,
            "out_refund_no": refund.refund_no,
            "total_fee": str(order.total),
            "settlement_total_fee": str(order.total),
            "refund_fee": str(refund.amount),
            "settlement_refund_fee": str(refund.amount),
            "refund_status": results.get(refund.result, "CHANGE"),
            "success_time": moment(refund.at),
            "refund_recv_accout": "沙箱零钱",
            "refund_account": "REFUND_SOURCE_RECHARGE_FUNDS",
            "refund_request_source": "API",
        }
        inner = "".join(f"<{name}><![CDATA[{text}]]></{name}>" for name, text in texts.items())
        padder = PKCS7(128).padder()
        padded = padder.update(f"<root>{inner}</root>".encode()) + padder.finalize()
        key = hashlib.md5(till_keys().api_v2_key.encode()).hexdigest().encode()  # noqa: S324
        closer = Cipher(AES256(key), ECB()).encryptor()  # noqa: S305  # the provider's rule
        req_info = base64.b64encode(closer.update(padded) + closer.finalize()).decode()
        return self._xml(refund.refund_no, {**_v2_head(), "req_info": req_info}, None)

    def _form(self, order_no: str, more: dict[str, str], reference: str | None = None) -> Message:
        order = self._alipay.book.find(order_no)
        told = {} if order is None else self._alipay.trade(order)
        buyer = Buyer() if order is None else order.buyer
        paid = told.pop("send_pay_date", "")
        values = {
            **told,
            **more,
            "gmt_create": paid,
            "gmt_payment": paid,
            "notify_type": "trade_status_sync",
            "notify_id": secrets.token_hex(17),
            "charset": "utf-8",
            "version": "1.0",
            "app_id": ALIPAY_APP,
            "auth_app_id": ALIPAY_APP,
            "seller_id": SELLER,
            "buyer_id": buyer.user_id,
            "buyer_logon_id": buyer.logon_id,
            "subject": "手镯 18K & 100%",
            "fund_bill_list": '[{"amount":"1.00","fundChannel":"ALIPAYACCOUNT"}]',
        }

        def sign(_newer: bool) -> tuple[dict[str, str], bytes]:  # noqa: FBT001  # called by place
            dated = {**values, "notify_time": moment(self._clock())}
            text = "&".join(f"{name}={dated[name]}" for name in sorted(dated))
            raw = till_keys().alipay.sign(text.encode(), PKCS1v15(), SHA256())
            form = {**dated, "sign_type": "RSA2", "sign": base64.b64encode(raw).decode()}
            kind = "application/x-www-form-urlencoded; charset=utf-8"
            return {"content-type": kind}, urlencode(form).encode()

        return Message("alipay", reference or order_no, sign)


def _v2_head() -> dict[str, str]:
    return {
        "return_code": "SUCCESS",
        "appid": APPID,
        "mch_id": MCHID,
        "nonce_str": secrets.token_hex(16),
    }


@dataclass(order=True, slots=True)
class _Due:
    at: float
    number: int
    message: Message = field(compare=False)
    step: int = field(compare=False)


class Courier:
    """Delivers messages in threads of its own, which end with :meth:`stop`.

    Args:
        plan: What it follows until it is told otherwise.
    """

    def __init__(self, plan: CallbackPlan | None = None) -> None:
        self._first_plan = plan or CallbackPlan()
        self._changed = threading.Condition()
        self._due: list[_Due] = []
        self._counts: Counter[str] = Counter()
        self._number = 0
        self._under_way = 0
        self._thread: threading.Thread | None = None
        self._stopped = False
        self.follow(self._first_plan)

    def follow(self, plan: CallbackPlan) -> None:
        """Deliver to where, and as, the plan says from now on."""
        with self._changed:
            self.plan = plan
            self._dice = random.Random(plan.seed)  # noqa: S311  # repeatable, not secret

    def send(self, message: Message) -> None:
        """Have a message delivered, if its channel has a URL."""
        with self._changed:
            if message.channel not in self.plan.urls or self._stopped:
                return
            self._counts["messages"] += 1
            if self._chance(self.plan.percent_lost):
                self._counts["lost"] += 1
                return
            self._put(message, 0, 0.0)
            if self._chance(self.plan.percent_twice):
                self._counts["twice"] += 1
                self._put(message, len(WAITS[message.channel]), 0.0)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def counts(self) -> dict[str, int]:
        """Messages, deliveries, acknowledgements and what was given up, since the last reset."""
        with self._changed:
            return {**self._counts, "waiting": len(self._due) + self._under_way}

    def wait(self, seconds: float) -> bool:
        """Wait until nothing is due any more; tells whether that was reached."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._due and not self._under_way, timeout=seconds
            )

    def clear(self) -> None:
        """Forget what is due and the counts, and follow the first plan again."""
        with self._changed:
            self._due.clear()
            self._counts.clear()
            self.follow(self._first_plan)
            self._changed.notify_all()

    def stop(self) -> None:
        """End the threads."""
        with self._changed:
            self._stopped = True
            self._due.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _chance(self, percent: float) -> bool:
        return self._dice.random() * 100 < percent

    def _put(self, message: Message, step: int, seconds: float) -> None:
        late = self._dice.random() * self.plan.mixed_within
        self._number += 1
        heapq.heappush(
            self._due, _Due(time.monotonic() + seconds + late, self._number, message, step)
        )

    def _run(self) -> None:
        limits = httpx.Limits(max_connections=8, max_keepalive_connections=8)
        with (
            httpx.Client(timeout=_TIMEOUT, trust_env=False, limits=limits) as client,
            ThreadPoolExecutor(8, thread_name_prefix="courier") as pool,
        ):
            while (due := self._next()) is not None:
                pool.submit(self._deliver, client, due)

    def _next(self) -> _Due | None:
        with self._changed:
            while not self._stopped:
                now = time.monotonic()
                if self._due and self._due[0].at <= now and self._under_way < 16:
                    self._under_way += 1
                    return heapq.heappop(self._due)
                self._changed.wait(
                    max(0.001, self._due[0].at - now)
                    if self._due and self._under_way < 16
                    else None
                )
            return None

    def _deliver(self, client: httpx.Client, due: _Due) -> None:
        channel = due.message.channel
        with self._changed:
            newer = self._chance(MIGRATION[self.plan.migration_day])
            url = self.plan.urls.get(channel)
        believed = False
        try:
            if url is not None:
                headers, body = due.message.sign(newer)
                reply = client.post(url, content=body, headers=headers)
                believed = _acknowledged(channel, reply)
        except httpx.HTTPError:
            pass
        finally:
            with self._changed:
                self._under_way -= 1
                self._counts["deliveries"] += 1
                self._counts["acknowledged" if believed else "refused"] += 1
                waits = WAITS[channel]
                if not believed and due.step < len(waits) and not self._stopped:
                    self._put(due.message, due.step + 1, waits[due.step] * self.plan.scale)
                elif not believed:
                    self._counts["given_up"] += 1
                self._changed.notify_all()


def _acknowledged(channel: Channel, reply: httpx.Response) -> bool:
    if channel == "alipay":
        return reply.status_code == 200 and reply.content == b"success"
    if channel == "wechat_pay_v2":
        return reply.status_code == 200 and b"<![CDATA[SUCCESS]]>" in reply.content
    return reply.status_code in {200, 204}
