"""WeChat Pay, API v3 and the two queries of API v2, played in memory.

Paths, fields, codes and formats: pay.weixin.qq.com, "Query order by out_trade_no", "Refund", "Query
refund", "Apply for trade bill", "Download bill" and "Platform certificates" of API v3; "Query
order" and "Query refund" of API v2. Requests are verified and answers signed for real. Stricter
than the real one in two points: a field that the documents do not know is refused, and so is a
signature that is more than five minutes old.
"""

from __future__ import annotations

import base64
import datetime as dt
import gzip
import hashlib
import hmac
import json
import re
import secrets
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from integrations.flat_xml import Entangled, flat_xml
from integrations.sandbox.exchange import Answer, Call
from integrations.sandbox.merchants import APPID, MCHID, TillKeys, till_keys
from integrations.sandbox.till import OrderBook, RefundRefused
from integrations.sandbox.wechat_pay_bill import bill_of, bill_token
from integrations.sandbox.wechat_pay_content import (
    V2_RESULTS,
    paid_v2,
    refunded,
    refunded_v2,
    told_at,
    transaction,
)
from integrations.sandbox.wechat_pay_signing import merchant_of, sign_message
from integrations.wechat_pay.v2 import Algorithm, is_signed, signature

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from integrations.sandbox.exchange import Request
    from integrations.sandbox.till import Order, Refund, RefundResult

__all__ = ["WechatPayProvider"]

_NUMBER = re.compile(r"[A-Za-z0-9_\-|*]{6,32}", re.ASCII)
_REFUND_NUMBER = re.compile(r"[A-Za-z0-9_\-|*@]{1,64}", re.ASCII)
_ROUTES = {
    ("GET", "/v3/pay/transactions/out-trade-no/"): "order.query",
    ("GET", "/v3/refund/domestic/refunds/"): "refund.query",
}
_PLAIN = {
    ("POST", "/v3/refund/domestic/refunds"): "refund",
    ("GET", "/v3/bill/tradebill"): "bill",
    ("GET", "/v3/billdownload/file"): "bill.download",
    ("GET", "/v3/certificates"): "certificates",
    ("POST", "/pay/orderquery"): "v2.order.query",
    ("POST", "/pay/refundquery"): "v2.refund.query",
}
_STATUS = {
    "SIGN_ERROR": 401,
    "NO_AUTH": 403,
    "NOT_ENOUGH": 403,
    "USER_ACCOUNT_ABNORMAL": 403,
    "ORDER_NOT_EXIST": 404,
    "RESOURCE_NOT_EXISTS": 404,
    "FREQUENCY_LIMITED": 429,
    "RATELIMIT_EXCEEDED": 429,
    "SYSTEM_ERROR": 500,
}


