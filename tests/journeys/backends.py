"""A web backend of the shop: a real receiver of webhooks, which counts what it is told."""

from __future__ import annotations

import json
import random
import threading
from collections import defaultdict
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import zjj

__all__ = ["Backend", "Told"]


@dataclass(frozen=True)
class Told:
    """One webhook, however often it was delivered."""

    event: str
    data: dict[str, Any]


class Backend:
    """Believes what is signed, remembers what it has seen, and is at times not at its best.

    Args:
        percent_failing: Of deliveries that it answers with 500, or takes and then hangs up on.
    """

    def __init__(self, *, percent_failing: float = 0) -> None:
        self.secret = ""
        self.percent_failing = percent_failing
        self.deliveries = 0
        self.refused = 0
        self._seen: dict[str, Told] = {}
        self._lock = threading.Lock()
        self._dice = random.Random(1)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/zjj"
        self._thread = threading.Thread(target=self._server.serve_forever, name="backend")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def told(self) -> dict[str, list[Told]]:
        """By order number: what it was told, in the order in which it came in."""
        orders: dict[str, list[Told]] = defaultdict(list)
        with self._lock:
            for told in self._seen.values():
                orders[told.data.get("order_no", "")].append(told)
        return dict(orders)

    def _take(self, headers: dict[str, str], body: bytes) -> int | None:
        """The status to answer with; None hangs up."""
        try:
            webhook_id = zjj.verify_webhook(headers, body, self.secret)
        except zjj.InvalidWebhookError:
            self.refused += 1
            return 401
        document = json.loads(body)
        with self._lock:
            self.deliveries += 1
            fails = self._dice.random() * 100 < self.percent_failing
            taken = not fails or self._dice.random() < 0.5
            if taken:
                self._seen.setdefault(webhook_id, Told(document["type"], document["data"]))
        return 204 if not fails else None if taken else 500

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        take = self._take

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                body = self.rfile.read(length)
                if len(body) < length:
                    return  # whoever sent it was killed over it
                status = take({k.lower(): v for k, v in self.headers.items()}, body)
                if status is None:
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler
