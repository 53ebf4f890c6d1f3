"""The description served at ``/openapi.json``; no page, because that would load foreign scripts."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from workers.gateway.authentication import ordinary_scope
from workers.gateway.problems import PROBLEM_SCHEMA, Kind, problem_responses

__all__ = ["describe", "json_request_body"]

_TEMPLATE = "#/components/schemas/{model}"


def json_request_body(payload: type[BaseModel]) -> dict[str, Any]:
    """The ``openapi_extra`` of a route that reads its body with :func:`~.body.json_body`."""
    schema = payload.model_json_schema(ref_template=_TEMPLATE)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def describe(app: FastAPI) -> None:
    """Make ``app.openapi()`` complete: payloads and problem details among the components."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
            )
            schemas = document["components"]["schemas"]
            schemas["Problem"] = PROBLEM_SCHEMA
            schemas.pop("HTTPValidationError", None)
            schemas.pop("ValidationError", None)
            for method, operation in _operations(document):
                _name_scopes(method, operation)
                # FastAPI promises its own 422 wherever a parameter has a form; ours is a 404.
                if "application/json" in operation["responses"].get("422", {}).get("content", {}):
                    del operation["responses"]["422"]
                for body in operation.get("requestBody", {}).get("content", {}).values():
                    schema = body["schema"]
                    schemas.update(schema.pop("$defs", {}))
                    schemas[schema["title"]] = schema
                    body["schema"] = {"$ref": _TEMPLATE.format(model=schema["title"])}
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [item for path in document["paths"].values() for item in path.items()]


def _name_scopes(method: str, operation: dict[str, Any]) -> None:
    """Say of every operation that needs a key which scope, and that it may be missing."""
    for scopes in (need for scheme in operation.get("security", ()) for need in scheme.values()):
        scopes[:] = scopes or [ordinary_scope(method.upper())]
        operation["responses"] |= {
            str(status): answer for status, answer in problem_responses(Kind.FORBIDDEN).items()
        }
