"""The door that all of Aliyun's RPC products share: who asks, when, and is it signed?

Codes, statuses and wording of refusals follow Aliyun's "Common error codes" (help.aliyun.com,
document_detail/48054) and replies quoted in public repositories. Like the real one it quotes what
it received back in a refused signature's message, which is why callers must not keep messages.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import re
import uuid
from collections import deque
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote

import orjson

from integrations.aliyun.signing import ALGORITHM, canonical_request, signature
from integrations.sandbox.exchange import Answer, Call, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from integrations.sandbox.config import AccessKey

__all__ = ["Acs3Door", "Refusal", "read_call", "reply"]

_WINDOW = 15 * 60
_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} Credential=(?P<key>[^,]+),SignedHeaders=(?P<names>[^,]+),"
    r"Signature=(?P<signature>[0-9a-f]{64})"
)
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)


class Refusal(Exception):
    """The provider says no.

    Args:
        code: Aliyun's code.
        message: Aliyun's text, which may quote the request.
        status: 200 for the product's own refusals, else the gateway's.
    """

    def __init__(self, code: str, message: str, *, status: int = 200) -> None:
        super().__init__(code)
        self.code = code
        self.message = message
        self.status = status


def read_call(request: Request, *, reference: str) -> Call:
    """Take query and form together, as RPC products do.

    Args:
        request: What arrived.
        reference: The parameter that holds the caller's own reference.
    """
    parameters = dict(parse_qsl(request.query, keep_blank_values=True))
    if (request.header("content-type") or "").startswith("application/x-www-form-urlencoded"):
        form = request.body.decode("utf-8", "replace")
        parameters.update(parse_qsl(form, keep_blank_values=True))
    action = request.header("x-acs-action") or parameters.get("Action", "")
    return Call(request, action, parameters, parameters.get(reference))


def reply(
    code: str,
    message: str,
    *,
    status: int = 200,
    host: str = "",
    content: Mapping[str, object] | None = None,
    accepted: bool = False,
) -> Answer:
    """Write an answer as the product (status 200) or its gateway (other statuses) does."""
    body = {
        "RequestId": str(uuid.uuid4()).upper(),
        "Code": code,
        "Message": message,
        **(content or {}),
    }
    if status != 200:
        keyword = quote(code, safe="")
        body["HostId"] = host
        body["Recommend"] = f"https://error-center.aliyun.com/status/search?Keyword={keyword}"
    return Answer(
        status,
        code,
        orjson.dumps(body),
        {"content-type": "application/json;charset=utf-8"},
        accepted=accepted,
    )


class Acs3Door:
    """Checks key, date, signature and nonce of a request over the bytes that arrived.

    Args:
        keys: The access keys on file.
        clock: Returns seconds since 1970.
    """

    def __init__(self, keys: Mapping[str, AccessKey], *, clock: Callable[[], float]) -> None:
        self._keys = keys
        self._clock = clock
        self._nonces: set[str] = set()
        self._by_age: deque[tuple[float, str]] = deque()

    def check(self, request: Request) -> None:
        """Let a request in.

        Raises:
            Refusal: For the first reason found.
        """
        match = _AUTHORIZATION.fullmatch(request.header("authorization") or "")
        if match is None:
            raise Refusal(
                "IncompleteSignature",
                "The request signature does not conform to Aliyun standards.",
                status=400,
            )
        self._check_date(request.header("x-acs-date"))
        key = self._keys.get(match["key"])
        if key is None:
            raise Refusal(
                "InvalidAccessKeyId.NotFound", "Specified access key is not found.", status=404
            )
        _check_token(key, request.header("x-acs-security-token"))
        _check_signature(request, key, set(match["names"].split(";")), match["signature"])
        self._check_nonce(request.header("x-acs-signature-nonce"))

    def clear(self) -> None:
        """Forget the nonces."""
        self._nonces.clear()
        self._by_age.clear()

    def _check_date(self, date: str | None) -> None:
        then = _seconds(date or "")
        if then is None:
            raise Refusal(
                "InvalidTimeStamp.Format",
                "Specified time stamp or date value is not well formatted.",
                status=400,
            )
        if abs(self._clock() - then) > _WINDOW:
            raise Refusal(
                "InvalidTimeStamp.Expired",
                "Specified time stamp or date value is expired.",
                status=400,
            )

    def _check_nonce(self, nonce: str | None) -> None:
        now = self._clock()
        # A request older than the window is refused for its date, so its nonce may be forgotten.
        while self._by_age and self._by_age[0][0] < now - 2 * _WINDOW:
            self._nonces.discard(self._by_age.popleft()[1])
        if not nonce:
            raise Refusal(
                "MissingSignatureNonce", "SignatureNonce is mandatory for this action.", status=400
            )
        if nonce in self._nonces:
            raise Refusal(
                "SignatureNonceUsed", "Specified signature nonce was used already.", status=400
            )
        self._nonces.add(nonce)
        self._by_age.append((now, nonce))


def _seconds(date: str) -> float | None:
    if not _DATE.fullmatch(date):
        return None
    try:
        return dt.datetime.fromisoformat(date).timestamp()
    except ValueError:
        return None


def _check_token(key: AccessKey, token: str | None) -> None:
    if key.security_token is not None and token is None:
        raise Refusal(
            "MissingSecurityToken", "SecurityToken is mandatory for this action.", status=400
        )
    if key.security_token != token:
        raise Refusal(
            "InvalidSecurityToken.MismatchWithAccessKey",
            "Specified SecurityToken mismatch with the AccessKey.",
            status=400,
        )


def _check_signature(request: Request, key: AccessKey, names: set[str], received: str) -> None:
    digest = hashlib.sha256(request.body).hexdigest()
    canonical = canonical_request(
        request.method,
        request.path,
        parse_qsl(request.query, keep_blank_values=True),
        (pair for pair in request.headers if pair[0] in names),
        digest,
    )
    must = {
        name
        for name, _ in request.headers
        if name in {"host", "content-type"} or name.startswith("x-acs-")
    }
    if (
        not must <= names
        or request.header("x-acs-content-sha256") != digest
        or not hmac.compare_digest(signature(key.secret, canonical), received)
    ):
        raise Refusal(
            "SignatureDoesNotMatch",
            "Specified signature is not matched with our calculation. "
            f"server CanonicalRequest is:{canonical}",
            status=400,
        )
