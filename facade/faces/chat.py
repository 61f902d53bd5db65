"""Chunks as `/v1/chat/completions` writes them: streamed or whole, one instance per answer.

Strategy: a delta of plain text, which is nearly every chunk, is put between a prebuilt
prefix and suffix; everything else goes through a dict. A chunk that carries several
things becomes several events, in the order role, reasoning, content, tools, finish.
Source: https://platform.openai.com/docs/api-reference/chat/object and .../chat/streaming
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import msgspec

from adapters.dialect import Reply
from adapters.wire import ChatRequest, Chunk, TokenLogprob, ToolDelta, Usage
from facade.faces import sse
from facade.faces.usage import total, usage_json

_encode = msgspec.json.encode
_Json = dict[str, object]


class ChatFace:
    """The two forms of one chat answer."""

    def __init__(self, request: ChatRequest, reply: Reply) -> None:
        options = request.stream_options
        self._include_usage = bool(options and options.include_usage)
        self._legacy = bool(request.functions) and not request.tools
        self._reply = reply
        self._usages: list[Usage] = []
        self._usage_chunk = b""  # the upstream's own, where it sent one
        self._before = _encode(self._head("chat.completion.chunk"))[:-1] + b',"choices":['
        self._after = b'],"usage":null}' if self._include_usage else b"]}"
        self._closing = b'},"logprobs":null,"finish_reason":null}' + self._after
        self._openings: dict[tuple[str, int], bytes] = {}  # what comes before a text

    def render(self, chunks: Iterable[Chunk]) -> bytes:
        """The events of these chunks, ready to be written. Usage is kept for `end`."""
        events: list[bytes] = []
        for chunk in chunks:
            raw = chunk.raw
            if chunk.usage:
                self._usages.append(chunk.usage)
                self._usage_chunk = raw
            elif raw:
                events.append(raw)
            if chunk.pieces:
                events.append(self._texts(chunk))
            elif not raw:
                events += self._made(chunk)
        return sse.events(events)

    def end(self) -> bytes:
        """The usage chunk, if it was asked for and is known, and [DONE]."""
        usage = total(self._usages)
        if not (self._include_usage and usage):
            return sse.DONE
        if self._usage_chunk:
            return sse.event(self._usage_chunk) + sse.DONE
        last = self._head("chat.completion.chunk") | {"choices": [], "usage": usage_json(usage)}
        return sse.event(_encode(last)) + sse.DONE

    def whole(self, chunks: Iterable[Chunk]) -> bytes:
        """The chunks folded into one chat.completion."""
        choices: defaultdict[int, _Choice] = defaultdict(_Choice)
        for chunk in chunks:
            if chunk.usage:
                self._usages.append(chunk.usage)
            choices[chunk.choice].add(chunk)
        answer = self._head("chat.completion")
        answer["choices"] = [choices[index].json(index, self._legacy) for index in sorted(choices)]
        usage = total(self._usages)
        if usage:
            answer["usage"] = usage_json(usage)
        return _encode(answer)

    def _head(self, kind: str) -> _Json:
        reply = self._reply
        head: _Json = {
            "id": f"chatcmpl-{reply.id}",
            "object": kind,
            "created": reply.created,
            "model": reply.model,
        }
        if reply.fingerprint:
            head["system_fingerprint"] = reply.fingerprint
        return head

    def _made(self, chunk: Chunk) -> list[bytes]:
        made = []
        if chunk.role:
            content = None if chunk.tool_calls else ""
            role: _Json = {"role": "assistant", "content": content, "refusal": None}
            made.append(self._delta(chunk, role))
        if chunk.reasoning:
            text = chunk.reasoning
            made.append(self._delta(chunk, {"reasoning_content": text, "reasoning": text}))
        if chunk.refusal:
            made.append(self._delta(chunk, {"refusal": chunk.refusal}))
        if chunk.content or chunk.logprobs is not None:
            made.append(self._delta(chunk, {"content": chunk.content}, logprobs=chunk.logprobs))
        made += [self._delta(chunk, self._call(call)) for call in chunk.tool_calls]
        if chunk.finish:
            made.append(self._delta(chunk, {}, finish=_finish(chunk.finish, self._legacy)))
        return made

    def _texts(self, chunk: Chunk) -> bytes:
        """An event of each piece."""
        name, texts = "content", [*map(_encode, chunk.pieces)]
        if chunk.reasoning:
            name, texts = (
                "reasoning_content",
                [b'%b,"reasoning":%b' % (text, text) for text in texts],
            )
        before = self._openings.get((name, chunk.choice)) or self._opening(name, chunk.choice)
        return before + (self._closing + sse.BETWEEN + before).join(texts) + self._closing

    def _opening(self, name: str, choice: int) -> bytes:
        opening = self._before + b'{"index":%d,"delta":{"%b":' % (choice, name.encode())
        self._openings[name, choice] = opening
        return opening

    def _delta(
        self,
        chunk: Chunk,
        delta: _Json,
        finish: str | None = None,
        logprobs: tuple[TokenLogprob, ...] | None = None,
    ) -> bytes:
        choice = {
            "index": chunk.choice,
            "delta": delta,
            "logprobs": _logprobs_json(logprobs),
            "finish_reason": finish,
        }
        return self._before + _encode(choice) + self._after

    def _call(self, call: ToolDelta) -> _Json:
        function: _Json = {"arguments": call.arguments}
        if call.name is not None:
            function = {"name": call.name, "arguments": call.arguments}
        if self._legacy:
            return {"function_call": function}
        if call.id is None:  # later pieces must omit the identity: null breaks both SDKs
            return {"tool_calls": [{"index": call.index, "function": function}]}
        identity = {"index": call.index, "id": call.id, "type": "function"}
        return {"tool_calls": [identity | {"function": function}]}


class _Choice:
    """One choice of a whole answer, growing chunk by chunk."""

    def __init__(self) -> None:
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._refusal: list[str] = []
        self._calls: dict[int, _Json] = {}
        self._logprobs: list[TokenLogprob] | None = None
        self._finish: str | None = None

    def add(self, chunk: Chunk) -> None:
        self._content.append(chunk.content)
        self._reasoning.append(chunk.reasoning)
        self._refusal.append(chunk.refusal)
        self._finish = chunk.finish or self._finish
        if chunk.logprobs is not None:
            self._logprobs = [*(self._logprobs or ()), *chunk.logprobs]
        for delta in chunk.tool_calls:
            call = self._calls.setdefault(
                delta.index, {"id": delta.id, "name": delta.name, "arguments": ""}
            )
            call["arguments"] = f"{call['arguments']}{delta.arguments}"

    def json(self, index: int, legacy: bool) -> _Json:
        return {
            "index": index,
            "message": self._message(legacy),
            "logprobs": _logprobs_json(self._logprobs),
            "finish_reason": _finish(self._finish, legacy),
        }

    def _message(self, legacy: bool) -> _Json:
        content, reasoning = "".join(self._content), "".join(self._reasoning)
        message: _Json = {
            "role": "assistant",
            "content": content or (None if self._calls else ""),
            "refusal": "".join(self._refusal) or None,
            "annotations": [],
        }
        if reasoning:
            message |= {"reasoning_content": reasoning, "reasoning": reasoning}
        calls = [self._calls[index] for index in sorted(self._calls)]
        functions = [{"name": call["name"], "arguments": call["arguments"]} for call in calls]
        if calls and legacy:
            message["function_call"] = functions[0]
        elif calls:
            message["tool_calls"] = [
                {"id": call["id"], "type": "function", "function": function}
                for call, function in zip(calls, functions, strict=True)
            ]
        return message


def _finish(reason: str | None, legacy: bool) -> str | None:
    return "function_call" if legacy and reason == "tool_calls" else reason


def _logprobs_json(tokens: Iterable[TokenLogprob] | None) -> _Json | None:
    return None if tokens is None else {"content": list(tokens), "refusal": None}
