"""The published privacy policy as data: who may get what, for what, under which clause.

``zhongjiujiu.toml`` beside this file is the policy of Zhongjiujiu (Shandong) Jewelry Co., Ltd.;
another shop brings its own. :func:`load_policy` reads and checks a file, :func:`widened` tells
what a new version allows beyond an old one.
"""

from integrations.policy._entries import (
    Basis,
    Category,
    Clause,
    Denied,
    Gap,
    Header,
    Operation,
    OutboundField,
    Place,
    Policy,
    Purpose,
    Recipient,
    ReplyRule,
    UnlistedOperation,
)
from integrations.policy._loading import PACKAGED, PolicyError, Problem, load_policy
from integrations.policy._widening import widened

__all__ = [
    "PACKAGED",
    "Basis",
    "Category",
    "Clause",
    "Denied",
    "Gap",
    "Header",
    "Operation",
    "OutboundField",
    "Place",
    "Policy",
    "PolicyError",
    "Problem",
    "Purpose",
    "Recipient",
    "ReplyRule",
    "UnlistedOperation",
    "load_policy",
    "widened",
]
