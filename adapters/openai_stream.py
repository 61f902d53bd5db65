"""An OpenAI-shaped stream: every event that keeps the rules goes on untouched.

Strategy: glance at an event, collect as changes what breaks a rule, and rewrite it only if
there are any. One id, created and model over the stream; usage apart and last; an error event
ends it; it is complete once every choice has ended, whether [DONE] comes or not. That it ends is
told with what follows, so that no answer that fails then was ever called whole.
Source: https://platform.openai.com/docs/api-reference/chat/streaming
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import msgspec

from adapters import openai_finish as finish
from adapters import openai_glance as glance
from adapters.dialect import Reply
from adapters.errors import Incomplete, Kind, UpstreamError
from adapters.framing import SseFramer
from adapters.openai_choices import ChatChoice, ChoiceRules, Taken, TextChoice
from adapters.openai_counts import counted
from adapters.openai_glance import Json
from adapters.openai_names import Names
from adapters.openai_runs import Runs
from adapters.patching import Inside, patched
from adapters.wire import NULL, Chunk

_HEAD: Final = 4096  # bytes kept of a body that may turn out to be no stream
_encode = msgspec.json.encode


class Form(NamedTuple):
    """What tells a chat stream from a stream of text completions."""

    prefix: str
    object: str
    choice: Callable[[int, Reply], ChoiceRules]


CHAT: Final = Form("chatcmpl-", "chat.completion.chunk", ChatChoice)
TEXT: Final = Form("cmpl-", "text_completion", TextChoice)


class OpenAIStream:
    """The StreamDecoder of this dialect."""

    def __init__(self, form: Form, reply: Reply) -> None:
        self.done = False
        self.reply = reply
        self._form = form
        self._framer = SseFramer()
        self._runs = Runs()
        self._head = b""
        self._begun = False
        self._names = Names(form.prefix, form.object, reply)
        self._early: list[tuple[glance.Answer, bytes]] = []  # before the answer's id is known
        self._choices: dict[int, ChoiceRules] = {}
        self._answered = False  # whether a choice came
        self._usage: Chunk | None = None
        self._last: Chunk | None = None  # the end, until what follows shows that it is
        self._failure: UpstreamError | None = None

    def feed(self, data: bytes) -> list[Chunk]:
        """An error is raised by the call after the one that gives the chunks before it."""
        if self._failure:
            raise self._failure
        if not self._begun:
            self._head = (self._head + data[:_HEAD])[:_HEAD]
        chunks: list[Chunk] = []
        at = 0
        try:
            while at < len(data) and not self.done:
                run = self._runs.take(data, at) if self._framer.between_events else None
                if run:
                    chunk, at = run
                    chunks.append(chunk)
                else:
                    at = self._feed(data, at, chunks)
        except UpstreamError as error:
            self._failure, self.done = error, True
            if not (chunks or self._last):
                raise
        ends = self._last or (chunks and chunks[-1].finish)
        return self._but_the_end(chunks) if ends else chunks

    def _but_the_end(self, chunks: list[Chunk]) -> list[Chunk]:
        """All but the chunk by which all is said: an answer that fails has not ended."""
        if self._last:
            chunks = [self._last, *chunks]
            self._last = None
        last = chunks[-1]
        if last.finish in finish.WHOLE and all(c.finish for c in self._choices.values()):
            if self._failure:
                chunks[-1:] = finish.left_out(last)
            elif not self.done:
                self._last = chunks.pop()
        return chunks

    def _feed(self, data: bytes, at: int, chunks: list[Chunk]) -> int:
        """Take an event from `at` on, or all where runs are over; gives where that ends."""
        if self._runs.over:
            events, end = self._framer.feed(data[at:]), len(data)
        else:
            events, end = self._framer.feed_first(data, at)
        for event in events:
            chunks += self._take(event)
        return end

    def close(self) -> list[Chunk]:
        if self._failure:
            raise self._failure
        try:
            chunks = [chunk for event in self._framer.close() for chunk in self._take(event)]
        except UpstreamError as error:
            if error.kind is Kind.BROKEN:  # the end of the body cut it
                raise Incomplete from error
            raise
        if not self._begun:
            _refuse_other_bodies(self._head)
        chunks += [] if self.done else self._end(marked=False)
        return [self._last, *chunks] if self._last else chunks

    def _take(self, event: bytes) -> list[Chunk]:
        json = event.strip().replace(b"\n", b" ")  # several data lines are one line for callers
        if self.done or not json:
            return []
        self._begun = True
        if json.startswith(b"[DONE]"):
            return self._end(marked=True)
        answer = glance.read(glance.answers, json)
        if answer.choices is None and answer.usage is None and not answer.id:
            if glance.is_keep_alive(json):
                return []
            raise glance.no_answer(json, "the upstream sent an event that is no part of an answer")
        if self._names.settled:
            return self._learned(answer, json)
        self._early.append((answer, json))
        if not self._names.settle(answer):
            return []
        self.reply = self._names.told(self.reply)
        return [chunk for early in self._early for chunk in self._learned(*early)]

    def _learned(self, answer: glance.Answer, json: bytes) -> list[Chunk]:
        chunks = self._chunks(answer, json)
        self._runs.learn(json, chunks if len(answer.choices or ()) < 2 else [])
        return chunks

    def _chunks(self, answer: glance.Answer, json: bytes) -> list[Chunk]:
        if answer.choices:
            self._answered = True
        kept = self._kept(answer, json)
        if kept is not None:
            return kept
        names = self._names.changes(answer)
        self._count(answer, names, json)
        if not answer.choices and answer.usage is None and not self._is_over:
            answer, json = _with_a_choice(answer, json)
        return self._changed(answer, names, json)

    def _kept(self, answer: glance.Answer, json: bytes) -> list[Chunk] | None:
        """The chunks of an event that keeps every rule at one look."""
        choices = answer.choices
        if choices is None or len(choices) > 1 or answer.x_groq or not self._names.kept(answer):
            return None
        if answer.usage is not None:
            return None if choices else self._kept_usage(answer.usage, json)
        if not choices or choices[0].index is None:
            return None
        chunk = self._rules(choices[0].index).kept(choices[0], json)
        return [chunk] if chunk else None

    def _kept_usage(self, said: object, json: bytes) -> list[Chunk] | None:
        counts = counted(said)
        if counts is None or counts.changes:
            return None
        self._usage = Chunk(usage=counts.usage, raw=json)
        return []

    def _rules(self, index: int) -> ChoiceRules:
        rules = self._choices.get(index)
        if rules is None:
            rules = self._choices[index] = self._form.choice(index, self.reply)
        return rules

    def _changed(self, answer: glance.Answer, names: Inside, json: bytes) -> list[Chunk]:
        changes = Inside(names)
        taken = [self._choice(place, said) for place, said in enumerate(answer.choices or ())]
        rewritten = Inside(
            (place, choice.changes)
            for place, choice in enumerate(taken)
            if choice.changes is None or choice.changes
        )
        if rewritten:
            changes["choices"] = rewritten
        if answer.choices is None:
            changes["choices"] = []
        if answer.usage is not None:
            changes["usage"] = None
        said = [choice.chunk for choice in taken if choice.changes is not None]
        if not said and (answer.usage is not None or taken):
            return []
        owed = self._owed(chunk.choice for chunk in said if chunk.finish)
        return [*owed, _merged(said, patched(json, changes))]

    def _choice(self, place: int, said: glance.Choice) -> Taken:
        if said.error:
            raise glance.failed(said.error)
        index = place if said.index is None else said.index
        taken = self._rules(index).take(said)
        if taken.changes is not None:
            if said.index is None:
                taken.changes["index"] = index
            if said.has_odd_logprobs:
                taken.changes["logprobs"] = NULL
        return taken

    def _count(self, answer: glance.Answer, names: Inside, json: bytes) -> None:
        """Keep the usage for the end: the last that was said, and never a sum.

        Where no usage came, that of a vendor's own field stands for it.
        """
        groq = answer.x_groq or glance.Groq()
        if groq.error:
            raise glance.failed(groq.error)
        counts = counted(answer.usage)
        if groq.usage and not counts and not self._usage:
            counts = counted(groq.usage)
            json = patched(json, Inside(usage=groq.usage, x_groq=None))
        if not counts:
            return
        alone = Inside(names)
        if counts.changes:
            alone["usage"] = counts.changes
        if answer.choices != []:
            alone["choices"] = []
        self._usage = Chunk(usage=counts.usage, raw=patched(json, alone))

    @property
    def _is_over(self) -> bool:
        first = self._choices.get(0)
        return bool(first and first.finish)

    def _owed(self, ending: Iterable[int]) -> list[Chunk]:
        """What choices must still say before they end."""
        owed = [self._choices[index].owed() for index in ending]
        return [Chunk(raw=self._event(choice)) for choice in owed if choice]

    def _end(self, *, marked: bool) -> list[Chunk]:
        """The rest of the answer. Raises Incomplete where a choice has not ended.

        Some upstreams never say that a choice ended, but count its tokens and send [DONE]:
        both come only after the generation, so that is an end. [DONE] alone is none: relays
        write it after whatever they got.
        """
        unended = [index for index, choice in self._choices.items() if not choice.finish]
        if not self._answered or (unended and not (marked and self._usage)):
            raise Incomplete
        self.done = True
        chunks = self._owed(unended)
        for index in unended:
            choice = self._choices[index]
            raw = self._event(choice.end())
            chunks.append(Chunk(choice=index, finish=choice.finish, raw=raw))
        return [*chunks, self._usage] if self._usage else chunks

    def _event(self, choice: Json) -> bytes:
        return _encode(self._names.head | {"choices": [choice]})


def _with_a_choice(answer: glance.Answer, json: bytes) -> tuple[glance.Answer, bytes]:
    """An event without choices, as some streams begin with: clients read the first of them."""
    empty = msgspec.structs.replace(answer, choices=[glance.Choice(index=0)])
    return empty, patched(json, Inside(choices=[{"index": 0, "finish_reason": None}]))


def _merged(said: list[Chunk], raw: bytes) -> Chunk:
    """One chunk for an event, which may hold several choices."""
    first = said[0] if said else Chunk()
    if len(said) < 2:
        return msgspec.structs.replace(first, raw=raw)
    return Chunk(
        choice=first.choice,
        role=any(chunk.role for chunk in said),
        content="".join(chunk.content for chunk in said),
        reasoning="".join(chunk.reasoning for chunk in said),
        refusal="".join(chunk.refusal for chunk in said),
        tool_calls=tuple(call for chunk in said for call in chunk.tool_calls),
        finish=next((chunk.finish for chunk in said if chunk.finish), None),
        raw=raw,
    )


def _refuse_other_bodies(head: bytes) -> None:
    """A body without one event may be a page, or an answer (an error's, mostly) in one piece."""
    if head.lstrip().startswith((b"<", b"{", b"[")):
        glance.read(glance.answers, head)
        raise glance.no_answer(head, "the upstream answered in one piece where a stream was asked")
