"""The rules of a stream that hold within one choice, for chat and for text completions.

Strategy: `kept` gives the chunk of what keeps every rule at one look, as most of a stream
does; `take` looks closer, and says what must be changed (little) and what is in it. A choice
knows what of it has gone out: its role, its calls, its end. Why each rule is there: SDKs add
up deltas, so that anything said twice is written twice.

Reasoning goes out in the field in which it came, `reasoning` or `reasoning_content`, and in no
other: a client that reads both would have it twice, and one that sends its history back must
send the upstream the field that it knows.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from adapters import openai_finish as finish
from adapters.dialect import Reply
from adapters.openai_calls import Calls, TakenCall, text_of
from adapters.openai_glance import Choice, Json, Message
from adapters.openai_parts import parted
from adapters.patching import Inside
from adapters.wire import NULL, Chunk, ToolDelta

_PLAIN_ENDS: Final = frozenset(("stop", "length", "content_filter"))


class Taken(NamedTuple):
    """`changes` None: the choice says nothing and is left out."""

    changes: Inside | None
    chunk: Chunk


class ChoiceRules(Protocol):
    finish: str | None

    def kept(self, said: Choice, raw: bytes) -> Chunk | None:
        """The chunk of an event that has this choice alone; None where a closer look is due."""

    def take(self, said: Choice) -> Taken: ...

    def owed(self) -> Json | None:
        """A delta that must go out before the choice ends."""

    def end(self) -> Json:
        """The last choice, where the upstream ended without one."""


class ChatChoice:
    """A choice of a streamed chat answer."""

    def __init__(self, index: int, reply: Reply) -> None:
        self.finish: str | None = None
        self._index = index
        self._begun = False
        self._calls = Calls(reply, index)
        self._legacy_call = False
        self._listed: dict[str, int] = {}  # entries of lists that were numbered here

    def kept(self, said: Choice, raw: bytes) -> Chunk | None:
        delta = said.delta
        begins, ends = not self._begun, said.finish_reason
        if (
            delta is None
            or delta.role != ("assistant" if begins else None)
            or delta.function_call
            or delta.annotations
            or (delta.reasoning_details and delta.unnumbered)
            or not (isinstance(delta.content, str) or delta.content is None)
            or self.finish
            or (ends is not None and not self._ends_plainly(ends))
            or not said.is_sound
        ):
            return None
        calls: tuple[ToolDelta, ...] = ()
        if delta.tool_calls:
            calls = () if begins or ends else self._calls.kept(delta.tool_calls)
            if not calls:
                return None
        self._begun, self.finish = True, ends
        return Chunk(
            choice=self._index,
            role=begins,
            content=delta.content or _spoken(delta),
            reasoning=delta.thoughts,
            refusal=delta.refusal or "",
            tool_calls=calls,
            finish=ends,
            raw=raw,
        )

    def _ends_plainly(self, reason: str) -> bool:
        """Whether it ends with `reason` as it is said, and nothing is owed before."""
        return reason in _PLAIN_ENDS and not self._calls and not self._legacy_call

    def take(self, said: Choice) -> Taken:
        delta = said.delta or Message()
        if self.finish and said.delta and _is_void(delta):
            return Taken(None, Chunk(choice=self._index))
        changes, inside = Inside(), Inside()
        first, self._begun = not self._begun, True
        if first and delta.role != "assistant":
            inside["role"] = "assistant"
        elif delta.role and not first:
            inside["role"] = None
        self._legacy_call |= bool(delta.function_call and delta.function_call.name)
        ends = _finish(self, said, changes, self._stop(bool(delta.tool_calls)))
        calls = [self._calls.take(call, bool(ends)) for call in delta.tool_calls or ()]
        rewritten = Inside(
            (place, call.changes) for place, call in enumerate(calls) if call.changes
        )
        if rewritten:
            inside["tool_calls"] = rewritten
        for name, entries in delta.unnumbered.items():
            inside[name] = self._numbered(name, entries)
        text, thoughts = self._text(delta, inside)
        if inside or said.delta is None:
            changes["delta"] = inside
        chunk = Chunk(
            choice=self._index,
            role=first,
            content=text or _spoken(delta),
            reasoning=thoughts,
            refusal=delta.refusal or "",
            tool_calls=_deltas(calls, delta),
            finish=ends,
        )
        return Taken(changes, chunk)

    def owed(self) -> Json | None:
        bare = self._calls.without_arguments()
        if not bare:
            return None
        calls = [{"index": index, "function": {"arguments": "{}"}} for index in bare]
        return {"index": self._index, "delta": {"tool_calls": calls}, "finish_reason": None}

    def end(self) -> Json:
        self.finish = self._stop(begins=False)
        return {"index": self._index, "delta": {}, "finish_reason": self.finish}

    def _stop(self, begins: bool) -> str:
        """What a normal end is called; `begins`: a call comes with it."""
        if self._calls or begins:
            return "tool_calls"
        return "function_call" if self._legacy_call else "stop"

    def _text(self, delta: Message, inside: Inside) -> tuple[str, str]:
        """Text and thoughts. SDKs read text as a string, and want lists numbered."""
        if isinstance(delta.content, str) or delta.content is None:
            return delta.content or "", delta.thoughts
        parts = parted(delta.content)
        inside["content"] = parts.text
        thoughts = delta.thoughts + parts.thoughts
        if parts.thoughts:
            inside["reasoning_content"] = thoughts
        if parts.others:
            inside["content_parts"] = self._numbered("content_parts", parts.others)
        return parts.text, thoughts

    def _numbered(self, name: str, entries: list[Json]) -> list[Json]:
        start = self._listed.get(name, 0)
        self._listed[name] = start + len(entries)
        return [entry | {"index": index} for index, entry in enumerate(entries, start)]


class TextChoice:
    """A choice of a streamed text completion."""

    def __init__(self, index: int, _: Reply) -> None:
        self.finish: str | None = None
        self._index = index

    def kept(self, said: Choice, raw: bytes) -> Chunk | None:
        if said.text is None or self.finish or said.finish_reason is not None or not said.is_sound:
            return None
        return Chunk(choice=self._index, content=said.text, raw=raw)

    def take(self, said: Choice) -> Taken:
        if self.finish and not said.text:
            return Taken(None, Chunk(choice=self._index))
        changes = Inside({"text": ""}) if said.text is None else Inside()
        ends = _finish(self, said, changes, "stop")
        return Taken(changes, Chunk(choice=self._index, content=said.text or "", finish=ends))

    def owed(self) -> Json | None:
        return None

    def end(self) -> Json:
        self.finish = "stop"
        return {"index": self._index, "text": "", "logprobs": None, "finish_reason": self.finish}


def _finish(state: ChoiceRules, said: Choice, changes: Inside, stop: str) -> str | None:
    """The reason the choice ends with now; it is said once, and an empty one is none."""
    if said.finish_reason is None:
        return None
    reason = finish.told(said.finish_reason, stop)
    if not said.finish_reason or state.finish:
        changes["finish_reason"] = NULL
        return None
    changes |= finish.said_as(reason, said)
    state.finish = reason
    return reason


def _deltas(calls: list[TakenCall], delta: Message) -> tuple[ToolDelta, ...]:
    deltas = tuple(call.delta for call in calls)
    if delta.function_call:
        deltas += (ToolDelta(0, text_of(delta.function_call.arguments)),)
    return deltas


def _spoken(delta: Message) -> str:
    """Audio is content too, with or without its transcript."""
    return (delta.audio.transcript or delta.audio.data or "") if delta.audio else ""


def _is_void(delta: Message) -> bool:
    said = (delta.content, delta.thoughts, delta.refusal, _spoken(delta))
    listed = (delta.tool_calls, delta.annotations, delta.reasoning_details)
    return not any(said) and not any(listed) and not delta.function_call
