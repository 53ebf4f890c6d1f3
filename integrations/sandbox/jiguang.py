"""Jiguang's one-click login (极光认证 v1), played in memory.

Parameters, answers and codes: docs.jiguang.cn, loginTokenVerify and "返回码说明". Any token that has
the form of one belongs to somebody (:mod:`integrations.sandbox.tokens`) and works once.

Stricter than the real one in one point: a field that the operation does not need is refused.
"""

from __future__ import annotations

import base64
import json
import secrets
from typing import TYPE_CHECKING, Any

import orjson
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key

from integrations.sandbox.exchange import Answer, Call
from integrations.sandbox.jiguang_key import APP_KEY, MASTER_SECRET, PRIVATE_KEY
from integrations.sandbox.tokens import phone_behind

if TYPE_CHECKING:
    from integrations.sandbox.exchange import Request

__all__ = ["JiguangProvider"]

_PATH = "/v1/web/loginTokenVerify"
_CONTENTS = {
    "8000": "get phone success",
    "8001": "get phone fail",
    "9010": "miss auth",
    "9011": "auth failed",
    "9012": "parameter invalid",
    "9013": "request method not supported",
    "9015": "http media type not supported",
}


class JiguangProvider:
    """Tells the number behind a token, encrypted for the customer."""

    name = "jiguang_verification"
    hosts = frozenset({"api.verification.jpush.cn"})

    def __init__(self) -> None:
        key = load_der_private_key(PRIVATE_KEY, password=None)
        assert isinstance(key, rsa.RSAPrivateKey)  # noqa: S101 - it is ours
        self._key = key.public_key()
        self._spent: set[str] = set()

    def serves(self, request: Request) -> bool:
        """Whether the path is ours."""
        return request.path == _PATH

    def read(self, request: Request) -> Call:
        """The JSON body; exID is the reference."""
        try:
            body = json.loads(request.body)
        except ValueError:
            body = None
        fields = body if isinstance(body, dict) else {}
        texts = {str(name): value for name, value in fields.items() if isinstance(value, str)}
        return Call(request, "loginTokenVerify", texts, texts.get("exID"))

    def answer(self, call: Call, *, undelivered: str | None = None) -> Answer:
        """Check as the real one does, in the order of its codes."""
        del undelivered
        if code := self._refusal_of(call):
            return self.refusal(call, code, status=None, message=None)
        token = call.parameters["loginToken"]
        self._spent.add(token)
        sealed = self._key.encrypt(phone_behind(token).encode(), padding.PKCS1v15())
        return _reply(
            "8000",
            {
                "id": secrets.randbelow(10**17) + 10**17,
                "exID": call.reference or "",
                "phone": base64.b64encode(sealed).decode(),
            },
        )

    def refusal(self, call: Call, code: str, *, status: int | None, message: str | None) -> Answer:
        """An answer with any code; refusals come with HTTP 200 too."""
        del call
        return _reply(code, {} if message is None else {"content": message}, status=status or 200)

    def reset(self) -> None:
        """Forget which tokens are spent."""
        self._spent.clear()

    def _refusal_of(self, call: Call) -> str | None:
        request = call.request
        expected = base64.b64encode(f"{APP_KEY}:{MASTER_SECRET}".encode()).decode()
        authorization = request.header("authorization")
        token = call.parameters.get("loginToken", "")
        if request.method != "POST":
            return "9013"
        if not (request.header("content-type") or "").startswith("application/json"):
            return "9015"
        if authorization is None:
            return "9010"
        if authorization != f"Basic {expected}":
            return "9011"
        if not token or call.parameters.keys() - {"loginToken", "exID"}:
            return "9012"
        return "8001" if token in self._spent or len(token) < 8 else None


def _reply(code: str, content: dict[str, Any], *, status: int = 200) -> Answer:
    number = int(code) if code.isdecimal() else code
    body = {"code": number, "content": _CONTENTS.get(code, "-"), **content}
    return Answer(
        status,
        code,
        orjson.dumps(body),
        {"content-type": "application/json"},
        accepted=code == "8000",
    )
