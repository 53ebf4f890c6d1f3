"""Is the process alive, and can it accept jobs?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

__all__ = ["Dependency", "router"]

router = APIRouter(tags=["health"])

_PATIENCE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Dependency:
    """Something the gateway stands on.

    Args:
        name: As shown in the reply, for example ``database``.
        check: True when it is up; an exception means down. May block.
        needed: Without it no job can be accepted. Redis is not: it only dispatches.
    """

    name: str
    check: Callable[[], bool]
    needed: bool


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """``degraded``: jobs are accepted and run later. ``unavailable``: jobs are refused."""

    status: Literal["ready", "degraded", "unavailable"]
    dependencies: dict[str, Literal["up", "down"]]


@router.get("/healthz", operation_id="alive", summary="The process answers")
async def healthz() -> Alive:
    """Asks nothing of anybody."""
    return Alive()


@router.get(
    "/readyz",
    operation_id="ready",
    summary="Jobs can be accepted",
    responses={503: {"description": "The database is down.", "model": Readiness}},
)
async def readyz(request: Request, response: Response) -> Readiness:
    """503 when the database is down; 200 and ``degraded`` when only the dispatcher is."""
    dependencies: Sequence[Dependency] = request.app.state.dependencies
    up = await asyncio.gather(*(_is_up(dependency) for dependency in dependencies))
    if all(up):
        status: Literal["ready", "degraded", "unavailable"] = "ready"
    elif all(fine for fine, dependency in zip(up, dependencies, strict=True) if dependency.needed):
        status = "degraded"
    else:
        status, response.status_code = "unavailable", 503
    return Readiness(
        status=status,
        dependencies={
            dependency.name: "up" if fine else "down"
            for fine, dependency in zip(up, dependencies, strict=True)
        },
    )


async def _is_up(dependency: Dependency) -> bool:
    try:
        return await asyncio.wait_for(asyncio.to_thread(dependency.check), _PATIENCE_SECONDS)
    except Exception:  # noqa: BLE001 - whatever a driver raises, it means: not now
        return False
