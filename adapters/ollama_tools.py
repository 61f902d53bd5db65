"""What binds the answer: the tools to send, the call to force, or the format to hold.

Never two of them: together with a format the server makes no calls, so a call that has to
come, and a choice between calls and a format, are asked as a format themselves.
Source: https://github.com/ollama/ollama/blob/main/docs/api.md#generate-a-chat-completion
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from adapters.errors import InvalidRequest
from adapters.forced import Declaration, Forced
from adapters.json_schema import Schema, Schemas
from adapters.tool_choice import Offered, chosen
from adapters.wire import ChatRequest

_SCHEMA_PARAM = "response_format.json_schema.schema"


class Bound(Struct, frozen=True):
    """`tools` and `format` as /api/chat takes them; `forced` says what the format stands for."""

    tools: list[Schema] | None = None
    format: object | None = None
    forced: Forced | None = None
    one_call: bool = False


def bound(request: ChatRequest) -> Bound:
    """Raises InvalidRequest, naming the field, for tools and formats that are none."""
    if _says_nothing_of_tools(request):
        return Bound(format=_format(request), one_call=request.parallel_tool_calls is False)
    choice = chosen(request)
    answer = _format(request)
    one_call = choice.legacy or request.parallel_tool_calls is False
    schemas = Schemas()
    if not choice.required and (answer is None or not choice.offered):
        tools = [_tool(offered, schemas) for offered in choice.offered]
        return Bound(tools or None, answer, one_call=one_call)
    declared = [_declaration(offered, schemas) for offered in choice.offered]
    either = None if choice.required else _inside(answer, schemas)
    forced = Forced(declared, either)
    return Bound(format=forced.schema(), forced=forced)


def _says_nothing_of_tools(request: ChatRequest) -> bool:
    """As most do."""
    return (
        request.tools is None
        and request.tool_choice is None
        and request.functions is None
        and request.function_call is None
    )


def _tool(offered: Offered, schemas: Schemas) -> Schema:
    """A tool with a schema reduced to what the server keeps (it drops `$ref`, ...)."""
    function = offered.function
    described: Schema = {"name": function.name}
    if function.description is not None:
        described["description"] = function.description
    schema = msgspec.json.decode(function.parameters)
    described["parameters"] = schemas.simplified(schema, f"{offered.param}.parameters")
    return {"type": "function", "function": described}


def _declaration(offered: Offered, schemas: Schemas) -> Declaration:
    function = offered.function
    schema = msgspec.json.decode(function.parameters)
    inlined = schemas.inlined(schema, f"{offered.param}.parameters")
    parameters = inlined if isinstance(inlined, dict) else {"properties": {}}
    return Declaration(function.name, function.description or "", parameters | {"type": "object"})


def _format(request: ChatRequest) -> Raw | str | None:
    """`format`: the schema as the caller wrote it (the order of keys matters), or "json"."""
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return "json"
    if wanted.type != "json_schema":
        raise InvalidRequest(
            f"'{wanted.type}' is not a response format", "response_format.type", "invalid_value"
        )
    schema = wanted.json_schema
    if schema is None or schema.name is None or not bytes(schema.schema).startswith(b"{"):
        raise InvalidRequest(
            "a json_schema response format needs a name and a schema",
            "response_format.json_schema",
            "missing_required_parameter",
        )
    return schema.schema


def _inside(answer: Raw | str | None, schemas: Schemas) -> object:
    """The format as a part of another schema: what its references named is elsewhere there."""
    if isinstance(answer, Raw):
        return schemas.inlined(msgspec.json.decode(answer), _SCHEMA_PARAM)
    return {"type": "object"}
