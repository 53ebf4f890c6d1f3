"""The policy that is in force here."""

from __future__ import annotations

from integrations.policy import Policy, load_policy
from workers.settings import Settings

__all__ = ["open_policy"]


def open_policy(settings: Settings) -> Policy:
    """The configured policy, or the packaged one.

    A file that claims to be the packaged reading of the published text, by company and version,
    must not allow more than that one does.

    Raises:
        PolicyError: The file is malformed, contradicts itself, or is widened.
    """
    policy = load_policy(settings.policy_file)
    if settings.policy_file is not None:
        packaged = load_policy()
        if (policy.company, policy.version) == (packaged.company, packaged.version):
            return load_policy(settings.policy_file, against=packaged)
    return policy
