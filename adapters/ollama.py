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
from adapters.calls import calls
from adapters.dialect import Encoded, Facts, Model, Target, UpstreamRequest
from adapters.errors import InvalidRequest, Kind, UpstreamError
from adapters.ollama_answers import Expected, OllamaStream
from adapters.ollama_bodies import Body
from adapters.ollama_messages import instructed, native_messages
from adapters.ollama_options import (
    Extras,
    extras,
    merged,
    sampling,
    think,
    without_level,
)
from adapters.ollama_tools import Bound, bound
from adapters.wire import (
    NULL,
    ChatCall,
    ChatRequest,
    CompletionCall,
    CompletionRequest,
    EmbeddingCall,
    Input,
)

_LOGPROBS_AND_SHIFT: Final = (0, 12, 11)  # the version that knows them
_MOST_CALLS: Final = 2048  # of one request: each choice of each prompt is a call


class Ollama:
    """A Dialect that also completes, embeds, lists, describes, and knows what is loaded."""

    takes_tokens: Final = False
    slots: Final = 1  # OLLAMA_NUM_PARALLEL, https://docs.ollama.com/faq

    # -- chat ------------------------------------------------------------------------------

    def encode_chat(self, call: ChatCall, target: Target) -> Sequence[Encoded]:
        request, native = call.request, extras(call.body)
        _refuse_unsupported(request, target)
        binding = bound(request)
        limit = request.max_completion_tokens or request.max_tokens
        options = merged(sampling(request, limit), native, target)
        messages = native_messages(request.messages, target.facts)
        if binding.forced:
            messages = instructed(messages, binding.forced.instructions())
            options.values.pop("stop", None)  # it would cut the JSON that carries the call
        heartbeat = _heartbeat(binding, target)
        body = _body(target, native)
        body.messages, body.tools, body.format = messages, binding.tools, binding.format
        body.think = think(request, native, target, quiet=binding.forced is not None)
        body.logprobs = True if request.logprobs or (binding.tools and heartbeat) else None
        body.top_logprobs = request.top_logprobs

        def encoded(choice: int) -> Encoded:
            expected = Expected(
                choice,
                logprobs=bool(request.logprobs),
                one_call=binding.one_call,
                forced=binding.forced.names if binding.forced else None,
                formatted=binding.format is not None,
            )
            return Encoded(
                body.to("/api/chat", _reseeded(options.values, choice)),
                stream=partial(OllamaStream, expected),
                heartbeat=heartbeat,
                warnings=_ignored(request) + options.warnings,
            )

        return calls(request.n or 1, encoded)

    # -- completions -----------------------------------------------------------------------

    def encode_completion(self, call: CompletionCall, target: Target) -> Sequence[Encoded]:
        request, native = call.request, extras(call.body)
        prompts = _texts(request.prompt, "prompt")
        if request.echo and request.logprobs is not None:
            raise InvalidRequest(
                "the prompt's own log probabilities are not known here: "
                "ask for echo or for logprobs",
                "logprobs",
                "unsupported_value",
            )
        if request.max_tokens == 0:
            raise InvalidRequest("max_tokens must be at least 1", "max_tokens", "invalid_value")
        _refuse_unknown(request, target)
        options = merged(sampling(request, request.max_tokens), native, target)
        body = _body(target, native)
        body.suffix, body.raw, body.think = request.suffix, native.raw, native.think
        asks_logprobs = request.logprobs is not None
        body.logprobs, body.top_logprobs = asks_logprobs or None, request.logprobs or None
        n = request.n or 1
        if n * len(prompts) > _MOST_CALLS:
            raise InvalidRequest(
                f"{len(prompts)} prompts with n {n} are more than {_MOST_CALLS} answers",
                "prompt",
                "invalid_value",
            )

        def encoded(choice: int) -> Encoded:
            body.prompt = prompts[choice // n]
            return Encoded(
                body.to("/api/generate", _reseeded(options.values, choice % n)),
                stream=partial(OllamaStream, Expected(choice, logprobs=asks_logprobs)),
                warnings=options.warnings,
            )

        return calls(n * len(prompts), encoded)

    # -- embeddings ------------------------------------------------------------------------

    def encode_embeddings(self, call: EmbeddingCall, target: Target) -> Encoded:
        request, native = call.request, extras(call.body)
        texts = _texts(request.input, "input")
        options = merged({}, native, target)
        body = Body(target.model, truncate=bool(native.truncate), input=texts)
        body.dimensions, body.keep_alive = request.dimensions, _keep_alive(target, native)
        return Encoded(
            body.to("/api/embed", options.values),
            whole=partial(ollama_replies.embeddings, call, len(texts)),
            heartbeat=None,  # silent until all vectors are there
            warnings=options.warnings,
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

    def decode_loaded(self, body: bytes) -> Mapping[str, Facts]:
        return {model.id: model.facts for model in ollama_replies.models(body)}

    def window(self, options: Mapping[str, object]) -> int | None:
        size = options.get("num_ctx")
        return size if isinstance(size, int) else None

    def load_request(self, target: Target) -> UpstreamRequest:
        """Source: https://docs.ollama.com/faq (preload a model)"""
        body = _body(target, Extras())
        body.stream = False
        return body.to("/api/generate", target.options)

    def version_request(self) -> UpstreamRequest:
        return UpstreamRequest("GET", "/api/version")

    def decode_version(self, body: bytes) -> tuple[int, ...] | None:
        return ollama_replies.version(body)

    # -- errors ----------------------------------------------------------------------------

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        return ollama_errors.decode(status, headers, body)

    def amend(self, request: UpstreamRequest, error: UpstreamError) -> UpstreamRequest | None:
        """Older servers refuse thinking levels, or some of them, but know on and off."""
        if error.kind is not Kind.REJECTED or "think value" not in error.message:
            return None
        body = without_level(request.body)
        return msgspec.structs.replace(request, body=body) if body else None


# -- requests ------------------------------------------------------------------------------


def _body(target: Target, native: Extras) -> Body:
    return Body(
        target.model,
        stream=True,
        truncate=bool(native.truncate),
        shift=False if _knows(target, _LOGPROBS_AND_SHIFT) else None,
        keep_alive=_keep_alive(target, native),
    )


def _knows(target: Target, since: tuple[int, ...]) -> bool:
    return target.version is None or target.version >= since


def _keep_alive(target: Target, native: Extras) -> str | float | None:
    return target.keep_alive if native.keep_alive is None else native.keep_alive


def _reseeded(options: Mapping[str, object], choice: int) -> Mapping[str, object]:
    """The same seed for every choice would give the same choice n times."""
    seed = options.get("seed")
    if choice and isinstance(seed, int):
        return {**options, "seed": (seed + choice) & 0x7FFFFFFF}
    return options


def _heartbeat(binding: Bound, target: Target) -> bool | None:
    """While a call is generated nothing is on the wire, but for the tokens, where asked."""
    if binding.forced:
        return True  # every token is a line, held here until the name is known
    if binding.tools:
        return True if _knows(target, _LOGPROBS_AND_SHIFT) else None
    return False


def _texts(given: Input | None, param: str) -> list[str]:
    items = [given] if isinstance(given, str) else given
    if not items:
        raise InvalidRequest(f"'{param}' is missing", param, "missing_required_parameter")
    texts = [item for item in items if isinstance(item, str)]
    if len(texts) != len(items):
        raise InvalidRequest(
            "token ids cannot be decoded here: send text", param, "unsupported_value"
        )
    if "" in texts:  # which would load the model, and answer nothing
        raise InvalidRequest(f"'{param}' is empty", param, "invalid_value")
    return texts


def _refuse_unknown(request: ChatRequest | CompletionRequest, target: Target) -> None:
    if request.logit_bias:
        raise InvalidRequest(
            "this model's upstream has no logit_bias", "logit_bias", "unsupported_parameter"
        )
    asked = request.logprobs is not None and request.logprobs is not False  # 0 is a number of them
    if asked and not _knows(target, _LOGPROBS_AND_SHIFT):
        raise InvalidRequest(
            "this model's upstream is too old to have log probabilities",
            "logprobs",
            "unsupported_parameter",
        )


def _refuse_unsupported(request: ChatRequest, target: Target) -> None:
    _refuse_unknown(request, target)
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


def _ignored(request: ChatRequest) -> tuple[str, ...]:
    """What changes nothing here, though the caller may have counted on it."""
    warnings = []
    if request.store:
        warnings.append("store is ignored: nothing is kept")
    if request.service_tier not in (None, "auto", "default"):
        warnings.append("service_tier is ignored: there is one")
    return tuple(warnings)
