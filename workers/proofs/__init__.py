"""The proofs that nothing personal leaves beyond the policy; ``zjj privacy prove`` runs them.

They take every operation of the policy and every kind of job of the registry by themselves: what
has no way to be driven (:mod:`workers.proofs.drives`) fails the proof instead of being forgotten.
"""

from workers.proofs.report import Progress, Proof, prove

__all__ = ["Progress", "Proof", "prove"]
