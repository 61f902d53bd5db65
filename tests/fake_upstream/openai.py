"""OpenAI's API, as a small polite server of it answers: whole, or streamed as events."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from tests.fake_upstream.answers import Answer, Reply, document, sse, words
from tests.fake_upstream.models import Models, count, default_reply, pack, unit_vector
from tests.fake_upstream.wire import Request

Part = dict[str, Any]
CREATED: Final = 1767225600


class _Text(Struct):
    text: str = ""


class _Message(Struct):
    content: str | list[_Text] | None = None

    @property
    def said(self) -> str:
        parts = self.content or ""
        return parts if isinstance(parts, str) else " ".join(part.text for part in parts)


class _StreamOptions(Struct):
    include_usage: bool | None = None


class _Asked(Struct):
    """What is read of a request; ValidationError where it is of another type."""

    model: str
    messages: list[_Message] | None = None
    prompt: str | list[Any] | None = None
    input: str | list[Any] = ""
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    dimensions: int | None = None
    encoding_format: str | None = None

    @property
    def said(self) -> list[str]:
        """The texts of the prompt; a prompt of several is taken as one, tokens as words."""
        prompt = self.prompt or ""
        texts = [message.said for message in self.messages or ()]
        return [*texts, prompt if isinstance(prompt, str) else " ".join(map(str, prompt))]


def _asked(request: Request) -> _Asked:
    return msgspec.convert(request.json, _Asked)


def chat(request: Request, reply: Reply) -> Answer:
    """The reply as `/v1/chat/completions` gives it."""
    asked = _asked(request)
    reply = reply.within(asked.max_completion_tokens or asked.max_tokens)
    calls = _calls(reply)
    end = "tool_calls" if calls and reply.end == "stop" else reply.end
    if asked.stream:
        stamp = _stamp(request, "chatcmpl", "chat.completion.chunk")
        parts: list[Part] = [{"delta": delta} for delta in _deltas(reply, calls)]
        return _streamed(request, reply, stamp, [*parts, {"delta": {}, "finish_reason": end}])
    message: Part = {"role": "assistant", "content": reply.text or None, "refusal": None}
    if reply.thinking:
        message["reasoning_content"] = reply.thinking
    if calls:
        message["tool_calls"] = calls
    stamp = _stamp(request, "chatcmpl", "chat.completion")
    return _whole(request, reply, stamp, {"message": message, "finish_reason": end})


def completion(request: Request, reply: Reply) -> Answer:
    """The reply as `/v1/completions` gives it."""
    asked = _asked(request)
    reply = reply.within(asked.max_tokens)
    stamp = _stamp(request, "cmpl", "text_completion")
    if asked.stream:
        parts: list[Part] = [{"text": word} for word in words(reply.text)]
        return _streamed(request, reply, stamp, [*parts, {"text": "", "finish_reason": reply.end}])
    return _whole(request, reply, stamp, {"text": reply.text, "finish_reason": reply.end})


def _stamp(request: Request, prefix: str, kind: str) -> Part:
    name = hashlib.sha256(request.body).hexdigest()[:24]
    return {
        "id": f"{prefix}-{name}",
        "object": kind,
        "created": CREATED,
        "model": _asked(request).model,
    }


def _calls(reply: Reply) -> list[Part]:
    return [
        {
            "id": call.id or f"call_fake{index:04}",
            "type": "function",
            "function": {
                "name": call.name,
                "arguments": msgspec.json.encode(call.arguments).decode(),
            },
        }
        for index, call in enumerate(reply.tool_calls)
    ]


def _deltas(reply: Reply, calls: list[Part]) -> list[Part]:
    """The role, then what is said; a call is two deltas: who it is, and its arguments."""
    deltas: list[Part] = [{"role": "assistant", "content": None if calls else ""}]
    deltas += [{"reasoning_content": word} for word in words(reply.thinking)]
    deltas += [{"content": word} for word in words(reply.text)]
    for index, call in enumerate(calls):
        function = call["function"]
        begun = call | {"index": index, "function": function | {"arguments": ""}}
        rest = {"index": index, "function": {"arguments": function["arguments"]}}
        deltas += [{"tool_calls": [begun]}, {"tool_calls": [rest]}]
    return deltas


def _choice(part: Part) -> Part:
    return {"index": 0, "logprobs": None, "finish_reason": None} | part


def _streamed(request: Request, reply: Reply, stamp: Part, parts: list[Part]) -> Answer:
    """A chunk a part, then the usage if it was asked for."""
    chunks = [stamp | {"choices": [_choice(part)]} for part in parts]
    options = _asked(request).stream_options
    if options is None or not options.include_usage:
        return sse(*chunks)
    usage = stamp | {"choices": [], "usage": _usage(request, reply)}
    return sse(*(chunk | {"usage": None} for chunk in chunks), usage)


def _whole(request: Request, reply: Reply, stamp: Part, part: Part) -> Answer:
    return document(stamp | {"choices": [_choice(part)], "usage": _usage(request, reply)})


def _usage(request: Request, reply: Reply) -> dict[str, int]:
    prompt = max(1, count(_asked(request).said))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": reply.tokens,
        "total_tokens": prompt + reply.tokens,
    }


def _chat(request: Request, models: Models) -> Answer:
    messages = _asked(request).messages
    return _spoken(request, models, chat, messages[-1].said if messages else "")


def _completion(request: Request, models: Models) -> Answer:
    return _spoken(request, models, completion, " ".join(_asked(request).said))


def _spoken(
    request: Request, models: Models, render: Callable[[Request, Reply], Answer], prompt: str
) -> Answer:
    name = _asked(request).model
    model = models.find(name)
    if model is None:
        return _unknown(name)
    return render(request, default_reply(prompt, thinks="thinking" in model.capabilities))


def _embeddings(request: Request, models: Models) -> Answer:
    asked = _asked(request)
    model = models.find(asked.model)
    if model is None:
        return _unknown(asked.model)
    given = asked.input
    texts = [str(text) for text in given] if isinstance(given, list) else [given]
    vectors = [unit_vector(text, asked.dimensions or model.dimensions) for text in texts]
    packs = asked.encoding_format == "base64"
    items = [
        {
            "object": "embedding",
            "index": index,
            "embedding": base64.b64encode(pack(vector)).decode() if packs else vector,
        }
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": count(texts), "total_tokens": count(texts)}
    return document({"object": "list", "data": items, "model": asked.model, "usage": usage})


def _listed(name: str) -> Part:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "fake"}


def _models(request: Request, models: Models) -> Answer:
    return document({"object": "list", "data": [_listed(name) for name in models.listed]})


def one_model(request: Request, models: Models) -> Answer:
    """`/v1/models/{id}`."""
    name = request.path.removeprefix("/v1/models/")
    model = models.find(name)
    return document(_listed(model.name)) if model else _unknown(name)


def _unknown(model: str) -> Answer:
    error = {
        "message": f"The model '{model}' does not exist",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }
    return document({"error": error}, 404)


ROUTES: Final[Mapping[str, tuple[str, Callable[[Request, Models], Answer]]]] = {
    "/v1/chat/completions": ("POST", _chat),
    "/v1/completions": ("POST", _completion),
    "/v1/embeddings": ("POST", _embeddings),
    "/v1/models": ("GET", _models),
}
