"""Which tools a request lets the model call, and whether it has to: OpenAI's rules.

`tools` with `tool_choice`, or their older spelling `functions` with `function_call`.
Source: https://platform.openai.com/docs/api-reference/chat/create (tool_choice)
"""

from __future__ import annotations

from adapters.errors import InvalidRequest
from adapters.wire import ChatRequest, Named, Tool, ToolChoice


def chosen(request: ChatRequest) -> tuple[list[Tool], bool]:
    """The tools that may be called, and whether one has to be."""
    tools = request.tools or [Tool(function=function) for function in request.functions or ()]
    legacy = bool(request.functions) and not request.tools
    choice = request.function_call if legacy else request.tool_choice
    param = "function_call" if legacy else "tool_choice"
    names, required = _wanted(choice, param)
    if required and not tools:
        raise InvalidRequest("a call cannot be required without tools", param, "invalid_value")
    if names is None:
        return tools, required
    return _named(tools, names, param), required


def _wanted(choice: str | Named | ToolChoice | None, param: str) -> tuple[list[str] | None, bool]:
    """The names that may be called (None: all of them), and whether one has to be."""
    if choice is None or choice == "auto":
        return None, False
    if choice == "none":
        return [], False
    if choice == "required":
        return None, True
    if isinstance(choice, Named):
        return [choice.name], True
    if isinstance(choice, ToolChoice) and choice.function:
        return [choice.function.name], True
    if isinstance(choice, ToolChoice) and choice.allowed_tools:
        allowed = choice.allowed_tools
        names = [tool.function.name for tool in allowed.tools if tool.function]
        return names, allowed.mode == "required"
    raise InvalidRequest(f"this {param} is not supported", param, "unsupported_value")


def _named(tools: list[Tool], names: list[str], param: str) -> list[Tool]:
    known = {tool.function.name: tool for tool in tools if tool.function}
    for name in names:
        if name not in known:
            raise InvalidRequest(f"'{name}' is not among the tools", param, "invalid_value")
    return [known[name] for name in names]
