"""What the gate's tests are made of: a ledger in memory, attempts, and a policy with loose fields."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path

from integrations.admission import Admitted, Held, admit
from integrations.destinations import Destination
from integrations.gate import Gate, Timeouts, UnsignedRequest, _assemble, _build
from integrations.policy import PACKAGED, Policy, load_policy
from models.attempts import Attempt
from models.disclosures import Disclosure
from models.pii import Phone, VerificationCode

HOST = "dysmsapi.aliyuncs.com"
NOW = dt.datetime(2026, 11, 23, 10, 0, tzinfo=dt.UTC)
PHONE = "16400001234"
CODE = "246810"
JOB = "0193a5f0c2b14e5d8f7a6b5c4d3e2f10"
CONFIGURED = {"sign_name": "钟久久", "template_code": "SMS_154950909", "out_id": JOB}

# Operations whose one configured field takes any text: only the search can catch a leak there.
LOOSE = """
[operations."loose.{place}"]
title = "试验"
recipient = "aliyun_sms"
purpose = "verify_phone"
host = "dysmsapi.aliyuncs.com"
method = "POST"
path = "/loose"
place = "{place}"
reply.keep = []

[operations."loose.{place}".fields]
Phone = {{ title = "手机号码", from = "phone", category = "user.contact.phone_number", transform = "raw", pattern = '1\\d{{10}}', max = 11 }}
Note = {{ title = "随意文字", configured = "note", pattern = '(?s).*', max = 4000 }}

[operations."loose.{place}".headers]
x-token = {{ title = "随意", signed = '.*', max = 2000, required = false }}
"""

# Constants of every kind, which only JSON has.
CONSTANTS = """
[operations."constants"]
title = "试验"
recipient = "aliyun_sms"
purpose = "verify_phone"
host = "dysmsapi.aliyuncs.com"
method = "POST"
path = "/constants"
place = "json"
reply.keep = []
headers = {}

[operations."constants".fields]
"options.silent" = { title = "真假", const = true }
"options.lifetime" = { title = "数字", const = 1 }
platform = { title = "文字", const = "android" }
"""

SIGNED_CALLBACK = {
    "webhook-id": "0" * 32,
    "webhook-timestamp": "1795478400",
    "webhook-key-id": "0" * 8,
    "webhook-signature": f"v1,{'A' * 43}=",
}


class MemoryLedger:
    """Keeps disclosures; the one of the database is tested with the database."""

    def __init__(self) -> None:
        self.rows: list[Disclosure] = []

    def record(self, disclosure: Disclosure) -> None:
        self.rows.append(disclosure)


def loose_policy(folder: Path) -> Policy:
    path = folder / "loose.toml"
    places = ("query", "form", "json", "xml", "multipart")
    path.write_text(
        PACKAGED.read_text("utf-8")
        + "".join(LOOSE.format(place=place) for place in places)
        + CONSTANTS,
        "utf-8",
    )
    return load_policy(path)


def make_attempt(policy: Policy, **changes: object) -> Attempt:
    values: dict[str, object] = {
        "job_id": JOB,
        "kind": "sms_code",
        "number": 1,
        "fence": 7,
        "worker_id": "worker-1",
        "backend": "shop",
        "policy_version": policy.version,
        "expires_at": NOW + dt.timedelta(minutes=5),
        "subject": "ab" * 32,
        "held": {
            "phone": Phone(PHONE),
            "code": VerificationCode(CODE),
            "scene": "register",
            "user": "user-99431",
        },
    }
    return Attempt(**{**values, **changes})  # type: ignore[arg-type]


def sign(request: UnsignedRequest) -> Mapping[str, str]:
    """A signature of the right shapes, always the same."""
    return {
        "x-acs-date": "2026-11-23T10:00:00Z",
        "x-acs-signature-nonce": "f" * 32,
        "x-acs-content-sha256": "e" * 64,
        "authorization": "ACS3-HMAC-SHA256 Credential=LTAItest,SignedHeaders=host,Signature="
        + "d" * 64,
    }


def make_gate(policy: Policy, ledger: MemoryLedger, url: str, **changes: object) -> Gate:
    values: dict[str, object] = {
        "clock": lambda: NOW,
        "dial": {HOST: url},
        "timeouts": Timeouts(connect=0.5, reconnect=0.3, answer=0.5),
    }
    return Gate(policy, ledger, **{**values, **changes})  # type: ignore[arg-type]


def admitted_callback(policy: Policy, host: str) -> Admitted:
    """A callback to a host of our own, admitted."""
    operation = policy.operation("backend.webhook").at(Destination(host, "/hook"))
    texts = {"type": "webhook.test", "occurred_at": "2026-11-24T00:00:00Z"}
    held = [Held({"type": "event"}.get(name, name), text, None) for name, text in texts.items()]
    return admit(operation, _assemble(_build(operation, texts), SIGNED_CALLBACK), held, texts)
