"""However late, often and contradictorily something is heard, what is known comes out the same."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.payments.states import (
    FOLLOWING,
    PENDING,
    Account,
    PaymentState,
    Refund,
    RefundState,
)

Fact = Callable[[Account], Account]

EMPTY = Account(amount=100)


def _refund(number: str, state: RefundState, amount: int | None) -> Fact:
    return lambda account: account.with_refund(number, Refund(state, amount))


FACTS: list[Fact] = [
    lambda account: account.with_payment(),
    lambda account: account.with_closing(),
    *(
        _refund(number, state, amount)
        for number, amount in (("R-1", 40), ("R-2", 60))
        for state in RefundState
    ),
]
SOME_FACTS = st.lists(st.sampled_from(FACTS), max_size=12)


def _learned(facts: list[Fact], account: Account = EMPTY) -> Account:
    for fact in facts:
        account = fact(account)
    return account


@given(facts=SOME_FACTS, again=SOME_FACTS, data=st.data())
def test_order_and_repetition_do_not_matter(
    facts: list[Fact], again: list[Fact], data: st.DataObject
) -> None:
    once = _learned(facts)
    echoes = data.draw(st.lists(st.sampled_from(facts), max_size=6)) if facts else []
    mixed = data.draw(st.permutations([*facts, *echoes]))
    assert _learned(mixed) == once
    assert _learned(mixed).state is once.state
    # Two who learned different halves agree once each has heard the other's.
    assert _learned(again, once) == _learned(facts, _learned(again))


def test_every_order_of_a_whole_life_ends_the_same() -> None:
    life = [FACTS[0], FACTS[1], FACTS[5], FACTS[7], FACTS[12], FACTS[13]]
    ends = {_learned(list(order)).state for order in permutations(life)}
    assert ends == {PaymentState.REFUNDED}


@given(facts=SOME_FACTS)
def test_each_fact_leads_where_the_table_says_and_never_back(facts: list[Fact]) -> None:
    account = EMPTY
    for fact in facts:
        later = fact(account)
        if later.state is not account.state:
            assert later.state in FOLLOWING[account.state]
        assert later.paid >= account.paid
        assert later.closed >= account.closed
        assert later.refunded >= account.refunded
        account = later


def test_what_is_paid_is_never_unpaid_again() -> None:
    reached = {PaymentState.PAID}
    while following := {to for state in reached for to in FOLLOWING[state]} - reached:
        reached |= following
    assert reached.isdisjoint({PaymentState.OPEN, PaymentState.CLOSED})
    assert set(FOLLOWING) == set(PaymentState)


@given(facts=SOME_FACTS, fact=st.sampled_from(FACTS))
def test_a_transition_is_told_once_however_often_its_fact_comes(
    facts: list[Fact], fact: Fact
) -> None:
    account = _learned(facts)
    told: list[str] = []
    for _ in range(3):
        later = fact(account)
        told += account.transitions_to(later)
        account = later
    assert len(told) == len(set(told)) <= 1


@given(facts=SOME_FACTS)
def test_all_that_is_told_on_the_way_is_told_only_once(facts: list[Fact]) -> None:
    account, told = EMPTY, []
    for fact in facts:
        later = fact(account)
        told += account.transitions_to(later)
        account = later
    assert len(told) == len(set(told))
    assert ("paid" in told) is account.paid


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        ([], "open"),
        ([FACTS[1]], "closed"),
        ([FACTS[0]], "paid"),
        ([FACTS[0], FACTS[1]], "paid"),
        ([_refund("R-1", RefundState.REFUNDED, 100)], "open"),
        ([FACTS[0], _refund("R-1", RefundState.HEARD, None)], "paid"),
        ([FACTS[0], _refund("R-1", RefundState.REQUESTED, 40)], "refunding"),
        ([FACTS[0], _refund("R-1", RefundState.REFUNDED, 40)], "partially_refunded"),
        ([FACTS[0], _refund("R-1", RefundState.FAILED, 40)], "paid"),
        ([FACTS[0], _refund("R-1", RefundState.CLOSED, 40)], "paid"),
        ([FACTS[0], _refund("R-1", RefundState.REFUNDED, 100)], "refunded"),
    ],
)
def test_the_state_follows_from_what_is_known(facts: list[Fact], state: str) -> None:
    assert _learned(facts) == _learned(facts[::-1])
    assert _learned(facts).state == state


@pytest.mark.parametrize(("first", "second"), list(product(RefundState, repeat=2)))
def test_the_later_state_of_a_refund_outweighs_the_earlier(
    first: RefundState, second: RefundState
) -> None:
    order = list(RefundState)
    weightier = max(first, second, key=order.index)
    joined = Refund(first, 40).joined(Refund(second))
    assert joined == Refund(second).joined(Refund(first, 40)) == Refund(weightier, 40)


def test_money_on_its_way_back_counts_against_further_refunds() -> None:
    account = EMPTY.with_payment()
    for state in RefundState:
        known = account.with_refund("R-1", Refund(state, 40))
        counted = state in {*PENDING, RefundState.REFUNDED}
        assert known.committed == (40 if counted else 0)
