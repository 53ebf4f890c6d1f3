"""Signatures that any library for Standard Webhooks accepts."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st

import zjj
from integrations.backend.signature import sign
from models.webhooks import SigningKey

OLD = SigningKey("0" * 8, b"o" * 32)
NEW = SigningKey("1" * 8, b"n" * 32)
NOW = 1_795_478_400


def _secret(key: SigningKey) -> str:
    return "whsec_" + base64.b64encode(key.key).decode()


def test_the_signature_is_the_one_of_the_reference_library() -> None:
    """Made with ``standardwebhooks`` 1.1.0 for Python: ``Webhook(secret).sign(...)``."""
    key = SigningKey("5" * 8, base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
    headers = sign([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-key-id": "5" * 8,
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(st.binary(max_size=200), st.integers(0, 2**33))
def test_whoever_holds_a_current_secret_can_verify_whatever_is_sent(
    body: bytes, timestamp: int
) -> None:
    headers = sign([NEW, OLD], "0" * 32, timestamp, body)
    for key in (NEW, OLD):
        zjj.verify_webhook(headers, body, _secret(key), now=timestamp)


def test_each_signature_has_its_key_named_in_the_same_place() -> None:
    both = sign([NEW, OLD], "0" * 32, NOW, b"{}")
    alone = [sign([key], "0" * 32, NOW, b"{}") for key in (NEW, OLD)]
    for name in ("webhook-key-id", "webhook-signature"):
        assert both[name].split(" ") == [each[name] for each in alone]
