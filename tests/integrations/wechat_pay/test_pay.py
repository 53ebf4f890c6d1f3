"""Both versions against the sandbox, through the gate, on a real socket."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from integrations.payments import BillLine, OrderAnswer, RefundAnswer
from integrations.policy import Policy
from integrations.sandbox.faults import Fault
from integrations.sandbox.merchants import wechat_pay_credentials, wechat_pay_v2_credentials
from integrations.sandbox.tills import Tills
from integrations.wechat_pay.codes import REMEDIES
from integrations.wechat_pay.pay import WechatPay
from integrations.wechat_pay.pay_v2 import WechatPayV2
from models.attempts import Attempt
from models.clock import BEIJING
from models.errors import (
    ConfigurationError,
    DeniedError,
    GiveUpError,
    RetryError,
    UnknownOutcomeError,
    WaitError,
    ZjjError,
)
from workers.proofs.lab import Lab, make_attempt

ORDER, REFUND = "Z20240506-0001", "R20240506-0001"
TODAY = dt.datetime.now(BEIJING).date().isoformat()


@pytest.fixture
def pay(lab: Lab, policy: Policy) -> WechatPay:
    return WechatPay(lab.gate(policy, patience=5), wechat_pay_credentials())


@pytest.fixture
def older(lab: Lab, policy: Policy, pay: WechatPay) -> WechatPayV2:
    return WechatPayV2(lab.gate(policy, patience=5), wechat_pay_v2_credentials(), v3=pay)


@pytest.fixture
def attempt(policy: Policy) -> Attempt:
    return an_attempt(policy)


def an_attempt(policy: Policy, **changes: object) -> Attempt:
    held = {
        "order_no": ORDER,
        "refund_no": REFUND,
        "amount": 345,
        "total": 12345,
        "currency": "CNY",
        "bill_date": TODAY,
        "channel": "wechat_pay_v3",
        **changes,
    }
    return make_attempt(policy, held)


class TestOrders:
    def test_a_paid_order_is_found(self, tills: Tills, pay: WechatPay, attempt: Attempt) -> None:
        order = tills.wechat_pay.book.pay(ORDER, 12345)
        found = pay.query_order(attempt)
        assert found == OrderAnswer(
            order_no=ORDER,
            provider_no=order.provider_no,
            state="paid",
            amount=12345,
            currency="CNY",
            at=found.at,
        )
        assert found.at is not None
        assert abs(found.at.timestamp() - (order.paid_at or 0)) <= 1

    def test_an_unpaid_one_is_open(self, tills: Tills, pay: WechatPay, attempt: Attempt) -> None:
        tills.wechat_pay.book.open(ORDER, 12345)
        assert pay.query_order(attempt).state == "open"
        tills.wechat_pay.book.close(ORDER)
        assert pay.query_order(attempt).state == "closed"

    def test_an_unknown_one_is_missing(self, pay: WechatPay, attempt: Attempt) -> None:
        assert pay.query_order(attempt).state == "missing"

    def test_every_number_that_backends_may_use_reaches_the_provider(
        self, tills: Tills, pay: WechatPay, policy: Policy
    ) -> None:
        odd = "a|b*c_d-E" * 3
        tills.wechat_pay.book.pay(odd, 1)
        assert pay.query_order(an_attempt(policy, order_no=odd)).state == "paid"

    @pytest.mark.parametrize(
        "order_no",
        [
            "../../../refund",
            "..%2f..%2fcertificates",
            "a/b/c/d/e",
            "Z20240506?mchid=1",
            "Z20240506#",
            "short",
            "x" * 33,
            "Z2024 0506",
            "Z20240506\r\nX: y",
            "订单20240506",
            "......",
            "",
        ],
    )
    def test_no_number_leads_elsewhere(
        self, lab: Lab, pay: WechatPay, policy: Policy, order_no: str
    ) -> None:
        with pytest.raises(DeniedError):
            pay.query_order(an_attempt(policy, order_no=order_no))
        assert lab.tap.requests() == []

    def test_nothing_but_number_and_merchant_leaves(
        self, lab: Lab, tills: Tills, pay: WechatPay, policy: Policy
    ) -> None:
        tills.wechat_pay.book.pay(ORDER, 12345)
        pay.query_order(an_attempt(policy, attach="secret-remark", openid_text="o-secret"))
        (request,) = lab.tap.requests()
        head = request.split(b"\r\n")
        assert head[0] == (
            f"GET /v3/pay/transactions/out-trade-no/{ORDER}?mchid=1900000001 HTTP/1.1".encode()
        )
        names = {line.partition(b":")[0].lower() for line in head[1:] if line}
        assert names == {
            *(b"host", b"accept-encoding", b"accept", b"user-agent"),
            *(b"authorization", b"wechatpay-serial"),
        }

    def test_nothing_of_the_payer_is_kept(
        self, tills: Tills, pay: WechatPay, attempt: Attempt
    ) -> None:
        tills.wechat_pay.book.pay(ORDER, 12345)
        assert "o-sandbox-payer" not in repr(pay.query_order(attempt))


class TestAnswers:
    @pytest.mark.parametrize("public_key", [True, False])
    def test_are_believed_under_either_kind_of_key(
        self, lab: Lab, tills: Tills, policy: Policy, attempt: Attempt, public_key: bool
    ) -> None:
        credentials = wechat_pay_credentials(public_key=public_key, certificate=not public_key)
        tills.wechat_pay.book.pay(ORDER, 12345)
        assert (
            WechatPay(lab.gate(policy, patience=5), credentials).query_order(attempt).state
            == "paid"
        )

    def test_without_a_signature_leave_the_outcome_open(
        self, tills: Tills, pay: WechatPay, attempt: Attempt
    ) -> None:
        tills.wechat_pay.book.pay(ORDER, 12345)
        tills.wechat_pay.unsigned_answers = 2
        with pytest.raises(RetryError) as asked:
            pay.query_order(attempt)
        assert asked.value.code == "provider.answer_unproven"
        with pytest.raises(UnknownOutcomeError) as ordered:
            pay.refund(attempt)
        assert ordered.value.code == "provider.answer_unproven"
        assert [each.result for each in attempt.results] == ["unknown", "unknown"]
        assert pay.query_refund(attempt).state == "refunded"

    def test_are_believed_though_the_clocks_differ_by_minutes(
        self, lab: Lab, tills: Tills, policy: Policy, attempt: Attempt
    ) -> None:
        tills.wechat_pay.book.pay(ORDER, 12345)
        pay = WechatPay(
            lab.gate(policy, patience=5),
            wechat_pay_credentials(),
            clock=lambda: dt.datetime.now(dt.UTC) + dt.timedelta(seconds=290),
        )
        assert pay.query_order(attempt).state == "paid"

    @pytest.mark.parametrize(
        "fault",
        [
            Fault(kind="status", status=502),
            Fault(kind="garbage"),
            Fault(kind="reset"),
            Fault(kind="drop"),
            Fault(kind="code", code="SYSTEM_ERROR"),
            Fault(kind="code", code="FREQUENCY_LIMITED"),
            Fault(kind="code", code="SOMETHING_NEW"),
        ],
        ids=lambda fault: f"{fault.kind}-{fault.code or fault.status}",
    )
    def test_that_are_unclear_are_asked_for_again_or_left_open(
        self, lab: Lab, tills: Tills, pay: WechatPay, attempt: Attempt, fault: Fault
    ) -> None:
        tills.wechat_pay.book.pay(ORDER, 12345)
        lab.server.sandbox.faults.add(fault.model_copy())
        with pytest.raises(RetryError):
            pay.query_order(attempt)
        with pytest.raises(UnknownOutcomeError):
            pay.refund(attempt)
        lab.server.sandbox.faults.clear()
        assert pay.refund(attempt).refund_no == REFUND
        assert tills.wechat_pay.book.find(ORDER).given_back == 345  # type: ignore[union-attr]

    @pytest.mark.parametrize("code", sorted(REMEDIES))
    def test_that_refuse_say_what_to_do(
        self, lab: Lab, tills: Tills, pay: WechatPay, attempt: Attempt, code: str
    ) -> None:
        tills.wechat_pay.book.pay(ORDER, 12345)
        lab.server.sandbox.faults.add(Fault(kind="code", code=code))
        expected = REMEDIES[code]
        with pytest.raises(ZjjError) as raised:
            pay.refund(attempt)
        again = issubclass(expected.error, RetryError)
        assert type(raised.value) is (UnknownOutcomeError if again else expected.error)
        assert raised.value.provider_code == code
        assert raised.value.stops_recipient == expected.stops_recipient


class TestRefunds:
    def test_are_accepted_once(self, tills: Tills, pay: WechatPay, attempt: Attempt) -> None:
        tills.wechat_pay.book.pay(ORDER, 12345)
        first = pay.refund(attempt)
        assert first == RefundAnswer(
            refund_no=REFUND, provider_no=first.provider_no, state="processing", amount=345
        )
        assert pay.refund(attempt) == first
        assert tills.wechat_pay.book.find(ORDER).given_back == 345  # type: ignore[union-attr]

    def test_carry_numbers_amounts_and_nothing_else(
        self, lab: Lab, tills: Tills, policy: Policy, attempt: Attempt
    ) -> None:
        tills.wechat_pay.book.pay(ORDER, 12345)
        credentials = wechat_pay_credentials(notify_url="https://shop.example/callbacks/1")
        WechatPay(lab.gate(policy, patience=5), credentials).refund(attempt)
        (request,) = lab.tap.requests()
        assert (
            request.partition(b"\r\n\r\n")[2]
            == (
                f'{{"out_trade_no":"{ORDER}","out_refund_no":"{REFUND}",'
                '"amount":{"refund":345,"total":12345,"currency":"CNY"},'
                '"notify_url":"https://shop.example/callbacks/1"}'
            ).encode()
        )

    @pytest.mark.parametrize(("code", "state"), [("CLOSED", "closed"), ("ABNORMAL", "failed")])
    def test_that_fail_later_are_found_so(
        self, lab: Lab, tills: Tills, pay: WechatPay, attempt: Attempt, code: str, state: str
    ) -> None:
        tills.wechat_pay.book.pay(ORDER, 12345)
        lab.server.sandbox.faults.add(Fault(kind="undelivered", code=code))
        pay.refund(attempt)
        assert pay.query_refund(attempt).state == state

    def test_on_their_way_are_processing(
        self, tills: Tills, pay: WechatPay, attempt: Attempt
    ) -> None:
        tills.wechat_pay.book.pay(ORDER, 12345)
        tills.wechat_pay.book.refund_seconds = 60
        pay.refund(attempt)
        assert pay.query_refund(attempt).state == "processing"

    def test_nobody_made_are_missing(self, pay: WechatPay, attempt: Attempt) -> None:
        assert pay.query_refund(attempt).state == "missing"

    @pytest.mark.parametrize(
        "changes",
        [{"amount": 12346}, {"total": 1, "amount": 1}, {"order_no": "Z20240506-0002"}],
    )
    def test_that_do_not_fit_are_refused(
        self, tills: Tills, pay: WechatPay, policy: Policy, changes: dict[str, Any]
    ) -> None:
        tills.wechat_pay.book.pay(ORDER, 12345)
        with pytest.raises(GiveUpError):
            pay.refund(an_attempt(policy, **changes))

    @pytest.mark.parametrize(
        "changes",
        [
            {"amount": 0},
            {"amount": -5},
            {"amount": "1.5"},
            {"amount": "0x1"},
            {"amount": "１"},
            {"amount": 10**12},
            {"currency": "USD"},
            {"refund_no": "a/b"},
            {"refund_no": "../../x"},
        ],
    )
    def test_of_another_form_do_not_leave(
        self, lab: Lab, pay: WechatPay, policy: Policy, changes: dict[str, Any]
    ) -> None:
        with pytest.raises(DeniedError):
            pay.refund(an_attempt(policy, **changes))
        assert lab.tap.requests() == []


class TestBills:
    def test_list_every_payment_and_refund(
        self, tills: Tills, pay: WechatPay, attempt: Attempt
    ) -> None:
        order = tills.wechat_pay.book.pay(ORDER, 12345)
        tills.wechat_pay.book.refund(ORDER, REFUND, 345)
        assert pay.bill(attempt) == [
            BillLine(
                order_no=ORDER,
                provider_no=order.provider_no,
                refund_no=None,
                amount=12345,
                refund_amount=0,
                state="paid",
            ),
            BillLine(
                order_no=ORDER,
                provider_no=order.provider_no,
                refund_no=REFUND,
                amount=0,
                refund_amount=345,
                state="refunded",
            ),
        ]

    def test_of_many_orders_lack_none(self, tills: Tills, pay: WechatPay, attempt: Attempt) -> None:
        for number in range(600):
            tills.wechat_pay.book.pay(f"Z{number:06d}", number + 1)
        lines = pay.bill(attempt)
        assert {line.order_no: line.amount for line in lines} == {
            f"Z{number:06d}": number + 1 for number in range(600)
        }

    def test_of_a_day_without_trade_are_empty(self, pay: WechatPay, policy: Policy) -> None:
        assert pay.bill(an_attempt(policy, bill_date="2020-01-01")) == []

    def test_that_are_not_written_yet_are_waited_for(
        self, lab: Lab, pay: WechatPay, attempt: Attempt
    ) -> None:
        lab.server.sandbox.faults.add(Fault(kind="code", code="STATEMENT_CREATING"))
        with pytest.raises(WaitError):
            pay.bill(attempt)

    def test_that_were_changed_on_the_way_are_not_believed(
        self, tills: Tills, pay: WechatPay, attempt: Attempt
    ) -> None:
        tills.wechat_pay.book.pay(ORDER, 12345)
        link = pay.bill_link(attempt)
        assert link is not None
        tills.wechat_pay.book.pay("Z20240506-0002", 1)
        with pytest.raises(RetryError):
            pay.download_bill(attempt, link)


class TestTheOlderVersion:
    def test_finds_orders(self, tills: Tills, older: WechatPayV2, attempt: Attempt) -> None:
        assert older.query_order(attempt).state == "missing"
        order = tills.wechat_pay.book.open(ORDER, 12345)
        assert older.query_order(attempt).state == "open"
        tills.wechat_pay.book.pay(ORDER)
        found = older.query_order(attempt)
        assert (found.state, found.amount, found.provider_no) == ("paid", 12345, order.provider_no)
        assert found.at is not None

    def test_finds_refunds(self, tills: Tills, older: WechatPayV2, attempt: Attempt) -> None:
        assert older.query_refund(attempt).state == "missing"
        tills.wechat_pay.book.pay(ORDER, 12345)
        older.refund(attempt)
        found = older.query_refund(attempt)
        assert (found.state, found.amount, found.refund_no) == ("refunded", 345, REFUND)

    def test_has_its_answers_verified(
        self, tills: Tills, older: WechatPayV2, attempt: Attempt
    ) -> None:
        tills.wechat_pay.book.pay(ORDER, 12345)
        tills.wechat_pay.unsigned_answers = 1
        with pytest.raises(RetryError) as raised:
            older.query_order(attempt)
        assert raised.value.code == "provider.answer_unproven"

    def test_is_refused_like_the_newer_one(
        self, lab: Lab, older: WechatPayV2, attempt: Attempt
    ) -> None:
        lab.server.sandbox.faults.add(Fault(kind="code", code="NOAUTH", times=1))
        with pytest.raises(GiveUpError) as raised:
            older.query_order(attempt)
        assert raised.value.stops_recipient
        lab.server.sandbox.faults.add(Fault(kind="code", code="SYSTEMERROR", times=1))
        with pytest.raises(RetryError):
            older.query_order(attempt)

    def test_lists_the_same_bill(self, tills: Tills, older: WechatPayV2, attempt: Attempt) -> None:
        tills.wechat_pay.book.pay(ORDER, 12345)
        assert [line.order_no for line in older.bill(attempt)] == [ORDER]

    def test_needs_the_newer_one_for_money(
        self, lab: Lab, policy: Policy, attempt: Attempt
    ) -> None:
        alone = WechatPayV2(lab.gate(policy, patience=5), wechat_pay_v2_credentials())
        with pytest.raises(ConfigurationError):
            alone.refund(attempt)
        with pytest.raises(ConfigurationError):
            alone.bill(attempt)
