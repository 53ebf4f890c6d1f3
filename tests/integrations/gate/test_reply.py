from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.policy import Operation, load_policy
from integrations.reply import Decrypt, Garbled, Reply, cut
from models.pii import Personal, Phone

POLICY = load_policy()
SEND = POLICY.operation("aliyun.sms.send")
QUERY = POLICY.operation("aliyun.sms.query")


def _replying(rule: Mapping[str, object]) -> Operation:
    """An operation whose reply is treated so."""
    return SEND.model_copy(update={"reply": type(SEND.reply).model_validate(rule)})


def _cut(operation: Operation, document: object, status: int = 200) -> Reply:
    return cut(operation, status, {}, json.dumps(document).encode())


def test_only_the_keep_list_is_kept() -> None:
    reply = _cut(
        SEND, {"Code": "OK", "BizId": "9^0", "RequestId": "F6-1", "Extra": "x", "PhoneNum": "1"}
    )

    assert reply.fields == {"Code": "OK", "BizId": "9^0", "RequestId": "F6-1"}
    assert (reply.code, reply.request_id) == ("OK", "F6-1")


def test_of_prose_only_the_excerpt_is_kept() -> None:
    limited = {
        "Code": "isv.BUSINESS_LIMIT_CONTROL",
        "Message": "触发小时级流控Permits:5 16400001234",
    }

    assert _cut(SEND, limited).fields["Message"] == "触发小时级流控"
    assert "Message" not in _cut(SEND, {"Code": "X", "Message": "手机号 16400001234 无效"}).fields


def test_rows_keep_one_mapping_each() -> None:
    rows = [
        {"PhoneNum": "16400001234", "Content": "验证码246810", "SendStatus": 3, "OutId": "a"},
        {"PhoneNum": "16400001234", "SendStatus": 1, "ErrCode": "DELIVERED", "OutId": "b"},
        "not a row",
    ]
    document = {"Code": "OK", "TotalCount": "2", "SmsSendDetailDTOs": {"SmsSendDetailDTO": rows}}

    fields = _cut(QUERY, document).fields
    assert fields["SmsSendDetailDTOs.SmsSendDetailDTO"] == (
        {"SendStatus": 3, "OutId": "a"},
        {"SendStatus": 1, "ErrCode": "DELIVERED", "OutId": "b"},
        {},
    )
    assert fields["TotalCount"] == "2"


@pytest.mark.parametrize(
    "value",
    ["16400001234", "张三", "some prose", "a@b.example", "x" * 200, None, [], {}, 1.5, 16400001234],
)
@pytest.mark.parametrize("field", ["RequestId", "BizId"])
def test_what_does_not_look_like_a_code_is_dropped(value: object, field: str) -> None:
    reply = _cut(SEND, {"Code": "OK", field: value})
    assert field not in reply.fields
    assert reply.request_id is None


@pytest.mark.parametrize(
    "body", [b"", b"OK", b"[]", b'"OK"', b"<html>", b"\xff", b"{}", b'{"Code":null}', b"[" * 99999]
)
def test_a_success_that_cannot_be_read_is_garbled(body: bytes) -> None:
    with pytest.raises(Garbled):
        cut(SEND, 200, {}, body)


@pytest.mark.parametrize("status", [199, 300, 301, 302, 304, 307, 399])
def test_a_redirect_is_no_answer(status: int) -> None:
    with pytest.raises(Garbled):
        _cut(SEND, {"Code": "OK"}, status)


@pytest.mark.parametrize("status", [400, 403, 429, 500, 502, 503])
def test_of_an_unreadable_error_the_status_is_kept(status: int) -> None:
    reply = cut(SEND, status, {}, b"<html>Bad Gateway 16400001234</html>")

    assert (reply.status, dict(reply.fields), reply.code) == (status, {}, None)


@pytest.mark.parametrize("status", [200, 201, 299])
def test_every_success_must_be_readable(status: int) -> None:
    assert _cut(SEND, {"Code": "OK"}, status).code == "OK"
    with pytest.raises(Garbled):
        cut(SEND, status, {}, b"<html>")


@pytest.mark.parametrize("form", ["json", "xml", "table", "zipped_table"])
def test_a_success_that_needs_no_code_must_be_of_its_form_all_the_same(form: str) -> None:
    kept: tuple[dict[str, object], ...] = (
        {"keep": ("rows",)},
        {"keep": (), "excerpts": {"a": "b"}},
        {"keep": (), "personal": {"a": "phone"}},
    )
    for rule in kept:
        operation = _replying({"form": form} | rule)
        with pytest.raises(Garbled):
            cut(operation, 200, {}, b"\xff")
        with pytest.raises(Garbled):
            cut(operation, 302, {}, b"\xff")
        assert cut(operation, 500, {}, b"\xff").fields == {}


def test_where_nothing_of_a_body_is_kept_it_is_not_read() -> None:
    operation = POLICY.operation("backend.webhook")

    for status in (200, 302, 410):
        assert cut(operation, status, {"retry-after": "5"}, b"\xff") == Reply(
            status, {}, {"retry-after": "5"}, None, None, ""
        )


