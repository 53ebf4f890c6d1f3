from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.policy import Operation, load_policy
from integrations.reply import Garbled, Reply, cut

POLICY = load_policy()
SEND = POLICY.operation("aliyun.sms.send")
QUERY = POLICY.operation("aliyun.sms.query")


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
def test_what_does_not_look_like_a_code_is_dropped(value: object) -> None:
    assert "BizId" not in _cut(SEND, {"Code": "OK", "BizId": value}).fields


@pytest.mark.parametrize(
    "body", [b"", b"OK", b"[]", b'"OK"', b"<html>", b"\xff", b"{}", b'{"Code":null}', b"[" * 99999]
)
def test_a_success_that_cannot_be_read_is_garbled(body: bytes) -> None:
    with pytest.raises(Garbled):
        cut(SEND, 200, {}, body)


@pytest.mark.parametrize("status", [301, 302, 304, 307])
def test_a_redirect_is_no_answer(status: int) -> None:
    with pytest.raises(Garbled):
        _cut(SEND, {"Code": "OK"}, status)


@pytest.mark.parametrize("status", [400, 403, 429, 500, 502, 503])
def test_of_an_unreadable_error_the_status_is_kept(status: int) -> None:
    reply = cut(SEND, status, {}, b"<html>Bad Gateway 16400001234</html>")

    assert (reply.status, dict(reply.fields), reply.code) == (status, {}, None)


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
