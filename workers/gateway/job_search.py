"""``GET /v1/jobs`` and ``POST /v1/jobs/search``: a backend's own jobs, newest first."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError
from starlette.exceptions import HTTPException

from models.job_search import JobFilter
from models.pii import Phone
from models.states import State
from tasks.payload import WHOLE
from workers.desk import Desk
from workers.gateway.authentication import Backend, Reader
from workers.gateway.body import json_body
from workers.gateway.jobs import JobId, JobReference
from workers.gateway.openapi import json_request_body
from workers.gateway.problems import Kind, problem_responses

__all__ = ["Bench", "Choice", "router"]

router = APIRouter(tags=["jobs"])


async def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


Bench = Annotated[Desk, Depends(_desk)]
"""The desk behind this gateway."""

_Name = Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,63}$")]


def _written_out(value: object) -> object:
    """A time is a date: pydantic would take seconds since 1970 too, which nobody can check."""
    if not (isinstance(value, str) and re.match(r"[0-9]{4}-", value)):
        raise PydanticCustomError(
            "invalid_value", "{reason}", {"reason": "must be an RFC 3339 time"}
        )
    return value


# Not strict, because after the check pydantic no longer knows that the text came from JSON.
_Moment = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_written_out)]


class Choice(BaseModel):
    """Which jobs; what is left out does not matter."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    kind: _Name | None = None
    state: list[State] = Field(default=[], max_length=len(State))
    # A code begins with a letter, so that no number of a person passes for one in a URL.
    code: str | None = Field(
        default=None,
        pattern="^[A-Za-z][A-Za-z0-9_.:-]{0,159}$",
        description="Our reason or the provider's own code.",
    )
    recipient: _Name | None = Field(
        default=None, description="Who got, or was denied, something of it."
    )
    since: _Moment | None = Field(default=None, description="Created at or after.")
    until: _Moment | None = Field(default=None, description="Created before.")

    def as_filter(self, backend: str, desk: Desk) -> JobFilter:
        """The backend's own jobs among those."""
        phone: Phone | None = getattr(self, "phone", None)
        return JobFilter(
            ids=tuple(getattr(self, "ids", ())),
            kind=self.kind,
            states=tuple(self.state),
            backend=backend,
            code=self.code,
            recipient=self.recipient,
            subject=None if phone is None else desk.subject(phone),
            since=_in_utc(self.since),
            until=_in_utc(self.until),
        )


class JobQuery(Choice):
    """A page of a search."""

    before: JobId | None = Field(default=None, description="`next` of the page before.")
    limit: Annotated[int, WHOLE] = Field(default=50, ge=1, le=200)


class JobSearch(JobQuery):
    """A search whose terms belong in no URL."""

    model_config = ConfigDict(strict=True)

    phone: Phone | None = None


class JobSummaryBody(JobReference):
    """A job in one line."""

    queue: str
    reason: str | None = Field(description="Why the job stands where it stands: a static code.")
    provider_code: str | None = Field(description="The provider's own code.")
    attempts: int
    run_at: dt.datetime
    expires_at: dt.datetime | None
    settled_at: dt.datetime | None


class JobPage(BaseModel):
    """Jobs, newest first."""

    jobs: list[JobSummaryBody]
    next: JobId | None = Field(description="Ask again with `before` for the next page.")


_REFUSALS = problem_responses(Kind.UNAUTHENTICATED, Kind.INVALID, Kind.UNAVAILABLE)


@router.get(
    "/v1/jobs",
    operation_id="listJobs",
    summary="The backend's own jobs, newest first",
    response_model=JobPage,
    responses=_REFUSALS,
)
def list_jobs(backend: Backend, query: Annotated[JobQuery, Query()], desk: Bench) -> Any:
    """A phone number belongs in no URL: search for one with `POST /v1/jobs/search`."""
    return _page(backend, query, desk)


@router.post(
    "/v1/jobs/search",
    operation_id="searchJobs",
    summary="The same, with terms that belong in no URL",
    response_model=JobPage,
    responses=_REFUSALS,
    openapi_extra=json_request_body(JobSearch),
)
def search_jobs(
    backend: Reader, query: Annotated[JobSearch, Depends(json_body(JobSearch))], desk: Bench
) -> Any:
    """A phone number is turned into a keyed digest and searched for by that."""
    return _page(backend, query, desk)


@router.get("/v1/jobs/search", include_in_schema=False)
def no_such_job() -> None:
    """Else this would be asking for a job of that name.

    Raises:
        HTTPException: Always.
    """
    raise HTTPException(405, headers={"Allow": "POST"})


def _page(backend: str, query: JobQuery, desk: Desk) -> dict[str, Any]:
    found = desk.search(query.as_filter(backend, desk), before=query.before, limit=query.limit)
    full = len(found) == query.limit
    return {"jobs": found, "next": found[-1].id if full else None}


def _in_utc(moment: dt.datetime | None) -> dt.datetime | None:
    """The instant; on the first and last day of the calendar, nearly so."""
    if moment is None:
        return None
    try:
        return moment.astimezone(dt.UTC)
    except OverflowError:
        return moment.replace(tzinfo=dt.UTC)
