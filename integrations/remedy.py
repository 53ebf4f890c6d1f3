"""What to do about a provider's answer, by its code.

At payment providers asking is harmless, so an unclear answer to a question is asked again. An order
to give money back may have been carried out, so an unclear answer to one has an unknown outcome.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from models.errors import RetryError, UnknownOutcomeError, ZjjError

__all__ = ["UNCLEAR", "Remedy", "remedied"]

_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Remedy:
    """What the caller of a refused request must do.

    Args:
        error: The branch of the tree.
        code: Our own static code.
        why: One sentence for a person.
        retry_after: Seconds to wait.
        stops_recipient: Every further request would be refused in the same way.
    """

    error: type[ZjjError]
    code: str
    why: str
    retry_after: float | None = None
    stops_recipient: bool = False

    def as_error(self, provider_code: str | None, *, retry_after: float | None = None) -> ZjjError:
        """The error to raise.

        Args:
            provider_code: The provider's own code; never its message, which may quote a value.
            retry_after: Seconds, if the provider itself has named them.
        """
        return self.error(
            self.why,
            code=self.code,
            provider_code=provider_code,
            retry_after=retry_after or self.retry_after,
            stops_recipient=self.stops_recipient,
        )


UNCLEAR = Remedy(
    UnknownOutcomeError,
    "provider.outcome_unknown",
    "The provider's answer leaves open what it did; ask before repeating.",
)

_NO_ANSWER = Remedy(
    RetryError, "provider.no_answer", "The provider did not answer the question; ask again."
)


def remedied(
    remedies: Mapping[str, Remedy], code: object, *, asks: bool, unclear: bool = False
) -> ZjjError:
    """The error for one answer of a payment provider.

    Args:
        remedies: By the provider's code.
        code: As it came.
        asks: The request was a question, so whatever is unclear is asked again.
        unclear: Nothing in the answer is to be relied on.
    """
    known = code if isinstance(code, str) and _CODE.fullmatch(code) else None
    remedy = UNCLEAR if unclear or known is None else remedies.get(known, UNCLEAR)
    if not asks and issubclass(remedy.error, RetryError):
        remedy = UNCLEAR
    if asks and remedy is UNCLEAR:
        remedy = _NO_ANSWER
    return remedy.as_error(known)
