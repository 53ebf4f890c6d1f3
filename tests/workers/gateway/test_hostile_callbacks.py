"""Strangers at the doors of the providers: nobody is let in, nothing breaks, nothing grows.

The long form, a hundred thousand callbacks, is marked slow::

    python -m pytest tests/workers/gateway/test_hostile_callbacks.py -m slow --no-cov
"""

from __future__ import annotations

import base64
import json
import random
import resource
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self
from urllib.parse import urlencode, urlsplit

import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from sqlalchemy import func, select

from integrations.payments import Channel
from integrations.sandbox.merchants import MCHID, SELLER, till_keys
from integrations.sandbox.tills import Tills
from integrations.wechat_pay.v2 import signature
from models.tables import metadata
from tests.integrations.spoiling import spoiled
from tests.workers.gateway.serving import Gateway, serve_gateway
from tests.workers.tills import CHANNELS, MERCHANTS
from workers.gateway import callbacks, edge

FEW, MANY = 1_500, 100_000
_GENERATION = 500
"""Callbacks from one set of genuine ones; those of API v3 are fresh for five minutes."""
_REFUSALS = {400, 401, 404, 413, 422, 431}
_GROWTH_MB = 48

PATHS = {
    "wechat_pay_v3": f"/v1/callbacks/wechat-pay/{MCHID}",
    "wechat_pay_v2": f"/v1/callbacks/wechat-pay-v2/{MCHID}",
    "alipay": f"/v1/callbacks/alipay/{SELLER}",
}
OTHERS = [
    "/v1/callbacks/wechat-pay/1900009999",
    "/v1/callbacks/alipay/2088999999999999",
    "/v1/callbacks/wechat-pay-v2/%00",
    "/v1/callbacks/alipay/" + "9" * 4000,
    "/v1/callbacks/wechat-pay/..%2f..%2fjobs",
]
STRANGER = rsa.generate_private_key(65537, 2048)

Headers = list[tuple[bytes, bytes]]
Hostile = tuple[str, Headers, bytes]
Genuine = Mapping[Channel, tuple[Mapping[str, str], bytes]]


