import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.aliyun.codes import OK, REMEDIES, fault
from models.errors import GiveUpError, RetryError, UnknownOutcomeError, WaitError, ZjjError

Row = tuple[str, type[ZjjError], str, bool]

ROWS: list[Row] = [
    ("isp.SYSTEM_ERROR", UnknownOutcomeError, "provider.outcome_unknown", False),
    ("isp.GATEWAY_ERROR", UnknownOutcomeError, "provider.outcome_unknown", False),
    ("InternalError", UnknownOutcomeError, "provider.outcome_unknown", False),
    ("ServiceUnavailable", UnknownOutcomeError, "provider.outcome_unknown", False),
    ("SignatureNonceUsed", UnknownOutcomeError, "provider.request_repeated", False),
    ("isv.BUSINESS_LIMIT_CONTROL", WaitError, "provider.number_throttled", False),
    ("isv.DAY_LIMIT_CONTROL", WaitError, "provider.quota_spent", True),
    ("isv.MONTH_LIMIT_CONTROL", WaitError, "provider.quota_spent", True),
    ("Throttling", WaitError, "provider.throttled", False),
    ("Throttling.*", WaitError, "provider.throttled", False),
    ("isv.MOBILE_NUMBER_ILLEGAL", GiveUpError, "provider.number_refused", False),
    ("isv.CUSTOMER_REFUSED", GiveUpError, "provider.number_refused", False),
    ("isv.DOMESTIC_NUMBER_NOT_SUPPORTED", GiveUpError, "provider.number_refused", False),
    ("isv.TEMPLATE_MISSING_PARAMETERS", GiveUpError, "provider.content_refused", False),
    ("isv.TEMPLATE_PARAMS_ILLEGAL", GiveUpError, "provider.content_refused", False),
    ("isv.INVALID_JSON_PARAM", GiveUpError, "provider.content_refused", False),
    ("isv.INVALID_PARAMETERS", GiveUpError, "provider.content_refused", False),
    ("isv.PARAM_LENGTH_LIMIT", GiveUpError, "provider.content_refused", False),
    ("isv.PARAM_NOT_SUPPORT_URL", GiveUpError, "provider.content_refused", False),
    ("isv.BLACK_KEY_CONTROL_LIMIT", GiveUpError, "provider.content_refused", False),
    ("isv.SMS_CONTENT_ILLEGAL", GiveUpError, "provider.content_refused", False),
    ("isv.UNSUPPORTED_CONTENT", GiveUpError, "provider.content_refused", False),
    ("isv.SMS_CONTENT_MISMATCH_TEMPLATE_TYPE", GiveUpError, "provider.content_refused", False),
    ("isv.MOBILE_COUNT_OVER_LIMIT", GiveUpError, "provider.content_refused", False),
    ("isv.SMS_TEMPLATE_ILLEGAL", GiveUpError, "provider.template_refused", False),
    ("isv.SMS_SIGNATURE_SCENE_ILLEGAL", GiveUpError, "provider.template_refused", False),
    ("isv.SMS_TEST_NUMBER_LIMIT", GiveUpError, "provider.template_refused", False),
    ("isv.SMS_SIGNATURE_ILLEGAL", GiveUpError, "provider.sign_refused", True),
    ("isv.SMS_SIGN_ILLEGAL", GiveUpError, "provider.sign_refused", True),
    ("isv.SIGN_STATE_ILLEGAL", GiveUpError, "provider.sign_refused", True),
    ("isv.EXTEND_CODE_ERROR", GiveUpError, "provider.sign_refused", True),
    ("isv.ONE_CODE_MULTIPLE_SIGN", GiveUpError, "provider.sign_refused", True),
    ("isv.CODE_EXCEED_LIMIT", GiveUpError, "provider.sign_refused", True),
    ("isv.CODE_ERROR", GiveUpError, "provider.sign_refused", True),
    ("isv.PORT_NOT_REGISTERED", GiveUpError, "provider.account_refused", True),
    ("isv.AMOUNT_NOT_ENOUGH", GiveUpError, "provider.account_refused", True),
    ("isv.OUT_OF_SERVICE", GiveUpError, "provider.account_refused", True),
    ("isv.PRODUCT_UN_SUBSCRIPT", GiveUpError, "provider.account_refused", True),
    ("isv.PRODUCT_UNSUBSCRIBE", GiveUpError, "provider.account_refused", True),
    ("isv.ACCOUNT_NOT_EXISTS", GiveUpError, "provider.account_refused", True),
    ("isv.ACCOUNT_ABNORMAL", GiveUpError, "provider.account_refused", True),
    ("isv.SECURITY_FROZEN_ACCOUNT", GiveUpError, "provider.account_refused", True),
    ("isv.DENY_IP_RANGE", GiveUpError, "provider.account_refused", True),
    ("isp.RAM_PERMISSION_DENY", GiveUpError, "provider.account_refused", True),
    ("Forbidden", GiveUpError, "provider.account_refused", True),
    ("Forbidden.*", GiveUpError, "provider.account_refused", True),
    ("InvalidAccessKeyId.*", GiveUpError, "provider.account_refused", True),
    ("InvalidSecurityToken.*", GiveUpError, "provider.account_refused", True),
    ("MissingSecurityToken", GiveUpError, "provider.account_refused", True),
    ("SignatureDoesNotMatch", GiveUpError, "provider.account_refused", True),
    ("IncompleteSignature", GiveUpError, "provider.request_refused", True),
    ("InvalidAction.NotFound", GiveUpError, "provider.request_refused", True),
    ("InvalidVersion", GiveUpError, "provider.request_refused", True),
    ("InvalidTimeStamp.Format", GiveUpError, "provider.request_refused", True),
    ("Missing*", GiveUpError, "provider.request_refused", True),
    ("InvalidTimeStamp.Expired", RetryError, "provider.clock_refused", True),
]


