"""Aliyun's Short Message Service (Dysmsapi 2017-05-25), played in memory.

Parameters, limits and codes: help.aliyun.com, SendSms, SendBatchSms, QuerySendDetails and "API
error codes". Stricter than the real one in one point: a variable that the template does not have
is refused, because it would be personal data that left for nothing.

It plays the recipient, so it knows numbers and texts; it keeps them in memory alone and prints
nothing.
"""

from __future__ import annotations

import datetime as dt
import json
import random
import re
import secrets
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from integrations.sandbox.acs3 import Refusal
from integrations.sandbox.frequency import Frequency, Limit
from integrations.sandbox.receipts import ReceiptPusher
from integrations.sandbox.rpc import RpcProvider, need
from models.clock import BEIJING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from integrations.sandbox.config import SandboxConfig, Template
    from integrations.sandbox.rpc import Operation

__all__ = ["AliyunSmsProvider", "number_in", "variables_in"]

_DAYS_KEPT = 30
_NUMBER = re.compile(r"(?:\+86|0086|86)?(1[3-9][0-9]{9})")
_TIME = "%Y-%m-%d %H:%M:%S"


@dataclass(frozen=True, slots=True)
class _Message:
    number: str = field(repr=False)
    content: str = field(repr=False)
    biz_id: str
    out_id: str | None
    template: str
    at: float
    travels: float
    """Seconds until it arrives."""
    undelivered: str | None


