"""Genuine callbacks with content that does not fit: signed by the provider, about something else."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from integrations.flat_xml import flat_xml
from integrations.payments import Channel
from integrations.sandbox.merchants import till_keys
from integrations.sandbox.tills import Tills
from integrations.sandbox.wechat_pay_content import transaction

__all__ = ["Callback", "written"]

Callback = tuple[Mapping[str, str], bytes]

_NAMES: Mapping[str, Mapping[Channel, str]] = {
    "app": {"wechat_pay_v3": "appid", "wechat_pay_v2": "appid", "alipay": "app_id"},
    "merchant": {"wechat_pay_v3": "mchid", "wechat_pay_v2": "mch_id", "alipay": "seller_id"},
    "state": {
        "wechat_pay_v3": "trade_state",
        "wechat_pay_v2": "result_code",
        "alipay": "trade_status",
    },
    "currency": {"wechat_pay_v3": "currency", "wechat_pay_v2": "fee_type"},
    "amount": {"wechat_pay_v3": "total", "wechat_pay_v2": "total_fee", "alipay": "total_amount"},
}


def written(tills: Tills, channel: Channel, order_no: str, **changes: str | int) -> Callback:
    """What the provider signs about an order of its book, with something changed.

    Args:
        changes: ``app``, ``merchant``, ``state``, ``currency`` or ``amount`` (as the channel has it),
            or anything else by the provider's own name.
    """
    order = tills.book(channel).find(order_no)
    assert order is not None
    named = {_NAMES.get(name, {}).get(channel, name): value for name, value in changes.items()}
    messages = tills.messages
    if channel == "wechat_pay_v3":
        content = {**transaction(order), "trade_state": "SUCCESS"}
        money = {name: named.pop(name) for name in ("currency", "total") if name in named}
        content |= {**named, "amount": {**content["amount"], **money}}
        return messages._json(order_no, "TRANSACTION.SUCCESS", content).sign(False)
    headers, body = messages.paid(channel, order).sign(False)
    if channel == "wechat_pay_v2":
        texts = flat_xml(body, foreign=True) | {name: str(v) for name, v in named.items()}
        del texts["sign"]
        return messages._xml(order_no, texts, "HMAC-SHA256").sign(False)
    values = dict(parse_qsl(body.decode(), keep_blank_values=True))
    del values["sign"], values["sign_type"]
    values |= {name: str(value) for name, value in named.items()}
    text = "&".join(f"{name}={values[name]}" for name in sorted(values))
    sign = base64.b64encode(till_keys().alipay.sign(text.encode(), PKCS1v15(), SHA256())).decode()
    return headers, urlencode({**values, "sign_type": "RSA2", "sign": sign}).encode()
