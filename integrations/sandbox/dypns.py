"""Aliyun's Number Authentication (Dypnsapi 2017-05-25), played in memory: codes by text, one-click login.

SendSmsVerifyCode makes a code, sends it and remembers it; CheckSmsVerifyCode compares. Parameters
and their defaults: alibabacloud-dypnsapi20170525 2.0.0; codes: the product's error list and public
repositories that handle them. Where the document leaves things open (which answer a wrong code
gets, that a code serves once), docs/providers.md says what is assumed.

Like its sibling it knows numbers and codes, keeps them in memory alone and prints nothing.
"""

from __future__ import annotations

import re
import secrets
import string
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from integrations.sandbox.acs3 import Refusal
from integrations.sandbox.aliyun_sms import number_in, variables_in
from integrations.sandbox.frequency import Frequency, Limit
from integrations.sandbox.rpc import RpcProvider, need
from integrations.sandbox.tokens import phone_behind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from integrations.sandbox.config import SandboxConfig
    from integrations.sandbox.rpc import Operation

__all__ = ["UNSURE", "DypnsProvider"]

_Value = TypeVar("_Value")

UNSURE = "unsure"
"""Of numbers whose token begins so, the carrier cannot tell."""

_PLACEHOLDER = "##code##"
_LONGEST_INTERVAL = 86400
_ALPHABETS = {
    "1": string.digits,
    "2": string.ascii_uppercase,
    "3": string.ascii_lowercase,
    "4": string.ascii_letters,
    "5": string.digits + string.ascii_uppercase,
    "6": string.digits + string.ascii_lowercase,
    "7": string.digits + string.ascii_letters,
}
"""By CodeType."""


@dataclass(slots=True)
class _Code:
    number: str = field(repr=False)
    text: str = field(repr=False)
    scheme: str
    out_id: str | None
    until: float
    spent: bool = False


