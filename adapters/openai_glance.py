"""What is read of an OpenAI-shaped answer, whole or streamed; the rest is never looked at.

One set of types for both, and for chat and text completions. null and absent are the same,
but where a stream must omit a field: there absent is UNSET. What need not be there has no
type (`Anything`): odd values of it spoil no answer.
Source: https://platform.openai.com/docs/api-reference/chat/object and .../streaming
"""

from __future__ import annotations

from typing import Final, TypeGuard, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from adapters import openai_errors
from adapters.errors import UpstreamError, broken
from adapters.wire import NULL

Json = dict[str, object]
Anything = object  # `object` is a field's name too
Content = str | list[object] | Json | None  # a list, or a part alone, is not OpenAI's


class _Absent(str):
    """No text, and no field that says so."""

    __slots__ = ()


ABSENT: Final = _Absent()


class Function(Struct, frozen=True):
    """`arguments` should be a string of JSON; some upstreams give the object itself."""

    name: str | UnsetType | None = UNSET
    arguments: str | dict[str, Raw] | None = None


class Call(Struct, frozen=True):
    """A tool call, or a fragment of one."""

    index: int | None = None
    id: str | UnsetType | None = UNSET
    type: str | UnsetType | None = UNSET
    function: Function | None = None


class Audio(Struct, frozen=True):
    data: str | None = None
    transcript: str | None = None


class Message(Struct, frozen=True):
    """A message, or a delta of one."""

    role: str | None = None
    content: Content = ABSENT
    reasoning_content: Anything = None
    reasoning: Anything = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    function_call: Function | None = None
    audio: Audio | None = None
    annotations: Anything = None
    reasoning_details: Anything = None

    @property
    def unnumbered(self) -> dict[str, list[Json]]:
        """The lists of objects without an `index`, by which SDKs add up what deltas list."""
        lists = {"annotations": self.annotations, "reasoning_details": self.reasoning_details}
        return {name: held for name, held in lists.items() if _lacks_index(held)}

    @property
    def thoughts(self) -> str:
        """The reasoning, in whichever field it came; where both have it, it is the same."""
        said = self.reasoning_content or self.reasoning
        return said if isinstance(said, str) else ""


def _lacks_index(held: Anything) -> TypeGuard[list[Json]]:
    if not isinstance(held, list) or not all(isinstance(entry, dict) for entry in held):
        return False
    return any(entry.get("index") is None for entry in held)


class Logprobs(Struct, frozen=True):
    """Not read; what is no object breaks SDKs."""


class Choice(Struct, frozen=True):
    index: int | None = None
    delta: Message | None = None
    message: Message | None = None
    text: str | None = None
    finish_reason: str | None = None
    native_finish_reason: Anything = None
    logprobs: Logprobs | float | str | list[Raw] | None = None
    error: Anything = None

    @property
    def is_sound(self) -> bool:
        """Whether nothing in it fails or breaks."""
        return not (self.error or self.has_odd_logprobs)

    @property
    def has_odd_logprobs(self) -> bool:
        return not (self.logprobs is None or isinstance(self.logprobs, Logprobs))


class Body(Struct, frozen=True):
    """The body of a 200, or an event: it may be an error all the same."""

    object: str | None = None
    error: Anything = None


class Groq(Struct, frozen=True):
    """What one upstream says beside the fields of an answer."""

    usage: Anything = None
    error: Anything = None


class Answer(Body, frozen=True):
    """A whole answer, or an event of a streamed one."""

    id: str | int | None = None
    created: int | float | str | None = None
    model: str | None = None
    choices: list[Choice] | None = None
    usage: Anything = None
    x_groq: Groq | None = None


Known = TypeVar("Known", bound=Body)
answers = msgspec.json.Decoder(Answer)
_plain: Final = msgspec.json.Decoder(dict[str, Raw])
_WORDS: Final = ("message", "msg", "detail")
_KINDS: Final = ("type", "object")
_KEEP_ALIVE: Final = {b"ping", b"keepalive"}


def read(decoder: msgspec.json.Decoder[Known], json: bytes) -> Known:
    """Raises the UpstreamError that `json` tells, and `broken` for what is no answer."""
    try:
        body = decoder.decode(json)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise broken(f"the upstream sent what is no answer: {error}") from error
    if body.error or body.object == "error":
        raise openai_errors.told(json)
    return body


def unix_time(created: int | float | str | None) -> int:
    """Some write a float or a string; 0 is unknown."""
    try:
        return max(int(float(created or 0)), 0)
    except (ValueError, OverflowError):
        return 0


def is_keep_alive(json: bytes) -> bool:
    """Whether an object without an answer in it says that it only keeps the connection busy."""
    said = _plain.decode(json)
    kinds = {bytes(said.get(name, NULL)).lower().translate(None, b'"-_') for name in _KINDS}
    return not kinds.isdisjoint(_KEEP_ALIVE)


def no_answer(json: bytes, otherwise: str) -> UpstreamError:
    """The error that an object without an answer in it is: its own words, if it has any."""
    said = _plain.decode(json)
    has_words = any(bytes(said.get(name, NULL)).startswith((b'"', b"[")) for name in _WORDS)
    return openai_errors.told(json) if has_words else broken(otherwise)


def failed(error: Anything) -> UpstreamError:
    """The error that stands inside an answer: in a choice, or in a vendor's own field."""
    return openai_errors.told(msgspec.json.encode({"error": error}))
