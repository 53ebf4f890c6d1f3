"""Alipay against the sandbox, through the gate, on a real socket."""

from __future__ import annotations

import datetime as dt
from typing import Any
from urllib.parse import parse_qsl

import pytest

from integrations.alipay.codes import REMEDIES
from integrations.alipay.pay import Alipay
from integrations.payments import BillLine, OrderAnswer, RefundAnswer
from integrations.policy import Policy
from integrations.sandbox.faults import Fault
from integrations.sandbox.merchants import alipay_credentials
from integrations.sandbox.tills import Tills
from models.attempts import Attempt
from models.clock import BEIJING
from models.errors import DeniedError, GiveUpError, RetryError, UnknownOutcomeError, ZjjError
from workers.proofs.lab import Lab, make_attempt

ORDER, REFUND = "Z20240506-0001", "R20240506-0001"
TODAY = dt.datetime.now(BEIJING).date().isoformat()


@pytest.fixture
def pay(lab: Lab, policy: Policy) -> Alipay:
    return Alipay(lab.gate(policy, patience=5), alipay_credentials())


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
        **changes,
    }
    return make_attempt(policy, held)


class TestOrders:
    def test_a_paid_order_is_found(self, tills: Tills, pay: Alipay, attempt: Attempt) -> None:
        order = tills.alipay.book.pay(ORDER, 12345)
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

    def test_the_cashier_knows_no_order_before_the_buyer_comes(
        self, tills: Tills, pay: Alipay, attempt: Attempt
    ) -> None:
        assert pay.query_order(attempt).state == "missing"
        tills.alipay.book.open(ORDER, 12345)
        assert pay.query_order(attempt).state == "open"
        tills.alipay.book.close(ORDER)
        assert pay.query_order(attempt).state == "closed"

    def test_what_was_given_back_whole_is_not_merely_closed(
        self, tills: Tills, pay: Alipay, attempt: Attempt
    ) -> None:
        tills.alipay.book.pay(ORDER, 12345)
        tills.alipay.book.refund(ORDER, REFUND, 12345)
        assert pay.query_order(attempt).state == "refunded"

    def test_nothing_personal_is_in_the_url(
        self, lab: Lab, tills: Tills, pay: Alipay, attempt: Attempt
    ) -> None:
        tills.alipay.book.pay(ORDER, 12345)
        pay.query_order(attempt)
        (request,) = lab.tap.requests()
        head, _, body = request.partition(b"\r\n\r\n")
        assert ORDER.encode() not in head
        assert dict(parse_qsl(body.decode())) == {"biz_content": f'{{"out_trade_no":"{ORDER}"}}'}

    def test_nothing_of_the_buyer_is_kept(
        self, tills: Tills, pay: Alipay, attempt: Attempt
    ) -> None:
        tills.alipay.book.pay(ORDER, 12345)
        assert "sandbox" not in repr(pay.query_order(attempt))

    @pytest.mark.parametrize("order_no", ["short", "x" * 33, 'a"b"c"d', "a&b=c&d", "Z2024 0506"])
    def test_a_number_of_another_form_does_not_leave(
        self, lab: Lab, pay: Alipay, policy: Policy, order_no: str
    ) -> None:
        with pytest.raises(DeniedError):
            pay.query_order(an_attempt(policy, order_no=order_no))
        assert lab.tap.requests() == []


