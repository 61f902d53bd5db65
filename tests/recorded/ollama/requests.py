"""A recorded native request as the OpenAI request of the same meaning, and the way back.

`asked` is what a client would say to get what the recorder got; `sent` is what must then reach
Ollama: the recorded request, with what the design adds. A field that is not known here is a
KeyError, so that none is lost in silence.
"""

from __future__ import annotations

import json
from typing import Final, NamedTuple

from openai import omit

from tests.recorded.ollama.exchanges import Exchange, Json

_IMAGE: Final = "data:image/png;base64,"
_SAMPLING: Final = ("temperature", "top_p", "seed", "frequency_penalty", "presence_penalty")
# Options that only the operator sets: the facade drops them and says so.
OPERATORS: Final = ("num_ctx", "foo")
_EXTRA: Final = ("keep_alive", "truncate", "shift", "raw")
_PLAIN: Final = ("model", "suffix", "prompt", "dimensions", "tools", "logprobs", "top_logprobs")


class Ask(NamedTuple):
    """An OpenAI request: the arguments of one of the SDK's methods."""

    verb: str
    fields: Json


def asked(exchange: Exchange) -> Ask:
    """The OpenAI request of the same meaning as the recorded one."""
    native: Json = exchange.request or {}
    fields: Json = {"input": omit} if exchange.path == "/api/embed" else {}
    extra: Json = {}
    for name, value in native.items():
        if name in _PLAIN:
            fields[name] = value
        elif name in _EXTRA:
            extra[name] = value
        elif name != "stream":
            _FIELDS[name](value, fields, extra)
    if exchange.path == "/api/generate" and fields.pop("logprobs", False):
        fields["logprobs"] = fields.pop("top_logprobs", 0)
    if extra:
        fields["extra_body"] = extra
    return Ask(exchange.path, fields)


def _messages(messages: object, fields: Json, _: Json) -> None:
    if not isinstance(messages, list):
        fields["messages"] = messages
        return
    waiting: list[tuple[str, str]] = []  # calls without a result: name and id
    fields["messages"] = [
        _message(message, waiting, position) for position, message in enumerate(messages)
    ]


def _message(native: Json, waiting: list[tuple[str, str]], position: int) -> Json:
    message: Json = {"role": native["role"], "content": native["content"]}
    if "thinking" in native:
        message["reasoning_content"] = native["thinking"]
    if "images" in native:
        urls = [{"url": _IMAGE + image} for image in native["images"]]
        text = {"type": "text", "text": native["content"]}
        message["content"] = [text, *({"type": "image_url", "image_url": url} for url in urls)]
    if "tool_calls" in native:
        message["tool_calls"] = [
            _call(call, f"call_{position}_{index}")
            for index, call in enumerate(native["tool_calls"])
        ]
        waiting += [(call["function"]["name"], call["id"]) for call in message["tool_calls"]]
    if native["role"] == "tool":
        named = [call for call in waiting if native.get("tool_name") in (call[0], None)]
        message["tool_call_id"] = native.get("tool_call_id") or named[0][1]
        waiting[:] = [call for call in waiting if call[1] != message["tool_call_id"]]
    return message


def _call(native: Json, made_up: str) -> Json:
    arguments = native["function"]["arguments"]
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    function = {"name": native["function"]["name"], "arguments": text}
    return {"id": native.get("id", made_up), "type": "function", "function": function}


def _options(options: Json, fields: Json, extra: Json) -> None:
    for name, value in options.items():
        number = isinstance(value, int | float)
        if name == "num_predict" and isinstance(value, int):
            fields |= {"max_tokens": value} if value >= 1 else {}
        elif (name in _SAMPLING and number) or (name == "stop" and isinstance(value, list)):
            fields[name] = value
        else:
            extra.setdefault("options", {})[name] = value


def _format(native: object, fields: Json, _: Json) -> None:
    if native in ("json", {}):
        fields["response_format"] = {"type": "json_object"}
    elif isinstance(native, dict):
        schema = {"name": "answer", "schema": native}
        fields["response_format"] = {"type": "json_schema", "json_schema": schema}


def _think(native: object, fields: Json, extra: Json) -> None:
    if native is False:
        fields["reasoning_effort"] = "none"
    elif native in ("low", "medium", "high", "max"):
        fields["reasoning_effort"] = native
    else:
        extra["think"] = native


def _input(native: object, fields: Json, _: Json) -> None:
    fields["input"] = native


_FIELDS: Final = {
    "messages": _messages,
    "options": _options,
    "format": _format,
    "think": _think,
    "input": _input,
}


def sent(exchange: Exchange) -> Json:
    """What reaches Ollama of the request: the recorded one, with what the design adds."""
    native = {name: value for name, value in exchange.request.items() if name != "stream"}
    native["truncate"] = native.get("truncate", False)
    if exchange.path == "/api/embed":
        texts = native["input"]
        return native | {"input": [texts] if isinstance(texts, str) else texts}
    native |= {"stream": True, "shift": False}
    if native.get("tools"):
        native["logprobs"] = True  # a sign of life while a call is generated
    options = {
        name: value
        for name, value in native.pop("options", {}).items()
        if name not in OPERATORS and not (name == "num_predict" and value < 1)
    }
    return native | ({"options": options} if options else {})


def comparable(native: Json) -> Json:
    """A request without what may differ: the identity of tool calls, which is ours to give."""
    messages = [
        message
        | {
            "tool_calls": [
                {name: call["function"][name] for name in ("name", "arguments")}
                for call in message.get("tool_calls", ())
            ],
            "tool_call_id": None,
        }
        for message in native.get("messages", ())
    ]
    return native | {"messages": messages}
