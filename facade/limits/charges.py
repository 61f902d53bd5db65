"""What one request takes of its caller's buckets and of upstreams', and what it has used of them.

    take --granted--> attempt --> settle   the answer is complete
                       ^   |----> leave    the request fails or its caller leaves: charged if
                       |   v               content was given
                      missed               the attempt fails: an upstream counts it all the same

Strategy: the reserve stands until the upstream's own count is known. Where that never comes,
the prompt counts as it was estimated and the answer by its deltas.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, Protocol

from msgspec import Struct

from adapters.dialect import Reply, Whole
from adapters.errors import InvalidRequest, Kind, UpstreamError
from adapters.rate_limits import RateLimits, tighter
from adapters.wire import Chunk, Usage
from facade.auth import Address
from facade.limits.buckets import NO_TOKENS, Bucket, Lease, NeverFits, Store, Tokens, standing
from facade.limits.estimates import Answers, Size
from facade.limits.grammar import Limit, parse
from facade.waits import Wait

Buckets = tuple[Bucket, ...]
NOTHING: Final = Lease((), ended=True)

_CALLERS: Final = 4096  # whose buckets are not gathered anew
_BYTES: Final = 3  # of an answer that nobody counted, to a token
_MOST: Final = (
    10**8
)  # tokens of a call; who counts more counts wrong, and it would be debt for years


class Limits:
    """Whose buckets there are: by scope ("key", "model", "upstream") and name, and `near` us."""

    def __init__(
        self, store: Store, named: Mapping[str, Mapping[str, Buckets]], near: Sequence[Limit]
    ) -> None:
        self.store = store
        self.answers = Answers()
        self.named = named
        self.upstreams = named["upstream"]
        self._keys, self._models = named["key"], named["model"]
        self._near = near
        self.of_caller = lru_cache(_CALLERS)(self._of_caller)

    def _of_caller(self, key: str | None, address: Address | None, alias: str) -> Buckets:
        """What a request by this key, from this address, for this alias takes in one step."""
        near = _near(self._near, address) if self._near else ()
        return self._keys.get(key or "", ()) + near + self._models.get(alias, ())

    def charge(self, model: str, size: Callable[[], Size], headers: dict[str, str]) -> Charge:
        """A request's for this model; `headers` are those of its answer."""
        return Charge(self, model, size, headers, NOTHING, NOTHING)


