"""Alipay's open interface and its bill server, played in memory.

Parameters, codes and formats: opendocs.alipay.com, alipay.trade.query, alipay.trade.refund,
alipay.trade.fastpay.refund.query and alipay.data.dataservice.bill.downloadurl.query; the bill's
columns: "Business bill". Requests are verified and answers signed for real. Stricter than the real
one in one point: what the documents do not know in ``biz_content`` is refused.
"""

from __future__ import annotations

import base64
import datetime as dt
import hmac
import io
import json
import re
import time
import zipfile
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from integrations.alipay.signing import canonical
from integrations.money import fen_of, yuan_of
from integrations.sandbox.exchange import Answer, Call
from integrations.sandbox.merchants import ALIPAY_APP, SELLER, TillKeys, till_keys
from integrations.sandbox.till import OrderBook, RefundRefused
from models.clock import BEIJING
from models.errors import InvalidValue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from integrations.sandbox.exchange import Request
    from integrations.sandbox.till import Order, Refund

__all__ = ["AlipayProvider", "bill_parameters", "moment"]

_GATEWAY = "/gateway.do"
_FILE = "/downloadBillFile.resource"
_TIME = re.compile(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d", re.ASCII)
_COLUMNS = (
    "支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,对方账户,"
    "订单金额（元）,商家实收（元）,支付宝红包（元）,集分宝（元）,支付宝优惠（元）,商家优惠（元）,券核销金额（元）,"
    "券名称,商家红包消费金额（元）,卡消费金额（元）,退款批次号/请求号,服务费（元）,分润（元）,备注"
)
_REFUSED = {
    "too_much": "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL",
    "changed": "ACQ.DISCORDANT_REPEAT_REQUEST",
}


class _Refusal(Exception):
    def __init__(self, code: str, sub_code: str) -> None:
        super().__init__(sub_code)
        self.code = code
        self.sub_code = sub_code


class AlipayProvider:
    """Keeps the orders of one seller.

    Args:
        clock: Returns seconds since 1970.
    """

    name = "alipay"
    hosts = frozenset({"openapi.alipay.com", "dwbillcenter.alipay.com"})

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.book = OrderBook("2024050622", clock=clock)
        self.refund_accepted: Callable[[Order, Refund], None] = lambda _order, _refund: None
        """Told of each new refund, for its callback."""
        self.unsigned_answers = 0
        """So many of the next answers lack their signature."""
        self._clock = clock
        self._operations: dict[str, Callable[[dict[str, str]], dict[str, Any]]] = {
            "alipay.trade.query": self._query,
            "alipay.trade.refund": self._refund,
            "alipay.trade.fastpay.refund.query": self._refund_query,
            "alipay.data.dataservice.bill.downloadurl.query": self._bill,
        }

    @property
    def keys(self) -> TillKeys:
        """Everybody's."""
        return till_keys()

    def serves(self, request: Request) -> bool:
        """Whether the path is one of ours."""
        return request.path in {_GATEWAY, _FILE}

    def read(self, request: Request) -> Call:
        """Query and form together, and what ``biz_content`` holds."""
        given = dict(parse_qsl(request.query, keep_blank_values=True))
        given |= dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))
        action = given.get("method", "-") if request.path == _GATEWAY else "bill.download"
        try:
            content = json.loads(given.get("biz_content", ""))
        except ValueError:
            content = {}
        if isinstance(content, dict):
            given |= {f"biz_content.{name}": str(value) for name, value in content.items()}
        reference = given.get("biz_content.out_request_no") or given.get("biz_content.out_trade_no")
        return Call(request, action, given, reference)

    def answer(self, call: Call, *, undelivered: str | None = None) -> Answer:
        """Accept or refuse; ``undelivered`` has an accepted refund fail later."""
        del undelivered
        if call.action == "bill.download":
            return self._download(call)
        content = {
            name.removeprefix("biz_content."): value
            for name, value in call.parameters.items()
            if name.startswith("biz_content.")
        }
        try:
            self._check(call)
            done = self._operations[call.action](content)
        except _Refusal as refusal:
            return self._refused(call, refusal.code, refusal.sub_code)
        return self._reply(call, {"code": "10000", "msg": "Success", **done}, "10000", done=True)

    def refusal(self, call: Call, code: str, *, status: int | None, message: str | None) -> Answer:
        """A refusal with any ``sub_code``, or with ``code`` if it is a number."""
        del status, message
        if code.isdecimal():
            return self._refused(call, code, "isp.unknow-error")
        return self._refused(call, "40004", code)

    def reset(self) -> None:
        """Forget all orders."""
        self.book.clear()
        self.unsigned_answers = 0

    def _check(self, call: Call) -> None:
        given = {name: text for name, text in call.parameters.items() if "." not in name}
        if call.action not in self._operations:
            raise _Refusal("40002", "isv.invalid-method")
        if given.get("app_id") != ALIPAY_APP:
            raise _Refusal("40002", "isv.invalid-app-id")
        if given.get("sign_type") != "RSA2":
            raise _Refusal("40002", "isv.invalid-signature-type")
        if given.get("charset", "").lower() != "utf-8":
            raise _Refusal("40002", "isv.invalid-charset")
        if given.get("version") != "1.0" or not _TIME.fullmatch(given.get("timestamp", "")):
            raise _Refusal("40002", "isv.invalid-timestamp")
        if given.get("format", "json").lower() != "json":
            raise _Refusal("40002", "isv.invalid-format")
        try:
            signature = base64.b64decode(given.get("sign", ""))
            text = canonical(given).encode()
            self.keys.app.public_key().verify(signature, text, PKCS1v15(), SHA256())
        except (InvalidSignature, ValueError):
            raise _Refusal("40002", "isv.invalid-signature") from None

    def _query(self, given: dict[str, str]) -> dict[str, Any]:
        _only(given, "out_trade_no")
        order = self.book.find(_needed(given, "out_trade_no"))
        # Until the buyer opens the cashier, Alipay knows nothing of an order.
        if order is None:
            raise _Refusal("40004", "ACQ.TRADE_NOT_EXIST")
        return {
            **self.trade(order),
            "buyer_logon_id": order.buyer.logon_id,
            "buyer_user_id": order.buyer.user_id,
        }

    def trade(self, order: Order) -> dict[str, str]:
        """An order as Alipay tells it."""
        told = {
            "out_trade_no": order.order_no,
            "trade_no": order.provider_no,
            "total_amount": yuan_of(str(order.total)),
            "trade_status": "TRADE_CLOSED" if order.closed else "WAIT_BUYER_PAY",
        }
        if order.paid_at is not None:
            whole = order.given_back == order.total
            told["trade_status"] = "TRADE_CLOSED" if whole else "TRADE_SUCCESS"
            told["send_pay_date"] = moment(order.paid_at)
        return told

    def _refund(self, given: dict[str, str]) -> dict[str, Any]:
        _only(given, "out_trade_no", "refund_amount", "out_request_no", "refund_reason")
        number, refund_no = _needed(given, "out_trade_no"), _needed(given, "out_request_no")
        try:
            amount = fen_of(_needed(given, "refund_amount"))
            order, refund, first = self.book.refund(number, refund_no, amount)
        except InvalidValue:
            raise _Refusal("40004", "ACQ.INVALID_PARAMETER") from None
        except RefundRefused as refused:
            wrong = {"missing": "ACQ.TRADE_NOT_EXIST", "unpaid": "ACQ.TRADE_STATUS_ERROR"}
            raise _Refusal("40004", {**wrong, **_REFUSED}[refused.why]) from None
        if first:
            self.refund_accepted(order, refund)
        done = first and self.book.result(refund) == "refunded"
        return {
            "out_trade_no": order.order_no,
            "trade_no": order.provider_no,
            "fund_change": "Y" if done else "N",
            "refund_fee": yuan_of(str(order.given_back)),
            "buyer_logon_id": order.buyer.logon_id,
        }

    def _refund_query(self, given: dict[str, str]) -> dict[str, Any]:
        _only(given, "out_trade_no", "out_request_no", "query_options")
        number, refund_no = _needed(given, "out_trade_no"), _needed(given, "out_request_no")
        if self.book.find(number) is None:
            raise _Refusal("40004", "ACQ.TRADE_NOT_EXIST")
        found = self.book.find_refund(refund_no)
        if found is None or self.book.result(found[1]) != "refunded":
            return {}
        order, refund = found
        return {
            "out_trade_no": order.order_no,
            "trade_no": order.provider_no,
            "out_request_no": refund.refund_no,
            "refund_status": "REFUND_SUCCESS",
            "refund_amount": yuan_of(str(refund.amount)),
            "total_amount": yuan_of(str(order.total)),
        }

    def _bill(self, given: dict[str, str]) -> dict[str, Any]:
        _only(given, "bill_type", "bill_date")
        if given.get("bill_type") != "trade":
            raise _Refusal("40004", "isv.invalid-parameter")
        date = _needed(given, "bill_date")
        try:
            traded = any(self.book.traded_on(dt.date.fromisoformat(date)))
        except ValueError:
            raise _Refusal("40004", "isv.invalid-parameter") from None
        if not traded:
            raise _Refusal("40004", "isp.bill_not_exist")
        return {
            "bill_download_url": f"http://dwbillcenter.alipay.com{_FILE}?{urlencode(bill_parameters(date))}"
        }

    def _download(self, call: Call) -> Answer:
        day = call.parameters.get("bizDates", "")
        date = f"{day[:4]}-{day[4:6]}-{day[6:]}"
        if bill_parameters(date) != call.parameters:
            return Answer(403, "forbidden", b"<html>forbidden</html>")
        rows = list(self.book.traded_on(dt.date.fromisoformat(date)))
        return Answer(
            200,
            "SUCCESS",
            _archive(day, [_row(order, refund) for order, refund in rows]),
            {"content-type": "application/zip"},
            accepted=True,
        )

    def _refused(self, call: Call, code: str, sub_code: str) -> Answer:
        told = {"code": code, "msg": "Business Failed", "sub_code": sub_code, "sub_msg": "沙箱"}
        return self._reply(call, told, sub_code)

    def _reply(
        self, call: Call, content: dict[str, Any], code: str, *, done: bool = False
    ) -> Answer:
        name = f"{call.action}_response".replace(".", "_")
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        signature = self.keys.alipay.sign(text.encode(), PKCS1v15(), SHA256())
        sign = f',"sign":"{base64.b64encode(signature).decode()}"'
        if self.unsigned_answers:
            self.unsigned_answers -= 1
            sign = ""
        body = f'{{"{name}":{text}{sign}}}'.encode()
        return Answer(200, code, body, {"content-type": "application/json;charset=utf-8"}, done)


