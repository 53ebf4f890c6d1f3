import datetime as dt
import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from alibabacloud_tea_openapi.utils import Utils as VendorUtils
from hypothesis import given
from hypothesis import strategies as st

from integrations.aliyun.signing import (
    ALGORITHM,
    AliyunCredentials,
    authorization,
    canonical_query,
    canonical_request,
    percent_encode,
    signature,
    signer,
    string_to_sign,
)
from integrations.gate import UnsignedRequest

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "aliyun_acs3.json").read_text(encoding="utf-8")
)
CASES = VECTORS["cases"]
KEY = AliyunCredentials("test-key", "test-secret")


ACTION = {"x-acs-action": "SendSms", "x-acs-version": "2017-05-25"}


def unsigned(**changes: Any) -> UnsignedRequest:
    fields: dict[str, Any] = {
        "method": "POST",
        "host": "dysmsapi.aliyuncs.com",
        "path": "/",
        "query": "",
        "headers": {"accept": "application/json", **ACTION},
        "content_type": "application/x-www-form-urlencoded",
        "body": b"SignName=x",
        **changes,
    }
    return UnsignedRequest(**fields)


def canonical_of(case: dict[str, Any]) -> str:
    digest = case.get("body_sha256") or hashlib.sha256(case["body"].encode()).hexdigest()
    return canonical_request(case["method"], case["path"], case["query"], case["headers"], digest)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_published_examples_come_out_letter_by_letter(case: dict[str, Any]) -> None:
    key = AliyunCredentials(case["access_key"]["id"], case["access_key"]["secret"])
    canonical = canonical_of(case)
    assert canonical.split("\n") == case["canonical_request"]
    assert string_to_sign(canonical).split("\n") == case["string_to_sign"]
    assert signature(key.access_key_secret, canonical) == case["signature"]
    assert authorization(key, canonical) == case["authorization"]


@pytest.mark.parametrize(("text", "encoded"), VECTORS["encoding"]["pairs"])
def test_only_unreserved_characters_stay_as_they_are(text: str, encoded: str) -> None:
    assert percent_encode(text) == encoded


texts = st.text(st.characters(codec="utf-8"), max_size=20)
queries = st.lists(st.tuples(texts, texts), max_size=6)
header_values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)
headers = st.dictionaries(
    st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=12).map("x-acs-".__add__),
    header_values,
    max_size=6,
).map(lambda some: list(some.items()))
digests = st.binary(max_size=20).map(lambda body: hashlib.sha256(body).hexdigest())
secrets = st.text(st.characters(codec="utf-8"), max_size=30)


@given(queries, headers, st.randoms())
def test_the_order_in_which_fields_are_given_does_not_matter(
    query: list[tuple[str, str]], some: list[tuple[str, str]], random: Any
) -> None:
    def shuffled(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
        return sorted(pairs, key=lambda _: random.random())

    first = canonical_request("POST", "/", query, some, "0" * 64)
    assert canonical_request("POST", "/", shuffled(query), shuffled(some), "0" * 64) == first


@given(queries, headers, digests, secrets)
def test_the_vendors_own_code_computes_the_same_signature(
    query: list[tuple[str, str]], some: list[tuple[str, str]], digest: str, secret: str
) -> None:
    # The vendor takes names as they are and one value for each, so only such queries compare.
    plain = {percent_encode(name).replace("%", ""): value for name, value in query}
    request = SimpleNamespace(method="POST", pathname="/", query=plain, headers=dict(some))
    theirs = VendorUtils.get_authorization(request, ALGORITHM, digest, "test-key", secret)
    ours = canonical_request("POST", "/", plain.items(), some, digest)
    assert authorization(AliyunCredentials("test-key", secret), ours) == theirs


@given(st.data())
def test_every_changed_character_changes_the_signature(data: st.DataObject) -> None:
    canonical = canonical_of(CASES[0])
    at = data.draw(st.integers(0, len(canonical) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda char: char != canonical[at]))
    changed = canonical[:at] + other + canonical[at + 1 :]
    assert signature("secret", changed) != signature("secret", canonical)


@given(st.binary(min_size=1, max_size=200), st.data())
def test_every_changed_byte_of_the_body_changes_the_signature(
    body: bytes, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(body) - 1))
    flipped = bytearray(body)
    flipped[at] ^= data.draw(st.integers(1, 255))
    sign = signer(KEY, clock=noon, nonce=lambda: "n")
    assert sign(unsigned(body=body)) != sign(unsigned(body=bytes(flipped)))


@given(queries)
def test_a_query_survives_the_way_over_the_wire(query: list[tuple[str, str]]) -> None:
    wire = canonical_query(query)
    sign = signer(KEY, clock=noon, nonce=lambda: "n")
    request = unsigned(query=wire)
    returned = sign(request)
    seen = [*ACTION.items(), *((k, v) for k, v in returned.items() if k != "authorization")]
    seen += [("host", request.host), ("content-type", str(request.content_type))]
    expected = canonical_request("POST", "/", query, seen, returned["x-acs-content-sha256"])
    assert returned["authorization"] == authorization(KEY, expected)


def noon() -> dt.datetime:
    return dt.datetime(2026, 1, 2, 12, 0, 0, tzinfo=dt.UTC)


def test_the_signer_adds_exactly_the_headers_that_aliyun_needs() -> None:
    sign = signer(KEY, clock=noon, nonce=lambda: "n")
    returned = dict(sign(unsigned()))
    assert returned.pop("authorization").startswith(
        "ACS3-HMAC-SHA256 Credential=test-key,SignedHeaders=content-type;host;x-acs-action;"
        "x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version,Signature="
    )
    assert returned == {
        "x-acs-content-sha256": hashlib.sha256(b"SignName=x").hexdigest(),
        "x-acs-date": "2026-01-02T12:00:00Z",
        "x-acs-signature-nonce": "n",
    }


def test_a_request_without_body_signs_no_content_type() -> None:
    sign = signer(KEY)
    assert "content-type" not in sign(unsigned(content_type=None, body=b""))["authorization"]


def test_a_temporary_key_sends_and_signs_its_token() -> None:
    key = AliyunCredentials("sts-key", "test-secret", security_token="sts-token")
    returned = signer(key)(unsigned())
    assert returned["x-acs-security-token"] == "sts-token"
    assert ";x-acs-security-token;" in returned["authorization"]


def test_each_signature_has_a_nonce_of_its_own() -> None:
    sign = signer(KEY)
    nonces = {sign(unsigned())["x-acs-signature-nonce"] for _ in range(100)}
    assert len(nonces) == 100


def test_credentials_keep_their_secrets_to_themselves() -> None:
    shown = repr(AliyunCredentials("test-key", "the-secret", security_token="the-token"))
    assert "test-key" in shown
    assert "the-" not in shown