class Wire:
    """Requests written by hand, so that nothing is put right on the way."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.port
        self._address = (str(parts.hostname), parts.port)
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._hang_up()

    def ask(self, path: str, headers: Headers, body: bytes) -> int:
        """The status of the reply."""
        lines = [b"POST %s HTTP/1.1" % path.encode(), b"host: x", *map(b": ".join, headers)]
        lines += [b"content-length: %d" % len(body), b"", body]
        message = b"\r\n".join(lines)
        # A connection that is kept may have been closed meanwhile.
        reply = (self._socket and self._exchange(message)) or self._exchange(message)
        head, _, rest = reply.partition(b"\r\n\r\n")
        assert head, "no reply"
        if b"connection: close" in head.lower():
            self._hang_up()
        else:
            self._read_out(head, rest)
        return int(head[9:12])

    def _exchange(self, message: bytes) -> bytes:
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=20)
        try:
            self._socket.sendall(message)
            reply = self._socket.recv(65536)
            while reply and b"\r\n\r\n" not in reply:
                reply += self._socket.recv(65536)
        except ConnectionError:
            reply = b""
        if not reply:
            self._hang_up()
        return reply

    def _read_out(self, head: bytes, rest: bytes) -> None:
        lengths = [line for line in head.lower().split(b"\r\n") if b"content-length:" in line]
        left = int(lengths[0].split(b":")[1]) - len(rest) if lengths else 0
        while left > 0:
            assert self._socket is not None
            left -= len(self._socket.recv(65536))

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None


def genuine() -> Genuine:
    tills = Tills()
    made = {}
    for channel in CHANNELS:
        order = tills.book(channel).pay("Z20240506", 12900)
        headers, body = tills.messages.paid(channel, order).sign(True)
        # Space between the elements of XML means nothing, so there is none to spoil.
        made[channel] = headers, body.replace(b"\n", b"") if channel == "wechat_pay_v2" else body
    return made


def raw(headers: Mapping[str, str]) -> Headers:
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def a_spoiled_one(chance: random.Random, true: Genuine) -> Hostile:
    channel = chance.choice(CHANNELS)
    headers, body = spoiled(chance, *true[channel])
    return PATHS[channel], raw(headers), body


def one_at_the_wrong_door(chance: random.Random, true: Genuine) -> Hostile:
    channel = chance.choice(CHANNELS)
    headers, body = true[channel]
    doors = [path for name, path in PATHS.items() if name != channel] + OTHERS
    return chance.choice(doors), raw(headers), body


def noise(chance: random.Random, true: Genuine) -> Hostile:
    names = [
        *("wechatpay-serial", "wechatpay-signature", "wechatpay-timestamp", "wechatpay-nonce"),
        *("content-type", "cookie", "x", "transfer", "content-encoding"),
    ]
    headers = [
        (chance.choice(names).encode(), some_bytes(chance, 60, header=True))
        for _ in range(chance.randrange(12))
    ]
    return chance.choice([*PATHS.values(), *OTHERS]), headers, some_bytes(chance, 3000)


def some_bytes(chance: random.Random, most: int, *, header: bool = False) -> bytes:
    made = chance.randbytes(chance.randrange(most))
    if chance.random() < 0.5:
        letters = b"<xml>&=%{}[]\"':,0123456789_abtrue+/ "
        made = bytes(letters[each % len(letters)] for each in made)
    # A server's parser refuses control characters, which is no feat of ours.
    return bytes(each for each in made if each >= 32 and each != 127) if header else made


def one_of_a_strangers_key(chance: random.Random, true: Genuine) -> Hostile:
    """In the right form to the last byte, but for the key."""
    channel, number = chance.choice(CHANNELS), str(chance.randrange(10**9, 10**10))
    if channel == "wechat_pay_v3":
        headers, body = true[channel]
        stamp, nonce = str(int(time.time())), number
        text = f"{stamp}\n{nonce}\n".encode() + body + b"\n"
        return PATHS[channel], raw({**headers, **named(stamp, nonce, by_stranger(text))}), body
    if channel == "wechat_pay_v2":
        return PATHS[channel], [(b"content-type", b"text/xml")], a_strangers_xml(chance, number)
    values = {"out_trade_no": number, "trade_status": "TRADE_SUCCESS", "total_amount": "1.00"}
    signed = "&".join(f"{name}={values[name]}" for name in sorted(values))
    form = {**values, "sign_type": "RSA2", "sign": by_stranger(signed.encode())}
    return PATHS[channel], raw({"content-type": FORM}), urlencode(form).encode()


FORM = "application/x-www-form-urlencoded"


def named(stamp: str, nonce: str, sign: str) -> dict[str, str]:
    return {
        "wechatpay-timestamp": stamp,
        "wechatpay-nonce": nonce,
        "wechatpay-serial": till_keys().platform_serial,
        "wechatpay-signature": sign,
    }


def by_stranger(text: bytes) -> str:
    return base64.b64encode(STRANGER.sign(text, PKCS1v15(), SHA256())).decode()


def a_strangers_xml(chance: random.Random, number: str) -> bytes:
    texts = {"mch_id": MCHID, "out_trade_no": number, "total_fee": "1", "return_code": "SUCCESS"}
    if chance.random() < 0.5:
        texts["req_info"] = base64.b64encode(chance.randbytes(16 * chance.randrange(1, 9))).decode()
    else:
        texts["sign"] = signature(texts, "0" * 32, "HMAC-SHA256")
    return (
        f"<xml>{''.join(f'<{name}>{text}</{name}>' for name, text in texts.items())}</xml>".encode()
    )


BOMBS: list[Callable[[], bytes]] = [
    lambda: b"[" * 60_000,
    lambda: b'{"id":' * 9_000,
    lambda: b'{"id": 1e999999, "resource": {"algorithm": "AEAD_AES_256_GCM"}}',
    lambda: json.dumps({"id": "x" * 50_000}).encode(),
    lambda: b"<xml>" + b"<a>" * 20_000,
    lambda: b"<xml " + b" ".join(b'a%d="1"' % n for n in range(5_000)) + b"/>",
    lambda: (
        b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
        + b"".join(b'<!ENTITY b%d "%s">' % (n, b"&a;" * 20) for n in range(200))
        + b"]><xml><c>&b1;</c></xml>"
    ),
    lambda: b'<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd"><xml><c>1</c></xml>',
    lambda: b"&".join(b"a%d=%%41" % n for n in range(7_000)),
    lambda: b"sign_type=RSA2&sign=" + b"A" * 60_000,
    lambda: b"a=" + b"%E4%B8%AD" * 7_000,
    lambda: b"\x00" * 65_537,
    lambda: b"<xml>" + b" " * 200_000,
]


def a_bomb(chance: random.Random, true: Genuine) -> Hostile:
    channel = chance.choice(CHANNELS)
    return PATHS[channel], raw(true[channel][0]), chance.choice(BOMBS)()


KINDS: list[Callable[[random.Random, Genuine], Hostile]] = [
    *[a_spoiled_one] * 9,
    *[one_at_the_wrong_door] * 3,
    *[noise] * 4,
    *[one_of_a_strangers_key] * 3,
    a_bomb,
]


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    # A hundred thousand lines would be kept by pytest, and their growth be taken for ours.
    quiet = structlog.make_filtering_bound_logger("critical")
    for module in (edge, callbacks):
        monkeypatch.setattr(module, "_log", structlog.wrap_logger(None, wrapper_class=quiet))
    with serve_gateway(f"sqlite:///{tmp_path / 'zjj.db'}", merchants=MERCHANTS()) as running:
        yield running


@contextmanager
def nothing_grows(gateway: Gateway) -> Iterator[None]:
    """Rows and files are afterwards as they were, and memory nearly so."""

    def state() -> tuple[dict[str, int], int]:
        with gateway.engine.connect() as connection:
            rows = {
                table.name: connection.scalar(select(func.count()).select_from(table)) or 0
                for table in metadata.sorted_tables
            }
        file = Path(str(gateway.engine.url.database))
        return rows, sum(each.stat().st_size for each in file.parent.glob(f"{file.name}*"))

    before, resident = state(), peak_mb()
    yield
    assert state() == before
    assert peak_mb() - resident < _GROWTH_MB


def peak_mb() -> float:
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def besiege(gateway: Gateway, count: int, seed: int) -> Counter[int]:
    chance, true, seen = random.Random(seed), genuine(), Counter[int]()
    with Wire(gateway.url) as wire:
        for number in range(count):
            if number % _GENERATION == 0:
                true = genuine()
            kind = chance.choice(KINDS)
            status = wire.ask(*kind(chance, true))
            seen[status] += 1
            assert status in _REFUSALS, f"callback {number} ({kind.__name__}): {status}"
        # The doors are still open for those who may.
        headers, body = genuine()["wechat_pay_v3"]
        changed = [(name, value + b"x") for name, value in raw(headers)]
        assert wire.ask(PATHS["wechat_pay_v3"], changed, body) == 401
    return seen


def test_no_stranger_is_let_in(gateway: Gateway) -> None:
    besiege(gateway, 100, seed=0)  # Whatever is imported or cached once.
    with nothing_grows(gateway):
        seen = besiege(gateway, FEW, seed=random.randrange(2**32))
    assert seen[401] > FEW / 2
    assert seen.keys() >= {401, 404, 413}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_stranger_of_a_hundred_thousand_is_let_in(gateway: Gateway) -> None:
    besiege(gateway, 2_000, seed=0)
    with nothing_grows(gateway):
        seen = besiege(gateway, MANY, seed=random.randrange(2**32))
    print(dict(seen))
    assert seen[401] > MANY / 2


def test_the_wire_of_these_tests_brings_genuine_callbacks_in(gateway: Gateway) -> None:
    with Wire(gateway.url) as wire:
        for channel, (headers, body) in genuine().items():
            expected = 204 if channel == "wechat_pay_v3" else 200
            assert wire.ask(PATHS[channel], raw(headers), body) == expected