class AliyunSmsProvider(RpcProvider):
    """Accepts texts that Aliyun would accept, and tells later what became of them."""

    name = "aliyun_sms"
    hosts = frozenset({"dysmsapi.aliyuncs.com"})
    version = "2017-05-25"
    own_codes = ("isv.", "isp.")

    def __init__(self, config: SandboxConfig, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(config, clock=clock)
        self.receipts = ReceiptPusher(
            config.receipt_url, repeats=config.receipt_repeats, scale=config.receipt_scale
        )
        self.limits = config.limits
        self.delivery_seconds = config.delivery_seconds
        self._dice = random.Random(7)  # noqa: S311  # repeatable, not secret
        self._per_sign = Frequency(
            Limit("分钟级", 60, 1), Limit("小时级", 3600, 5), Limit("天级", 86400, 10), clock=clock
        )
        self._per_number = Frequency(Limit("天级", 86400, 40), clock=clock)
        self._per_template = Frequency(Limit("天级", 86400, 50), clock=clock)
        self._messages: defaultdict[str, list[_Message]] = defaultdict(list)

    @property
    def operations(self) -> Mapping[str, Operation]:
        """By the name of the action."""
        return {
            "SendSms": self._send,
            "SendBatchSms": self._send_batch,
            "QuerySendDetails": self._query,
        }

    def codes(self, reference: str) -> list[str]:
        """The codes that were texted under a caller's OutId, oldest first."""
        return [
            match[0]
            for of in self._messages.values()
            for message in of
            if message.out_id == reference
            and (match := re.search(r"[0-9]{4,6}", message.content, re.ASCII))
        ]

    def reset(self) -> None:
        """Forget texts, limits and nonces; settings as configured."""
        super().reset()
        self.receipts.clear()
        self.receipts.url = self._config.receipt_url
        self.receipts.repeats = self._config.receipt_repeats
        self.receipts.scale = self._config.receipt_scale
        self.limits = self._config.limits
        self.delivery_seconds = self._config.delivery_seconds
        self._messages.clear()
        self._per_sign.clear()
        self._per_number.clear()
        self._per_template.clear()

    def _send(self, given: dict[str, str], undelivered: str | None) -> dict[str, Any]:
        need(given, "PhoneNumbers", "SignName", "TemplateCode")
        numbers = given["PhoneNumbers"].split(",")
        if len(numbers) > 1000:
            raise Refusal("isv.MOBILE_COUNT_OVER_LIMIT", "手机号码数量超过限制")
        param = given.get("TemplateParam")
        return self._accept(
            [(number, given["SignName"], param) for number in numbers], given, undelivered
        )

    def _send_batch(self, given: dict[str, str], undelivered: str | None) -> dict[str, Any]:
        need(given, "PhoneNumberJson", "SignNameJson", "TemplateCode")
        numbers = _list(given["PhoneNumberJson"])
        signs = _list(given["SignNameJson"])
        params: list[Any] = [None] * len(numbers)
        if "TemplateParamJson" in given:
            params = [json.dumps(item) for item in _list(given["TemplateParamJson"])]
        if len(numbers) > 100:
            raise Refusal("isv.MOBILE_COUNT_OVER_LIMIT", "手机号码数量超过限制")
        if not len(numbers) == len(signs) == len(params):
            raise Refusal("isv.INVALID_PARAMETERS", "参数异常")
        texts = [(str(n), str(s), p) for n, s, p in zip(numbers, signs, params, strict=True)]
        return self._accept(texts, given, undelivered)

    def _accept(
        self,
        texts: list[tuple[str, str, str | None]],
        given: dict[str, str],
        undelivered: str | None,
    ) -> dict[str, Any]:
        """All or nothing: every text is checked before the first is taken."""
        out_id = given.get("OutId")
        if out_id is not None and len(out_id) > 255:
            raise Refusal("isv.INVALID_PARAMETERS", "参数异常")
        template = self._config.templates.get(given["TemplateCode"])
        biz_id = f"{secrets.randbelow(9 * 10**17) + 10**17}^0"
        now = self._clock()
        taken = []
        for typed, sign, param in texts:
            number = number_in(typed)
            if sign not in self._config.sign_names:
                raise Refusal("isv.SMS_SIGNATURE_ILLEGAL", "签名不合法(不存在或被拉黑)")
            if template is None:
                raise Refusal("isv.SMS_TEMPLATE_ILLEGAL", "模板不合法(不存在或被拉黑)")
            content = f"【{sign}】{template.fill(variables_in(template, param))}"
            message = _Message(
                number,
                content,
                biz_id,
                out_id,
                given["TemplateCode"],
                now,
                # Real journeys differ, so these do.
                self.delivery_seconds * self._dice.uniform(0.8, 1.6),
                undelivered,
            )
            self._check_limits(template, message, sign)
            taken.append((sign, message))
        for sign, message in taken:
            self._messages[message.number].append(message)
            self.receipts.add(self._receipt(message), seconds=message.travels)
            if self.limits and template is not None:
                for frequency, key in self._limits_of(template, message, sign):
                    frequency.count(key)
        return {"BizId": biz_id}

    def _limits_of(
        self, template: Template, message: _Message, sign: str
    ) -> list[tuple[Frequency, Hashable]]:
        """Codes are limited by number and signature, notices by template as well."""
        if template.kind == "code":
            number = message.number
            return [(self._per_sign, (number, sign)), (self._per_number, number)]
        return [(self._per_template, (message.number, sign, message.template))]

    def _check_limits(self, template: Template, message: _Message, sign: str) -> None:
        if not self.limits:
            return
        found = (f.exceeded(key) for f, key in self._limits_of(template, message, sign))
        limit = next((limit for limit in found if limit is not None), None)
        if limit is not None:
            raise Refusal(
                "isv.BUSINESS_LIMIT_CONTROL", f"触发{limit.word}流控Permits:{limit.permits}"
            )

    def _query(self, given: dict[str, str], undelivered: str | None) -> dict[str, Any]:
        del undelivered
        need(given, "PhoneNumber", "SendDate", "PageSize", "CurrentPage")
        number = number_in(given["PhoneNumber"])
        now = dt.datetime.fromtimestamp(self._clock(), BEIJING)
        try:
            day = dt.datetime.strptime(given["SendDate"], "%Y%m%d").date()  # noqa: DTZ007  # a date
            size, page = int(given["PageSize"]), int(given["CurrentPage"])
        except ValueError:
            raise Refusal("isv.INVALID_PARAMETERS", "参数异常") from None
        if not (1 <= size <= 50 and page >= 1 and 0 <= (now.date() - day).days <= _DAYS_KEPT):
            raise Refusal("isv.INVALID_PARAMETERS", "参数异常")
        found = [
            message
            for message in reversed(self._messages.get(number, []))
            if dt.datetime.fromtimestamp(message.at, BEIJING).date() == day
            and given.get("BizId") in {None, "", message.biz_id}
        ]
        shown = found[(page - 1) * size : page * size]
        return {
            "TotalCount": str(len(found)),
            "SmsSendDetailDTOs": {"SmsSendDetailDTO": [self._detail(item) for item in shown]},
        }

    def _receipt(self, message: _Message) -> dict[str, Any]:
        """The same, as it is pushed."""
        sent = dt.datetime.fromtimestamp(message.at, BEIJING)
        reported = sent + dt.timedelta(seconds=message.travels)
        return {
            "phone_number": message.number,
            "send_time": sent.strftime(_TIME),
            "report_time": reported.strftime(_TIME),
            "success": message.undelivered is None,
            "err_code": message.undelivered or "DELIVERED",
            "err_msg": "played by the sandbox",
            "sms_size": "1",
            "biz_id": message.biz_id,
            "out_id": message.out_id or "",
        }

    def _detail(self, message: _Message) -> dict[str, Any]:
        """What the provider tells of one text: 1 on its way, 2 failed, 3 received."""
        sent = dt.datetime.fromtimestamp(message.at, BEIJING)
        arrives = message.at + message.travels
        detail: dict[str, Any] = {
            "PhoneNum": message.number,
            "Content": message.content,
            "TemplateCode": message.template,
            "OutId": message.out_id or "",
            "SendDate": sent.strftime(_TIME),
            "SendStatus": 1,
        }
        if self._clock() >= arrives:
            detail["SendStatus"] = 2 if message.undelivered else 3
            detail["ErrCode"] = message.undelivered or "DELIVERED"
            detail["ReceiveDate"] = dt.datetime.fromtimestamp(arrives, BEIJING).strftime(_TIME)
        return detail


def number_in(typed: str) -> str:
    """A mainland number without its country code; raises :class:`Refusal`."""
    if match := _NUMBER.fullmatch(typed):
        return match[1]
    raise Refusal("isv.MOBILE_NUMBER_ILLEGAL", f"{typed}invalid mobile number")


def _list(text: str) -> list[Any]:
    try:
        parsed = json.loads(text)
    except ValueError:
        parsed = None
    if not isinstance(parsed, list) or not parsed:
        raise Refusal("isv.INVALID_JSON_PARAM", "JSON参数不合法,只接受字符串值")
    return parsed


def variables_in(template: Template, param: str | None) -> dict[str, str]:
    """The template's variables out of TemplateParam, each checked; raises :class:`Refusal`."""
    try:
        given = json.loads(param) if param else {}
    except ValueError:
        given = None
    if not isinstance(given, dict) or not all(isinstance(item, str) for item in given.values()):
        raise Refusal("isv.INVALID_JSON_PARAM", "JSON参数不合法,只接受字符串值")
    if not template.variables <= given.keys():
        raise Refusal("isv.TEMPLATE_MISSING_PARAMETERS", "模板变量缺少对应参数值")
    if not given.keys() <= template.variables:
        raise Refusal("isv.TEMPLATE_PARAMS_ILLEGAL", "模板变量中包含非法参数")
    for value in given.values():
        _check_value(template, value)
    return given


def _check_value(template: Template, value: str) -> None:
    if value in template.placeholders:
        return
    if "://" in value or re.search(r"\bwww\.", value):
        raise Refusal("isv.PARAM_NOT_SUPPORT_URL", "变量不支持传入URL")
    shortest, longest = (4, 6) if template.kind == "code" else (1, 35)
    if not shortest <= len(value) <= longest:
        raise Refusal("isv.PARAM_LENGTH_LIMIT", "参数超过长度限制")
    if template.kind == "code" and not re.fullmatch(r"[A-Za-z0-9]+", value):
        raise Refusal("isv.INVALID_PARAMETERS", "params must be [a-zA-Z0-9] for verification sms")
