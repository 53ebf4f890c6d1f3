"""All kinds of jobs, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from models.states import SETTLED, State
from tasks.face_verification import FACE_RESULT, FACE_VERIFICATION
from tasks.identity_check import IDENTITY_CHECK
from tasks.payload import Payload
from tasks.payment_bill import PAYMENT_BILL
from tasks.payment_callback import PAYMENT_CALLBACK
from tasks.payment_query import PAYMENT_QUERY
from tasks.phone_login import JIGUANG_LOGIN, PHONE_CHECK, PHONE_LOGIN
from tasks.push import PUSH
from tasks.refund import REFUND
from tasks.sms_code import SMS_CODE
from tasks.sms_code_check import SMS_CODE_CHECK
from tasks.sms_report import SMS_REPORT
from tasks.task import Task, UnknownKind
from tasks.webhook import WEBHOOK

__all__ = ["TASKS", "UNAVAILABLE", "task_for", "task_named", "told"]

UNAVAILABLE = "unavailable"
"""Verdict of a job that ended without one."""

TASKS: Mapping[str, Task] = MappingProxyType(
    {
        task.kind: task
        for task in (
            SMS_CODE,
            SMS_CODE_CHECK,
            IDENTITY_CHECK,
            FACE_VERIFICATION,
            FACE_RESULT,
            PHONE_LOGIN,
            JIGUANG_LOGIN,
            PHONE_CHECK,
            SMS_REPORT,
            WEBHOOK,
            PAYMENT_CALLBACK,
            PAYMENT_QUERY,
            REFUND,
            PAYMENT_BILL,
            PUSH,
        )
    }
)


def task_named(kind: str) -> Task:
    """The task of a kind.

    Raises:
        UnknownKind: This version has none of that name.
    """
    try:
        return TASKS[kind]
    except KeyError:
        raise UnknownKind("this version knows no such kind of job") from None


def task_for(payload: Payload) -> Task:
    """The task that a payload belongs to.

    Raises:
        UnknownKind: It belongs to none.
    """
    for task in TASKS.values():
        if type(payload) is task.payload:
            return task
    raise UnknownKind(f"{type(payload).__name__} is the payload of no task")


def told(kind: str, state: State, result: Mapping[str, Any]) -> Mapping[str, Any]:
    """The result of a job as its backend is told it: one that ended without its verdict says so.

    However it ended: refused, expired, withdrawn, or cut short by a worker's death. An unknown
    outcome is no end where the recipient is asked about it.
    """
    task = TASKS.get(kind)
    ended = state in SETTLED - {State.SUCCEEDED}
    if task is None or not task.concludes or not ended or "verdict" in result:
        return result
    if state is State.UNKNOWN and task.reconcile is not None:
        return result
    return {**result, "verdict": UNAVAILABLE}
