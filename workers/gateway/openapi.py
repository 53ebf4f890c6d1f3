"""The description served at ``/openapi.json``; no page, because that would load foreign scripts."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from workers.gateway.problems import PROBLEM_SCHEMA

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
            for operation in _operations(document):
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


def _operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for path in document["paths"].values() for operation in path.values()]
