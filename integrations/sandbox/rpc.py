"""What all of Aliyun's RPC products have in common: one door, then one function an action."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from integrations.sandbox.acs3 import Acs3Door, Refusal, read_call, reply

if TYPE_CHECKING:
    from integrations.sandbox.config import SandboxConfig
    from integrations.sandbox.exchange import Answer, Call, Request

__all__ = ["Operation", "RpcProvider", "need"]

Operation = Callable[[dict[str, str], str | None], dict[str, Any]]
"""From parameters and the code with which delivery shall fail later (or None) to the content of
the reply; raises :class:`Refusal`."""


class RpcProvider:
    """One product; a subclass names itself and its operations.

    Args:
        config: What the product knows of its customer.
        clock: Returns seconds since 1970.
    """

    name: str
    hosts: frozenset[str]
    version: ClassVar[str]
    own_codes: ClassVar[tuple[str, ...]] = ("isv.", "isp.", "biz.")
    """Beginnings of codes that come with HTTP 200."""
    success: ClassVar[str] = "OK"
    """The code of what was done."""
    refused: ClassVar[Mapping[str, object]] = {}
    """What each of the product's own refusals says besides code and message."""

    def __init__(self, config: SandboxConfig, *, clock: Callable[[], float] = time.time) -> None:
        self._config = config
        self._clock = clock
        self._door = Acs3Door(config.access_keys, clock=clock)

    @property
    def operations(self) -> Mapping[str, Operation]:
        """By the name of the action."""
        raise NotImplementedError

    def serves(self, request: Request) -> bool:
        """Whether the action is one of ours; several products share a version."""
        return request.header("x-acs-action") in self.operations

    def read(self, request: Request) -> Call:
        """Query and form parameters together; OutId is the reference."""
        return read_call(request, reference="OutId")

    def answer(self, call: Call, *, undelivered: str | None = None) -> Answer:
        """Accept or refuse, in the order in which the gateway and the product check."""
        try:
            operation = self._operation(call)
            self._door.check(call.request)
            content = operation(call.parameters, undelivered)
            return reply(self.success, "OK", content=content, accepted=True)
        except Refusal as refusal:
            return self.refusal(call, refusal.code, status=refusal.status, message=refusal.message)

    def refusal(self, call: Call, code: str, *, status: int | None, message: str | None) -> Answer:
        """A refusal with any code; the product's own come with HTTP 200, others with 400."""
        ours = code.startswith(self.own_codes)
        return reply(
            code,
            message or "Played by the sandbox.",
            status=status or (200 if ours else 400),
            host=call.request.header("host") or "",
            content=self.refused if ours else None,
        )

    def reset(self) -> None:
        """Forget nonces; subclasses forget more."""
        self._door.clear()

    def _operation(self, call: Call) -> Operation:
        operation = self.operations.get(call.action)
        if operation is None:
            raise Refusal(
                "InvalidAction.NotFound",
                "Specified api is not found, please check your url and method.",
                status=404,
            )
        if call.request.header("x-acs-version") != self.version:
            raise Refusal("InvalidVersion", "Specified parameter Version is not valid.", status=400)
        return operation


def need(given: Mapping[str, str], *names: str) -> None:
    """Refuse a call that lacks a mandatory parameter, as the gateway does."""
    for name in names:
        if not given.get(name):
            raise Refusal(f"Missing{name}", f"{name} is mandatory for this action.", status=400)
