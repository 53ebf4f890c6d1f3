"""What the policy's basis and the person's age demand, before anything is looked up."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from integrations.admission import Refused
from integrations.consents import demands_of
from integrations.policy import Operation, Policy
from models.attempts import Attempt
from models.disclosures import Demands, Disclosure, Verdict, Withheld
from models.errors import DeniedError
from models.pii import IdNumber
from tests.integrations.gate.parts import CONFIGURED, NOW, MemoryLedger, make_gate, sign
from tests.integrations.recording_server import RecordingServer

GROWN, CHILD = IdNumber("999999199001010016"), IdNumber("999999202001010010")
FOURTEEN = dt.datetime(2033, 12, 31, 16, 0, tzinfo=dt.UTC)
"""The child's birthday has just begun in China."""


def _based(policy: Policy, **basis: str) -> Policy:
    """The policy with another basis for the SMS code."""
    purpose = policy.purposes["verify_phone"]
    changed = purpose.model_copy(update={"basis": purpose.basis.model_copy(update=basis)})
    return policy.model_copy(update={"purposes": {**policy.purposes, "verify_phone": changed}})


def _demands(
    policy: Policy,
    held: object = GROWN,
    *,
    consent: str | None = "agreed-1",
    guardian: str | None = "parent-1",
    now: dt.datetime = NOW,
) -> Demands:
    return demands_of(
        policy,
        policy.operation("aliyun.sms.send"),
        {"something": held},
        backend="shop",
        consent_ref=consent,
        guardian_ref=guardian,
        now=now,
    )


def test_a_contract_demands_no_consent_even_if_one_is_named(policy: Policy) -> None:
    assert _demands(policy) == Demands(backend="shop")
    assert _demands(policy, consent=None) == Demands(backend="shop")


def test_a_named_consent_must_stand_where_consent_is_the_basis(policy: Policy) -> None:
    agreed = _based(policy, kind="consent", consent="consent")

    assert _demands(agreed) == Demands(backend="shop", consent="agreed-1")
    assert _demands(agreed, consent=None) == Demands(backend="shop")


def test_a_separate_consent_must_be_named_and_stand(policy: Policy) -> None:
    separate = _based(policy, kind="consent", consent="separate")

    assert _demands(separate) == Demands(backend="shop", consent="agreed-1", separate=True)
    for nothing in (None, ""):
        with pytest.raises(Refused, match="consent_missing"):
            _demands(separate, consent=nothing)


@pytest.mark.parametrize(
    "held", [CHILD, [GROWN, CHILD], {"family": {"children": (CHILD,)}}, {CHILD}], ids=str
)
def test_for_a_child_the_guardian_must_agree_however_deep_its_number_lies(
    policy: Policy, held: object
) -> None:
    assert _demands(policy, held) == Demands(backend="shop", guardian="parent-1")
    for nothing in (None, ""):
        with pytest.raises(Refused, match="guardian_missing"):
            _demands(policy, held, guardian=nothing)


@pytest.mark.parametrize("held", [7, None, True, NOW, "999999202001010010", [GROWN, 7]], ids=str)
def test_what_is_no_childs_number_calls_for_no_guardian(policy: Policy, held: object) -> None:
    assert _demands(policy, held, guardian=None) == Demands(backend="shop")


def test_what_is_sensitive_needs_a_standing_consent_whatever_its_purpose_says(
    policy: Policy,
) -> None:
    phone = "user.contact.phone_number"
    changed = policy.categories[phone].model_copy(update={"sensitive": True})
    sensitive = policy.model_copy(update={"categories": {**policy.categories, phone: changed}})

    assert _demands(sensitive) == Demands(backend="shop", consent="agreed-1", separate=True)


def test_the_fourteenth_birthday_begins_at_midnight_in_china(policy: Policy) -> None:
    before = FOURTEEN - dt.timedelta(microseconds=1)

    assert _demands(policy, CHILD, now=before).guardian == "parent-1"
    assert _demands(policy, CHILD, now=FOURTEEN).guardian is None


def test_a_legal_duty_waits_for_no_guardian_and_no_restriction(policy: Policy) -> None:
    duty = _based(policy, kind="legal_duty")

    assert _demands(duty, CHILD, guardian=None) == Demands(backend="shop", spared=True)


def test_what_the_ledger_withholds_is_denied_and_recorded_and_never_leaves(
    policy: Policy, operation: Operation, attempt: Attempt, server: RecordingServer
) -> None:
    class Withholding(MemoryLedger):
        def record(self, disclosure: Disclosure) -> None:
            super().record(disclosure)
            if disclosure.verdict is Verdict.ADMITTED:
                raise Withheld("nothing that stands covers it", code="consent_withdrawn")

    ledger = Withholding()
    gate = make_gate(policy, ledger, server.url)
    with pytest.raises(DeniedError, match="consent_withdrawn"):
        gate.send(operation.minimize(attempt.held, CONFIGURED), sign=sign, attempt=attempt)
    gate.close()

    asked, denied = ledger.rows
    assert asked.demands == Demands(backend="shop")
    assert denied == replace(
        asked, verdict=Verdict.DENIED, reason="consent_withdrawn", demands=Demands()
    )
    assert server.connections == 0
    assert attempt.results == []
