"""Push notices through Jiguang: one device, one reviewed wording, nothing else.

docs.jiguang.cn, JPush, "REST API v3": HTTP Basic with the application's key and secret. A push that
bears a cid is carried out once: a repetition under the same cid within its day gets the first
success again. So whoever sends keeps the cid with the job before the push leaves.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from integrations.jiguang.login import basic_signer
from integrations.jiguang.push_codes import push_fault
from integrations.receipt import Receipt
from models.errors import ConfigurationError, RetryError, UnknownOutcomeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from integrations.gate import Gate
    from integrations.jiguang.login import JiguangCredentials
    from integrations.policy import Operation
    from integrations.reply import Reply
    from models.attempts import Attempt

__all__ = ["CID_WAITS", "JPush"]

CID_WAITS = 600.0
"""Seconds for which a fetched cid may wait for its push; what is left then of its day is the
repetitions'."""


class JPush:
    """Jiguang's push service behind the gate.

    Args:
        gate: The way out.
        credentials: Of the application that the devices have installed.
        notices: The reviewed wordings, by name (:mod:`integrations.jiguang.notices`).
        clock: Seconds of a clock that is never set.

    Raises:
        ConfigurationError: The policy lacks the operations.
    """

    def __init__(
        self,
        gate: Gate,
        credentials: JiguangCredentials,
        notices: Mapping[str, str],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gate = gate
        self._sign = basic_signer(credentials)
        self._notices = notices
        self._clock = clock
        self._send = gate.policy.operation("jiguang.push.send")
        self._fetch = gate.policy.operation("jiguang.push.cid")
        self._pool: deque[tuple[float, str]] = deque()

    def new_cid(self, attempt: Attempt) -> str:
        """A cid that no push has borne, at most :data:`CID_WAITS` old.

        Raises:
            RetryError: Jiguang was not reached or gave none; asking again is harmless.
            WaitError: Jiguang asks for fewer requests.
            GiveUpError: Jiguang refuses the application.
            DeniedError: The policy does not let the question out.
        """
        # Several threads may find the pool empty and each fetch; none waits for another.
        while True:
            try:
                fetched, cid = self._pool.popleft()
            except IndexError:
                break
            if self._clock() - fetched < CID_WAITS:
                return cid
        return self._fetched(attempt)

    def push(self, attempt: Attempt, cid: str) -> Receipt:
        """Push the notice that a job holds to the device that it holds.

        Args:
            attempt: Holds ``push_token`` and ``notice``.
            cid: Of this push, and of every repetition of it.

        Returns:
            The receipt of an accepted push (not of a delivered one), with ``msg_id``.

        Raises:
            RetryError: Jiguang was not reached.
            WaitError: A limit; nothing was pushed. ``retry_after`` says when it ends.
            GiveUpError: Jiguang refuses the token, the push or the application.
            UnknownOutcomeError: It may have been pushed: repeat it under the same cid.
            DeniedError: The policy does not let it out.
            ConfigurationError: The notice has no wording.
        """
        wording = self._notices.get(str(attempt.held.get("notice")))
        if wording is None:
            raise ConfigurationError("no wording is configured for the job's notice")
        reply = self._ask(self._send, {"cid": cid, "alert": wording}, attempt, asks=False)
        msg_id = reply.fields.get("msg_id")
        if msg_id is None:
            raise UnknownOutcomeError("Jiguang's answer names no message.")
        return Receipt(
            recipient=self._send.recipient,
            operation=self._send.name,
            provider_code=str(reply.status),
            provider_request_id=None,
            fields={"msg_id": str(msg_id)},
        )

    def _fetched(self, attempt: Attempt) -> str:
        began = self._clock()
        try:
            reply = self._ask(self._fetch, {}, attempt, asks=True)
        except UnknownOutcomeError:
            raise RetryError("Jiguang gave no cids.", code="provider.no_answer") from None
        cid, *others = reply.fields.get("cidlist") or (None,)
        if cid is None:
            raise RetryError("Jiguang gave no cids.", code="provider.no_answer")
        self._pool.extend((began, str(other)) for other in others)
        return str(cid)

    def _ask(
        self, operation: Operation, configured: dict[str, str], attempt: Attempt, *, asks: bool
    ) -> Reply:
        request = operation.minimize(attempt.held, configured)
        reply = self._gate.send(request, sign=self._sign, attempt=attempt)
        if error := push_fault(reply, asks=asks):
            raise error
        return reply
