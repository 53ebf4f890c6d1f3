"""Keys that everything secret hangs on, and what is recognised without being readable."""

from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ConfigurationError
from models.identifiers import new_id
from models.keys import MasterKeys, decode_key, derive_key, generate_key
from models.pii import LoginToken, Phone, PushToken
from models.pseudonyms import Pseudonyms
from tests.models.rows import KEY

PSEUDONYMS = Pseudonyms(KEY)
DIGEST = re.compile(r"[0-9a-f]{64}")


def test_a_generated_key_decodes_to_32_bytes_and_is_never_the_same() -> None:
    keys = {decode_key(generate_key(), name="K") for _ in range(20)}
    assert len(keys) == 20
    assert {len(key) for key in keys} == {32}


def test_padding_is_optional() -> None:
    text = generate_key()
    assert decode_key(text + "=", name="K") == decode_key(text, name="K")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "short",
        "A" * 42,
        "A" * 44,
        "A" * 86,
        "*" * 43,
        "A" * 42 + "!A",
        "密" * 43,
        " " + "A" * 43,
        '"' + "A" * 43 + '"',
    ],
)
def test_what_is_no_key_is_refused_by_name_and_not_repeated(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        decode_key(text, name="ZJJ_PSEUDONYM_KEY")
    assert str(caught.value) == "ZJJ_PSEUDONYM_KEY must be 32 bytes in URL-safe base64"


def test_derived_keys_are_independent_and_stable() -> None:
    assert derive_key(KEY, "subject") == derive_key(KEY, "subject")
    assert len({derive_key(KEY, p) for p in ("subject", "ledger", "")} | {KEY}) == 4
    # What `openssl kdf -keylen 32 -kdfopt digest:SHA256 -kdfopt info:"zjj ledger" HKDF` says for a
    # key of zeros. Another answer would orphan every chain and pseudonym that there is.
    assert derive_key(bytes(32), "ledger").hex() == (
        "14d7924b2a10d49a323a2a68c9c854e539a8d4a8969e358fecf5e38947f0aac8"
    )


def test_the_first_master_key_wraps_and_all_are_known() -> None:
    first, second = generate_key(), generate_key()
    keys = MasterKeys.parse(f"2026-b:{first}, 2026-a:{second},")
    assert keys.first == "2026-b"
    assert keys.keys == {
        "2026-b": decode_key(first, name="K"),
        "2026-a": decode_key(second, name="K"),
    }


_KEY = "A" * 43


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "at least one"),
        (" , ,", "at least one"),
        (_KEY, "key 1 needs a name"),
        (f":{_KEY}", "key 1 needs a name"),
        (f"a b!:{_KEY}", "key 1 needs a name"),
        (f"{'n' * 33}:{_KEY}", "key 1 needs a name"),
        (f"a:{_KEY},a:{_KEY}", "key 2 needs a name"),
        (f"a:{_KEY},b:short", "key 2 must be 32 bytes"),
        (f"a:{_KEY}x", "key 1 must be 32 bytes"),
    ],
)
def test_a_bad_list_of_master_keys_is_refused_by_number(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        MasterKeys.parse(text)
    for part in re.findall(r"[A-Za-z0-9_-]{20,}", text):
        assert part not in str(caught.value)


def test_master_keys_do_not_show_themselves() -> None:
    text = generate_key()
    keys = MasterKeys.parse(f"name:{text}")
    raw = base64.urlsafe_b64decode(text + "=")
    for shown in (repr(keys), str(keys)):
        assert text not in shown
        assert repr(raw) not in shown


def test_a_subject_is_found_again_however_the_number_was_typed() -> None:
    pseudonym = PSEUDONYMS.subject(Phone("16400001234"))
    assert DIGEST.fullmatch(pseudonym)
    assert PSEUDONYMS.subject(Phone("+86 164-0000-1234")) == pseudonym
    assert PSEUDONYMS.subject(Phone("16400001235")) != pseudonym


def test_pseudonyms_need_the_key() -> None:
    phone = Phone("16400001234")
    assert Pseudonyms(bytes(32)).subject(phone) != PSEUDONYMS.subject(phone)


def test_the_same_text_in_another_role_is_somebody_else() -> None:
    text = "16400001234"
    digests = {
        PSEUDONYMS.subject(Phone(text)),
        PSEUDONYMS.subject(PushToken(text)),
        PSEUDONYMS.subject(LoginToken(text)),
        PSEUDONYMS.idempotency_key("shop", "sms_code", text),
        PSEUDONYMS.fingerprint("sms_code", {"phone": Phone(text)}),
        PSEUDONYMS.fingerprint("sms_code", {"code": Phone(text)}),
        PSEUDONYMS.fingerprint("other", {"phone": Phone(text)}),
    }
    assert len(digests) == 7


def test_an_idempotency_key_belongs_to_its_backend_and_kind() -> None:
    keys = {
        PSEUDONYMS.idempotency_key(backend, kind, "k")
        for backend in ("shop", "forum")
        for kind in ("sms_code", "push")
    }
    keys.add(PSEUDONYMS.idempotency_key("sho", "psms_code", "k"))
    keys.add(PSEUDONYMS.idempotency_key("shop", "sms_cod", "ek"))
    assert len(keys) == 6


@given(
    st.lists(st.tuples(*[st.from_regex(r"[A-Za-z0-9_.-]{1,8}", fullmatch=True)] * 3), max_size=5)
)
def test_no_two_idempotency_keys_share_a_digest(keys: list[tuple[str, str, str]]) -> None:
    digests = {key: PSEUDONYMS.idempotency_key(*key) for key in keys}
    assert len(set(digests.values())) == len(digests)


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers(-9, 9), max_size=4))
def test_a_fingerprint_knows_the_content_and_not_its_order(payload: dict[str, object]) -> None:
    turned = dict(reversed(payload.items()))
    assert PSEUDONYMS.fingerprint("k", payload) == PSEUDONYMS.fingerprint("k", turned)
    assert PSEUDONYMS.fingerprint("k", payload | {"more": 1}) != PSEUDONYMS.fingerprint(
        "k", payload
    )


def test_identifiers_say_nothing_but_when_they_were_made() -> None:
    made = [new_id() for _ in range(2000)]
    assert len(set(made)) == 2000
    assert all(re.fullmatch(r"[0-9a-f]{32}", identifier) for identifier in made)
    assert [identifier[:12] for identifier in made] == sorted(i[:12] for i in made)