def test_a_success_and_an_error_have_their_codes_in_different_places() -> None:
    operation = POLICY.operation("wechat_pay.order.query")
    document = {"code": "ORDER_NOT_EXIST", "trade_state": "SUCCESS"}

    assert _cut(operation, document).code == "SUCCESS"
    assert _cut(operation, document, 404).code == "ORDER_NOT_EXIST"


def test_an_error_is_json_whatever_a_success_would_be_unless_all_is_xml() -> None:
    bill = POLICY.operation("wechat_pay.bill.download")
    old = POLICY.operation("wechat_pay.v2.order.query")
    xml = b"<xml><return_code>FAIL</return_code><err_code>ORDERNOTEXIST</err_code></xml>"

    assert _cut(bill, {"code": "NO_AUTH"}, 403).code == "NO_AUTH"
    assert cut(old, 500, {}, xml).fields == {"return_code": "FAIL", "err_code": "ORDERNOTEXIST"}
    assert cut(old, 200, {}, xml).code == "FAIL"


def test_of_many_rows_the_first_are_kept_but_of_a_bill_all_are() -> None:
    rows = [{"OutId": str(number)} for number in range(201)]
    document = {"Code": "OK", "SmsSendDetailDTOs": {"SmsSendDetailDTO": rows}}
    kept = _cut(QUERY, document).fields["SmsSendDetailDTOs.SmsSendDetailDTO"]
    assert (len(kept), kept[-1]) == (200, {"OutId": "199"})

    bill = POLICY.operation("wechat_pay.bill.download")
    lines = "".join(f"`{number},`CNY\n" for number in range(201))
    reply = cut(bill, 200, {}, f"订单金额,货币种类\n{lines}总交易单数\n`201\n".encode())
    assert len(reply.fields["rows"]) == 201
    assert reply.fields["rows"][-1] == {"订单金额": "200", "货币种类": "CNY"}


def test_of_a_list_only_the_first_codes_are_kept() -> None:
    operation = POLICY.operation("jiguang.push.cid")
    items: list[object] = ["a-1", "16400001234", None, {"cid": "b"}, "some prose", "c-3"]

    assert _cut(operation, {"cidlist": items}).fields == {"cidlist": ("a-1", "c-3")}
    assert _cut(operation, {"cidlist": "a-1"}).fields == {"cidlist": ()}
    assert _cut(operation, {}).fields == {"cidlist": ()}
    many = _cut(operation, {"cidlist": [f"n-{number}" for number in range(201)]})
    assert len(many.fields["cidlist"]) == 200


def test_an_excerpt_is_of_bounded_length() -> None:
    operation = _replying({"keep": (), "excerpts": {"text": "x*"}})

    for length in (1023, 1024):
        assert _cut(operation, {"text": "x" * length}).fields == {"text": "x" * length}
    assert _cut(operation, {"text": "x" * 1025}).fields == {"text": "x" * 1024}


def test_a_number_in_a_reply_is_labelled_and_opened_only_where_it_is_encrypted() -> None:
    operation = _replying({"keep": (), "personal": {"plain": "phone", "hidden": "encrypted_phone"}})
    opened: list[str] = []

    def decrypt(text: str) -> str:
        opened.append(text)
        return "16400001234"

    def personal(decrypt: Decrypt | None = None, **document: object) -> dict[str, Personal]:
        return dict(cut(operation, 200, {}, json.dumps(document).encode(), "", decrypt).personal)

    phone = Phone("16400001234")
    assert personal(decrypt, plain="16400001234", hidden="AbC=") == {
        "plain": phone,
        "hidden": phone,
    }
    assert opened == ["AbC="]
    assert personal(plain="1640000", hidden="AbC=") == {}
    assert personal(decrypt, plain=16400001234, hidden=None) == {}
    assert personal(decrypt, hidden="x" * 1025) == {}
    assert personal(decrypt, hidden="x" * 1024) == {"hidden": phone}
    assert opened == ["AbC=", "x" * 1024]


def test_a_readable_error_keeps_its_code() -> None:
    assert _cut(SEND, {"Code": "Throttling.User", "RequestId": "R"}, 400).code == "Throttling.User"


def test_only_listed_headers_are_kept() -> None:
    headers = {"x-acs-retry-after": "30", "set-cookie": "a=b", "retry-after": "x" * 99}

    assert cut(SEND, 429, headers, b"").headers == {"x-acs-retry-after": "30"}


@given(
    document=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "Code",
                        "TotalCount",
                        "SmsSendDetailDTOs",
                        "SmsSendDetailDTO",
                        "OutId",
                        "Content",
                    ]
                ),
                inner,
            )
        ),
        max_leaves=30,
    ),
    status=st.integers(200, 599),
)
def test_no_reply_breaks_the_cutting(document: object, status: int) -> None:
    try:
        reply = _cut(QUERY, document, status)
    except Garbled:
        return
    assert "Content" not in repr(reply)
