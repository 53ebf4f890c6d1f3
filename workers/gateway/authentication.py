"""Who is calling: one API key per backend, as a bearer token (RFC 6750)."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from models.api_keys import ApiKeys
from workers.gateway.problems import Kind, Problem

__all__ = ["Backend"]

_LONGEST_KEY = 256
_CHALLENGE = 'Bearer realm="zjj"'

_bearer = HTTPBearer(
    scheme_name="ApiKey", description="The API key of one backend.", auto_error=False
)


def _authenticate(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> str:
    # Not async: it may read the database, so FastAPI runs it in a worker thread.
    if credentials is None:
        raise Problem(
            Kind.UNAUTHENTICATED,
            "Send the API key as 'Authorization: Bearer <key>'.",
            headers={"WWW-Authenticate": _CHALLENGE},
        )
    api_keys: ApiKeys = request.app.state.api_keys
    key = credentials.credentials
    backend = api_keys.backend_for(key) if 0 < len(key) <= _LONGEST_KEY else None
    if backend is None:
        raise Problem(
            Kind.UNAUTHENTICATED,
            "This API key is not known.",
            headers={"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'},
        )
    request.state.backend = backend
    return backend


Backend = Annotated[str, Depends(_authenticate)]
"""Name of the calling backend. Declare it first, so that nothing is read from a stranger."""
