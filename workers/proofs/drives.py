"""How each operation of the policy is called, so that proofs can call all of them.

A new adapter adds one entry; until it does, the proofs fail and name the operation.
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, get_args

from integrations.alipay.pay import Alipay
from integrations.alipay.signing import signer as alipay_signer
from integrations.aliyun import AliyunCredentials, AliyunIdentity, AliyunSms, AliyunSmsAuth
from integrations.aliyun.face import AliyunFace
from integrations.aliyun.number_auth import AliyunNumberAuth
from integrations.aliyun.signing import signer
from integrations.backend import BackendWebhooks
from integrations.backend.signature import signer as webhook_signer
from integrations.destinations import OwnHosts
from integrations.gate import Gate, Signer
from integrations.jiguang import (
    JiguangCredentials,
    JiguangLogin,
    JPush,
    PhoneCipher,
    load_notices,
)
from integrations.jiguang.login import basic_signer
from integrations.policy import Operation
from integrations.sandbox import jiguang_key
from integrations.sandbox.alipay import bill_parameters
from integrations.sandbox.backend import BACKEND_HOST
from integrations.sandbox.cloudauth import SAMPLE_FACE, SAMPLE_SCENE
from integrations.sandbox.config import GIFTED_TEMPLATES, SCENE_TEMPLATES, SandboxConfig
from integrations.sandbox.jpush import SAMPLE_CID
from integrations.sandbox.merchants import (
    SAMPLE_AMOUNT,
    SAMPLE_ORDER,
    SAMPLE_REFUND,
    SAMPLE_TOTAL,
    alipay_credentials,
    wechat_pay_credentials,
    wechat_pay_v2_credentials,
)
from integrations.sandbox.wechat_pay_bill import bill_token
from integrations.wechat_pay.pay import BillLink, WechatPay
from integrations.wechat_pay.pay_v2 import WechatPayV2
from integrations.wechat_pay.v2 import signer as wechat_pay_v2_signer
from integrations.wechat_pay.v3 import signer as wechat_pay_signer
from models.attempts import Attempt
from models.clock import BEIJING, utc_now
from models.errors import RetryError
from models.states import State
from models.webhooks import OpenEndpoint, SigningKey
from tasks.push import Notice
from tasks.webhook import EXAMPLE_ENDPOINT, Webhook

__all__ = ["DRIVES", "Drive", "TappedGate", "personal_fields"]


@dataclass(frozen=True, slots=True)
class Drive:
    """One operation's adapter."""

    call: Callable[[Gate, Attempt], object]
    """Makes the adapter do the operation once."""
    pinned: Callable[[dt.datetime], Signer]
    """A signer as the adapter's, with the clock stopped and always the same nonce."""


def _credentials() -> AliyunCredentials:
    key_id, key = next(iter(SandboxConfig().access_keys.items()))
    return AliyunCredentials(key_id, key.secret)


def _sms(gate: Gate) -> AliyunSms:
    return AliyunSms(
        gate,
        _credentials(),
        sign_name=next(iter(SandboxConfig().sign_names)),
        templates=SCENE_TEMPLATES,
    )


def _sms_auth(gate: Gate) -> AliyunSmsAuth:
    return AliyunSmsAuth(
        gate,
        _credentials(),
        sign_name=next(iter(SandboxConfig().gifted_sign_names)),
        templates=GIFTED_TEMPLATES,
    )


def _identity(gate: Gate) -> AliyunIdentity:
    return AliyunIdentity(gate, _credentials())


def _face(gate: Gate) -> AliyunFace:
    return AliyunFace(gate, _credentials(), scene_id=SAMPLE_SCENE)


def _begin_face(gate: Gate, attempt: Attempt) -> object:
    return _face(gate).begin(
        attempt,
        order_no="7" * 32,
        callback_url="https://shop.example/faces/1",
        callback_token="5" * 32,
    )


def _number_auth(gate: Gate) -> AliyunNumberAuth:
    return AliyunNumberAuth(gate, _credentials())


_JIGUANG = JiguangCredentials(jiguang_key.APP_KEY, jiguang_key.MASTER_SECRET)


def _jiguang(gate: Gate) -> JiguangLogin:
    return JiguangLogin(gate, _JIGUANG, PhoneCipher(jiguang_key.PRIVATE_KEY))


def _jpush(gate: Gate) -> JPush:
    return JPush(gate, _JIGUANG, load_notices(gate.policy, get_args(Notice)))


