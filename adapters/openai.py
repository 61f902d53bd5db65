"""The openai dialect: OpenAI-shaped upstreams are forwarded byte for byte, but for the rules.

Strategy: of a request only `model` and `stream_options.include_usage` are changed (tokens are
always counted) and what a vendor's quirks name, of an answer only what breaks a rule that SDKs
depend on. What we do not know survives both ways. Paths are below the base URL (`.../v1`).

    what goes out     openai_requests; which vendor differs how: providers
    whole answers     openai_answers, openai_embeddings, openai_listing
    streams           openai_stream (events), openai_names (id, created, model), openai_choices,
                      openai_runs (many events at once)
    in both           openai_glance (what is read), openai_calls (tools), openai_counts (usage),
                      openai_finish, openai_parts (content as a list)
    errors            openai_errors (any shape), openai_kinds (what they mean)
Source: https://platform.openai.com/docs/api-reference/introduction
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from adapters import openai_answers as answers
from adapters import openai_embeddings, openai_errors, openai_listing
from adapters import openai_requests as requests
from adapters import openai_stream as streams
from adapters.dialect import Encoded, Model, Reply, Target, UpstreamRequest, Whole
from adapters.errors import UpstreamError
from adapters.openai_requests import PLAIN, Quirks
from adapters.wire import ChatCall, CompletionCall, EmbeddingCall

_CHAT: Final = partial(answers.completion, answers.CHAT)
_TEXT: Final = partial(answers.completion, answers.TEXT)
_STREAM_OF_CHAT: Final = partial(streams.OpenAIStream, streams.CHAT)
_STREAM_OF_TEXT: Final = partial(streams.OpenAIStream, streams.TEXT)


class Unlisted:
    """A Dialect that also completes and embeds, with a vendor's quirks."""

    def __init__(self, quirks: Quirks = PLAIN) -> None:
        self._quirks = quirks
        self.takes_tokens: Final = quirks.takes_tokens
        self.slots: Final = quirks.slots

    def encode_chat(self, call: ChatCall, target: Target) -> Sequence[Encoded]:
        request, warnings = requests.chat(self._quirks, call, target)
        if call.request.stream:
            return [Encoded(request, stream=_STREAM_OF_CHAT, warnings=warnings)]
        return [Encoded(request, whole=_CHAT, warnings=warnings)]

    def encode_completion(self, call: CompletionCall, target: Target) -> Sequence[Encoded]:
        request = requests.completion(self._quirks, call, target)
        if call.request.stream:
            return [Encoded(request, stream=_STREAM_OF_TEXT)]
        return [Encoded(request, whole=_TEXT)]

    def encode_embeddings(self, call: EmbeddingCall, target: Target) -> Encoded:
        request, warnings = requests.embeddings(self._quirks, call, target)
        whole = partial(openai_embeddings.embeddings, call.request)
        if self._quirks.vectors:
            whole = partial(_after, self._quirks.vectors, whole)
        return Encoded(request, whole=whole, warnings=warnings)

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        return openai_errors.decode(status, headers, body)


class OpenAI(Unlisted):
    """The same where the upstream can say which models it has."""

    def list_request(self) -> UpstreamRequest:
        return UpstreamRequest("GET", "/models")

    def decode_models(self, body: bytes) -> list[Model]:
        return openai_listing.models(body)


def _after(
    first: Callable[[bytes], bytes],
    read: Callable[[bytes, Reply], Whole],
    body: bytes,
    reply: Reply,
) -> Whole:
    return read(first(body), reply)