class Charge(Struct, eq=False):
    """One request's."""

    _limits: Limits
    _model: str
    _measure: Callable[[], Size]
    _headers: dict[str, str]
    _caller: Lease
    _upstream: Lease
    _size: Size | None = None  # where tokens are limited
    _told: RateLimits | None = None  # by the upstream
    _begun: bool = False
    _deltas: int = 0  # of calls that nobody has counted
    _calls: int = 0  # that the upstream has counted, and their tokens
    _prompt: int = 0
    _done: int = 0

    async def take(self, buckets: Buckets) -> None:
        """Take all of the caller's. Raises RateLimited, BadRequest or LimitsUnavailable."""
        if buckets:
            self._caller = lease = Lease(buckets, self._tokens(buckets, 1))
            step = self._limits.store.take(lease)
            said = await step if isinstance(step, Wait) else step
            if said is not None:
                raise said.error()

    def attempt(self, upstream: str, calls: int) -> None:
        """An attempt of so many calls begins; what the last one gave and told counts no more."""
        buckets = self._limits.upstreams.get(upstream)
        self._upstream = Lease(buckets, self._tokens(buckets, calls)) if buckets else NOTHING
        self._told = None
        self._begun = False
        self._deltas = self._calls = self._prompt = self._done = 0

    async def enter(self) -> None:
        """Take all of the upstream's buckets, unless the attempt has them.

        Raises as `take` does, but InvalidRequest where it never fits: another target may do.
        """
        lease = self._upstream
        if not lease.buckets or lease.taken:
            return
        step = self._limits.store.take(lease)
        said = await step if isinstance(step, Wait) else step
        if isinstance(said, NeverFits):
            raise InvalidRequest(said.error().message, code=said.error().code)
        if said is not None:
            raise said.error()

    def missed(self, error: BaseException) -> None:
        """The attempt fails. What was sent is a request, and counts even if it was refused.

        Source: https://platform.openai.com/docs/guides/rate-limits#error-mitigation
        """
        unsent = isinstance(error, UpstreamError) and error.kind is Kind.UNREACHABLE
        used = None if unsent else self._used() if self._begun else 0
        self._limits.store.settle(self._upstream, used)

    def tell(self, told: RateLimits | None, *, streamed: bool) -> None:
        """What the upstream says is left of its own limits; the head of a stream shows it."""
        self._told = told
        if streamed:
            self.show()

    def show(self) -> None:
        """Tell the client what is left: of ours, or of an upstream's own where that is tighter."""
        buckets, used = self._caller.buckets, self._caller.used
        if self._upstream.buckets:
            buckets, used = [*buckets, *self._upstream.buckets], used + self._upstream.used
        self._headers |= tighter(standing(buckets, used), self._told).headers()

    def see(self, chunks: Iterable[Chunk]) -> None:
        """What the upstream has sent."""
        for chunk in chunks:
            if chunk.commits:
                self._begun = True
                self._deltas += _events(chunk)
            if chunk.usage is not None:
                self._count(chunk.usage)

    def whole(self, answer: Whole) -> None:
        """The answer is complete, and came in one piece; shows what is left."""
        if answer.usage is None or not self._count(answer.usage):
            self._deltas = len(answer.body) // _BYTES
        self.settle()
        self.show()

    def settle(self) -> None:
        """The answer is complete."""
        used = self._used()
        size = self._size
        if size and size.answer is None:
            done = self._done + self._deltas
            self._limits.answers.note(self._model, done // size.choices)
        if self._upstream is not NOTHING:
            self._limits.store.settle(self._upstream, used)
        if self._caller is not NOTHING:
            self._limits.store.settle(self._caller, used)

    def leave(self, *, given: bool) -> None:
        """The request fails, or its caller leaves. `given`: what was sent is not taken back."""
        used = self._used() if given and self._begun else None
        self._limits.store.settle(self._caller, used)
        self.show()

    def _tokens(self, buckets: Buckets, calls: int) -> Tokens:
        if not _have_tokens(buckets):
            return NO_TOKENS if calls == 1 else Tokens(requests=calls)
        size = self._size = self._size or self._measure()
        learned = self._limits.answers.expected(self._model) if size.answer is None else 0
        return size.reserve(learned, calls)

    def _used(self) -> int:
        """Tokens, by the upstream's count; what it left out as it was guessed."""
        size, prompt = self._size, self._prompt
        if size is None:
            return 0
        if self._calls > size.prompts:  # those of one prompt were all sent it, but it counts once
            prompt = prompt * size.prompts // self._calls
        return (prompt or size.prompt.likely) + self._done + self._deltas

    def _count(self, usage: Usage) -> bool:
        """A call's usage is there; if it can be, it stands for the deltas of that call."""
        prompt, done = usage.prompt_tokens, usage.completion_tokens
        if prompt + done > _MOST:
            return False
        self._calls += 1
        self._prompt += prompt
        self._done += done
        if done:
            self._deltas = 0
        return True


class Answering(Protocol):
    """An upstream's answer under way; see facade.upstreams."""

    @property
    def reply(self) -> Reply: ...
    @property
    def over(self) -> bool: ...
    async def chunks(self) -> list[Chunk] | None: ...
    async def whole(self) -> bytes: ...


class Counted:
    """The same, its tokens counted as they come."""

    def __init__(self, answering: Answering, charge: Charge) -> None:
        self._answering = answering
        self._charge = charge
        self.whole = answering.whole

    @property
    def reply(self) -> Reply:
        return self._answering.reply

    @property
    def over(self) -> bool:
        return self._answering.over

    async def chunks(self) -> list[Chunk] | None:
        chunks = await self._answering.chunks()
        if chunks is not None:
            self._charge.see(chunks)
        return chunks


def buckets(scope: str, name: str, limits: Iterable[str]) -> Buckets:
    """Those of whoever has these limits, which were checked."""
    return tuple(Bucket(scope, name, parse(limit)) for limit in limits)


def _near(limits: Sequence[Limit], address: Address | None) -> Buckets:
    """A client has many addresses of IPv6, but they have their first 64 bits in common.

    All whose address cannot be known are one.
    """
    name = str(address or "unknown")
    if isinstance(address, ipaddress.IPv6Address):
        name = f"{ipaddress.IPv6Address(int(address) >> 64 << 64)}/64"
    return tuple(Bucket("ip", name, limit) for limit in limits)


@lru_cache(_CALLERS)
def _have_tokens(buckets: Buckets) -> bool:
    return any(bucket.limit.kind == "tokens" for bucket in buckets)


def _events(chunk: Chunk) -> int:
    """How many deltas of an upstream are in this chunk; an end alone is none."""
    if not (chunk.content or chunk.reasoning or chunk.refusal or chunk.tool_calls):
        return 0
    if chunk.pieces:
        return len(chunk.pieces)
    return chunk.raw.count(b"\n\ndata: ") + 1