def _push(gate: Gate, attempt: Attempt) -> object:
    attempt.held = {**attempt.held, "notice": get_args(Notice)[0]}
    return _jpush(gate).push(attempt, SAMPLE_CID)


def _aliyun_pinned(now: dt.datetime) -> Signer:
    return signer(_credentials(), clock=lambda: now, nonce=lambda: "5" * 32)


class _OneEndpoint:
    """The sandbox's own backend."""

    def open(self, _endpoint_id: str, *, backend: str) -> OpenEndpoint:  # noqa: ARG002
        key = base64.b64decode(SandboxConfig().webhook_secret.removeprefix("whsec_"))
        return OpenEndpoint(f"https://{BACKEND_HOST}/webhooks", (SigningKey("5" * 8, key),))

    def earlier(self, _job_id: str) -> None:
        return None

    def disable(self, _endpoint_id: str, _because: str) -> None:
        return None


def _webhook(gate: Gate, attempt: Attempt) -> object:
    told = Webhook(
        event="job.settled",
        occurred_at=dt.datetime(2026, 11, 24, tzinfo=dt.UTC),
        endpoint=EXAMPLE_ENDPOINT,
        ordering_key="5" * 32,
        job_id="5" * 32,
        kind="identity_check",
        status=State.FAILED,
        reason_code="expired",
        verdict="mismatch",
        channel="alipay",
        order_no="order-0000000000001",
        provider_no="42000000000000000001",
        refund_no="refund-0000000000001",
        state="refunded",
        amount=100,
        refund_amount=100,
        currency="CNY",
    )
    attempt.held = {**attempt.held, **told.held()}
    own_hosts = OwnHosts([BACKEND_HOST])
    return BackendWebhooks(gate, _OneEndpoint(), own_hosts).deliver(attempt)


def _webhook_pinned(now: dt.datetime) -> Signer:
    return webhook_signer(_OneEndpoint().open("", backend="").keys, "5" * 32, clock=lambda: now)


def _facts(attempt: Attempt, **changes: object) -> Attempt:
    """What the sandbox's samples are known by."""
    facts = {
        "order_no": SAMPLE_ORDER,
        "refund_no": SAMPLE_REFUND,
        "amount": SAMPLE_AMOUNT,
        "total": SAMPLE_TOTAL,
        "currency": "CNY",
        "bill_date": utc_now().astimezone(BEIJING).date().isoformat(),
    }
    attempt.held = {**attempt.held, **facts, **changes}
    return attempt


def _wechat_pay(gate: Gate) -> WechatPay:
    return WechatPay(gate, wechat_pay_credentials(notify_url="https://shop.example/refunds"))


def _wechat_pay_v2(gate: Gate) -> WechatPayV2:
    return WechatPayV2(gate, wechat_pay_v2_credentials())


def _alipay(gate: Gate) -> Alipay:
    return Alipay(gate, alipay_credentials())


def _wechat_pay_bill_file(gate: Gate, attempt: Attempt) -> object:
    token = bill_token(str(_facts(attempt).held["bill_date"]))
    # Nobody has told its digest, so it is fetched and not believed.
    with suppress(RetryError):
        return _wechat_pay(gate).download_bill(attempt, BillLink(token, "0" * 40))
    return None


def _alipay_bill_file(gate: Gate, attempt: Attempt) -> object:
    day = str(_facts(attempt).held["bill_date"])
    return _alipay(gate).download_bill(attempt, bill_parameters(day))


def _wechat_pay_pinned(now: dt.datetime) -> Signer:
    credentials = wechat_pay_credentials()
    return wechat_pay_signer(credentials, clock=lambda: now, nonce=lambda: "5" * 32)


def _wechat_pay_v2_pinned(_now: dt.datetime) -> Signer:
    return wechat_pay_v2_signer(wechat_pay_v2_credentials(), nonce=lambda: "5" * 32)


def _alipay_pinned(now: dt.datetime) -> Signer:
    return alipay_signer(alipay_credentials(), clock=lambda: now)


