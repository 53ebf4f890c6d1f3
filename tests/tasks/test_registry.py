"""What a backend is told of a job that was to bring a verdict."""

from __future__ import annotations

import pytest

from models.states import SETTLED, State
from tasks.registry import TASKS, told

NOTHING = {"verdict": "unavailable"}
ENDED = sorted(SETTLED - {State.SUCCEEDED})


@pytest.mark.parametrize("kind", ["identity_check", "phone_check", "face_verification"])
@pytest.mark.parametrize("state", ENDED)
def test_a_verdict_that_never_came_is_unavailable_however_the_job_ended(
    kind: str, state: State
) -> None:
    assert told(kind, state, {}) == NOTHING
    assert told(kind, state, {"other": "x"}) == {"other": "x", **NOTHING}


def test_a_verdict_that_came_stands() -> None:
    for state in State:
        assert told("identity_check", state, {"verdict": "mismatch"}) == {"verdict": "mismatch"}


@pytest.mark.parametrize("state", sorted(set(State) - SETTLED))
def test_while_a_job_is_under_way_nothing_is_said(state: State) -> None:
    assert told("identity_check", state, {}) == {}


def test_an_outcome_that_is_asked_about_is_not_the_end_yet() -> None:
    assert TASKS["face_result"].reconcile is not None
    assert told("face_result", State.UNKNOWN, {}) == {}
    assert told("face_result", State.EXPIRED, {}) == NOTHING


def test_other_jobs_bring_no_verdict_and_neither_do_unknown_kinds() -> None:
    concluding = {kind for kind, task in TASKS.items() if task.concludes}
    assert concluding == {"identity_check", "phone_check", "face_verification", "face_result"}
    for kind in {*TASKS, "of_a_newer_version"} - concluding:
        assert told(kind, State.FAILED, {}) == {}
