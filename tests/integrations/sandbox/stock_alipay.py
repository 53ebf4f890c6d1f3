"""Talks to the sandbox with the vendor's own SDK; runs in an environment that has nothing else.

Reads what it needs to know from its standard input, as JSON, and writes what it was told to its
standard output. Both the vendor's SDK and python-alipay-sdk are imported as ``alipay``.
"""

import json
import socket
import sys
from typing import Any
from urllib.parse import parse_qsl

from alipay.aop.api.AlipayClientConfig import AlipayClientConfig
from alipay.aop.api.DefaultAlipayClient import DefaultAlipayClient
from alipay.aop.api.domain.AlipayDataDataserviceBillDownloadurlQueryModel import (
    AlipayDataDataserviceBillDownloadurlQueryModel as BillModel,
)
from alipay.aop.api.domain.AlipayTradeFastpayRefundQueryModel import (
    AlipayTradeFastpayRefundQueryModel as RefundQueryModel,
)
from alipay.aop.api.domain.AlipayTradeQueryModel import AlipayTradeQueryModel as QueryModel
from alipay.aop.api.domain.AlipayTradeRefundModel import AlipayTradeRefundModel as RefundModel
from alipay.aop.api.request.AlipayDataDataserviceBillDownloadurlQueryRequest import (
    AlipayDataDataserviceBillDownloadurlQueryRequest as BillRequest,
)
from alipay.aop.api.request.AlipayTradeFastpayRefundQueryRequest import (
    AlipayTradeFastpayRefundQueryRequest as RefundQueryRequest,
)
from alipay.aop.api.request.AlipayTradeQueryRequest import AlipayTradeQueryRequest as QueryRequest
from alipay.aop.api.request.AlipayTradeRefundRequest import (
    AlipayTradeRefundRequest as RefundRequest,
)
from alipay.aop.api.util.SignatureUtils import get_sign_content, verify_with_rsa

told = json.load(sys.stdin)

# The SDK knows no ports but 80 and 443, so its connections are led to the sandbox on their way.
connect = socket.create_connection
socket.create_connection = lambda _, *rest: connect(("127.0.0.1", told["port"]), *rest)

config = AlipayClientConfig()
config.server_url = "http://openapi.alipay.com/gateway.do"
config.app_id = told["app_id"]
config.app_private_key = told["app_private_key"]
config.alipay_public_key = told["alipay_public_key"]
config.sign_type = "RSA2"
client = DefaultAlipayClient(alipay_client_config=config)


def ask(request_type: Any, model_type: Any, **fields: str) -> Any:
    """One call; the SDK itself signs it and verifies the answer."""
    model = model_type()
    for name, value in fields.items():
        setattr(model, name, value)
    return json.loads(client.execute(request_type(biz_model=model)))


def believes(form: str) -> bool:
    """Whether the SDK takes a pushed notification for Alipay's."""
    values = dict(parse_qsl(form))
    sign = values.pop("sign")
    values.pop("sign_type")
    text = get_sign_content(values).encode()
    try:
        return bool(verify_with_rsa(told["alipay_public_key"], text, sign))
    except Exception:  # noqa: BLE001 - the SDK raises what rsa raises
        return False


order, refund = {"out_trade_no": told["order_no"]}, {"out_request_no": told["refund_no"]}
json.dump(
    {
        "missing": ask(QueryRequest, QueryModel, out_trade_no="nobodys-order"),
        "query": ask(QueryRequest, QueryModel, **order),
        "refund": ask(RefundRequest, RefundModel, **order, **refund, refund_amount="3.45"),
        "refund_query": ask(RefundQueryRequest, RefundQueryModel, **order, **refund),
        "bill": ask(BillRequest, BillModel, bill_type="trade", bill_date=told["date"]),
        "notifications": [believes(form) for form in told["notifications"]],
    },
    sys.stdout,
)
