"""OpenAI messages and tools as Ollama's /api/chat takes them.

One message in is one message out, in order: templates count turns. Content parts become
one text and a list of base64 images (which carries audio too); tool arguments become
objects with the caller's own digits; a tool result finds the name of the call it answers.
Source: https://github.com/ollama/ollama/blob/main/docs/api.md#generate-a-chat-completion
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec
from msgspec import Raw, Struct

from adapters import media
from adapters.dialect import Facts
from adapters.errors import InvalidRequest
from adapters.json_schema import simplified
from adapters.wire import ImageUrl, Message, Part, Tool, ToolCall

T = TypeVar("T")

_ROLES: Final = {
    "system": "system",
    "developer": "system",  # nearly no template knows it, and an unknown role is dropped
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_EMPTY_ARGUMENTS: Final = Raw(b"{}")
_value = msgspec.json.Decoder(dict[str, Raw] | list[Raw] | str | float | bool | None)


class CallFunction(Struct, frozen=True):
    index: int
    name: str
    arguments: Raw


class Call(Struct, frozen=True, omit_defaults=True):
    function: CallFunction
    id: str | None = None


class NativeMessage(Struct, frozen=True, omit_defaults=True):
    """One message of /api/chat."""

    role: str
    content: str
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[Call] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


def native_messages(messages: Sequence[Message], facts: Facts) -> list[NativeMessage]:
    """The conversation; raises InvalidRequest naming the field that cannot be said."""
    return [
        _message(message, messages[:position], f"messages[{position}]", facts)
        for position, message in enumerate(messages)
    ]


def _message(
    message: Message, before: Sequence[Message], param: str, facts: Facts
) -> NativeMessage:
    role = _ROLES.get(message.role.lower())
    if role is None:
        raise InvalidRequest(
            f"'{message.role}' is not a role: use one of {', '.join(_ROLES)}",
            f"{param}.role",
            "invalid_value",
        )
    text, images = _content(message, role, param, facts)
    calls = _calls(message, param) if role == "assistant" else None
    called = _answered(message, before, param) if role == "tool" else None
    return NativeMessage(
        role=role,
        content=text,
        thinking=_thinking(message) if role == "assistant" else None,
        images=images or None,
        tool_calls=calls or None,
        tool_name=called,
        tool_call_id=message.tool_call_id if called else None,
    )


def _content(message: Message, role: str, param: str, facts: Facts) -> tuple[str, list[str]]:
    content = message.content
    if isinstance(content, str):
        return content or (message.refusal or "" if role == "assistant" else ""), []
    if content is None:
        if role == "assistant":
            return message.refusal or "", []
        raise InvalidRequest(
            f"a message of role '{message.role}' needs content",
            f"{param}.content",
            "invalid_type",
        )
    texts: list[str] = []
    images: list[str] = []
    for position, part in enumerate(content):
        where = f"{param}.content[{position}]"
        read = _PARTS.get(part.type)
        if read is None:
            raise InvalidRequest(
                f"content parts of type '{part.type}' are not supported by this model's upstream",
                where,
                "unsupported_value",
            )
        text, medium = read(part, where, facts)
        if text is not None:
            texts.append(text)
        if medium is not None:
            images.append(medium)
    return "\n".join(texts), images


_Read = tuple[str | None, str | None]


def _text_part(part: Part, where: str, _: Facts) -> _Read:
    return _present(part.text, f"{where}.text"), None


def _refusal_part(part: Part, where: str, _: Facts) -> _Read:
    return _present(part.refusal, f"{where}.refusal"), None


def _image_part(part: Part, where: str, facts: Facts) -> _Read:
    image = part.image_url
    url = image.url if isinstance(image, ImageUrl) else _present(image, f"{where}.image_url")
    _require("vision", "images", where, facts)
    medium = media.read(url, f"{where}.image_url")
    if medium.type and not medium.type.startswith(("image/", "application/octet-stream")):
        raise InvalidRequest(
            f"'{medium.type}' is not an image", f"{where}.image_url", "invalid_image"
        )
    return None, medium.base64


def _audio_part(part: Part, where: str, facts: Facts) -> _Read:
    audio = _present(part.input_audio, f"{where}.input_audio")
    _require("audio", "audio", where, facts)
    return None, media.read(audio.data, f"{where}.input_audio.data").base64


def _file_part(part: Part, where: str, facts: Facts) -> _Read:
    file = _present(part.file, f"{where}.file")
    if file.file_data is None:
        raise InvalidRequest(
            "files are not stored here: send the file itself as file_data",
            f"{where}.file",
            "unsupported_value",
        )
    medium = media.read(file.file_data, f"{where}.file.file_data")
    if medium.type.startswith("text/"):
        return medium.text(), None
    if medium.type.startswith("image/"):
        _require("vision", "images", where, facts)
        return None, medium.base64
    raise InvalidRequest(
        f"files of type '{medium.type}' cannot be read: send text or an image",
        f"{where}.file",
        "unsupported_value",
    )


_PARTS: Final[Mapping[str, Callable[[Part, str, Facts], _Read]]] = {
    "text": _text_part,
    "refusal": _refusal_part,
    "image_url": _image_part,
    "input_audio": _audio_part,
    "file": _file_part,
}


def _present(value: T | None, param: str) -> T:
    if value is None:
        raise InvalidRequest(f"'{param}' is missing", param, "missing_required_parameter")
    return value


def _require(capability: str, what: str, param: str, facts: Facts) -> None:
    """Ollama answers 200 and ignores what the model cannot see: only this check tells."""
    if facts.capabilities is not None and capability not in facts.capabilities:
        raise InvalidRequest(f"this model does not take {what}", param, "unsupported_value")


def _thinking(message: Message) -> str | None:
    for spelling in (message.reasoning_content, message.reasoning, message.thinking):
        text = msgspec.json.decode(spelling)
        if isinstance(text, str) and text:
            return text
    return None


def _calls(message: Message, param: str) -> list[Call]:
    calls = message.tool_calls or []
    if not calls and message.function_call:
        calls = [ToolCall(function=message.function_call)]
    native = []
    for position, call in enumerate(calls):
        where = f"{param}.tool_calls[{position}]"
        if call.function is None:
            raise InvalidRequest(
                f"calls of type '{call.type}' are not supported by this model's upstream",
                where,
                "unsupported_value",
            )
        arguments = _arguments(call.function.arguments, f"{where}.function.arguments")
        native.append(Call(CallFunction(position, call.function.name, arguments), call.id))
    return native


def _arguments(text: str | None, param: str) -> Raw:
    """The JSON object in `text`, its numbers as written; nothing at all is an empty object."""
    if text is None or not text.strip():
        return _EMPTY_ARGUMENTS
    try:
        value = _value.decode(text)
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"the arguments are not JSON: {error}", param) from None
    if value is None:
        return _EMPTY_ARGUMENTS
    json = text.encode()
    return Raw(json if isinstance(value, dict) else b'{"value":' + json + b"}")


def _answered(message: Message, before: Sequence[Message], param: str) -> str:
    """The name of the function that was called: by the nearest call before with that id."""
    if message.role.lower() == "function" or (message.tool_call_id is None and message.name):
        return _present(message.name, f"{param}.name")
    wanted = _present(message.tool_call_id, f"{param}.tool_call_id")
    for earlier in reversed(before):
        for call in reversed(earlier.tool_calls or ()):
            if call.id == wanted and call.function:
                return call.function.name
    raise InvalidRequest(
        f"'{wanted}' answers no tool call of an earlier assistant message",
        f"{param}.tool_call_id",
    )


def native_tools(tools: Sequence[Tool]) -> list[dict[str, object]]:
    """Function tools with schemas reduced to what the server keeps (it drops `$ref`, ...)."""
    native: list[dict[str, object]] = []
    for position, tool in enumerate(tools):
        param = f"tools[{position}]"
        function = tool.function
        if tool.type != "function" or function is None:
            raise InvalidRequest(
                f"tools of type '{tool.type}' are not supported by this model's upstream",
                param,
                "unsupported_value",
            )
        described: dict[str, object] = {"name": function.name}
        if function.description is not None:
            described["description"] = function.description
        schema = msgspec.json.decode(function.parameters)
        described["parameters"] = simplified(schema, f"{param}.function.parameters")
        native.append({"type": "function", "function": described})
    return native
