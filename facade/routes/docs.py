"""The documentation, made from the Structs that requests are checked against; works offline.

`openapi` is for tools, `page` for people: plain HTML without scripts, so nothing is loaded
from anywhere.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from typing import Final

import msgspec
from msgspec import Struct

from adapters.wire import ChatRequest, CompletionRequest, EmbeddingRequest

_Json = dict[str, object]


class Operation(Struct, frozen=True):
    """One operation as it is documented; `request` is the Struct of its body."""

    method: str
    path: str
    summary: str
    request: type[Struct] | None = None


OPERATIONS: Final = (
    Operation("post", "/v1/chat/completions", "Chat, streamed or whole", ChatRequest),
    Operation("post", "/v1/completions", "Text completion, streamed or whole", CompletionRequest),
    Operation("post", "/v1/embeddings", "Embeddings, as floats or base64", EmbeddingRequest),
    Operation("get", "/v1/models", "The models there are: aliases, then what upstreams list"),
    Operation("get", "/v1/models/{id}", "One model; the id may have slashes and colons"),
    Operation("get", "/api/admin/queue", "Who runs and who waits, for a key with admin"),
    Operation("get", "/", "That the facade runs, and its version"),
    Operation("get", "/livez", "200 while the server runs"),
    Operation("get", "/readyz", "200 once requests are answered; says which upstreams are up"),
    Operation("get", "/metrics", "What is counted, in Prometheus' text format"),
    Operation("get", "/openapi.json", "This documentation for tools"),
)
_REF: Final = "#/components/schemas/{name}"
_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code{background:#8882;padding:.1em .3em;border-radius:.2em}"
    "table{border-collapse:collapse;margin:.5rem 0 1.5rem}"
    "td{border-top:1px solid #8884;padding:.2rem 1rem .2rem 0;vertical-align:top}"
    ":root{color-scheme:light dark}"
)


@cache
def openapi() -> _Json:
    """The OpenAPI 3.1 document."""
    _, components = _schemas()
    paths: dict[str, _Json] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "facade", "version": version("facade")},
        "paths": paths,
        "components": {"schemas": components},
    }


@cache
def page() -> bytes:
    """The same for people, as one HTML page."""
    rows = "".join(_section(operation) for operation in OPERATIONS)
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>facade</title>"
        f"<meta name=viewport content='width=device-width'><style>{_STYLE}</style>"
        f"<h1>facade {html.escape(version('facade'))}</h1>"
        "<p>An OpenAI API: give any OpenAI client this host's <code>/v1</code> as base_url. "
        "Fields that are not listed are accepted; an upstream that knows them gets them. "
        "For tools: <a href=/openapi.json>openapi.json</a>.</p>"
        f"{rows}</html>"
    ).encode()


def _schemas() -> tuple[Mapping[str, _Json], Mapping[str, _Json]]:
    """By operation path, and the components they refer to."""
    asked = [operation for operation in OPERATIONS if operation.request]
    found, components = msgspec.json.schema_components(
        [operation.request for operation in asked], ref_template=_REF
    )
    return {o.path: s for o, s in zip(asked, found, strict=True)}, components


def _operation(operation: Operation) -> _Json:
    schemas, _ = _schemas()
    documented: _Json = {
        "summary": operation.summary,
        "responses": {"200": {"description": "the answer"}, "default": {"description": "an error"}},
    }
    if operation.path in schemas:
        content = {"application/json": {"schema": schemas[operation.path]}}
        documented["requestBody"] = {"required": True, "content": content}
    if "{id}" in operation.path:
        documented["parameters"] = [
            {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
        ]
    return documented


def _section(operation: Operation) -> str:
    title = f"{operation.method.upper()} {operation.path}"
    fields = "".join(_fields(operation.request)) if operation.request else ""
    table = f"<table>{fields}</table>" if fields else ""
    return f"<h2><code>{html.escape(title)}</code></h2><p>{operation.summary}</p>{table}"


def _fields(request: type[Struct]) -> Iterator[str]:
    for field in msgspec.structs.fields(request):
        needed = "required" if field.required else ""
        kind = html.escape(_kind(msgspec.json.schema(field.type)))
        yield f"<tr><td><code>{field.encode_name}</code><td>{kind}<td>{needed}"


def _kind(schema: Mapping[str, object]) -> str:
    """A schema in a few words."""
    options = schema.get("anyOf")
    if isinstance(options, list):
        return " or ".join(_kind(option) for option in options if option != {"type": "null"})
    reference = schema.get("$ref")
    kind = str(reference).rpartition("/")[2] if reference else str(schema.get("type", "any"))
    if kind == "array":
        items = schema.get("items")
        kind = f"array of {_kind(items)}" if isinstance(items, dict) else kind
    limits = [f"{said} {schema[key]}" for key, said in _LIMITS.items() if key in schema]
    return " ".join([kind, *limits])


_LIMITS: Final = {
    "minimum": "from",
    "maximum": "to",
    "minItems": "of at least",
    "maxItems": "of at most",
}
