"""The openai dialect: OpenAI-shaped upstreams are forwarded byte for byte, but for the rules.

Strategy: of a request only `model` and `stream_options.include_usage` are changed (tokens are
always counted), of an answer only what breaks a rule that SDKs depend on. What we do not know
survives both ways. Paths are below a base URL that ends in /v1.
Source: https://platform.openai.com/docs/api-reference/introduction
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from adapters import openai_answers as answers
from adapters import openai_errors
from adapters import openai_stream as streams
from adapters.dialect import Encoded, Model, Target, UpstreamRequest
from adapters.errors import UpstreamError
from adapters.patching import Inside, patched
from adapters.wire import ChatCall, ChatRequest, CompletionCall, CompletionRequest, EmbeddingCall


class OpenAI:
    """A Dialect that also completes, embeds, and lists its models."""

    def encode_chat(self, call: ChatCall, target: Target) -> Sequence[Encoded]:
        request = _request("/chat/completions", call, target)
        if call.request.stream:
            return [Encoded(request, stream=partial(streams.OpenAIStream, streams.CHAT))]
        return [Encoded(request, whole=partial(answers.completion, answers.CHAT))]

    def encode_completion(self, call: CompletionCall, target: Target) -> Sequence[Encoded]:
        request = _request("/completions", call, target)
        if call.request.stream:
            return [Encoded(request, stream=partial(streams.OpenAIStream, streams.TEXT))]
        return [Encoded(request, whole=partial(answers.completion, answers.TEXT))]

    def encode_embeddings(self, call: EmbeddingCall, target: Target) -> Encoded:
        request = _request("/embeddings", call, target)
        return Encoded(request, whole=partial(answers.embeddings, call.request))

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        return openai_errors.decode(status, headers, body)

    def list_request(self) -> UpstreamRequest:
        return UpstreamRequest("GET", "/models")

    def decode_models(self, body: bytes) -> list[Model]:
        return answers.models(body)


def _request(
    path: str, call: ChatCall | CompletionCall | EmbeddingCall, target: Target
) -> UpstreamRequest:
    changes = Inside()
    if call.request.model != target.model:
        changes["model"] = target.model
    if not isinstance(call, EmbeddingCall) and _lacks_usage(call.request):
        changes["stream_options"] = Inside(include_usage=True)
    return UpstreamRequest("POST", path, patched(call.body, changes))


def _lacks_usage(request: ChatRequest | CompletionRequest) -> bool:
    options = request.stream_options
    return bool(request.stream and not (options and options.include_usage))
