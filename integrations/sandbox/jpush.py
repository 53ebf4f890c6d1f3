"""Jiguang's push service (JPush REST API v3), played in memory: cids and pushes.

Parameters, answers, codes and headers: docs.jiguang.cn, JPush, "REST API v3", 推送 API and 频率控制.
A repetition under a cid gets the first success again and pushes nothing.

Stricter than the real one in one point: a push names one device, and no field beyond those that
such a push needs.
"""

from __future__ import annotations

import base64
import json
import re
import time
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import orjson

from integrations.sandbox.exchange import Answer, Call
from integrations.sandbox.jiguang_key import APP_KEY, MASTER_SECRET

if TYPE_CHECKING:
    from collections.abc import Callable

    from integrations.sandbox.config import SandboxConfig
    from integrations.sandbox.exchange import Request

__all__ = ["SAMPLE_CID", "JPushProvider"]

SAMPLE_CID = f"{APP_KEY}-{uuid.UUID(int=0)}"
"""A cid of the right form that the pool never gives."""

_PUSH, _CID = "/v3/push", "/v3/push/cid"
_A_DAY = 86400.0
_PER_MINUTE = 600
_MOST_CIDS = 1000
_CID_FORM = re.compile(rf"{APP_KEY}-[0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}", re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9]{8,64}", re.ASCII)
_KINDS = {"push", "schedule"}
_STATUS = {
    "1000": 500,
    "1004": 401,
    "1030": 503,
    "2002": 429,
    "2003": 403,
    "2004": 403,
    "2005": 403,
    "2006": 403,
    "7000": 500,
    "7030": 503,
}
_KNOWN = {
    (): {"cid", "platform", "audience", "notification", "options"},
    ("audience",): {"registration_id"},
    ("notification",): {"alert"},
    ("options",): {"time_to_live", "apns_production"},
}
"""By the place of an object: the names that it may have."""


class JPushProvider:
    """Hands out cids, and pushes once under each."""

    name = "jiguang_push"
    hosts = frozenset({"api.jpush.cn", "bjapi.push.jiguang.cn"})

    def __init__(self, config: SandboxConfig, *, clock: Callable[[], float] = time.time) -> None:
        self._config = config
        self._clock = clock
        self._serial = 0
        self._issued: dict[str, float] = {}
        self._done: dict[str, bytes] = {}
        """By cid: the first success."""
        self._window = (0, 0)
        """The minute, and how many calls came in it."""

    def serves(self, request: Request) -> bool:
        """Whether the path is ours."""
        return request.path in {_PUSH, _CID}

    def read(self, request: Request) -> Call:
        """The JSON body or the query; the cid is the reference."""
        if request.path == _CID:
            query = parse_qs(request.query)
            return Call(request, "cid", {name: values[0] for name, values in query.items()}, None)
        body = _object(request.body)
        leaves = {name: orjson.dumps(value).decode() for name, value in body.items()}
        cid = body.get("cid")
        return Call(request, "push", leaves, cid if isinstance(cid, str) else None)

    def answer(self, call: Call, *, undelivered: str | None = None) -> Answer:
        """Check as the real one does, then do it."""
        del undelivered
        minute, calls = self._window
        now = int(self._clock() // 60)
        self._window = (now, calls + 1 if minute == now else 1)
        if self._config.limits and self._window[1] > _PER_MINUTE:
            return self.refusal(call, "2002", status=None, message=None)
        if code := _door_refusal(call.request):
            return self.refusal(call, code, status=None, message=None)
        return self._cids(call) if call.action == "cid" else self._push(call)

    def refusal(self, call: Call, code: str, *, status: int | None, message: str | None) -> Answer:
        """An error with any code."""
        del call
        number: int | str = int(code) if code.isdecimal() else code
        body = {"error": {"code": number, "message": message or "refused by the sandbox"}}
        return self._reply(status or _STATUS.get(code, 400), code, body, accepted=False)

    def reset(self) -> None:
        """Forget cids and pushes."""
        self._serial = 0
        self._window = (0, 0)
        self._issued.clear()
        self._done.clear()

    def _cids(self, call: Call) -> Answer:
        count = call.parameters.get("count", "1")
        if (
            call.parameters.keys() - {"count", "type"}
            or not (count.isdecimal() and 1 <= int(count) <= _MOST_CIDS)
            or call.parameters.get("type", "push") not in _KINDS
        ):
            return self.refusal(call, "1003", status=None, message=None)
        made = []
        for _ in range(int(count)):
            self._serial += 1
            made.append(f"{APP_KEY}-{uuid.uuid5(uuid.NAMESPACE_OID, str(self._serial))}")
        now = self._clock()
        self._issued |= dict.fromkeys(made, now)
        return self._reply(200, "200", {"cidlist": made}, accepted=True)

    def _push(self, call: Call) -> Answer:
        document = _object(call.request.body)
        if code := _push_refusal(document):
            return self.refusal(call, code, status=None, message=None)
        cid = call.reference
        if cid is not None and self._clock() - self._issued.get(cid, self._clock()) > _A_DAY:
            return self.refusal(call, "1003", status=None, message=None)
        if cid in self._done:
            return Answer(200, "200", self._done[cid], self._headers(), accepted=False)
        self._serial += 1
        body = {"sendno": "0", "msg_id": str(10**15 + self._serial)}
        answer = self._reply(200, "200", body, accepted=True)
        if cid is not None:
            self._done[cid] = answer.body
        return answer

    def _reply(self, status: int, code: str, body: dict[str, Any], *, accepted: bool) -> Answer:
        return Answer(status, code, orjson.dumps(body), self._headers(), accepted=accepted)

    def _headers(self) -> dict[str, str]:
        return {
            "content-type": "application/json",
            "x-rate-limit-limit": str(_PER_MINUTE),
            "x-rate-limit-remaining": str(max(0, _PER_MINUTE - self._window[1])),
            "x-rate-limit-reset": str(60 - int(self._clock() % 60)),
        }


def _door_refusal(request: Request) -> str | None:
    expected = base64.b64encode(f"{APP_KEY}:{MASTER_SECRET}".encode()).decode()
    if request.method != ("GET" if request.path == _CID else "POST"):
        return "1001"
    if request.header("authorization") != f"Basic {expected}":
        return "1004"
    return None


def _push_refusal(document: dict[str, Any]) -> str | None:
    """The code for what is wrong with a push, in the order of the document's table."""
    audience, notification = document.get("audience"), document.get("notification")
    if "platform" not in document or not audience or not notification:
        return "1002"
    for path, names in _KNOWN.items():
        place = document.get(path[0], {}) if path else document
        if not isinstance(place, dict):
            return "1003"
        if place.keys() - names:
            return "1009"
    tokens, alert = audience.get("registration_id"), notification.get("alert")
    options, cid = document.get("options", {}), document.get("cid", SAMPLE_CID)
    sound = (
        document["platform"] == "all"
        and isinstance(tokens, list)
        and len(tokens) == 1
        and _matches(_TOKEN, tokens[0])
        and isinstance(alert, str)
        and _matches(_CID_FORM, cid)
        and type(options.get("time_to_live", 1)) is int
        and isinstance(options.get("apns_production", True), bool)
    )
    return None if sound else "1003"


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
