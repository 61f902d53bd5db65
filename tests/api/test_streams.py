"""A stream to the letter: its head, its lines, and the order and the identity of its chunks."""

from __future__ import annotations

import json
from typing import Final

import pytest
from openai import AsyncOpenAI

from tests.api.asking import Answer, Json, ask, chat
from tests.api.serving import Facade
from tests.fake_upstream import Answer as Sent
from tests.fake_upstream import Reply, ToolCall, faults, sse

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"
TEXT: Final = "/v1/completions"
WITH_USAGE: Final = {"stream": True, "stream_options": {"include_usage": True}}
EVERYTHING: Final = Reply(
    "It is\r\ndata: [DONE]\n\n\u2028warm.",
    thinking="Hm.\n\n: so",
    tool_calls=(ToolCall("look", {"at": "it\n\n"}), ToolCall("ask")),
)


async def _streamed(facade: Facade, body: Json, path: str = CHAT) -> Answer:
    answer = await ask(facade, "POST", path, body | {"stream": True})
    assert (200, True) == (answer.status, answer.complete)
    return answer


def _choices(answer: Answer) -> list[Json]:
    return [choice for chunk in answer.chunks for choice in chunk["choices"]]


async def test_the_head_is_that_of_a_stream_that_nobody_buffers(facade: Facade, model: str) -> None:
    headers = dict((await _streamed(facade, chat(model))).headers)
    assert headers.pop("x-request-id").startswith("req_")
    assert {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache",
        "x-accel-buffering": "no",
        "transfer-encoding": "chunked",
        "x-facade-upstream": model.partition("/")[0],
        "x-facade-model": "llama3.1",
        "x-facade-attempts": "1",
    } == headers


async def test_every_line_is_data_whatever_the_model_says(
    facade: Facade, model: str, path: str
) -> None:
    facade.fake.script(path, EVERYTHING)
    answer = await _streamed(facade, chat(model))
    lines = answer.body.split(b"\n")
    assert {b""} == set(lines[1::2])
    assert all(line.startswith(b"data: ") for line in lines[:-1:2])
    assert [b"data: [DONE]", b"", b""] == lines[-3:]
    assert b"\r" not in answer.body
    texts = [choice["delta"].get("content") or "" for choice in _choices(answer)]
    assert EVERYTHING.text == "".join(texts)


async def test_the_chunks_have_one_identity_one_role_and_one_end(
    facade: Facade, model: str, path: str
) -> None:
    facade.fake.script(path, EVERYTHING)
    answer = await _streamed(facade, chat(model) | WITH_USAGE)
    names = ("id", "object", "created", "model", "system_fingerprint")
    assert 1 == len({tuple(chunk.get(name) for name in names) for chunk in answer.chunks})
    assert answer.chunks[0]["id"].startswith("chatcmpl-")
    assert "chat.completion.chunk" == answer.chunks[0]["object"]
    deltas = [choice["delta"] for choice in _choices(answer)]
    assert "assistant" == deltas[0]["role"]
    assert not any("role" in delta for delta in deltas[1:])
    finishes = [choice["finish_reason"] for choice in _choices(answer)]
    assert "tool_calls" == finishes[-1]
    assert {None} == set(finishes[:-1])
    assert {0} == {choice["index"] for choice in _choices(answer)}


async def test_thinking_comes_before_content_and_calls_come_last(
    facade: Facade, model: str, path: str
) -> None:
    facade.fake.script(path, EVERYTHING)
    answer = await _streamed(facade, chat(model))
    kinds = [
        kind
        for choice in _choices(answer)
        for kind in ("reasoning_content", "content", "tool_calls")
        if choice["delta"].get(kind)
    ]
    assert ["reasoning_content", "content", "tool_calls"] == list(dict.fromkeys(kinds))
    assert kinds == sorted(kinds, key=["reasoning_content", "content", "tool_calls"].index)


