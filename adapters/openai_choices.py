"""The rules of a stream that hold within one choice, for chat and for text completions.

Strategy: `take` looks at a choice of an event, and says what must be changed in it (mostly
nothing) and what is in it. A choice keeps what of it has gone out: its role, its calls, its
end. Why each rule is there: SDKs add up deltas, so that anything said twice is written twice.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from adapters.dialect import Reply
from adapters.openai_calls import Calls, TakenCall, text_of
from adapters.openai_glance import Choice, Message
from adapters.patching import Inside
from adapters.wire import NULL, Chunk, ToolDelta

Json = dict[str, object]


class Taken(NamedTuple):
    """`changes` None: the choice says nothing and is left out."""

    changes: Inside | None
    chunk: Chunk


class ChoiceRules(Protocol):
    finish: str | None

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

    def take(self, said: Choice) -> Taken:
        delta = said.delta or Message()
        if self.finish and said.delta and _is_void(delta):
            return Taken(None, Chunk(choice=self._index))
        changes, inside = Inside(), Inside()
        first, self._begun = not self._begun, True
        if first and not delta.role:
            inside["role"] = "assistant"
        elif delta.role and not first:
            inside["role"] = None
        ends = _finish(self, said, changes)
        calls = [self._calls.take(call, bool(ends)) for call in delta.tool_calls or ()]
        rewritten = Inside(
            (place, call.changes) for place, call in enumerate(calls) if call.changes
        )
        if rewritten:
            inside["tool_calls"] = rewritten
        if inside or said.delta is None:
            changes["delta"] = inside
        return Taken(changes, self._chunk(delta, first, calls, ends))

    def owed(self) -> Json | None:
        bare = self._calls.without_arguments()
        if not bare:
            return None
        calls = [{"index": index, "function": {"arguments": "{}"}} for index in bare]
        return {"index": self._index, "delta": {"tool_calls": calls}, "finish_reason": None}

    def end(self) -> Json:
        self.finish = "tool_calls" if self._calls else "stop"
        return {"index": self._index, "delta": {}, "finish_reason": self.finish}

    def _chunk(
        self, delta: Message, first: bool, calls: list[TakenCall], ends: str | None
    ) -> Chunk:
        deltas = tuple(call.delta for call in calls)
        if delta.function_call:
            deltas += (ToolDelta(0, text_of(delta.function_call.arguments)),)
        return Chunk(
            choice=self._index,
            role=first,
            content=delta.content if isinstance(delta.content, str) else "",
            reasoning=delta.reasoning_content or delta.reasoning or "",
            refusal=delta.refusal or "",
            tool_calls=deltas,
            finish=ends,
        )


class TextChoice:
    """A choice of a streamed text completion."""

    def __init__(self, index: int, _: Reply) -> None:
        self.finish: str | None = None
        self._index = index

    def take(self, said: Choice) -> Taken:
        if self.finish and not said.text:
            return Taken(None, Chunk(choice=self._index))
        changes = Inside({"text": ""}) if said.text is None else Inside()
        ends = _finish(self, said, changes)
        return Taken(changes, Chunk(choice=self._index, content=said.text or "", finish=ends))

    def owed(self) -> Json | None:
        return None

    def end(self) -> Json:
        self.finish = "stop"
        return {"index": self._index, "text": "", "logprobs": None, "finish_reason": self.finish}


def _finish(state: ChoiceRules, said: Choice, changes: Inside) -> str | None:
    """The reason the choice ends with now; it is said once, and an empty one is none."""
    reason = said.finish_reason
    if reason is None:
        return None
    if not reason or state.finish:
        changes["finish_reason"] = NULL
        return None
    state.finish = reason
    return reason


def _is_void(delta: Message) -> bool:
    said = (delta.content, delta.reasoning_content, delta.reasoning, delta.refusal)
    return not any(said) and not delta.tool_calls and not delta.function_call
