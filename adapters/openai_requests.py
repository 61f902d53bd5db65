"""Requests to OpenAI-shaped upstreams: the caller's bytes, but for what a vendor wants otherwise.

Strategy: `Quirks` says as data how a vendor differs, and names a verb for what data cannot
say. All of them note changes in a Draft, and only what is noted is patched. A vendor without
quirks costs no further look at the body.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from msgspec import Raw, Struct, field

from adapters.dialect import Target, UpstreamRequest
from adapters.errors import InvalidRequest
from adapters.patching import Inside, patched
from adapters.wire import NULL, ChatCall, ChatRequest, CompletionCall, EmbeddingCall

Names = dict[str, str | None]  # OpenAI's name of a field -> the vendor's; None: it has none

_object = msgspec.json.Decoder(dict[str, Raw])
_objects = msgspec.json.Decoder(list[dict[str, Raw]])

# fmt: off
_HINTS: Final = frozenset({  # bookkeeping, caches, speed: nothing is missed in the answer
    "annotations", "content_parts", "encoding_format", "metadata", "prediction",
    "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning",
    "reasoning_content", "reasoning_details", "refusal", "safety_identifier", "stream_options",
    "thinking", "user",
})
_ESSENTIAL: Final = frozenset({  # without these the answer is not the one that was asked for
    "audio", "function_call", "functions", "logit_bias", "logprobs", "modalities", "moderation",
    "n", "top_logprobs", "web_search_options",
})
# fmt: on
_UNASKED: Final[Mapping[str, tuple[object, ...]]] = {  # values that say what holds anyway
    "function_call": ("auto", "none"),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "n": (1,),
    "store": (False,),
    "top_logprobs": (0,),
    "verbosity": ("medium",),
}


class Draft:
    """A chat request under change: `changes` at its top level, `messages` by their position.

    `ignored` are fields left out whose loss the caller is told.
    """

    def __init__(self, request: ChatRequest, changes: Inside) -> None:
        self.request = request
        self.changes = changes
        self.messages: dict[int, Inside] = defaultdict(Inside)
        self.ignored: list[str] = []


class Quirks(Struct, frozen=True, kw_only=True):
    """How a vendor's requests differ from OpenAI's; none by default.

    `paths` has the vendor's path for one of ours; `{model}` in it stands for the target's.
    `fields` are those of a chat request, `in_messages` those of its messages.
    """

    paths: Mapping[str, str] = field(default_factory=dict)
    fields: Names = field(default_factory=dict)
    in_messages: Names = field(default_factory=dict)
    embedding_fields: Names = field(default_factory=dict)
    takes_tokens: bool = False  # in prompts and inputs; else they are sent as text
    slots: int | None = None  # calls that it works on at a time
    developer: bool = True  # whether it knows that role; else it is "system" there
    verbs: tuple[Callable[[Draft], None], ...] = ()
    vectors: Callable[[bytes], bytes] | None = None  # an answer with vectors in a form of its own


PLAIN: Final = Quirks(takes_tokens=True)  # whoever it is says itself what it takes


Ready = tuple[UpstreamRequest, tuple[str, ...]]  # and what of the caller's wishes it leaves out


def chat(quirks: Quirks, call: ChatCall, target: Target) -> Ready:
    """A chat completion. Raises InvalidRequest for what the vendor has not."""
    changes = _changes(quirks, call)
    if quirks is PLAIN:
        return _request(quirks, "/chat/completions", call, target, changes), ()
    draft = Draft(call.request, changes)
    _adapt(quirks, call, draft)
    request = _request(quirks, "/chat/completions", call, target, draft.changes)
    return request, _warnings(draft.ignored)


def _adapt(quirks: Quirks, call: ChatCall, draft: Draft) -> None:
    # One that is read and not set need not be looked for in the body.
    sought = any(getattr(call.request, name, True) is not None for name in quirks.fields)
    if sought or quirks.in_messages:
        fields = _object.decode(call.body)
        draft.ignored += _rename(quirks.fields, fields, draft.changes)
        if quirks.in_messages:
            _rename_in_messages(quirks.in_messages, fields["messages"], draft)
    if not quirks.developer:
        _say_system(draft)
    for verb in quirks.verbs:
        verb(draft)
    if draft.messages:
        draft.changes["messages"] = Inside(draft.messages.items())


def completion(quirks: Quirks, call: CompletionCall, target: Target) -> UpstreamRequest:
    """A text completion."""
    return _request(quirks, "/completions", call, target, _changes(quirks, call))


def embeddings(quirks: Quirks, call: EmbeddingCall, target: Target) -> Ready:
    """Embeddings. What format they come in is no matter: the answer is converted."""
    changes, ignored = Inside(), list[str]()
    if quirks.embedding_fields:
        ignored = _rename(quirks.embedding_fields, _object.decode(call.body), changes)
    return _request(quirks, "/embeddings", call, target, changes), _warnings(ignored)


# -- verbs of single vendors ---------------------------------------------------------------


def short_call_ids(draft: Draft) -> None:
    """Ids of tool calls that are not nine letters and digits get a name that is, by their hash.

    The same id always becomes the same one, so that calls and results still meet.
    """
    for place, message in enumerate(draft.request.messages):
        calls = Inside(
            (number, Inside(id=_short(call.id)))
            for number, call in enumerate(message.tool_calls or ())
            if call.id is not None and not _SHORT.fullmatch(call.id)
        )
        if calls:
            draft.messages[place]["tool_calls"] = calls
        if message.tool_call_id is not None and not _SHORT.fullmatch(message.tool_call_id):
            draft.messages[place]["tool_call_id"] = _short(message.tool_call_id)


def any_tool(draft: Draft) -> None:
    """A call that is required is called "any"."""
    if draft.request.tool_choice == "required":
        draft.changes["tool_choice"] = "any"


_SHORT: Final = re.compile("[A-Za-z0-9]{9}")
_LETTERS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _short(call_id: str) -> str:
    number = int.from_bytes(hashlib.sha256(call_id.encode()).digest())
    return "".join(_LETTERS[number // 62**place % 62] for place in range(9))


# -- what all of them share ----------------------------------------------------------------


def _changes(quirks: Quirks, call: ChatCall | CompletionCall) -> Inside:
    """That tokens are counted."""
    options = call.request.stream_options
    if "stream_options" in quirks.fields:  # it counts without being asked
        return Inside(stream_options=None) if options else Inside()
    if call.request.stream and not (options and options.include_usage):
        return Inside(stream_options=Inside(include_usage=True))
    return Inside()


def _request(
    quirks: Quirks,
    path: str,
    call: ChatCall | CompletionCall | EmbeddingCall,
    target: Target,
    changes: Inside,
) -> UpstreamRequest:
    own = quirks.paths.get(path)
    if own:
        path = own.replace("{model}", _NOT_IN_A_SEGMENT.sub(_quoted, target.model))
    body = call.body
    if changes == _COUNTED and _says_nothing_of_counts(body):
        body, changes = _counting(body), Inside()
    if call.request.model != target.model:
        if not changes and body.count(b'"model"') == 1 and body.find(b"\\u006") < 0:
            return UpstreamRequest("POST", path, _with_model(body, target.model))
        changes["model"] = target.model
    return UpstreamRequest("POST", path, patched(body, changes))


# What nearly all requests need is done without taking a long history apart once more.

_COUNTED: Final = Inside(stream_options=Inside(include_usage=True))
_MODEL: Final = re.compile(rb'"model"\s*:\s*"[^"\\]*"')


def _says_nothing_of_counts(body: bytes) -> bool:
    """Not in escapes either."""
    return body.find(b'"stream_options"') < 0 and body.find(b"\\u00") < 0


def _counting(body: bytes) -> bytes:
    """An object of JSON, not empty, in which nothing is said of it."""
    return b'%b,"stream_options":{"include_usage":true}}' % body.rstrip()[:-1]


def _with_model(body: bytes, model: str) -> bytes:
    """The body, in which the word stands once and not in escapes as well, for another model."""
    said = _MODEL.search(body)
    if said is None:
        return patched(body, Inside(model=model))
    start, end = said.span()
    return b'%b"model":%b%b' % (body[:start], msgspec.json.encode(model), body[end:])


_NOT_IN_A_SEGMENT: Final = re.compile(r"[^\w.-]+|^\.+$", re.ASCII)


def _quoted(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode())


def _rename(names: Names, said: Mapping[str, Raw], changes: Inside, at: str = "") -> list[str]:
    """Note what becomes of the fields that have another name, or none; gives what is missed.

    What is said under the vendor's own name stays. Raises InvalidRequest for what has no name
    and cannot be done without; `at` is where it would stand.
    """
    ignored = []
    for name, own in names.items():
        if name not in said:
            continue
        changes[name] = None
        if own is not None:
            if said[name] != NULL and said.get(own, NULL) == NULL:
                changes[own] = said[name]
        elif name not in _HINTS and _asked(name, said[name]):
            if name in _ESSENTIAL:
                raise InvalidRequest(
                    f"this model's upstream has no {name}", at + name, "unsupported_parameter"
                )
            ignored.append(name)
    return ignored


def _asked(name: str, value: Raw) -> bool:
    """Whether it asks for anything that does not hold anyway."""
    if value == NULL:
        return False
    return name not in _UNASKED or msgspec.json.decode(value) not in _UNASKED[name]


def _rename_in_messages(names: Names, messages: Raw, draft: Draft) -> None:
    for place, (said, message) in enumerate(
        zip(_objects.decode(messages), draft.request.messages, strict=True)
    ):
        if names.keys().isdisjoint(said):
            continue
        ignored = _rename(names, said, draft.messages[place], f"messages[{place}].")
        if message.role != "tool":  # whose call has the name too
            draft.ignored += [f"messages[].{name}" for name in ignored]


def _warnings(ignored: list[str]) -> tuple[str, ...]:
    return tuple(
        f"{name} is ignored: this model's upstream does not know it"
        for name in dict.fromkeys(ignored)
    )


def _say_system(draft: Draft) -> None:
    for place, message in enumerate(draft.request.messages):
        if message.role == "developer":
            draft.messages[place]["role"] = "system"
