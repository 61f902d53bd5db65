"""Calls of the ollama dialect in one line each: what is sent for a request, and what it becomes.

Nothing here touches a network; requests go in and answers come out as a caller has them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import pytest

from adapters.dialect import Encoded, Facts, Reply, Target
from adapters.errors import AdapterError
from adapters.ollama import Ollama
from adapters.wire import Chunk
from facade.errors import FacadeError, told
from facade.faces import requests
from facade.faces.chat import ChatFace

Json = dict[str, object]
DIALECT: Final = Ollama()
REPLY: Final = Reply(id="0" * 24, created=1700000000, model="m", fingerprint="fp_1")
TOOL: Final[Json] = {"type": "function", "function": {"name": "now"}}


def asked(**fields: object) -> Json:
    """A request for one word, with `fields` added."""
    return {"model": "m", "messages": [{"role": "user", "content": "Hi"}]} | fields


def encoded(request: Json, target: Target | None = None) -> Sequence[Encoded]:
    """The calls for a request."""
    call = requests.chat(json.dumps(request).encode())
    return DIALECT.encode_chat(call, target or Target("up", "m"))


def sent(request: Json, target: Target | None = None) -> Json:
    """The body of the first call for a request."""
    return body_of(encoded(request, target)[0])


def body_of(call: Encoded) -> Json:
    return msgspec.json.decode(call.request.body, type=Json)


def options_of(request: Json, target: Target | None = None) -> Json:
    return msgspec.convert(sent(request, target).get("options", {}), Json)


def messages_of(request: Json) -> list[Json]:
    return msgspec.convert(sent(request)["messages"], list[Json])


def able(*capabilities: str) -> Target:
    """A target whose model can do just this."""
    return Target("up", "m", facts=Facts(frozenset(capabilities)))


def line(content: str = "", **fields: object) -> Json:
    """A line of an answer; `thinking` and `tool_calls` go into its message."""
    message: Json = {"role": "assistant", "content": content}
    for name in ("thinking", "tool_calls"):
        if name in fields:
            message[name] = fields.pop(name)
    return {"model": "other", "message": message, "done": False} | fields


def done(content: str = "", **fields: object) -> Json:
    """The line that ends an answer."""
    counts = {"done_reason": "stop", "prompt_eval_count": 10, "eval_count": 2}
    return line(content, **fields) | {"done": True} | counts | fields


def called(name: str, arguments: object, **identity: object) -> Json:
    """A call as the server writes it."""
    return identity | {"function": {"index": 0, "name": name, "arguments": arguments}}


def token(text: str, spelled: Sequence[int] | None = None) -> Json:
    """A generated token with its bytes."""
    return {"token": text, "logprob": -0.5, "bytes": list(spelled or text.encode())}


def body(*lines: Json) -> bytes:
    """Lines as the server writes them."""
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines)


def chunks_of(request: Json, *lines: Json) -> list[Chunk]:
    """What the lines become, read in one piece. Raises UpstreamError."""
    (call,) = encoded(request)
    assert call.stream
    decoder = call.stream(REPLY)
    return decoder.feed(body(*lines)) + decoder.close()


def answer(request: Json, *lines: Json) -> Json:
    """The whole answer that the caller gets."""
    face = ChatFace(requests.chat(json.dumps(request).encode()).request, REPLY)
    return msgspec.json.decode(face.whole(chunks_of(request, *lines)), type=Json)


def message_of(request: Json, *lines: Json) -> Json:
    """The message of a whole answer's only choice."""
    (choice,) = msgspec.convert(answer(request, *lines)["choices"], list[Json])
    return msgspec.convert(choice["message"], Json)


def finish_of(request: Json, *lines: Json) -> object:
    (choice,) = msgspec.convert(answer(request, *lines)["choices"], list[Json])
    return choice["finish_reason"]


def events(request: Json, *lines: Json) -> list[Json]:
    """The events of a streamed answer; it must have ended well."""
    asked_for = request | {"stream": True}
    face = ChatFace(requests.chat(json.dumps(asked_for).encode()).request, REPLY)
    text = (face.render(chunks_of(asked_for, *lines)) + face.end()).decode()
    *parts, last = text.removesuffix("\n\n").split("\n\n")
    assert last == "data: [DONE]"
    return [json.loads(part.removeprefix("data: ")) for part in parts]


def deltas(request: Json, *lines: Json) -> list[Json]:
    """The deltas of a streamed answer's only choice, without the role and the end."""
    choices = [msgspec.convert(e["choices"], list[Json]) for e in events(request, *lines)]
    found = [msgspec.convert(choice["delta"], Json) for (choice,) in choices]
    return found[1:-1]


def refused(request: Json, target: Target | None = None) -> FacadeError:
    """The error of a request that cannot be served."""
    with pytest.raises((AdapterError, FacadeError)) as caught:
        encoded(request, target)
    return told(caught.value)


def failed(status: int, text: bytes, headers: Mapping[str, str] | None = None) -> FacadeError:
    """What the caller is told of an answer with this status."""
    return told(DIALECT.decode_error(status, headers or {}, text))
