"""However an answer is sliced it is the same; wherever it is cut it is never complete.

And what comes before the first content commits to nothing: a failure then has its own status.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Final

import pytest
from msgspec.structs import replace

from tests.api.asking import DONE, Answer, ask, chat, error_of, opened
from tests.api.serving import DIALECTS, Facade
from tests.fake_upstream import Pause, Reply, ToolCall, faults, ndjson, sse

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"
REPLY: Final = Reply(
    "Zwölf Boxkämpfer \U0001f94a jagen\u2028Viktor.",
    thinking="Was soll das?",
    tool_calls=(ToolCall("a", {"x": "ß"}), ToolCall("b")),
)
MODES: Final = [(dialect, streamed) for dialect in DIALECTS for streamed in (False, True)]


@pytest.mark.parametrize(("dialect", "streamed"), MODES)
async def test_an_answer_is_the_same_in_slices_of_any_size(
    dialect: str, streamed: bool, path: str, facade: Facade
) -> None:
    said = []
    for size in (0, 1, 2, 3, 5, 7):
        facade.fake.reset()
        facade.fake.script(path, REPLY)
        facade.fake.fault(faults.Slices(size))
        body = chat(f"{dialect}/llama3.1", stream=streamed)
        if streamed:
            body["stream_options"] = {"include_usage": True}
        answer = await ask(facade, "POST", CHAT, body)
        assert (200, True) == (answer.status, answer.complete)
        said.append(_comparable(answer, streamed))
    assert [said[0]] * 6 == said
    assert "Viktor." in said[0]


def _comparable(answer: Answer, streamed: bool) -> str:
    """The answer without its id, and without the names of calls that have it in them."""
    text = answer.body.decode()
    first = answer.chunks[0] if streamed else answer.json
    return text.replace(first["id"].rpartition("-")[2], "ID")


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize(("dialect", "streamed"), MODES)
async def test_an_answer_cut_at_any_byte_is_never_complete(
    dialect: str, streamed: bool, framing: str, path: str, facade: Facade
) -> None:
    """With `close` nothing but the dialect's own end marker tells a cut from an end."""
    fake = facade.fake
    await ask(facade, "POST", CHAT, chat(f"{dialect}/llama3.1", stream=streamed))
    request = fake.requests_to(path)[-1]
    fake.requests.remove(request)
    whole = fake._answer(request)
    wire = b"".join(piece for piece in whole.body if isinstance(piece, bytes))
    ends = "properly" if framing == "close" else "cut"
    for cut in _cuts(wire, wire.rindex(_end_marker(dialect, streamed, framing))):
        sent = replace(whole, body=(wire[:cut],), framing=framing, ends=ends)
        fake.script(path, sent)
        answer = await ask(facade, "POST", CHAT, chat(f"{dialect}/llama3.1", stream=streamed))
        _assert_failed(answer, wire[:cut])


def _end_marker(dialect: str, streamed: bool, framing: str) -> bytes:
    if dialect == "ollama" or not streamed:
        return b"}"
    # Some upstreams send no [DONE]: where the connection's end is none of the framing's, the
    # end of the choice is the answer's.
    return b'"finish_reason":"stop"' if framing == "close" else b"[DONE]"


def _cuts(wire: bytes, last: int) -> Iterator[int]:
    """Every place around the end of a line, and some between, up to the end marker."""
    near = {end + by for end, byte in enumerate(wire) if byte == 10 for by in (-1, 0, 1, 2)}
    return iter(sorted(cut for cut in {*near, *range(0, last, 37), last} if 0 <= cut <= last))


def _assert_failed(answer: Answer, upto: bytes) -> None:
    if answer.status != 200:
        assert (502, True) == (answer.status, answer.complete), upto
        assert answer.error["code"] in {"upstream_incomplete", "upstream_broken"}
        return
    events = answer.events
    assert DONE not in events, upto
    assert "upstream_incomplete" == error_of(json.loads(events[-1]))["code"], upto


# -- commit at first content ---------------------------------------------------------------