class _Refusal(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(code)
        self.code = code
        self.message = message


class WechatPayProvider:
    """Keeps the orders of one merchant.

    Args:
        clock: Returns seconds since 1970.
    """

    name = "wechat_pay"
    hosts = frozenset({"api.mch.weixin.qq.com", "api2.mch.weixin.qq.com"})

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.book = OrderBook("4200000000", clock=clock)
        self.refund_accepted: Callable[[Order, Refund], None] = lambda _order, _refund: None
        """Told of each new refund, for its callback."""
        self.unsigned_answers = 0
        """So many of the next answers lack their signature."""
        self._clock = clock
        self._operations: dict[str, Callable[[Call, RefundResult], Any]] = {
            "order.query": self._order_query,
            "refund": self._refund,
            "refund.query": self._refund_query,
            "bill": self._bill,
            "bill.download": self._download,
            "certificates": self._certificates,
            "v2.order.query": self._v2_order_query,
            "v2.refund.query": self._v2_refund_query,
        }

    @property
    def keys(self) -> TillKeys:
        """Everybody's."""
        return till_keys()

    def serves(self, request: Request) -> bool:
        """Whether the path is one of ours."""
        return self._action(request) is not None

    def read(self, request: Request) -> Call:
        """The number in the path, the query and the body together."""
        action = self._action(request)
        given = dict(parse_qsl(request.query, keep_blank_values=True))
        if action in _ROUTES.values():
            name = "out_trade_no" if action == "order.query" else "out_refund_no"
            given[name] = unquote(request.path.rpartition("/")[2])
        if action is not None and action.startswith("v2."):
            try:
                given |= flat_xml(request.body, foreign=True)
            except Entangled:
                given = {}
        elif request.body:
            given |= _flat(request.body)
        reference = given.get("out_refund_no") or given.get("out_trade_no")
        return Call(request, action or "-", given, reference)

    def answer(self, call: Call, *, undelivered: str | None = None) -> Answer:
        """Accept or refuse; ``undelivered`` has an accepted refund end as CLOSED or ABNORMAL."""
        result: RefundResult = "refunded"
        if undelivered is not None:
            result = "failed" if undelivered == "ABNORMAL" else "closed"
        older = call.action.startswith("v2.")
        if call.action not in self._operations:
            return self.refusal(call, "RESOURCE_NOT_EXISTS", status=404, message="no interface")
        try:
            (self._check_v2 if older else self._check)(call)
            content = self._operations[call.action](call, result)
        except _Refusal as refusal:
            return self.refusal(call, refusal.code, status=None, message=refusal.message)
        if isinstance(content, bytes):
            return Answer(200, "SUCCESS", content, {"content-type": "text/plain"}, accepted=True)
        if older:
            texts = {"return_code": "SUCCESS", "result_code": "SUCCESS", **content}
            return self._xml(texts, "SUCCESS", accepted=True)
        body = json.dumps(content, ensure_ascii=False).encode()
        return self._json(call.request, 200, "SUCCESS", body, accepted=True)

    def refusal(self, call: Call, code: str, *, status: int | None, message: str | None) -> Answer:
        """A refusal with any code; v2 says it with HTTP 200."""
        text = message or "Played by the sandbox."
        if call.action.startswith("v2."):
            texts = {"return_code": "SUCCESS", "result_code": "FAIL", "err_code": code}
            return self._xml({**texts, "err_code_des": text}, code)
        body = json.dumps({"code": code, "message": text}, ensure_ascii=False).encode()
        return self._json(call.request, status or _STATUS.get(code, 400), code, body)

    def reset(self) -> None:
        """Forget all orders."""
        self.book.clear()
        self.unsigned_answers = 0

    def _action(self, request: Request) -> str | None:
        head, _, _ = request.path.rpartition("/")
        return _PLAIN.get((request.method, request.path)) or _ROUTES.get(
            (request.method, f"{head}/")
        )

    def _check(self, call: Call) -> None:
        request = call.request
        if not request.header("accept") or not request.header("user-agent"):
            raise _Refusal("PARAM_ERROR", "Accept and User-Agent are needed")
        merchant = merchant_of(request, self.keys, self._clock())
        if merchant is None:
            raise _Refusal("SIGN_ERROR", "wrong or stale signature, or unknown certificate")
        if merchant != MCHID or call.parameters.get("mchid", MCHID) != MCHID:
            raise _Refusal("NO_AUTH", "another merchant")

    def _check_v2(self, call: Call) -> None:
        given = call.parameters
        _need(given, "appid", "mch_id", "nonce_str", "sign")
        algorithm: Algorithm = "HMAC-SHA256" if given.get("sign_type") == "HMAC-SHA256" else "MD5"
        if not is_signed(given, self.keys.api_v2_key, algorithm):
            raise _Refusal("SIGNERROR", "签名错误")
        if given["mch_id"] != MCHID or given["appid"] != APPID:
            raise _Refusal("APPID_MCHID_NOT_MATCH", "appid和mch_id不匹配")

    def _order_query(self, call: Call, _result: RefundResult) -> dict[str, Any]:
        _only(call.parameters, "out_trade_no", "mchid")
        return transaction(self._order(call, "ORDER_NOT_EXIST"))

    def _refund(self, call: Call, result: RefundResult) -> dict[str, Any]:
        given = call.parameters
        _need(given, "out_refund_no", "amount.refund", "amount.total", "amount.currency")
        _only(
            given,
            *("out_trade_no", "out_refund_no", "notify_url", "reason", "funds_account"),
            *("amount.refund", "amount.total", "amount.currency"),
        )
        amounts = json.loads(call.request.body)["amount"]
        if not all(
            type(amounts[name]) is int and amounts[name] > 0 for name in ("refund", "total")
        ):
            raise _Refusal("PARAM_ERROR", "amounts are whole fen")
        if amounts["currency"] != "CNY" or not _REFUND_NUMBER.fullmatch(given["out_refund_no"]):
            raise _Refusal("PARAM_ERROR", "currency or out_refund_no")
        order = self._order(call, "RESOURCE_NOT_EXISTS")
        try:
            order, refund, first = self.book.refund(
                order.order_no,
                given["out_refund_no"],
                amounts["refund"],
                total=amounts["total"],
                result=result,
            )
        except RefundRefused as refused:
            raise _Refusal("INVALID_REQUEST", refused.why) from None
        if first:
            self.refund_accepted(order, refund)
        return refunded(order, refund, "processing")

    def _refund_query(self, call: Call, _result: RefundResult) -> dict[str, Any]:
        _only(call.parameters, "out_refund_no")
        found = self.book.find_refund(call.parameters.get("out_refund_no", ""))
        if found is None:
            raise _Refusal("RESOURCE_NOT_EXISTS", "退款单不存在")
        return refunded(*found, self.book.result(found[1]))

    def _bill(self, call: Call, _result: RefundResult) -> dict[str, Any]:
        _need(call.parameters, "bill_date")
        _only(call.parameters, "bill_date", "bill_type", "tar_type")
        if call.parameters.get("bill_type", "ALL") != "ALL":
            raise _Refusal("PARAM_ERROR", "the sandbox writes bills of all")
        date = call.parameters["bill_date"]
        return {
            "hash_type": "SHA1",
            "hash_value": hashlib.sha1(self._file(date)).hexdigest(),  # noqa: S324
            "download_url": "https://api.mch.weixin.qq.com/v3/billdownload/file"
            f"?token={bill_token(date)}"
            + ("&tartype=gzip" if call.parameters.get("tar_type") == "GZIP" else ""),
        }

    def _download(self, call: Call, _result: RefundResult) -> bytes:
        _only(call.parameters, "token", "tartype")
        token = call.parameters.get("token", "")
        date = token.partition("_")[0]
        if not hmac.compare_digest(token, bill_token(date)):
            raise _Refusal("PARAM_ERROR", "unknown token")
        file = self._file(date)
        return gzip.compress(file) if "tartype" in call.parameters else file

    def _file(self, date: str) -> bytes:
        try:
            file = bill_of(self.book, dt.date.fromisoformat(date), V2_RESULTS)
        except ValueError:
            raise _Refusal("PARAM_ERROR", "bill_date") from None
        if file is None:
            raise _Refusal("NO_STATEMENT_EXIST", "账单文件不存在")
        return file

    def _certificates(self, _call: Call, _result: RefundResult) -> dict[str, Any]:
        nonce = secrets.token_hex(6)
        sealed = AESGCM(self.keys.api_v3_key.encode()).encrypt(
            nonce.encode(), self.keys.platform_certificate.encode(), b"certificate"
        )
        return {
            "data": [
                {
                    "serial_no": self.keys.platform_serial,
                    "effective_time": told_at(self._clock() - 86400),
                    "expire_time": told_at(self._clock() + 86400 * 365),
                    "encrypt_certificate": {
                        "algorithm": "AEAD_AES_256_GCM",
                        "nonce": nonce,
                        "associated_data": "certificate",
                        "ciphertext": base64.b64encode(sealed).decode(),
                    },
                }
            ]
        }

    def _v2_order_query(self, call: Call, _result: RefundResult) -> dict[str, str]:
        _only(call.parameters, "appid", "mch_id", "nonce_str", "sign", "sign_type", "out_trade_no")
        order = self._order(call, "ORDERNOTEXIST")
        told = transaction(order)
        texts = {"out_trade_no": order.order_no, "trade_state": str(told["trade_state"])}
        if order.paid_at is not None:
            texts |= paid_v2(order)
        return texts

    def _v2_refund_query(self, call: Call, _result: RefundResult) -> dict[str, str]:
        _only(call.parameters, "appid", "mch_id", "nonce_str", "sign", "sign_type", "out_refund_no")
        found = self.book.find_refund(call.parameters.get("out_refund_no", ""))
        if found is None:
            raise _Refusal("REFUNDNOTEXIST", "退款订单查询失败")
        return refunded_v2(*found, self.book.result(found[1]))

    def _order(self, call: Call, missing: str) -> Order:
        number = call.parameters.get("out_trade_no", "")
        if not _NUMBER.fullmatch(number):
            raise _Refusal("PARAM_ERROR", "out_trade_no")
        order = self.book.find(number)
        if order is None:
            raise _Refusal(missing, "订单不存在")
        return order

    def _json(
        self, request: Request, status: int, code: str, body: bytes, *, accepted: bool = False
    ) -> Answer:
        headers = {"content-type": "application/json"}
        if self.unsigned_answers:
            self.unsigned_answers -= 1
        else:
            newer = request.header("wechatpay-serial") == self.keys.public_id
            headers |= sign_message(self.keys, body, self._clock(), newer=newer)
        return Answer(status, code, body, headers, accepted)

    def _xml(self, texts: Mapping[str, str], code: str, *, accepted: bool = False) -> Answer:
        named = {**texts, "appid": APPID, "mch_id": MCHID, "nonce_str": secrets.token_hex(16)}
        if self.unsigned_answers:
            self.unsigned_answers -= 1
        else:
            named["sign"] = signature(named, self.keys.api_v2_key, "HMAC-SHA256")
        inner = "\n".join(f"<{name}><![CDATA[{text}]]></{name}>" for name, text in named.items())
        body = f"<xml>{inner}</xml>".encode()
        return Answer(200, code, body, {"content-type": "text/xml"}, accepted)


def _need(given: Mapping[str, str], *names: str) -> None:
    for name in names:
        if not given.get(name):
            raise _Refusal("PARAM_ERROR", f"{name} is needed")


def _only(given: Mapping[str, str], *names: str) -> None:
    if given.keys() - {*names}:
        raise _Refusal("PARAM_ERROR", "a field that this interface does not know")


def _flat(body: bytes) -> dict[str, str]:
    """The leaves of a JSON object, two levels deep."""
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    flat: dict[str, str] = {}
    for name, value in (document if isinstance(document, dict) else {}).items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": str(leaf) for inner, leaf in value.items()}
        else:
            flat[name] = str(value)
    return flat
