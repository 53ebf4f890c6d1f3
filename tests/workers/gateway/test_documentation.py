"""docs/http-api.md says what the gateway does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from models.errors import DatabaseUnavailable
from models.group_commit import IN_DOUBT
from workers.gateway import body, problems
from workers.gateway.jobs import AttemptBody, DisclosureBody, JobBody, JobReference

PAGE = (Path(__file__).parents[3] / "docs" / "http-api.md").read_text()


def example(start: str) -> dict[str, Any]:
    """The JSON example that begins with the text ``start``."""
    text = PAGE[PAGE.index(start) :]
    document: dict[str, Any]
    document, _ = json.JSONDecoder().raw_decode(text)
    return document


def test_the_examples_have_exactly_the_fields_of_a_reply() -> None:
    assert list(example('{"id": ')) == list(JobReference.model_fields)
    job = example('{\n  "id"')
    assert set(job) == set(JobBody.model_fields)
    assert list(job["attempts"][0]) == list(AttemptBody.model_fields)
    assert list(job["receipt"][0]) == list(DisclosureBody.model_fields)


@pytest.mark.parametrize("kind", problems.Kind)
def test_every_kind_of_refusal_is_listed(kind: problems.Kind) -> None:
    assert f"| {kind.status} | `{kind.type.rpartition(':')[2]}` |" in PAGE


def test_the_example_of_a_refusal_is_one() -> None:
    problem = example('{\n  "type"')
    fault = problems.FieldError(**problem["errors"][0])
    reply = problems.Problem.invalid(fault).response()
    assert json.loads(bytes(reply.body)) == problem


def test_every_code_of_a_fault_is_listed() -> None:
    listed = PAGE[PAGE.index("`code` in `errors`") :].partition("\n\n")[0]
    codes = {code for code, _ in problems._REASONS.values()}
    assert codes | {"too_large", "idempotency.conflict"} == set(
        re.findall(r"`([a-z_.]+)`", listed)
    ) - {"code", "errors"}


def test_the_limit_is_the_one_that_is_written() -> None:
    assert f"over {body.BODY_LIMIT // 1024} KiB" in PAGE


def test_what_may_stand_is_not_called_refused() -> None:
    reply = problems._from_tree(DatabaseUnavailable("cut off", code=IN_DOUBT)).response()
    assert (reply.status_code, json.loads(bytes(reply.body))["type"][-8:]) == (503, "in-doubt")
