"""The ollama dialect: OpenAI's vocabulary over Ollama's native API, as faithfully as it goes.

Strategy: always ask for a stream (one way to read, cancelled at once, every token seen);
never let the server cut a prompt (`truncate: false`) or forget its beginning (`shift: false`);
send only what the caller asked or the operator set; refuse what cannot be honoured.
Source: https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from adapters import ollama_errors, ollama_replies
from adapters.dialect import Encoded, Facts, Model, Target, UpstreamRequest
from adapters.errors import InvalidRequest, Kind, UpstreamError
from adapters.forced import Forced
from adapters.ollama_answers import Expected, OllamaStream
from adapters.ollama_messages import NativeMessage, native_messages, native_tools
from adapters.ollama_options import Extras, native_options, think
from adapters.tool_choice import chosen
from adapters.wire import (
    NULL,
    ChatCall,
    ChatRequest,
    CompletionCall,
    EmbeddingCall,
    Tool,
)

_HEARTBEAT_SINCE: Final = (0, 12, 11)  # logprobs, one line a token while a call is buffered
_SHIFT_SINCE: Final = (0, 12, 11)
_extras = msgspec.json.Decoder(Extras)


class Ollama:
    """A Dialect that also completes, embeds, lists, describes, and knows what is loaded."""

    # -- chat ------------------------------------------------------------------------------

    def encode_chat(self, call: ChatCall, target: Target) -> Sequence[Encoded]:
        request, extras = call.request, _extras.decode(call.body)
        _refuse_unsupported(request)
        tools, forced, constraint = _constraints(request)
        options = native_options(request, _limit(request), extras, target)
        messages = native_messages(request.messages, target.facts)
        if forced:
            messages = _instructed(messages, forced.instructions())
            constraint = forced.schema()
        heartbeat = bool(tools) and _knows(target, _HEARTBEAT_SINCE)
        body = _base(target, extras) | _set(
            messages=messages,
            tools=native_tools(tools) or None,
            format=constraint,
            think=think(request, extras, target, quiet=forced is not None),
            logprobs=bool(request.logprobs) or heartbeat or None,
            top_logprobs=request.top_logprobs,
        )
        expected = Expected(
            logprobs=bool(request.logprobs),
            one_call=request.parallel_tool_calls is False,
            forced=forced is not None,
            formatted=constraint is not None,
        )
        return [
            _encoded(
                "/api/chat",
                body | {"options": _reseeded(options.values, choice)},
                msgspec.structs.replace(expected, choice=choice),
                _heartbeat(tools, forced, heartbeat),
                options.warnings,
            )
            for choice in range(request.n or 1)
        ]

    # -- completions -----------------------------------------------------------------------

    def encode_completion(self, call: CompletionCall, target: Target) -> Sequence[Encoded]:
        request, extras = call.request, _extras.decode(call.body)
        prompts = _prompts(call)
        if request.echo and request.logprobs is not None:
            raise InvalidRequest(
                "the prompt's own log probabilities are not known here: "
                "ask for echo or for logprobs",
                "logprobs",
                "unsupported_value",
            )
        if request.max_tokens == 0:
            raise InvalidRequest("max_tokens must be at least 1", "max_tokens", "invalid_value")
        _no_bias(request.logit_bias)
        options = native_options(request, request.max_tokens, extras, target)
        body = _base(target, extras) | _set(
            suffix=request.suffix,
            raw=extras.raw,
            think=extras.think,
            logprobs=request.logprobs is not None or None,
            top_logprobs=request.logprobs or None,
        )
        n = request.n or 1
        return [
            _encoded(
                "/api/generate",
                body | {"prompt": prompt, "options": _reseeded(options.values, choice)},
                Expected(
                    choice=position * n + choice,
                    logprobs=request.logprobs is not None,
                    param="prompt",
                ),
                False,
                options.warnings,
            )
            for position, prompt in enumerate(prompts)
            for choice in range(n)
        ]

    # -- embeddings ------------------------------------------------------------------------

    def encode_embeddings(self, call: EmbeddingCall, target: Target) -> Encoded:
        request, extras = call.request, _extras.decode(call.body)
        texts = [request.input] if isinstance(request.input, str) else request.input
        body = _set(
            model=target.model,
            input=texts,
            truncate=False if extras.truncate is None else extras.truncate,
            dimensions=request.dimensions,
            keep_alive=_keep_alive(target, extras),
            options=dict(target.options) or None,
        )
        return Encoded(
            UpstreamRequest("POST", "/api/embed", msgspec.json.encode(body)),
            whole=partial(ollama_replies.embeddings, call, len(texts)),
            heartbeat=None,  # silent until all vectors are there
        )

    # -- metadata --------------------------------------------------------------------------

    def list_request(self) -> UpstreamRequest:
        return UpstreamRequest("GET", "/api/tags")

    def decode_models(self, body: bytes) -> list[Model]:
        return ollama_replies.models(body)

    def describe_request(self, model: str) -> UpstreamRequest:
        return UpstreamRequest("POST", "/api/show", msgspec.json.encode({"model": model}))

    def decode_facts(self, body: bytes) -> Facts:
        return ollama_replies.facts(body)

    def loaded_request(self) -> UpstreamRequest:
        return UpstreamRequest("GET", "/api/ps")

    def decode_loaded(self, body: bytes) -> frozenset[str]:
        return frozenset(model.id for model in ollama_replies.models(body))

    def version_request(self) -> UpstreamRequest:
        return UpstreamRequest("GET", "/api/version")

    def decode_version(self, body: bytes) -> tuple[int, ...] | None:
        return ollama_replies.version(body)

    # -- errors ----------------------------------------------------------------------------

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        return ollama_errors.decode(status, headers, body)

    def amend(self, request: UpstreamRequest, error: UpstreamError) -> UpstreamRequest | None:
        """Before 0.24 a thinking level was refused by models that only know on and off."""
        if error.kind is not Kind.REJECTED or "think value" not in error.message:
            return None
        body = msgspec.json.decode(request.body)
        if not isinstance(body.get("think"), str):
            return None
        return msgspec.structs.replace(request, body=msgspec.json.encode(body | {"think": True}))


# -- requests ------------------------------------------------------------------------------


def _limit(request: ChatRequest) -> int | None:
    """The most tokens the answer may have; the newer name wins."""
    return request.max_completion_tokens or request.max_tokens


def _encoded(
    path: str,
    body: Mapping[str, object],
    expected: Expected,
    heartbeat: bool | None,
    warnings: tuple[str, ...],
) -> Encoded:
    return Encoded(
        UpstreamRequest("POST", path, msgspec.json.encode(body)),
        stream=partial(OllamaStream, expected),
        heartbeat=heartbeat,
        warnings=warnings,
    )


def _base(target: Target, extras: Extras) -> dict[str, object]:
    return _set(
        model=target.model,
        stream=True,
        truncate=False if extras.truncate is None else extras.truncate,
        shift=False if _knows(target, _SHIFT_SINCE) else None,
        keep_alive=_keep_alive(target, extras),
    )


def _set(**fields: object) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}


def _knows(target: Target, since: tuple[int, ...]) -> bool:
    return target.version is None or target.version >= since


def _keep_alive(target: Target, extras: Extras) -> object:
    return target.keep_alive if extras.keep_alive is None else extras.keep_alive


def _reseeded(options: Mapping[str, object], choice: int) -> dict[str, object]:
    """The same seed for every choice would give the same choice n times."""
    seed = options.get("seed")
    if choice and isinstance(seed, int):
        return {**options, "seed": (seed + choice) & 0x7FFFFFFF}
    return dict(options)


def _heartbeat(tools: Sequence[Tool], forced: Forced | None, asked: bool) -> bool | None:
    if forced:
        return True  # every token is a line, held here until the name is known
    if tools:
        return True if asked else None
    return False


def _instructed(messages: list[NativeMessage], text: str) -> list[NativeMessage]:
    """The text joined to the system message: some templates take only one, and it first."""
    if messages[0].role != "system":
        return [NativeMessage(role="system", content=text), *messages]
    first = msgspec.structs.replace(messages[0], content=f"{messages[0].content}\n\n{text}")
    return [first, *messages[1:]]


def _prompts(call: CompletionCall) -> list[str]:
    prompt = call.request.prompt
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not prompts:
        raise InvalidRequest("a prompt is needed", "prompt", "missing_required_parameter")
    texts = [text for text in prompts if isinstance(text, str)]
    if len(texts) != len(prompts):
        raise InvalidRequest(
            "prompts of token ids cannot be decoded here: send text", "prompt", "unsupported_value"
        )
    return texts


def _no_bias(bias: Mapping[str, float] | None) -> None:
    if bias:
        raise InvalidRequest(
            "this model's upstream has no logit_bias", "logit_bias", "unsupported_parameter"
        )


def _refuse_unsupported(request: ChatRequest) -> None:
    _no_bias(request.logit_bias)
    if request.audio != NULL or "audio" in (request.modalities or ()):
        raise InvalidRequest(
            "this model's upstream speaks no audio", "modalities", "unsupported_value"
        )
    if request.web_search_options != NULL:
        raise InvalidRequest(
            "this model's upstream has no web search",
            "web_search_options",
            "unsupported_parameter",
        )


def _constraints(request: ChatRequest) -> tuple[list[Tool], Forced | None, object | None]:
    """The tools to send, the call to force, the format to ask: never two of them together."""
    tools, required = chosen(request)
    constraint = _format(request)
    functions = [tool.function for tool in tools if tool.function]
    if required:
        return [], Forced(functions), None
    if tools and constraint is not None:
        answer = {"type": "object"} if constraint == "json" else constraint
        return [], Forced(functions, answer), None
    return tools, None, constraint


def _format(request: ChatRequest) -> object | None:
    """`format`: the schema as the caller wrote it (the order of keys matters), or "json"."""
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return "json"
    if wanted.type != "json_schema":
        raise InvalidRequest(
            f"'{wanted.type}' is not a response format",
            "response_format.type",
            "invalid_value",
        )
    schema = wanted.json_schema
    if schema is None or schema.name is None or not bytes(schema.schema).startswith(b"{"):
        raise InvalidRequest(
            "a json_schema response format needs a name and a schema",
            "response_format.json_schema",
            "missing_required_parameter",
        )
    return schema.schema