async def test_a_calls_identity_stands_in_its_first_piece_only(
    facade: Facade, model: str, path: str
) -> None:
    facade.fake.script(path, EVERYTHING)
    answer = await _streamed(facade, chat(model))
    pieces = [
        call for choice in _choices(answer) for call in choice["delta"].get("tool_calls") or ()
    ]
    heads = [piece for piece in pieces if "id" in piece]
    assert [
        (0, "call_fake0000", "function", "look"),
        (1, "call_fake0001", "function", "ask"),
    ] == [(head["index"], head["id"], head["type"], head["function"]["name"]) for head in heads]
    for piece in pieces:
        if "id" not in piece:
            assert {"index", "function"} == piece.keys()
            assert {"arguments"} == piece["function"].keys()
    said = ["", ""]
    for piece in pieces:
        said[piece["index"]] += piece["function"]["arguments"]
    assert [{"at": "it\n\n"}, {}] == [json.loads(text) for text in said]


@pytest.mark.parametrize("path", [CHAT, TEXT])
async def test_usage_comes_when_asked_last_and_alone(facade: Facade, model: str, path: str) -> None:
    body = chat(model) if path == CHAT else {"model": model, "prompt": "Hi"}
    *before, last = (await _streamed(facade, body | WITH_USAGE, path)).chunks
    assert [] == last["choices"]
    counts = {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}
    assert counts == last["usage"]
    assert before[0]["id"] == last["id"]
    assert all(chunk["choices"] for chunk in before)
    assert all("usage" in chunk and chunk["usage"] is None for chunk in before)


@pytest.mark.parametrize("path", [CHAT, TEXT])
@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_usage": None}])
async def test_usage_does_not_come_unasked(
    facade: Facade, model: str, path: str, options: Json | None
) -> None:
    body = chat(model) if path == CHAT else {"model": model, "prompt": "Hi"}
    answer = await _streamed(facade, body | {"stream_options": options}, path)
    assert [] == [chunk for chunk in answer.chunks if chunk.get("usage") or not chunk["choices"]]


async def test_a_completion_streams_text_under_one_identity(facade: Facade, model: str) -> None:
    answer = await _streamed(facade, {"model": model, "prompt": "Hi"}, TEXT)
    assert "You said: Hi" == "".join(choice["text"] for choice in _choices(answer))
    assert "stop" == _choices(answer)[-1]["finish_reason"]
    assert {"text_completion"} == {chunk["object"] for chunk in answer.chunks}
    (id_,) = {chunk["id"] for chunk in answer.chunks}
    assert id_.startswith("cmpl-")


async def test_after_a_failure_comes_one_error_and_nothing_else(facade: Facade, model: str) -> None:
    facade.fake.fault(faults.ErrorLine(2, "the model fell over"))
    answer = await ask(facade, "POST", CHAT, chat(model) | WITH_USAGE)
    *before, last = map(json.loads, answer.events)
    assert "the model fell over" == last["error"]["message"]
    assert not any("error" in chunk or chunk["usage"] for chunk in before)
    assert answer.complete, "the client shall not think that the network failed"


# -- several choices -----------------------------------------------------------------------


async def test_two_choices_over_ollama_are_two_calls_with_seeds_of_their_own(
    facade: Facade,
) -> None:
    for streamed in (False, True):
        facade.fake.reset()
        facade.fake.script("/api/chat", Reply("one"), Reply("two and"))
        body = chat("ollama/llama3.1", n=2, seed=7, stream=streamed)
        answer = await ask(facade, "POST", CHAT, body | (WITH_USAGE if streamed else {}))
        sent = facade.fake.requests_to("/api/chat")
        assert [7, 8] == [request.json["options"]["seed"] for request in sent]
        usage = answer.chunks[-1]["usage"] if streamed else answer.json["usage"]
        assert {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4} == usage
        if not streamed:
            choices = answer.json["choices"]
            assert [(0, "one", "stop"), (1, "two and", "stop")] == [
                (each["index"], each["message"]["content"], each["finish_reason"])
                for each in choices
            ]


