"""RSA2, the signature of Alipay's interface, over requests and over replies.

Pure but for the default of :func:`signer`. Rules: Alipay's document "Sign and verify by yourself"
(opendocs.alipay.com).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from integrations.alipay import rsa2
from models.clock import BEIJING, utc_now

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    from integrations.alipay.credentials import AlipayCredentials
    from integrations.gate import Signer, UnsignedRequest
    from models.clock import Clock

__all__ = ["canonical", "is_own", "signer"]

_DECODER = json.JSONDecoder()
_BESIDE = frozenset({"sign", "alipay_cert_sn"})


def canonical(values: Mapping[str, str]) -> str:
    """What a request signs: all that is not empty, ``sign_type`` included, ``sign`` not."""
    named = sorted((name, text) for name, text in values.items() if text and name != "sign")
    return "&".join(f"{name}={text}" for name, text in named)


def signer(credentials: AlipayCredentials, *, clock: Clock = utc_now) -> Signer:
    """Make the gate's signer for one app; it adds ``timestamp`` and ``sign`` to the fields.

    Args:
        credentials: Whose name the request bears.
        clock: The present.
    """

    def sign(request: UnsignedRequest) -> Mapping[str, str]:
        timestamp = clock().astimezone(BEIJING).strftime("%Y-%m-%d %H:%M:%S")
        pairs = [*parse_qsl(request.query), *parse_qsl(request.body.decode())]
        text = canonical({**dict(pairs), "timestamp": timestamp})
        return {"timestamp": timestamp, "sign": rsa2.sign(text, credentials.private_key)}

    return sign


def is_own(body: bytes, name: str, public_key: RSAPublicKey) -> bool:
    """Whether a reply is Alipay's: the signature covers the raw text of its one object.

    Nothing is taken apart and written again. What stands beside object and signature is refused,
    because whoever reads the reply later might read that instead.

    Args:
        body: The whole reply.
        name: Of the object, such as ``alipay_trade_query_response``.
        public_key: Alipay's.
    """
    try:
        text = body.decode()
        head = f'{{"{name}":'
        if not text.startswith(head + "{"):
            return False
        _, end = _DECODER.raw_decode(text, len(head))
        beside = text[end:]
        if not beside.startswith(","):
            return False
        pairs = json.loads("{" + beside[1:], object_pairs_hook=list)
    except (ValueError, RecursionError):
        return False
    names = [pair[0] for pair in pairs]
    sign = dict(pairs).get("sign")
    if len({*names}) != len(names) or not {*names} <= _BESIDE or not isinstance(sign, str):
        return False
    return rsa2.is_signed(text[len(head) : end].encode(), sign.encode(), public_key)