class TestAnswers:
    def test_without_a_signature_leave_the_outcome_open(
        self, tills: Tills, pay: Alipay, attempt: Attempt
    ) -> None:
        tills.alipay.book.pay(ORDER, 12345)
        tills.alipay.unsigned_answers = 2
        with pytest.raises(RetryError):
            pay.query_order(attempt)
        with pytest.raises(UnknownOutcomeError) as raised:
            pay.refund(attempt)
        assert raised.value.code == "provider.answer_unproven"
        assert pay.query_refund(attempt).state == "refunded"

    @pytest.mark.parametrize(
        "fault",
        [
            Fault(kind="status", status=502),
            Fault(kind="garbage"),
            Fault(kind="reset"),
            Fault(kind="code", code="20000"),
            Fault(kind="code", code="ACQ.SYSTEM_ERROR"),
            Fault(kind="code", code="SOMETHING_NEW"),
        ],
        ids=lambda fault: f"{fault.kind}-{fault.code or fault.status}",
    )
    def test_that_are_unclear_are_asked_for_again_or_left_open(
        self, lab: Lab, tills: Tills, pay: Alipay, attempt: Attempt, fault: Fault
    ) -> None:
        tills.alipay.book.pay(ORDER, 12345)
        lab.server.sandbox.faults.add(fault.model_copy())
        with pytest.raises(RetryError):
            pay.query_order(attempt)
        with pytest.raises(UnknownOutcomeError):
            pay.refund(attempt)

    @pytest.mark.parametrize("code", sorted(REMEDIES))
    def test_that_refuse_say_what_to_do(
        self, lab: Lab, pay: Alipay, attempt: Attempt, code: str
    ) -> None:
        lab.server.sandbox.faults.add(Fault(kind="code", code=code))
        expected = REMEDIES[code]
        with pytest.raises(ZjjError) as raised:
            pay.refund(attempt)
        again = issubclass(expected.error, RetryError)
        assert type(raised.value) is (UnknownOutcomeError if again else expected.error)
        assert raised.value.provider_code == code
        assert raised.value.stops_recipient == expected.stops_recipient


class TestRefunds:
    def test_are_accepted_once(self, tills: Tills, pay: Alipay, attempt: Attempt) -> None:
        order = tills.alipay.book.pay(ORDER, 12345)
        assert pay.refund(attempt) == RefundAnswer(
            refund_no=REFUND, provider_no=order.provider_no, state="refunded", amount=345
        )
        # The second time no funds change, so the query decides.
        assert pay.refund(attempt).state == "processing"
        assert pay.query_refund(attempt) == RefundAnswer(
            refund_no=REFUND, provider_no=order.provider_no, state="refunded", amount=345
        )
        assert order.given_back == 345

    def test_leave_in_yuan(self, lab: Lab, tills: Tills, pay: Alipay, attempt: Attempt) -> None:
        tills.alipay.book.pay(ORDER, 12345)
        pay.refund(attempt)
        (request,) = lab.tap.requests()
        assert dict(parse_qsl(request.partition(b"\r\n\r\n")[2].decode())) == {
            "biz_content": f'{{"out_trade_no":"{ORDER}","refund_amount":"3.45",'
            f'"out_request_no":"{REFUND}"}}'
        }

    def test_nobody_made_are_missing(self, tills: Tills, pay: Alipay, attempt: Attempt) -> None:
        assert pay.query_refund(attempt).state == "missing"
        tills.alipay.book.pay(ORDER, 12345)
        assert pay.query_refund(attempt).state == "missing"

    @pytest.mark.parametrize("changes", [{"amount": 12346}, {"order_no": "Z20240506-0002"}])
    def test_that_do_not_fit_are_refused(
        self, tills: Tills, pay: Alipay, policy: Policy, changes: dict[str, Any]
    ) -> None:
        tills.alipay.book.pay(ORDER, 12345)
        with pytest.raises(GiveUpError):
            pay.refund(an_attempt(policy, **changes))

    @pytest.mark.parametrize("amount", ["1.5", "-1", "", "1e3", "01"])
    def test_of_another_form_do_not_leave(
        self, lab: Lab, pay: Alipay, policy: Policy, amount: str
    ) -> None:
        with pytest.raises(DeniedError):
            pay.refund(an_attempt(policy, amount=amount))
        assert lab.tap.requests() == []


class TestBills:
    def test_list_every_payment_and_refund(
        self, tills: Tills, pay: Alipay, attempt: Attempt
    ) -> None:
        order = tills.alipay.book.pay(ORDER, 12345)
        tills.alipay.book.refund(ORDER, REFUND, 345)
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

    def test_of_a_day_without_trade_are_empty(self, pay: Alipay, policy: Policy) -> None:
        assert pay.bill(an_attempt(policy, bill_date="2020-01-01")) == []

    def test_that_are_no_archive_are_asked_for_again(
        self, lab: Lab, tills: Tills, pay: Alipay, attempt: Attempt
    ) -> None:
        tills.alipay.book.pay(ORDER, 12345)
        lab.server.sandbox.faults.add(Fault(kind="garbage", action="bill.download"))
        with pytest.raises(RetryError):
            pay.bill(attempt)
