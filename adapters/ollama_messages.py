"""OpenAI messages as Ollama's /api/chat takes them.

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
from adapters.wire import NULL, FunctionCall, ImageUrl, Message, Part

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
    called: dict[str, str] = {}  # by id: the function's name, of the call that came last
    native = []
    for position, message in enumerate(messages):
        said = _message(message, called, f"messages[{position}]", facts)
        native.append(said)
        calls = said.tool_calls
        if calls:
            called |= {call.id: call.function.name for call in calls if call.id is not None}
    return native


def _message(
    message: Message, called: Mapping[str, str], param: str, facts: Facts
) -> NativeMessage:
    role = _ROLES.get(message.role.lower())
    if role is None:
        raise InvalidRequest(
            f"'{message.role}' is not a role: use one of {', '.join(_ROLES)}",
            f"{param}.role",
            "invalid_value",
        )
    text, images = _content(message, role, param, facts)
    if role == "assistant":
        calls = _calls(message, param) or None
        return NativeMessage(role, text, _thinking(message), images or None, calls)
    if role == "tool":
        name, call_id = _answered(message, called, param)
        return NativeMessage(
            role, text, images=images or None, tool_name=name, tool_call_id=call_id
        )
    return NativeMessage(role, text, images=images or None)


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
    return None, media.read(audio.data, f"{where}.input_audio.data", "audio").base64


def _file_part(part: Part, where: str, facts: Facts) -> _Read:
    file = _present(part.file, f"{where}.file")
    if file.file_data is None:
        raise InvalidRequest(
            "files are not stored here: send the file itself as file_data",
            f"{where}.file",
            "unsupported_value",
        )
    medium = media.read(file.file_data, f"{where}.file.file_data", "file")
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
        text = None if spelling is NULL else msgspec.json.decode(spelling)
        if isinstance(text, str) and text:
            return text
    return None


def _calls(message: Message, param: str) -> list[Call]:
    if not message.tool_calls and message.function_call:
        function = message.function_call
        return [_call(0, function, _legacy_id(function.name), f"{param}.function_call")]
    native = []
    for position, call in enumerate(message.tool_calls or ()):
        where = f"{param}.tool_calls[{position}]"
        if call.function is None:
            raise InvalidRequest(
                f"calls of type '{call.type}' are not supported by this model's upstream",
                where,
                "unsupported_value",
            )
        native.append(_call(position, call.function, call.id, f"{where}.function"))
    return native


def _call(index: int, function: FunctionCall, call_id: str | None, param: str) -> Call:
    arguments = _arguments(function.arguments, f"{param}.arguments")
    return Call(CallFunction(index, function.name, arguments), call_id)


def _arguments(text: str | None, param: str) -> Raw:
    """The JSON object in `text`, its numbers as written; nothing at all is an empty object."""
    if text is None or not text.strip():
        return _EMPTY_ARGUMENTS
    try:
        value = _value.decode(text)
    except msgspec.DecodeError as error:
        raise InvalidRequest(
            f"the arguments are not JSON: {error}", param, "invalid_value"
        ) from None
    if value is None:
        return _EMPTY_ARGUMENTS
    json = text.encode()
    return Raw(json if isinstance(value, dict) else b'{"value":' + json + b"}")


def _answered(message: Message, called: Mapping[str, str], param: str) -> tuple[str, str | None]:
    """The name of the function that was called, and the id of the call, where it had one."""
    if message.role.lower() == "function":
        name = _present(message.name, f"{param}.name")
        return name, _legacy_id(name)
    if message.tool_call_id is None and message.name:
        return message.name, None
    wanted = _present(message.tool_call_id, f"{param}.tool_call_id")
    if wanted not in called:
        raise InvalidRequest(
            f"'{wanted}' answers no tool call of an earlier assistant message",
            f"{param}.tool_call_id",
            "invalid_value",
        )
    return called[wanted], wanted


def _legacy_id(name: str) -> str:
    """Calls of the older spelling have no ids; templates that pair by id need one."""
    return f"call_{name}"


def instructed(messages: list[NativeMessage], text: str) -> list[NativeMessage]:
    """The text joined to the system message: some templates take only one, and it first."""
    if messages[0].role != "system":
        return [NativeMessage(role="system", content=text), *messages]
    first = msgspec.structs.replace(messages[0], content=f"{messages[0].content}\n\n{text}")
    return [first, *messages[1:]]
