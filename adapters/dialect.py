"""The contract of a dialect: pure translation between OpenAI's vocabulary and an upstream's.

A dialect is a value without state. Encoding gives what to send and how to read what
comes back; decoders are fed bytes as they arrive and give `Chunk`s. Neither does I/O,
knows the time, or draws a random number: ids and times come in by `Reply`.
Operations beyond chat are further small protocols: a dialect has those its upstream has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct, field

from adapters.errors import UpstreamError
from adapters.wire import ChatCall, Chunk, CompletionCall, EmbeddingCall, Usage


class UpstreamRequest(Struct, frozen=True):
    """What goes to the upstream; `path` is relative to its base URL."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Reply(Struct, frozen=True):
    """What is fixed once per request: the answer's identity.

    `id` is without its prefix (24 or more letters and digits): a face puts `chatcmpl-`
    or `cmpl-` before it. `created` is in Unix seconds.
    """

    id: str
    created: int
    model: str
    fingerprint: str | None = None


class Facts(Struct, frozen=True):
    """What is known of a model. None is "unknown", and unknown is allowed, but not as local.

    `remote`: its server only passes it on to another. `window`: tokens of prompt and answer.
    `leaves_at`: when it leaves the memory, as told; it changes while the model loads.
    """

    capabilities: frozenset[str] | None = None
    digest: str | None = None
    remote: bool | None = None
    window: int | None = None
    leaves_at: str = ""


def named_remote(model: str) -> bool:
    """Whether the name alone says that a server here passes the model on to its cloud.

    Source: https://docs.ollama.com/cloud
    """
    return model.strip().lower().removesuffix(":latest").endswith((":cloud", "-cloud"))


class Target(Struct, frozen=True):
    """Where an attempt goes: an upstream's model, what the operator set, what is known."""

    upstream: str
    model: str
    options: Mapping[str, object] = field(default_factory=dict)
    keep_alive: str | int | None = None
    facts: Facts = Facts()
    version: tuple[int, ...] | None = None  # of the upstream's server; None: unknown, so newest
    fingerprint: str | None = None  # of the model and its settings, for answers we write


class StreamDecoder(Protocol):
    """Upstream bytes in, chunks out; one instance per reply.

    `done` turns true when nothing more is needed from the upstream: its end marker came, or an
    error. `reply` is the answer's identity, corrected by what the upstream says of itself; it
    stands from the first chunk on. `feed` and `close` raise UpstreamError for an error in the
    stream, but give the chunks before it first: then the next call raises. `close` raises
    Incomplete when the dialect's end marker never came.
    """

    done: bool
    reply: Reply

    def feed(self, data: bytes) -> list[Chunk]: ...

    def close(self) -> list[Chunk]: ...


class Whole(Struct, frozen=True):
    """An answer that came in one piece, as the JSON for the caller."""

    body: bytes
    usage: Usage | None = None


class Encoded(Struct, frozen=True):
    """One call to an upstream: what to send, and exactly one way to read the reply.

    `heartbeat` says what any byte of the reply proves before content comes: True, that the
    upstream is generating (so any line stops the first-token clock); False, nothing; None,
    that the upstream is silent while it works on this call (only load and total hold), as
    every upstream is that answers whole.
    """

    request: UpstreamRequest
    stream: Callable[[Reply], StreamDecoder] | None = None
    whole: Callable[[bytes, Reply], Whole] | None = None
    heartbeat: bool | None = False
    warnings: tuple[str, ...] = ()


class Dialect(Protocol):
    """The verbs every dialect has.

    `slots` is how many calls its servers usually work on at a time; None: as many as come.
    `encode_chat` gives several calls where the upstream has no `n`: they are run on one
    target, and their chunks are told apart by `choice`. It raises InvalidRequest for what
    the dialect cannot express.
    """

    @property
    def slots(self) -> int | None: ...

    def encode_chat(self, call: ChatCall, target: Target) -> Sequence[Encoded]: ...

    def decode_error(
        self, status: int, headers: Mapping[str, str], body: bytes
    ) -> UpstreamError: ...


@runtime_checkable
class Completes(Protocol):
    """Has text completions (`/v1/completions`). Prompts may be token ids if it `takes_tokens`."""

    @property
    def takes_tokens(self) -> bool: ...

    def encode_completion(self, call: CompletionCall, target: Target) -> Sequence[Encoded]: ...


@runtime_checkable
class Embeds(Protocol):
    """Has embeddings. Inputs may be token ids if it `takes_tokens`."""

    @property
    def takes_tokens(self) -> bool: ...

    def encode_embeddings(self, call: EmbeddingCall, target: Target) -> Encoded: ...


class Model(Struct, frozen=True):
    """One model of a listing. `created` in Unix seconds."""

    id: str
    created: int
    owned_by: str
    facts: Facts = Facts()


@runtime_checkable
class ListsModels(Protocol):
    """Can say which models there are."""

    def list_request(self) -> UpstreamRequest: ...

    def decode_models(self, body: bytes) -> list[Model]: ...


@runtime_checkable
class DescribesModels(Protocol):
    """Can say what one model is able to do. `media` in a call is checked against it."""

    def describe_request(self, model: str) -> UpstreamRequest: ...

    def decode_facts(self, body: bytes) -> Facts: ...


@runtime_checkable
class ListsLoaded(Protocol):
    """Can say which models are in memory, and their windows there, without generating.

    `window` is what the operator's options make it; None: nothing.
    """

    def loaded_request(self) -> UpstreamRequest: ...

    def decode_loaded(self, body: bytes) -> Mapping[str, Facts]: ...

    def window(self, options: Mapping[str, object]) -> int | None: ...


@runtime_checkable
class LoadsModels(ListsLoaded, Protocol):
    """Can bring a model into memory without generating, as calls with these settings use it."""

    def load_request(self, target: Target) -> UpstreamRequest: ...


@runtime_checkable
class TellsVersion(Protocol):
    """Can say which version of its server answers."""

    def version_request(self) -> UpstreamRequest: ...

    def decode_version(self, body: bytes) -> tuple[int, ...] | None: ...


@runtime_checkable
class Amends(Protocol):
    """Knows a second way to say a request that an older server refused."""

    def amend(self, request: UpstreamRequest, error: UpstreamError) -> UpstreamRequest | None: ...