async def test_choices_are_told_apart_in_a_stream(facade: Facade, model: str, path: str) -> None:
    facade.fake.script(path, *_two_choices(path))
    answer = await _streamed(facade, chat(model, n=2))
    said = ["", ""]
    ends: list[list[str]] = [[], []]
    for choice in _choices(answer):
        said[choice["index"]] += choice["delta"].get("content") or ""
        ends[choice["index"]] += [choice["finish_reason"]] if choice["finish_reason"] else []
    assert (["one", "two"], [["stop"], ["stop"]]) == (said, ends)
    roles = [choice["index"] for choice in _choices(answer) if "role" in choice["delta"]]
    assert [0, 1] == sorted(roles)
    assert 1 == len({chunk["id"] for chunk in answer.chunks})


def _two_choices(path: str) -> list[Sent | Reply]:
    if path == "/api/chat":
        return [Reply("one"), Reply("two")]

    def event(index: int, finish: str | None = None, **delta: str) -> Json:
        choice = {"index": index, "delta": delta, "finish_reason": finish}
        head = {"id": "chatcmpl-1", "created": 1, "object": "chat.completion.chunk", "model": "m"}
        return head | {"choices": [choice]}

    order = [event(1, role="assistant"), event(0, role="assistant", content="o")]
    order += [event(1, content="two"), event(0, content="ne"), event(0, "stop"), event(1, "stop")]
    return [sse(*order)]


async def test_the_second_choice_failing_fails_the_answer(facade: Facade) -> None:
    for streamed in (False, True):
        facade.fake.reset()
        facade.fake.script("/api/chat", Reply("one"))
        facade.fake.script("/api/chat", faults.Status(503).on(sse(), "/api/chat"))
        body = chat("ollama/llama3.1", n=2, stream=streamed)
        answer = await ask(facade, "POST", CHAT, body)
        if streamed:
            assert "server_overloaded" == json.loads(answer.events[-1])["error"]["code"]
        else:
            assert (503, "server_overloaded") == (answer.status, answer.error["code"])


async def test_the_sdk_puts_a_stream_together(sdk: AsyncOpenAI, facade: Facade, model: str) -> None:
    path = "/api/chat" if model.startswith("ollama") else CHAT
    facade.fake.script(path, EVERYTHING)
    async with sdk.chat.completions.stream(
        **chat(model), stream_options={"include_usage": True}
    ) as stream:
        final = await stream.get_final_completion()
    message = final.choices[0].message
    assert ("assistant", EVERYTHING.text) == (message.role, message.content)
    assert [("look", '{"at":"it\\n\\n"}'), ("ask", "{}")] == [
        (call.function.name, call.function.arguments) for call in message.tool_calls or ()
    ]
    assert final.usage is not None
    assert EVERYTHING.tokens == final.usage.completion_tokens


# -- provenance ----------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
async def test_every_answer_says_where_it_is_from(
    facade: Facade, dialect: str, streamed: bool
) -> None:
    good = await ask(facade, "POST", CHAT, chat(f"{dialect}/llama3.1:latest", stream=streamed))
    facade.fake.fault(faults.Status(500))
    bad = await ask(facade, "POST", CHAT, chat(f"{dialect}/llama3.1:latest", stream=streamed))
    for answer in (good, bad):
        assert [dialect, "llama3.1:latest", "1"] == [
            answer.headers[f"x-facade-{name}"] for name in ("upstream", "model", "attempts")
        ]
        assert "x-facade-warning" not in answer.headers


async def test_what_could_not_be_honoured_is_a_warning(facade: Facade) -> None:
    extra = {"options": {"num_ctx": 9, "top_k": 1}, "store": True, "service_tier": "flex"}
    for streamed in (False, True):
        answer = await ask(facade, "POST", CHAT, chat("ollama/llama3.1", stream=streamed) | extra)
        assert (
            "store is ignored: nothing is kept; service_tier is ignored: there is one; "
            "option num_ctx is the operator's: ignored"
        ) == answer.headers["x-facade-warning"]