@pytest.mark.parametrize(("code", "error", "ours", "stops"), ROWS, ids=[row[0] for row in ROWS])
def test_each_code_says_what_to_do(
    code: str, error: type[ZjjError], ours: str, stops: bool
) -> None:
    received = code.replace("*", "Member")
    found = fault(400 if received[0].isupper() else 200, received)
    assert isinstance(found, error)
    assert (found.code, found.provider_code) == (ours, received)
    assert found.stops_recipient is stops


def test_no_row_of_the_table_is_without_a_test() -> None:
    assert sorted(REMEDIES) == sorted(row[0] for row in ROWS)


def test_an_accepted_text_is_no_fault() -> None:
    assert fault(200, OK) is None


@pytest.mark.parametrize(
    ("message", "ours", "seconds"),
    [
        ("触发分钟级流控Permits:1", "provider.number_throttled.minute", 60),
        ("触发小时级流控Permits:5", "provider.number_throttled.hour", 3600),
        ("触发天级流控Permits:10", "provider.number_throttled.day", 86400),
        ("something new", "provider.number_throttled", 60),
        (None, "provider.number_throttled", 60),
    ],
)
def test_a_number_limit_waits_for_the_window_that_the_message_names(
    message: str | None, ours: str, seconds: float
) -> None:
    found = fault(200, "isv.BUSINESS_LIMIT_CONTROL", message=message)
    assert isinstance(found, WaitError)
    assert (found.code, found.retry_after) == (ours, seconds)


@pytest.mark.parametrize("word", ["小时级", "天级"])
def test_a_long_window_says_that_a_code_will_be_useless(word: str) -> None:
    found = fault(200, "isv.BUSINESS_LIMIT_CONTROL", message=word)
    assert found is not None
    assert "no one-time code lives so long" in found.message


@pytest.mark.parametrize(
    ("header", "seconds"), [("1500", 1.5), ("2", 1.0), ("60000", 60.0), ("999999999", 999999.999)]
)
def test_the_throttling_header_counts_milliseconds_and_waits_a_second_at_least(
    header: str, seconds: float
) -> None:
    found = fault(429, "Whatever", retry_after=header)
    assert isinstance(found, WaitError)
    assert (found.code, found.retry_after) == ("provider.throttled", seconds)


@pytest.mark.parametrize("header", ["0", "-1", "soon", "", "1e3", " 5", "１"])
def test_a_throttling_header_that_is_no_positive_number_is_ignored(header: str) -> None:
    assert isinstance(fault(400, "SignatureDoesNotMatch", retry_after=header), GiveUpError)


@given(st.integers(500, 599), st.sampled_from([OK, *REMEDIES]) | st.none())
def test_from_500_on_nothing_in_the_body_is_trusted(status: int, code: str | None) -> None:
    assert isinstance(fault(status, code), UnknownOutcomeError)


@given(
    st.integers(200, 499),
    st.text(max_size=80).filter(lambda code: code != OK)
    | st.none()
    | st.integers()
    | st.lists(st.none()),
)
def test_a_code_that_nobody_knows_is_an_unknown_outcome(status: int, code: object) -> None:
    known = isinstance(code, str) and (
        code in REMEDIES or code.startswith(("Throttling.", "Forbidden.", "Missing"))
    )
    if not known:
        assert isinstance(fault(status, code), UnknownOutcomeError)


def test_ok_with_another_status_than_200_is_not_believed() -> None:
    assert isinstance(fault(400, OK), UnknownOutcomeError)


@given(st.text(max_size=200), st.sampled_from(["16400001234invalid mobile number", "x" * 99]))
def test_no_error_repeats_what_the_provider_said(message: str, quoting: str) -> None:
    for text in (message, quoting):
        found = fault(200, "isv.MOBILE_NUMBER_ILLEGAL", message=text)
        assert found is not None
        assert found.message == "Aliyun does not serve this number."
        odd = fault(400, f"{quoting} {message}")
        assert odd is not None
        assert odd.provider_code is None