def bill_parameters(date: str) -> dict[str, str]:
    """What the bill of a day is fetched with."""
    day = date.replace("-", "")
    return {
        "bizType": "trade",
        "userId": SELLER,
        "fileType": "csv.zip",
        "bizDates": day,
        "downloadFileName": f"{SELLER}_{day}.csv.zip",
        "fileId": f"/trade/{SELLER}/{day}.csv.zip",
        "timestamp": "1714950000",
        "token": hmac.digest(till_keys().api_v3_key.encode(), day.encode(), "sha256").hex(),
    }


def moment(at: float) -> str:
    """As Alipay writes times, which are China's."""
    return dt.datetime.fromtimestamp(at, BEIJING).strftime("%Y-%m-%d %H:%M:%S")


def _row(order: Order, refund: Refund | None) -> list[str]:
    at = moment((order.paid_at or 0) if refund is None else refund.at)
    amount = yuan_of(str(order.total)) if refund is None else f"-{yuan_of(str(refund.amount))}"
    kind = "交易" if refund is None else "退款"
    return [
        *(f"{order.provider_no}\t", f"{order.order_no}\t", kind, '"手镯,18K"', at, at, "", "", ""),
        *("", "*沙箱(san***@sandbox)", amount, amount, "0.00", "0.00", "0.00", "0.00", "0.00"),
        *("", "0.00", "0.00", "" if refund is None else refund.refund_no, "0.00", "0.00", ""),
    ]


def _archive(day: str, rows: list[list[str]]) -> bytes:
    head = ["#支付宝业务明细查询", f"#账号：[{SELLER}0156]", "#----业务明细列表----", _COLUMNS]
    detail = "\r\n".join([*head, *(",".join(row) for row in rows), "#----业务明细列表结束----", ""])
    sums = "#支付宝业务汇总查询\r\n门店编号,门店名称,交易订单总笔数,退款订单总笔数\r\n合计,,0,0\r\n"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{SELLER}_{day}_业务明细(汇总).csv", sums.encode("gbk"))
        archive.writestr(f"{SELLER}_{day}_业务明细.csv", detail.encode("gbk"))
    return file.getvalue()


def _needed(given: Mapping[str, str], name: str) -> str:
    if not given.get(name):
        raise _Refusal("40004", "ACQ.INVALID_PARAMETER")
    return given[name]


def _only(given: Mapping[str, str], *names: str) -> None:
    if given.keys() - {*names}:
        raise _Refusal("40004", "ACQ.INVALID_PARAMETER")