_DELTA: Final = {"index": 0, "finish_reason": None}
_ROLE: Final = {"id": "x", "choices": [_DELTA | {"delta": {"role": "assistant", "content": ""}}]}
_EMPTY: Final = {"id": "x", "choices": [_DELTA | {"delta": {}}]}
_BLANK: Final = {"id": "x", "choices": [_DELTA | {"delta": {"content": ""}}]}
_NONE: Final = {"id": "x", "choices": []}
_LINE: Final = {"model": "m", "created_at": "2026-01-01T00:00:00Z", "done": False}
_SILENT: Final = _LINE | {"message": {"role": "assistant", "content": ""}}
_FAILURE: Final = {"error": {"message": "out of luck", "type": "server_error"}}

EARLY: Final = {
    "a role": ("openai", [_ROLE]),
    "comments": ("openai", [b": ping\n\n", b":\n\n"]),
    "empty deltas": ("openai", [_ROLE, _EMPTY, _BLANK, _NONE]),
    "a line without text": ("ollama", [_SILENT, _SILENT]),
    "a line with nothing": ("ollama", [_LINE]),
    "blank lines": ("ollama", [b"\n\r\n\n"]),
}


@pytest.mark.parametrize(("dialect", "lines"), EARLY.values(), ids=EARLY.keys())
@pytest.mark.parametrize("ending", ["an error", "a cut", "an end"])
async def test_what_is_no_content_commits_to_nothing(
    dialect: str, lines: list[object], ending: str, path: str, facade: Facade
) -> None:
    if ending == "an error":
        lines = [*lines, {"error": "out of luck"} if dialect == "ollama" else _FAILURE]
    stream = ndjson(*lines) if dialect == "ollama" else sse(*lines, done=False)
    ends = "cut" if ending == "a cut" else "properly"
    facade.fake.script(path, replace(stream, ends=ends))
    answer = await ask(facade, "POST", CHAT, chat(f"{dialect}/llama3.1", stream=True))
    if ending == "an error":
        assert (500, "out of luck") == (answer.status, answer.error["message"])
    else:
        assert (502, "upstream_incomplete") == (answer.status, answer.error["code"])


async def test_done_without_a_choice_that_ended_is_no_answer(facade: Facade) -> None:
    for lines in ([], [_ROLE], [_ROLE, _BLANK]):
        facade.fake.script(CHAT, sse(*lines))
        answer = await ask(facade, "POST", CHAT, chat("openai/llama3.1", stream=True))
        assert (502, "upstream_incomplete") == (answer.status, answer.error["code"])


async def test_a_finished_answer_that_is_empty_is_an_answer(facade: Facade) -> None:
    end = _SILENT | {"done": True, "done_reason": "stop", "eval_count": 1, "prompt_eval_count": 1}
    finish = {"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    facade.fake.script("/api/chat", ndjson(end), ndjson(end))
    facade.fake.script(CHAT, sse(_ROLE, finish))
    for model in ("ollama/llama3.1", "openai/llama3.1"):
        answer = await ask(facade, "POST", CHAT, chat(model, stream=True))
        assert ["stop"] == [
            choice["finish_reason"]
            for chunk in answer.chunks
            for choice in chunk["choices"]
            if choice["finish_reason"]
        ]
    whole = (await ask(facade, "POST", CHAT, chat("ollama/llama3.1"))).json
    assert ("", "stop") == (
        whole["choices"][0]["message"]["content"],
        whole["choices"][0]["finish_reason"],
    )


async def test_nothing_is_written_before_the_first_content(facade: Facade, path: str) -> None:
    """The upstream's head and role have come, and the client has not one byte."""
    role = _SILENT if path == "/api/chat" else _ROLE
    word = _LINE | {"message": {"content": "Hi"}}
    delta = {"id": "x", "choices": [_DELTA | {"delta": {"content": "Hi"}}]}
    lines = (role, Pause(), word if path == "/api/chat" else delta, Pause())
    facade.fake.script(path, ndjson(*lines) if path == "/api/chat" else sse(*lines))
    model = "ollama/llama3.1" if path == "/api/chat" else "openai/llama3.1"
    async with opened(facade, "POST", CHAT, chat(model, stream=True)) as conversation:
        sent = await facade.fake.came(path=path)
        await facade.until(lambda: sent.written > 150)
        head = asyncio.create_task(conversation.head())
        assert not (await asyncio.wait({head}, timeout=0.05))[0]
        facade.fake.release()
        assert 200 == (await head)[0]
        while b'"Hi"' not in await conversation.piece():
            pass
