"""ACS3-HMAC-SHA256, the request signature of Aliyun's RPC products.

Pure: no clock, no randomness and no network, but for the defaults of :func:`signer`. The rules are
those of Aliyun's document "V3 request structure and signature" (help.aliyun.com, SDK product
overview) and of alibabacloud-tea-openapi 0.4.6; both sources' examples are in
``tests/vectors/aliyun_acs3.json``.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote

from models.clock import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from integrations.gate import Signer, UnsignedRequest
    from models.clock import Clock

__all__ = [
    "ALGORITHM",
    "AliyunCredentials",
    "authorization",
    "canonical_headers",
    "canonical_query",
    "canonical_request",
    "percent_encode",
    "signature",
    "signer",
    "string_to_sign",
]

ALGORITHM = "ACS3-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class AliyunCredentials:
    """An access key; ``repr`` shows its public half only.

    Args:
        access_key_id: The public half, sent with each request.
        access_key_secret: The key of the signature, never sent.
        security_token: Only for temporary keys of STS; sent with each request.
    """

    access_key_id: str
    access_key_secret: str = field(repr=False)
    security_token: str | None = field(default=None, repr=False)


def percent_encode(text: str) -> str:
    """Encode as RFC 3986: letters, digits and ``-_.~`` stay, a space becomes ``%20``."""
    return quote(text, safe="")


def canonical_query(pairs: Iterable[tuple[str, str]]) -> str:
    """Decoded names and values, encoded and sorted; an empty value keeps its equals sign."""
    encoded = sorted((percent_encode(name), percent_encode(value)) for name, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)


def canonical_headers(pairs: Iterable[tuple[str, str]]) -> tuple[str, str]:
    """The header block, each line with its line feed, and the list of names in it.

    Names are lower-cased; the trimmed values of one name are sorted and joined by a comma.
    """
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name.lower(), []).append(value.strip())
    names = sorted(values)
    block = "".join(f"{name}:{','.join(sorted(values[name]))}\n" for name in names)
    return block, ";".join(names)


def canonical_request(
    method: str,
    path: str,
    query: Iterable[tuple[str, str]],
    headers: Iterable[tuple[str, str]],
    body_sha256: str,
) -> str:
    """The text whose digest is signed.

    Args:
        method: In upper case.
        path: As on the wire; RPC products only know ``/``.
        query: Decoded names and values.
        headers: Exactly those that are to be signed.
        body_sha256: Lower-case hex digest of the body, of no bytes if there is none.
    """
    block, names = canonical_headers(headers)
    return "\n".join((method, path, canonical_query(query), block, names, body_sha256))


def string_to_sign(canonical: str) -> str:
    """The algorithm's name and the hex digest of a canonical request."""
    return f"{ALGORITHM}\n{hashlib.sha256(canonical.encode()).hexdigest()}"


def signature(secret: str, canonical: str) -> str:
    """Lower-case hex HMAC of a canonical request, keyed with the secret as it is."""
    return hmac.digest(secret.encode(), string_to_sign(canonical).encode(), "sha256").hex()


def authorization(credentials: AliyunCredentials, canonical: str) -> str:
    """The ``Authorization`` header's value for a canonical request."""
    names = canonical.rsplit("\n", 2)[1]
    return (
        f"{ALGORITHM} Credential={credentials.access_key_id},SignedHeaders={names},"
        f"Signature={signature(credentials.access_key_secret, canonical)}"
    )


def signer(
    credentials: AliyunCredentials,
    *,
    clock: Clock = utc_now,
    nonce: Callable[[], str] = lambda: secrets.token_hex(16),
) -> Signer:
    """Make the gate's signer for one account.

    It signs the host, the content type and every ``x-acs-`` header that the policy fixes, action
    and version among them, and adds what Aliyun needs to know the caller and to check the bytes.
    The nonce is new at each call, so a request that is sent again must be signed again.

    Args:
        credentials: Whose name the request bears.
        clock: Aliyun refuses a date that is 15 minutes off.
        nonce: Makes a text that is never used twice.
    """

    def sign(request: UnsignedRequest) -> Mapping[str, str]:
        body_sha256 = hashlib.sha256(request.body).hexdigest()
        added = {
            "x-acs-content-sha256": body_sha256,
            "x-acs-date": clock().strftime("%Y-%m-%dT%H:%M:%SZ"),
            "x-acs-signature-nonce": nonce(),
        }
        if credentials.security_token is not None:
            added["x-acs-security-token"] = credentials.security_token
        signed = {"host": request.host, **added}
        if request.content_type is not None:
            signed["content-type"] = request.content_type
        signed |= {k: v for k, v in request.headers.items() if k.startswith("x-acs-")}
        canonical = canonical_request(
            request.method,
            request.path,
            parse_qsl(request.query, keep_blank_values=True),
            signed.items(),
            body_sha256,
        )
        return {**added, "authorization": authorization(credentials, canonical)}

    return sign
