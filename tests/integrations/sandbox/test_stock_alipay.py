"""The vendor's own SDK for Alipay is the judge of whether the sandbox is faithful.

alipay-sdk-python is imported as ``alipay``, as python-alipay-sdk is, so it lives in an environment
of its own, which the tests make once and keep in pytest's cache.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import subprocess
import venv
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from integrations.sandbox.merchants import ALIPAY_APP, till_keys
from integrations.sandbox.server import SandboxServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SDK = "alipay-sdk-python==3.7.1411"
SCRIPT = Path(__file__).with_name("stock_alipay.py")
ORDER, REFUND = "Z20240506-0001", "R20240506-0001"


@pytest.fixture(scope="session")
def stock_python(pytestconfig: pytest.Config) -> Path:
    """An interpreter that has the SDK."""
    assert pytestconfig.cache is not None
    folder = Path(pytestconfig.cache.mkdir(SDK.replace("==", "-")))
    python = folder / "bin" / "python"
    if (folder / "whole").exists():
        return python
    venv.create(folder, with_pip=True, clear=True)
    # Of its ten thousand modules a handful is imported.
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-compile", SDK]
    done = subprocess.run(install, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["pip said nothing"]
        pytest.skip(f"no package index gives {SDK}: {said[0]}")
    (folder / "whole").touch()
    return python


@pytest.fixture(scope="module")
def answers(stock_python: Path) -> dict[str, Any]:
    """What the SDK was told, in one conversation."""
    keys = till_keys()
    with SandboxServer() as server:
        tills = server.sandbox.tills
        order = tills.alipay.book.pay(ORDER, 12345)
        paid = tills.messages.paid("alipay", order).sign(False)[1].decode()
        done = subprocess.run(
            [str(stock_python), "-I", str(SCRIPT)],
            input=json.dumps(
                {
                    "port": server.port,
                    "app_id": ALIPAY_APP,
                    # The SDK wants PKCS #1, bare.
                    "app_private_key": base64.b64encode(
                        keys.app.private_bytes(
                            Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()
                        )
                    ).decode(),
                    "alipay_public_key": "".join(
                        keys.shown()["alipay_public_key"].strip().splitlines()[1:-1]
                    ),
                    "order_no": ORDER,
                    "refund_no": REFUND,
                    "date": dt.datetime.now(dt.timezone(dt.timedelta(hours=8))).date().isoformat(),
                    "notifications": [paid, paid.replace("123.45", "1.23")],
                }
            ),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_it_asks_for_an_order(answers: dict[str, Any]) -> None:
    told = answers["query"]
    assert (told["code"], told["trade_status"]) == ("10000", "TRADE_SUCCESS")
    assert (told["out_trade_no"], told["total_amount"]) == (ORDER, "123.45")
    assert answers["missing"]["sub_code"] == "ACQ.TRADE_NOT_EXIST"


def test_it_gives_money_back_and_asks_what_became_of_it(answers: dict[str, Any]) -> None:
    assert (answers["refund"]["fund_change"], answers["refund"]["refund_fee"]) == ("Y", "3.45")
    told = answers["refund_query"]
    assert (told["refund_status"], told["refund_amount"]) == ("REFUND_SUCCESS", "3.45")
    assert told["out_request_no"] == REFUND


def test_it_applies_for_the_bill(answers: dict[str, Any]) -> None:
    url = answers["bill"]["bill_download_url"]
    assert url.startswith("http://dwbillcenter.alipay.com/downloadBillFile.resource?")


def test_it_believes_a_pushed_notification_and_no_changed_one(answers: dict[str, Any]) -> None:
    assert answers["notifications"] == [True, False]
