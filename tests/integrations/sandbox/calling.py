"""A bare caller of the sandbox: real HTTP, our signature, and any mistake on demand."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import httpx

from integrations.aliyun.signing import AliyunCredentials, signer
from integrations.gate import UnsignedRequest

KEY = AliyunCredentials("sandbox", "sandbox-secret")
HOST = "dysmsapi.aliyuncs.com"
CODE_TEMPLATE = "SMS_164000001"
NOTICE_TEMPLATE = "SMS_164000009"


def a_text(**changes: str | None) -> dict[str, str]:
    """A text that the provider accepts, with fields changed or (None) left out."""
    fields = {
        "PhoneNumbers": "16400001234",
        "SignName": "钟久久",
        "TemplateCode": CODE_TEMPLATE,
        "TemplateParam": '{"code":"246810"}',
        "OutId": "0" * 31 + "1",
        **changes,
    }
    return {name: value for name, value in fields.items() if value is not None}


def a_batch(numbers: list[str], **changes: str | None) -> dict[str, str]:
    fields = {
        "PhoneNumberJson": json.dumps(numbers),
        "SignNameJson": json.dumps(["钟久久"] * len(numbers)),
        "TemplateCode": NOTICE_TEMPLATE,
        "TemplateParamJson": json.dumps([{"incident": "2026-1"}] * len(numbers)),
        **changes,
    }
    return {name: value for name, value in fields.items() if value is not None}


class Caller:
    """Sends to one sandbox."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, trust_env=False, timeout=10)

    def call(
        self,
        action: str,
        fields: dict[str, str],
        *,
        key: AliyunCredentials = KEY,
        version: str = "2017-05-25",
        host: str = HOST,
        in_query: bool = False,
        at: dt.datetime | None = None,
        nonce: str | None = None,
        spoil: Callable[[dict[str, str]], Any] | None = None,
        late_body: bytes | None = None,
        timeout: float = 10,
    ) -> httpx.Response:
        """One signed request.

        Args:
            action: The operation.
            fields: Its parameters.
            key: Who signs.
            version: Of the API.
            host: The Host header.
            in_query: Parameters go into the URL instead of a form.
            at: The time that is signed.
            nonce: Instead of a fresh one.
            spoil: Changes the headers after signing.
            late_body: Sent instead of the body that was signed.
            timeout: Seconds.
        """
        query, body = (urlencode(fields), b"") if in_query else ("", urlencode(fields).encode())
        unsigned = UnsignedRequest(
            method="POST",
            host=host,
            path="/",
            query=query,
            headers={"x-acs-action": action, "x-acs-version": version},
            content_type=None if in_query else "application/x-www-form-urlencoded",
            body=body,
        )
        given: dict[str, Any] = {}
        if at is not None:
            given["clock"] = lambda: at
        if nonce is not None:
            given["nonce"] = lambda: nonce
        headers = {"host": host, **unsigned.headers, **signer(key, **given)(unsigned)}
        if unsigned.content_type:
            headers["content-type"] = unsigned.content_type
        if spoil is not None:
            spoil(headers)
        return self.http.post(
            f"/?{query}" if query else "/",
            headers=headers,
            content=body if late_body is None else late_body,
            timeout=timeout,
        )

    def send(self, **changes: str | None) -> dict[str, Any]:
        """The reply to one text."""
        reply: dict[str, Any] = self.call("SendSms", a_text(**changes)).json()
        return reply

    def details(self, day: dt.date, **changes: str) -> dict[str, Any]:
        """What became of the number's texts on a day in Beijing."""
        fields = {
            "PhoneNumber": "16400001234",
            "SendDate": day.strftime("%Y%m%d"),
            "PageSize": "50",
            "CurrentPage": "1",
            **changes,
        }
        reply: dict[str, Any] = self.call("QuerySendDetails", fields).json()
        return reply

    def fault(self, **fault: Any) -> None:
        """Play a mishap."""
        self.http.post("/_sandbox/faults", json=fault).raise_for_status()

    def seen(self, reference: str) -> tuple[int, int]:
        """How often a reference arrived, and how often it was carried out."""
        reply = self.http.get("/_sandbox/requests", params={"reference": reference}).json()
        return reply["seen"], reply["accepted"]
