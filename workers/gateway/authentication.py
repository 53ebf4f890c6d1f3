"""Who is calling, and what for: one API key per backend, as a bearer token (RFC 6750)."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from models.api_keys import ApiKeys, Scope
from workers.gateway.problems import Kind, Problem

__all__ = ["Backend", "Canceller", "Listener", "Operator", "Reader", "Replayer", "ordinary_scope"]

_LONGEST_KEY = 256
_CHALLENGE = 'Bearer realm="zjj"'

_bearer = HTTPBearer(
    scheme_name="ApiKey", description="The API key of one backend.", auto_error=False
)


def ordinary_scope(method: str) -> Scope:
    """What a route asks for that names no scope of its own."""
    return Scope.READ if method in {"GET", "HEAD"} else Scope.ENQUEUE


def _authenticate(
    request: Request,
    wanted: SecurityScopes,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> str:
    # Not async: it may read the database, so FastAPI runs it in a worker thread.
    if credentials is None:
        raise Problem(
            Kind.UNAUTHENTICATED,
            "Send the API key as 'Authorization: Bearer <key>'.",
            headers={"WWW-Authenticate": _CHALLENGE},
        )
    api_keys: ApiKeys = request.app.state.api_keys
    secret = credentials.credentials
    key = api_keys.find(secret) if 0 < len(secret) <= _LONGEST_KEY else None
    if key is None:
        raise Problem(
            Kind.UNAUTHENTICATED,
            "This API key is not known.",
            headers={"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'},
        )
    request.state.backend = key.backend
    needed = wanted.scopes or [ordinary_scope(request.method)]
    missing = [scope for scope in needed if scope not in key.scopes]
    if missing:
        names = " ".join(missing)
        raise Problem(
            Kind.FORBIDDEN,
            f"This API key lacks the scope: {names}.",
            headers={
                "WWW-Authenticate": f'{_CHALLENGE}, error="insufficient_scope", scope="{names}"'
            },
        )
    return key.backend


Backend = Annotated[str, Security(_authenticate)]
"""Name of the calling backend, whose key may ``read`` (GET) or ``enqueue`` (everything else).

Declare it first, so that nothing is read from a stranger.
"""
Reader = Annotated[str, Security(_authenticate, scopes=[Scope.READ])]
"""The same for a route that only reads although it is no GET."""
Replayer = Annotated[str, Security(_authenticate, scopes=[Scope.REPLAY])]
"""A backend that may replay its jobs."""
Canceller = Annotated[str, Security(_authenticate, scopes=[Scope.CANCEL])]
"""A backend that may cancel its jobs."""
Listener = Annotated[str, Security(_authenticate, scopes=[Scope.WEBHOOKS])]
"""A backend that may say where it is told."""
Operator = Annotated[str, Security(_authenticate, scopes=[Scope.OPERATE])]
"""Somebody who may see and stop what all backends share."""
