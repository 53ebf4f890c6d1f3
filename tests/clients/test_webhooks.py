"""The client believes a webhook that is signed and fresh, and no other."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

import zjj

# Made with ``standardwebhooks`` 1.1.0, the reference library.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"test": 2432232314}'
AT = 1614265330
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
HEADERS = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": str(AT),
    "webhook-signature": SIGNATURE,
}


def _verify(headers: Mapping[str, str], body: bytes = BODY, *, now: float = AT) -> str:
    return zjj.verify_webhook(headers, body, SECRET, now=now)


def test_a_signed_and_fresh_webhook_is_believed_and_gives_its_id() -> None:
    assert _verify(HEADERS) == HEADERS["webhook-id"]
    assert _verify({name.title(): value for name, value in HEADERS.items()})


def test_one_signature_of_several_is_enough() -> None:
    both = f"v1,{'A' * 43}= v1a,x {SIGNATURE}"
    assert _verify(HEADERS | {"webhook-signature": both})


@pytest.mark.parametrize("now", [AT - 301, AT + 301])
def test_an_old_one_or_one_from_the_future_is_not(now: float) -> None:
    with pytest.raises(zjj.InvalidWebhookError):
        _verify(HEADERS, now=now)


@pytest.mark.parametrize("name", HEADERS)
def test_without_one_of_its_headers_it_is_not(name: str) -> None:
    with pytest.raises(zjj.InvalidWebhookError):
        _verify({key: value for key, value in HEADERS.items() if key != name})


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook-id": "msg_another"},
        {"webhook-timestamp": str(AT + 1)},
        {"webhook-timestamp": f"{AT}.0"},
        {"webhook-timestamp": "9" * 400},
        {"webhook-timestamp": "١٦١٤٢٦٥٣٣٠"},
        {"webhook-signature": SIGNATURE.removeprefix("v1,")},
        {"webhook-signature": SIGNATURE.replace("v1,", "v2,")},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "\ud800"},
    ],
)
def test_a_changed_header_spoils_it(changed: dict[str, str]) -> None:
    with pytest.raises(zjj.InvalidWebhookError):
        _verify(HEADERS | changed)


@given(st.binary())
def test_any_other_body_is_refused_and_not_repeated(body: bytes) -> None:
    if body != BODY:
        with pytest.raises(zjj.InvalidWebhookError) as refused:
            _verify(HEADERS, body)
        assert refused.value.__context__ is None


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_short", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
)
def test_what_is_no_secret_is_a_fault_of_the_settings(secret: str) -> None:
    with pytest.raises(zjj.ConfigurationError):
        zjj.verify_webhook(HEADERS, BODY, secret, now=AT)