_PAYMENTS: Mapping[str, Drive] = {
    "wechat_pay.order.query": Drive(
        lambda gate, a: _wechat_pay(gate).query_order(_facts(a)), _wechat_pay_pinned
    ),
    "wechat_pay.refund": Drive(
        lambda gate, a: _wechat_pay(gate).refund(_facts(a, refund_no="SAMPLE-REFUND-2")),
        _wechat_pay_pinned,
    ),
    "wechat_pay.refund.query": Drive(
        lambda gate, a: _wechat_pay(gate).query_refund(_facts(a)), _wechat_pay_pinned
    ),
    "wechat_pay.bill": Drive(
        lambda gate, a: _wechat_pay(gate).bill_link(_facts(a)), _wechat_pay_pinned
    ),
    "wechat_pay.bill.download": Drive(_wechat_pay_bill_file, _wechat_pay_pinned),
    "wechat_pay.v2.order.query": Drive(
        lambda gate, a: _wechat_pay_v2(gate).query_order(_facts(a)), _wechat_pay_v2_pinned
    ),
    "wechat_pay.v2.refund.query": Drive(
        lambda gate, a: _wechat_pay_v2(gate).query_refund(_facts(a)), _wechat_pay_v2_pinned
    ),
    "alipay.order.query": Drive(
        lambda gate, a: _alipay(gate).query_order(_facts(a)), _alipay_pinned
    ),
    "alipay.refund": Drive(
        lambda gate, a: _alipay(gate).refund(_facts(a, refund_no="SAMPLE-REFUND-2")),
        _alipay_pinned,
    ),
    "alipay.refund.query": Drive(
        lambda gate, a: _alipay(gate).query_refund(_facts(a)), _alipay_pinned
    ),
    "alipay.bill": Drive(lambda gate, a: _alipay(gate).bill_link(_facts(a)), _alipay_pinned),
    "alipay.bill.download": Drive(_alipay_bill_file, lambda _now: lambda _request: {}),
}

DRIVES: Mapping[str, Drive] = {
    **_PAYMENTS,
    "aliyun.sms.send": Drive(lambda gate, a: _sms(gate).send_code(a), _aliyun_pinned),
    "aliyun.sms.query": Drive(
        lambda gate, a: _sms(gate).query_send(a, utc_now().astimezone(BEIJING).date()),
        _aliyun_pinned,
    ),
    "aliyun.sms_auth.send": Drive(lambda gate, a: _sms_auth(gate).send_code(a), _aliyun_pinned),
    "aliyun.sms_auth.check": Drive(lambda gate, a: _sms_auth(gate).check_code(a), _aliyun_pinned),
    "aliyun.login.phone": Drive(lambda gate, a: _number_auth(gate).phone_of(a), _aliyun_pinned),
    "aliyun.login.verify": Drive(lambda gate, a: _number_auth(gate).is_own(a), _aliyun_pinned),
    "jiguang.login.phone": Drive(
        lambda gate, a: _jiguang(gate).phone_of(a), lambda _now: basic_signer(_JIGUANG)
    ),
    "jiguang.push.cid": Drive(
        lambda gate, a: _jpush(gate).new_cid(a), lambda _now: basic_signer(_JIGUANG)
    ),
    "jiguang.push.send": Drive(_push, lambda _now: basic_signer(_JIGUANG)),
    "aliyun.identity.two_factor": Drive(
        lambda gate, a: _identity(gate).check(a, with_phone=False), _aliyun_pinned
    ),
    "aliyun.identity.three_factor": Drive(
        lambda gate, a: _identity(gate).check(a, with_phone=True), _aliyun_pinned
    ),
    "aliyun.face.begin": Drive(_begin_face, _aliyun_pinned),
    "aliyun.face.describe": Drive(
        lambda gate, a: _face(gate).verdict(_facts(a, certify_id=SAMPLE_FACE)), _aliyun_pinned
    ),
    "backend.webhook": Drive(_webhook, _webhook_pinned),
}
"""By the policy's name of the operation."""


class TappedGate:
    """A gate that lets what adapters hand it be seen and changed on the way in.

    Args:
        gate: The real one.
        change: Gets the keyword arguments of ``send`` (``request`` among them) and returns them.
    """

    def __init__(self, gate: Gate, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._gate = gate
        self._change = change

    @property
    def policy(self) -> Any:
        """The real gate's."""
        return self._gate.policy

    def send(self, request: Any, **arguments: Any) -> Any:
        """Change, then hand on."""
        changed = self._change({"request": request, **arguments})
        return self._gate.send(changed.pop("request"), **changed)


def personal_fields(operation: Operation) -> dict[str, str]:
    """The operation's personal fields: where they are, and what of the job they hold."""
    return {
        name: field.held
        for name, field in operation.fields.items()
        if field.held and not field.impersonal
    }