class DypnsProvider(RpcProvider):
    """Makes codes, sends them and checks them."""

    name = "aliyun_number_auth"
    hosts = frozenset({"dypnsapi.aliyuncs.com"})
    version = "2017-05-25"
    refused: ClassVar[Mapping[str, object]] = {"Success": False}

    def __init__(self, config: SandboxConfig, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(config, clock=clock)
        self.limits = config.limits
        self._codes: defaultdict[str, list[_Code]] = defaultdict(list)
        self._sent: dict[tuple[str, str], float] = {}
        self._spent: set[str] = set()
        self._per_number = Frequency(
            Limit("小时级", 3600, 5), Limit("天级", 86400, 10), clock=clock
        )

    @property
    def operations(self) -> Mapping[str, Operation]:
        """By the name of the action."""
        return {
            "SendSmsVerifyCode": self._send,
            "CheckSmsVerifyCode": self._check,
            "GetMobile": self._get_mobile,
            "VerifyMobile": self._verify_mobile,
        }

    def codes(self, reference: str) -> list[str]:
        """The codes that were made under a caller's OutId, oldest first."""
        return [code.text for of in self._codes.values() for code in of if code.out_id == reference]

    def reset(self) -> None:
        """Forget codes, limits and nonces."""
        super().reset()
        self.limits = self._config.limits
        self._codes.clear()
        self._sent.clear()
        self._spent.clear()
        self._per_number.clear()

    def _send(self, given: dict[str, str], undelivered: str | None) -> dict[str, Any]:
        del undelivered
        need(given, "PhoneNumber", "SignName", "TemplateCode", "TemplateParam")
        number, scheme = _addressed(given)
        if given["SignName"] not in self._config.gifted_sign_names:
            raise Refusal("isv.SMS_SIGNATURE_ILLEGAL", "签名不合法")
        template = self._config.gifted_templates.get(given["TemplateCode"])
        if template is None:
            raise Refusal("isv.SMS_TEMPLATE_ILLEGAL", "模板不合法")
        if _PLACEHOLDER not in variables_in(template, given["TemplateParam"]).values():
            raise Refusal("isv.INVALID_PARAMETERS", "TemplateParam must contain ##code##")
        length = _whole(given, "CodeLength", 4, 4, 8)
        valid = _whole(given, "ValidTime", 300, 1, 86400)
        interval = _whole(given, "Interval", 60, 1, _LONGEST_INTERVAL)
        alphabet = _one_of(given, "CodeType", _ALPHABETS)
        replaces = _one_of(given, "DuplicatePolicy", {"1": True, "2": False})
        self._count((number, scheme), interval)
        now = self._clock()
        if replaces:
            self._codes[number] = [c for c in self._codes[number] if c.scheme != scheme]
        text = "".join(secrets.choice(alphabet) for _ in range(length))
        out_id = given.get("OutId")
        self._codes[number].append(_Code(number, text, scheme, out_id, now + valid))
        model = {"BizId": f"{secrets.randbelow(9 * 10**17) + 10**17}^0", "OutId": out_id or ""}
        if given.get("ReturnVerifyCode", "false").lower() == "true":
            model["VerifyCode"] = text
        return {"Success": True, "Model": model}

    def _count(self, key: tuple[str, str], interval: int) -> None:
        if not self.limits:
            return
        now = self._clock()
        if now - self._sent.get(key, -_LONGEST_INTERVAL) < interval:
            raise Refusal("biz.FREQUENCY", "check frequency failed")
        if limit := self._per_number.exceeded(key[0]):
            raise Refusal(
                "isv.BUSINESS_LIMIT_CONTROL", f"触发{limit.word}流控Permits:{limit.permits}"
            )
        self._sent[key] = now
        self._per_number.count(key[0])

    def _check(self, given: dict[str, str], undelivered: str | None) -> dict[str, Any]:
        """Of a number that got no code it knows nothing; a wrong or old code is refused."""
        del undelivered
        need(given, "PhoneNumber", "VerifyCode")
        number, scheme = _addressed(given)
        fold = str.casefold if _one_of(given, "CaseAuthPolicy", {"1": True, "2": False}) else str
        made = [code for code in self._codes.get(number, []) if code.scheme == scheme]
        match = next(
            (
                code
                for code in made
                if not code.spent
                and code.until > self._clock()
                and fold(code.text) == fold(given["VerifyCode"])
            ),
            None,
        )
        if match is not None:
            match.spent = True
        elif made:
            raise Refusal("isv.ValidateFail", "验证失败", status=400)
        verdict = "PASS" if match else "UNKNOWN"
        model = {"VerifyResult": verdict, "OutId": given.get("OutId", "")}
        return {"Success": True, "Model": model}

    def _get_mobile(self, given: dict[str, str], undelivered: str | None) -> dict[str, Any]:
        """Any token belongs to somebody, and works once."""
        del undelivered
        need(given, "AccessToken")
        return {"GetMobileResultDTO": {"Mobile": self._behind(given["AccessToken"])}}

    def _verify_mobile(self, given: dict[str, str], undelivered: str | None) -> dict[str, Any]:
        del undelivered
        need(given, "AccessCode", "PhoneNumber")
        number = number_in(given["PhoneNumber"])
        verdict = "PASS" if self._behind(given["AccessCode"]) == number else "REJECT"
        if given["AccessCode"].startswith(UNSURE):
            verdict = "UNKNOWN"
        return {
            "GateVerifyResultDTO": {"VerifyId": secrets.token_hex(8), "VerifyResult": verdict},
        }

    def _behind(self, token: str) -> str:
        if len(token) < 8 or token in self._spent:
            raise Refusal("isv.TOKEN_INVALID", "token无效")
        self._spent.add(token)
        return phone_behind(token)


def _addressed(given: dict[str, str]) -> tuple[str, str]:
    """Number and scheme, checked."""
    if given.get("CountryCode", "86") != "86":
        raise Refusal("isv.MOBILE_NUMBER_ILLEGAL", "号码格式非法")
    scheme = given.get("SchemeName", "")
    if len(scheme) > 20:
        raise Refusal("isv.INVALID_PARAMETERS", "参数非法")
    return number_in(given["PhoneNumber"]), scheme


def _whole(given: dict[str, str], name: str, default: int, least: int, most: int) -> int:
    text = given.get(name) or str(default)
    if not re.fullmatch(r"[0-9]{1,6}", text) or not least <= int(text) <= most:
        raise Refusal("isv.INVALID_PARAMETERS", f"{name}参数非法")
    return int(text)


def _one_of(given: dict[str, str], name: str, choices: Mapping[str, _Value]) -> _Value:
    text = given.get(name) or "1"
    if text not in choices:
        raise Refusal("isv.INVALID_PARAMETERS", f"{name}参数非法")
    return choices[text]
