"""The OpenAPI 3.1 document, from the operations that an application was built from and from nothing else.

Above: `/openapi.json`, and the fuzzing test that holds the server to it.
Holds: a status, type or parameter that the server uses is in the document, because both come from the same operations.

Source: SRV-008.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from awaken.domain.cursor import EVENT_CURSOR_PATTERN
from awaken.domain.ids import ID_PATTERN
from awaken.http.operation import Operation
from awaken.http.problems import STATUS
from awaken.http.query import Query

API_VERSION: Final = "1.0"
_REF: Final = "#/components/schemas/{name}"
_EVERYWHERE: Final = (
    "origin_not_allowed", "not_acceptable", "uri_too_long", "host_not_allowed", "invalid_request", "unknown_parameter",
    "headers_too_large", "internal", "data_integrity", "overloaded", "store_unavailable",
)  # fmt: skip
_UNLESS_ALWAYS: Final = ("starting", "stopping", "wrong_loop", "unauthorized", "forbidden")
_WITH_BODY: Final = ("malformed_json", "body_too_large", "unsupported_media_type")
_ID_SCHEMA: Final = {"type": "string", "pattern": ID_PATTERN}
_TEXT: Final[dict[str, Any]] = {"type": "string"}
"""Of a media type that nothing more is said of."""
_TEXT_SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "text/event-stream": {
        "description": "Each server-sent event. `data` is JSON: an EventResource, or what a control frame carries.",
        "type": "object",
        "required": ["event", "data"],
        "properties": {
            "id": {"type": "string", "pattern": EVENT_CURSOR_PATTERN},
            "event": {"type": "string"},
            "data": {"type": "string", "contentMediaType": "application/json"},
        },
    },
}
_PARAMETER: Final = re.compile(r"\{(\w+)\}")

Schemas = Mapping[Any, dict[str, Any]]


def describe(operations: Iterable[Operation], server_path: str) -> bytes:
    """The document for a server whose root is at `server_path`."""
    operations = tuple(operations)
    types = _types(operations)
    made, components = msgspec.json.schema_components(types, ref_template=_REF)
    schemas = dict(zip(types, made, strict=True))
    paths: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for operation in operations:
        paths[operation.path][operation.method.lower()] = _operation(operation, schemas, components)
    queries = {operation.query.__name__ for operation in operations}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "awaken", "version": API_VERSION, "description": "A durable run server for AI agents."},
        "servers": [{"url": server_path or "/"}],
        "paths": paths,
        "components": {"schemas": {name: schema for name, schema in components.items() if name not in queries}},
    }
    return msgspec.json.encode(document)


def _types(operations: Iterable[Operation]) -> list[Any]:
    found: dict[Any, None] = {}
    for operation in operations:
        found |= {operation.query: None, operation.errors.document: None}
        if operation.body is not None:
            found[operation.body] = None
        found |= {answer: None for answer in operation.answers.values() if not isinstance(answer, str | None)}
    return list(found)


def _operation(operation: Operation, schemas: Schemas, components: Mapping[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [operation.path.split("/")[2] if operation.path.startswith("/v1/") else "system"],
        "parameters": [
            *({"name": name, "in": "path", "required": True, "schema": _ID_SCHEMA} for name in _names(operation.path)),
            *_query_parameters(operation.query, components),
            *_header_parameters(operation),
        ],
        "responses": _responses(operation, schemas),
    }
    if operation.body is not None:
        content = {"application/json": {"schema": schemas[operation.body]}}
        described["requestBody"] = {"required": operation.needs_body, "content": content}
    return described


def _names(path: str) -> list[str]:
    return _PARAMETER.findall(path)


def _query_parameters(query: type[Query], components: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    described = components.get(query.__name__, {}).get("properties", {})
    for name, schema in described.items():
        if name == "metadata":
            yield {"name": "metadata.{key}", "in": "query", "required": False, "schema": {"type": "string"}}
        else:
            yield {"name": name, "in": "query", "required": False, "schema": _plain(schema)}


def _plain(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter is left out, never null."""
    options = [option for option in schema.get("anyOf", ()) if option.get("type") != "null"]
    if len(options) != 1:
        return {key: value for key, value in schema.items() if value is not None}
    kept = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
    return {**options[0], **kept}


def _header_parameters(operation: Operation) -> Iterable[dict[str, Any]]:
    if operation.streams and operation.method == "GET":
        schema = {"type": "string", "pattern": f"^$|{EVENT_CURSOR_PATTERN}"}
        yield {"name": "Last-Event-ID", "in": "header", "required": False, "schema": schema}


def _responses(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, answer in operation.answers.items():
        if answer is None:
            responses[str(status)] = {"description": "OK, without content"}
            continue
        media = answer if isinstance(answer, str) else "application/json"
        schema = _TEXT_SCHEMAS.get(media, _TEXT) if isinstance(answer, str) else schemas[answer]
        description = "OK" if status < 400 else "Not now"
        responses[str(status)] = {"description": description, "content": {media: {"schema": schema}}}
    codes: defaultdict[int, list[str]] = defaultdict(list)
    for code in sorted(problem_codes(operation)):
        codes[STATUS[code]].append(code)
    for status, listed in sorted(codes.items()):
        answered = responses.setdefault(str(status), {"description": ", ".join(listed), "content": {}})
        answered["content"][operation.errors.media_type] = {"schema": schemas[operation.errors.document]}
    return responses


def problem_codes(operation: Operation) -> frozenset[str]:
    """Every code the operation may answer with."""
    codes = {*operation.problems, *_EVERYWHERE}
    if not operation.always_answers:
        codes |= set(_UNLESS_ALWAYS)
    if operation.body is not None or operation.refuses_fields:
        codes |= set(_WITH_BODY)
    if operation.streams or operation.query.may_wait:
        codes.add("too_many_streams")
    return frozenset(codes)
