"""Genuine callbacks, spoiled in many ways: none is believed, and none takes long."""

from __future__ import annotations

import datetime as dt
import os
import random
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.alipay import notify
from integrations.documents import read_document
from integrations.payments import CallbackRefused, Channel
from integrations.sandbox.merchants import till_keys, wechat_pay_credentials
from integrations.sandbox.tills import Tills
from integrations.wechat_pay import v2, v3
from tests.integrations.spoiling import spoiled

# HOSTILE_CALLBACKS=33334 makes a hundred thousand of all three.
EACH = int(os.environ.get("HOSTILE_CALLBACKS", "700"))


@pytest.mark.parametrize("channel", ["wechat_pay_v3", "wechat_pay_v2", "alipay"])
def test_no_spoiled_callback_is_believed(channel: Channel) -> None:
    headers, body, verify = _genuine(channel)
    verify(headers, body)
    chance = random.Random(channel)
    slowest = 0.0
    for _ in range(EACH):
        bad_headers, bad_body = spoiled(chance, headers, body)
        begun = time.perf_counter()
        with pytest.raises(CallbackRefused):
            verify(bad_headers, bad_body)
        slowest = max(slowest, time.perf_counter() - begun)
    assert slowest < 1


@given(st.sampled_from(["json", "xml", "table", "zipped_table"]), st.binary(max_size=400))
def test_any_bytes_are_a_document_or_none(form: str, body: bytes) -> None:
    found = read_document(form, body)
    assert found is None or isinstance(found, dict)


def _genuine(
    channel: Channel,
) -> tuple[dict[str, str], bytes, Callable[[dict[str, str], bytes], object]]:
    tills, keys = Tills(), wechat_pay_credentials().keys
    if channel == "wechat_pay_v3":
        message = tills.messages.paid(channel, tills.wechat_pay.book.pay("Z20240506", 12345))
        now = dt.datetime.now(dt.UTC)
        return *message.sign(True), lambda h, b: v3.verify(h, b, keys, now)
    if channel == "wechat_pay_v2":
        message = tills.messages.paid(channel, tills.wechat_pay.book.pay("Z20240506", 12345))
        key = till_keys().api_v2_key
        head, body = message.sign(False)
        # Space between elements means nothing, so there is none to spoil.
        return head, body.replace(b"\n", b""), lambda _, b: v2.verify(b, key, "HMAC-SHA256")
    message = tills.messages.paid("alipay", tills.alipay.book.pay("Z20240506", 12345))
    public = till_keys().alipay.public_key()
    return *message.sign(False), lambda h, b: notify.verify(b, h.get("content-type"), public)
