"""Ollama's native API, as a small polite server of it answers.

A chat is one Reply, rendered as NDJSON lines or as one document. What is refused, and in which
words, follows a live server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from tests.fake_upstream.answers import TEXT, Answer, Reply, document, ndjson, words
from tests.fake_upstream.models import Model, Models, count, default_reply, unit_vector
from tests.fake_upstream.wire import Request

Line = dict[str, Any]


class _Function(Struct):
    name: str = ""
    arguments: dict[str, Any] | None = None


class _Call(Struct):
    function: _Function


class _Message(Struct):
    content: str | None = None
    images: list[str] | None = None
    tool_calls: list[_Call] | None = None


class _Asked(Struct):
    """What is read of a request; ValidationError where it is of another type."""

    model: str = ""
    messages: list[_Message] | None = None
    prompt: str | None = None
    system: str | None = None
    input: str | list[Any] | None = None
    stream: bool | None = None
    think: bool | Literal["low", "medium", "high", "max"] | None = None
    tools: list[Any] | None = None
    options: dict[str, Any] | None = None
    keep_alive: float | str | None = None
    dimensions: int | None = None

    @property
    def limit(self) -> int | None:
        limit = (self.options or {}).get("num_predict") or 0
        return int(limit) if limit > 0 else None

    @property
    def said(self) -> list[str]:
        texts = [message.content for message in self.messages or ()]
        return [text for text in (*texts, self.system, self.prompt) if text]


def _asked(request: Request) -> _Asked:
    return msgspec.convert(request.json, _Asked)


STAMP: Final = "2026-01-01T00:00:00.123456789Z"
_MILLISECOND: Final = 1_000_000  # in nanoseconds, as all durations


def chat(request: Request, reply: Reply) -> Answer:
    """The reply as `/api/chat` gives it."""
    reply = reply.within(_asked(request).limit)
    calls = [
        {
            "id": call.id or f"call_fake{index:04}",
            "function": {"index": index, "name": call.name, "arguments": call.arguments},
        }
        for index, call in enumerate(reply.tool_calls)
    ]
    lines = [_message(thinking=word) for word in words(reply.thinking)]
    lines += [_message(word) for word in words(reply.text)]
    lines += [_message(tool_calls=[call]) for call in calls]
    whole = _message(reply.text, thinking=reply.thinking, tool_calls=calls)
    return _rendered(request, reply, [*lines, _message()], whole)


def generate(request: Request, reply: Reply) -> Answer:
    """The reply as `/api/generate` gives it."""
    reply = reply.within(_asked(request).limit)
    lines: list[Line] = [{"response": "", "thinking": word} for word in words(reply.thinking)]
    lines += [{"response": word} for word in words(reply.text)]
    thinking = {"thinking": reply.thinking} if reply.thinking else {}
    return _rendered(
        request, reply, [*lines, {"response": ""}], {"response": reply.text} | thinking
    )


def _message(content: str = "", **more: object) -> Line:
    given = {name: value for name, value in more.items() if value}
    return {"message": {"role": "assistant", "content": content, **given}}


def _rendered(request: Request, reply: Reply, lines: list[Line], whole: Line) -> Answer:
    """The lines, of which the last is the one that is done; or the whole in one document."""
    asked = _asked(request)
    stamp = {"model": asked.model, "created_at": STAMP}
    end = {
        "done": True,
        "done_reason": reply.end,
        "total_duration": 50 * _MILLISECOND,
        "load_duration": 10 * _MILLISECOND,
        "prompt_eval_count": max(1, count(asked.said)),
        "prompt_eval_duration": 20 * _MILLISECOND,
        "eval_count": reply.tokens,
        "eval_duration": 20 * _MILLISECOND,
    }
    if asked.stream is False:
        return document(stamp | whole | end)
    *parts, last = lines
    return ndjson(*(stamp | part | {"done": False} for part in parts), stamp | last | end)


def _chat(request: Request, models: Models) -> Answer:
    messages = _asked(request).messages
    return _spoken(request, models, chat, (messages[-1].content or "") if messages else None)


def _generate(request: Request, models: Models) -> Answer:
    return _spoken(request, models, generate, _asked(request).prompt or None)


def _spoken(
    request: Request,
    models: Models,
    render: Callable[[Request, Reply], Answer],
    prompt: str | None,
) -> Answer:
    """What the model says to the prompt; without one the request only loads or unloads it."""
    asked = _asked(request)
    model = models.find(asked.model)
    if model is None:
        return _not_found(asked.model)
    if refusal := _refusal(model, asked, request.path):
        return _error(400, refusal)
    if prompt is None:
        return _loaded(request, models, model)
    thinks = "thinking" in model.capabilities and asked.think is not False
    return render(request, default_reply(prompt, thinks=thinks))


def _refusal(model: Model, asked: _Asked, path: str) -> str | None:
    if "completion" not in model.capabilities:
        return f'"{asked.model}" does not support {path.removeprefix("/api/")}'
    if asked.tools and "tools" not in model.capabilities:
        return f"registry.ollama.ai/library/{model.name} does not support tools"
    if asked.think and "thinking" not in model.capabilities:
        return f'"{asked.model}" does not support thinking'
    return None


def _loaded(request: Request, models: Models, model: Model) -> Answer:
    asked = _asked(request)
    unload = asked.keep_alive == 0
    (models.loaded.discard if unload else models.loaded.add)(model.name)
    empty = {"response": ""} if request.path == "/api/generate" else _message()
    done = {"done": True, "done_reason": "unload" if unload else "load"}
    return document({"model": asked.model, "created_at": STAMP} | empty | done)


def _embed(request: Request, models: Models) -> Answer:
    asked = _asked(request)
    model = models.find(asked.model)
    if model is None:
        return _error(404, f'model "{asked.model}" not found, try pulling it first')
    given = asked.input or []
    texts = given if isinstance(given, list) else [given]
    if not all(isinstance(text, str) for text in texts):
        return _error(400, "invalid input type")
    size = min(asked.dimensions or model.dimensions, model.dimensions)
    return document(
        {
            "model": asked.model,
            "embeddings": [unit_vector(text, size) for text in texts],
            "total_duration": 20 * _MILLISECOND,
            "load_duration": 10 * _MILLISECOND,
            "prompt_eval_count": count(texts),
        }
    )


def _embeddings(request: Request, models: Models) -> Answer:
    asked = _asked(request)
    model = models.find(asked.model)
    if model is None:
        return _not_found(asked.model)
    return document({"embedding": unit_vector(asked.prompt or "", model.dimensions)})


def _listed(model: Model) -> Line:
    return {
        "name": model.name,
        "model": model.name,
        "size": 1_000_000_000,
        "digest": model.digest,
        **_remote(model),
        "details": {
            "parent_model": "",
            "format": "gguf",
            "family": "llama",
            "families": ["llama"],
            "parameter_size": "8.0B",
            "quantization_level": "Q4_K_M",
        },
    }


def _remote(model: Model) -> Line:
    where = {"remote_model": model.remote, "remote_host": "https://cloud.example:443"}
    return where if model.remote else {}


def _tags(request: Request, models: Models) -> Answer:
    listed = [_listed(model) | {"modified_at": STAMP} for model in models.listed.values()]
    return document({"models": listed})


def _ps(request: Request, models: Models) -> Answer:
    models.asked += 1
    more = {"size_vram": 0, "context_length": 4096}
    ends = dict.fromkeys(models.loaded, STAMP)
    ends |= dict.fromkeys(models.loading, f"2100-01-01T00:00:00.{models.asked:09}Z")
    listed = [
        _listed(model) | more | {"expires_at": ends[name]}
        for name, model in models.listed.items()
        if name in ends
    ]
    return document({"models": listed})


def _show(request: Request, models: Models) -> Answer:
    name = _asked(request).model
    model = models.find(name)
    if model is None:
        return _not_found(name)
    facts = {
        "general.architecture": "llama",
        "llama.context_length": model.context_length,
        "llama.embedding_length": model.dimensions,
    }
    return document(
        {
            "modelfile": f"FROM {model.name}\n",
            "parameters": "",
            "template": "{{ .Prompt }}",
            "details": _listed(model)["details"],
            "model_info": facts,
            "capabilities": model.capabilities,
            **_remote(model),
            "modified_at": STAMP,
        }
    )


def _version(request: Request, models: Models) -> Answer:
    return document({"version": "0.24.0"})


def _root(request: Request, models: Models) -> Answer:
    return Answer(200, {"content-type": TEXT}, (b"Ollama is running",))


def _not_found(name: str) -> Answer:
    return _error(404, f"model '{name}' not found")


def _error(status: int, message: str) -> Answer:
    return document({"error": message}, status)


ROUTES: Final[Mapping[str, tuple[str, Callable[[Request, Models], Answer]]]] = {
    "/": ("GET", _root),
    "/api/chat": ("POST", _chat),
    "/api/generate": ("POST", _generate),
    "/api/embed": ("POST", _embed),
    "/api/embeddings": ("POST", _embeddings),
    "/api/tags": ("GET", _tags),
    "/api/show": ("POST", _show),
    "/api/ps": ("GET", _ps),
    "/api/version": ("GET", _version),
}
