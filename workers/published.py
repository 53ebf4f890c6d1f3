"""The policy that is in force here."""

from __future__ import annotations

from integrations.policy import Policy, load_policy
from models.errors import ConfigurationError
from workers.settings import Settings

__all__ = ["open_policy"]

_FACE = "face_verification"


def open_policy(settings: Settings) -> Policy:
    """The configured policy, or the packaged one.

    A file that claims to read the text which the packaged one reads, by company and day, must not
    allow more than that one does: what the public has read has not become wider.

    Raises:
        PolicyError: The file is malformed, contradicts itself, or is widened.
        ConfigurationError: Something is switched on that no clause permits.
    """
    policy = load_policy(settings.policy_file)
    if settings.face_verification and _FACE not in policy.purposes:
        raise ConfigurationError(
            "ZJJ_FACE_VERIFICATION is on, but no clause of the published policy permits "
            "face verification."
        )
    if settings.policy_file is not None:
        packaged = load_policy()
        if (policy.company, _text(policy)) == (packaged.company, _text(packaged)):
            return load_policy(settings.policy_file, against=packaged)
    return policy


def _text(policy: Policy) -> str:
    """The day of the published text; behind the dot stands the number of a reading of it."""
    return policy.version.partition(".")[0]
