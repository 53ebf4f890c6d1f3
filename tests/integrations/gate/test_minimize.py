from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.policy import Operation, load_policy
from models.errors import ConfigurationError, InvalidValue
from models.pii import Phone, RealName, VerificationCode
from tests.integrations.gate.parts import CODE, CONFIGURED, PHONE

HELD = {"phone": Phone(PHONE), "code": VerificationCode(CODE)}
OPERATION = load_policy().operation("aliyun.sms.send")


def test_only_the_listed_fields_are_picked(operation: Operation) -> None:
    request = operation.minimize({**HELD, "name": RealName("欧阳小明"), "user": "7"}, CONFIGURED)

    assert set(request.values) == {
        "PhoneNumbers",
        "SignName",
        "TemplateCode",
        "TemplateParam.code",
        "OutId",
    }
    assert request.stripped == ("name", "user")
    assert request.categories == ("user.contact.phone_number", "user.authorization.credentials")


def test_personal_values_stay_labelled(operation: Operation) -> None:
    request = operation.minimize(HELD, CONFIGURED)

    assert request.values["PhoneNumbers"] is HELD["phone"]
    assert PHONE not in repr(request)
    assert CODE not in repr(request)


@pytest.mark.parametrize("missing", ["phone", "code"])
def test_a_missing_field_is_named(operation: Operation, missing: str) -> None:
    held = {name: value for name, value in HELD.items() if name != missing}
    with pytest.raises(InvalidValue, match=f"needs {missing}"):
        operation.minimize(held, CONFIGURED)


def test_a_value_that_is_no_text_is_named_and_not_shown(operation: Operation) -> None:
    with pytest.raises(InvalidValue, match=r"phone must be text") as refused:
        operation.minimize({**HELD, "phone": 16400001234}, CONFIGURED)
    assert PHONE not in str(refused.value)


@pytest.mark.parametrize("missing", sorted(CONFIGURED))
def test_what_is_not_configured_is_named(operation: Operation, missing: str) -> None:
    configured = {name: value for name, value in CONFIGURED.items() if name != missing}
    with pytest.raises(InvalidValue, match=f"needs {missing}"):
        operation.minimize(HELD, configured)


def test_a_configured_name_that_nobody_knows_is_refused(operation: Operation) -> None:
    with pytest.raises(ConfigurationError, match="extend_code"):
        operation.minimize(HELD, {**CONFIGURED, "extend_code": "1"})


@given(extra=st.dictionaries(st.text().filter(lambda name: name not in HELD), st.text()))
def test_whatever_else_a_job_holds_changes_nothing(extra: dict[str, str]) -> None:
    alone = OPERATION.minimize(HELD, CONFIGURED)
    wide = OPERATION.minimize({**extra, **HELD}, CONFIGURED)

    assert wide.values == alone.values
    assert wide.stripped == tuple(sorted(extra))
