"""Which functions a request lets the model call, and whether it has to: OpenAI's rules.

`tools` with `tool_choice`, or their older spelling `functions` with `function_call`.
Source: https://platform.openai.com/docs/api-reference/chat/create (tool_choice)
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from adapters.errors import InvalidRequest
from adapters.wire import ChatRequest, Function, Named, ToolChoice


class Offered(Struct, frozen=True):
    """A function with its place in the request (`tools[0].function`)."""

    function: Function
    param: str


class Choice(Struct, frozen=True):
    """The functions that may be called; `required`: one of them has to be."""

    offered: list[Offered]
    required: bool = False
    legacy: bool = False  # the older spelling, which knows one call only


def chosen(request: ChatRequest) -> Choice:
    """The caller's choice; raises InvalidRequest where it is none."""
    legacy = bool(request.functions) and not request.tools
    choice = request.function_call if legacy else request.tool_choice
    param = "function_call" if legacy else "tool_choice"
    names, required = _wanted(choice, param)
    offered = {each.function.name: each for each in _offered(request)}
    for name in (names or set()) - offered.keys():
        raise InvalidRequest(f"'{name}' is not among the tools", param, "invalid_value")
    allowed = [each for name, each in offered.items() if names is None or name in names]
    if required and not allowed:
        raise InvalidRequest("a call cannot be required without tools", param, "invalid_value")
    return Choice(allowed, required, legacy)


def _offered(request: ChatRequest) -> Iterator[Offered]:
    for position, tool in enumerate(request.tools or ()):
        if tool.type != "function" or tool.function is None:
            raise InvalidRequest(
                f"tools of type '{tool.type}' are not supported by this model's upstream",
                f"tools[{position}]",
                "unsupported_value",
            )
        yield Offered(tool.function, f"tools[{position}].function")
    if not request.tools:
        for position, function in enumerate(request.functions or ()):
            yield Offered(function, f"functions[{position}]")


def _wanted(choice: str | Named | ToolChoice | None, param: str) -> tuple[set[str] | None, bool]:
    """The names that may be called (None: all of them), and whether one has to be."""
    if choice is None or choice == "auto":
        return None, False
    if choice == "none":
        return set(), False
    if choice == "required":
        return None, True
    if isinstance(choice, Named):
        return {choice.name}, True
    if isinstance(choice, ToolChoice) and choice.function:
        return {choice.function.name}, True
    if isinstance(choice, ToolChoice) and choice.allowed_tools:
        allowed = choice.allowed_tools
        names = {tool.function.name for tool in allowed.tools if tool.function}
        return names, allowed.mode == "required"
    raise InvalidRequest(f"this {param} is not supported", param, "unsupported_value")
