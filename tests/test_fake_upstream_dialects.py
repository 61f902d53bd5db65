"""Left to itself the fake upstream is a small polite server of each dialect."""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fake_upstream import FakeUpstream, Model, Reply, ToolCall, running
from tests.plain_client import CHAT, connect, once

OPENAI = "/v1/chat/completions"
CALLS = Reply(tool_calls=(ToolCall("f", {"a": 1}, "call_1"), ToolCall("g")))


@pytest.fixture
def fake() -> Iterator[FakeUpstream]:
    with running() as fake:
        yield fake


def told(fake: FakeUpstream, path: str, **content: object) -> Any:  # noqa: ANN401 - any JSON
    status, body = once(fake, path, content)
    assert 200 == status, body
    return json.loads(body)


def got(fake: FakeUpstream, path: str) -> Any:  # noqa: ANN401 - any JSON
    return json.loads(once(fake, path, method="GET")[1])


def lines(fake: FakeUpstream, path: str = "/api/chat", **content: object) -> list[Any]:
    status, body = once(fake, path, CHAT | content)
    assert 200 == status, body
    return [json.loads(line) for line in body.splitlines()]


def chunks(fake: FakeUpstream, path: str = OPENAI, **content: object) -> list[Any]:
    """The events of a stream; its [DONE] is checked and dropped."""
    _, body = once(fake, path, CHAT | {"stream": True} | content)
    *events, done, rest = body.decode().split("\n\n")
    assert ("data: [DONE]", "") == (done, rest)
    return [json.loads(event.removeprefix("data: ")) for event in events]


def refused(fake: FakeUpstream, path: str, **content: object) -> tuple[int, Any]:
    status, body = once(fake, path, content)
    return status, json.loads(body)["error"]


def test_a_chat_is_lines_of_words_of_which_the_last_is_done(fake: FakeUpstream) -> None:
    *parts, last = lines(fake)
    assert ["You", " said:", " Hi"] == [part["message"]["content"] for part in parts]
    assert [False] * 3 == [part["done"] for part in parts]
    assert {"role": "assistant", "content": ""} == last["message"]
    assert (True, "stop", 1, 3) == (
        last["done"],
        last["done_reason"],
        last["prompt_eval_count"],
        last["eval_count"],
    )


def test_a_chat_may_be_whole(fake: FakeUpstream) -> None:
    (whole,) = lines(fake, stream=False)
    assert {"role": "assistant", "content": "You said: Hi"} == whole["message"]
    assert whole["done"]


def test_a_limit_cuts_the_words(fake: FakeUpstream) -> None:
    first, last = lines(fake, options={"num_predict": 1})
    assert ("You", "length", 1) == (
        first["message"]["content"],
        last["done_reason"],
        last["eval_count"],
    )


def test_a_model_that_thinks_does_unless_told_not_to(fake: FakeUpstream) -> None:
    thinking = [line["message"].get("thinking", "") for line in lines(fake, model="qwen3")]
    assert "They want an answer." == "".join(thinking)
    still = lines(fake, model="qwen3", think=False)
    assert [] == [line for line in still if "thinking" in line["message"]]


def test_tool_calls_come_in_lines_of_their_own(fake: FakeUpstream) -> None:
    fake.script("/api/chat", CALLS)
    first, second, _ = lines(fake)
    assert [
        {"id": "call_1", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}}
    ] == first["message"]["tool_calls"]
    assert [
        {"id": "call_fake0001", "function": {"index": 1, "name": "g", "arguments": {}}}
    ] == second["message"]["tool_calls"]


def test_a_generation_has_a_response_instead_of_a_message(fake: FakeUpstream) -> None:
    *parts, last = lines(fake, "/api/generate", model="qwen3", prompt="Hi")
    assert "They want an answer." == "".join(part.get("thinking", "") for part in parts)
    assert "You said: Hi" == "".join(part["response"] for part in parts)
    assert ("", True) == (last["response"], last["done"])
    whole = told(fake, "/api/generate", model="llama3.1", prompt="Hi", stream=False)
    assert ("You said: Hi", True) == (whole["response"], whole["done"])


@pytest.mark.parametrize(
    ("path", "content", "status", "message"),
    [
        ("/api/chat", {"model": "x"}, 404, "model 'x' not found"),
        ("/api/show", {"model": "x"}, 404, "model 'x' not found"),
        ("/api/embeddings", {"model": "x"}, 404, "model 'x' not found"),
        ("/api/embed", {"model": "x"}, 404, 'model "x" not found, try pulling it first'),
        ("/api/embed", {"model": "nomic-embed-text", "input": [1]}, 400, "invalid input type"),
        ("/api/chat", {"model": "llava", "think": True}, 400, '"llava" does not support thinking'),
        (
            "/api/chat",
            {"model": "llava", "tools": [{}]},
            400,
            "registry.ollama.ai/library/llava:latest does not support tools",
        ),
        (
            "/api/chat",
            {"model": "nomic-embed-text"},
            400,
            '"nomic-embed-text" does not support chat',
        ),
        (
            "/api/chat",
            {"model": "llama3.1", "messages": "Hi"},
            400,
            "Expected `array | null`, got `str` - at `$.messages`",
        ),
    ],
)
def test_what_ollama_refuses(
    fake: FakeUpstream, path: str, content: dict[str, object], status: int, message: str
) -> None:
    assert (status, message) == refused(fake, path, **content)


def test_embeddings_are_unit_vectors_of_their_texts(fake: FakeUpstream) -> None:
    one, two, again = told(
        fake, "/api/embed", model="nomic-embed-text", input=["a cat", "a dog", "a cat"]
    )["embeddings"]
    assert one == again != two
    assert 768 == len(one)
    assert math.isclose(1.0, math.hypot(*one), rel_tol=1e-6)
    alone = told(fake, "/api/embeddings", model="nomic-embed-text", prompt="a cat")
    assert {"embedding": one} == alone


@pytest.mark.parametrize(("asked", "given"), [(8, 8), (9999, 768), (None, 768)])
def test_dimensions_beyond_the_models_own_are_ignored(
    fake: FakeUpstream, asked: int | None, given: int
) -> None:
    reply = told(fake, "/api/embed", model="nomic-embed-text", input="a", dimensions=asked)
    assert [given] == [len(vector) for vector in reply["embeddings"]]


def test_nothing_to_embed_is_no_embedding(fake: FakeUpstream) -> None:
    assert [] == told(fake, "/api/embed", model="nomic-embed-text", input="")["embeddings"]


def test_the_listing_describes_the_models_it_was_given() -> None:
    with running(FakeUpstream([Model("mine:1b", ("completion",), context_length=512)])) as fake:
        assert ["mine:1b"] == [model["name"] for model in got(fake, "/api/tags")["models"]]
        shown = told(fake, "/api/show", model="mine:1b")
        assert ["completion"] == shown["capabilities"]
        assert 512 == shown["model_info"]["llama.context_length"]


def test_a_chat_without_messages_loads_and_unloads(fake: FakeUpstream) -> None:
    def loaded() -> set[str]:
        return {model["name"] for model in got(fake, "/api/ps")["models"]}

    assert set(fake.models.listed) == loaded()
    unloading = told(fake, "/api/chat", model="qwen3", keep_alive=0)
    assert ("unload", False) == (unloading["done_reason"], "qwen3:latest" in loaded())
    loading = told(fake, "/api/generate", model="qwen3")
    assert ("load", "") == (loading["done_reason"], loading["response"])
    assert "qwen3:latest" in loaded()


def test_the_root_and_the_version_answer_as_ollama(fake: FakeUpstream) -> None:
    assert (200, b"Ollama is running") == once(fake, "/", method="GET")
    client = connect(fake)
    client.request("HEAD", "/")
    reply = client.getresponse()
    assert (200, "17", b"") == (reply.status, reply.headers["content-length"], reply.read())
    client.close()
    assert {"version": "0.24.0"} == got(fake, "/api/version")


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/api/chat", (405, b"405 method not allowed")),
        ("POST", "/api/tags", (405, b"405 method not allowed")),
        ("GET", "/api/none", (404, b"404 page not found")),
    ],
)
def test_a_wrong_method_or_path(
    fake: FakeUpstream, method: str, path: str, expected: tuple[int, bytes]
) -> None:
    assert expected == once(fake, path, method=method)


def test_an_openai_stream_is_role_content_finish(fake: FakeUpstream) -> None:
    choices = [chunk["choices"][0] for chunk in chunks(fake)]
    assert [
        ({"role": "assistant", "content": ""}, None),
        ({"content": "You"}, None),
        ({"content": " said:"}, None),
        ({"content": " Hi"}, None),
        ({}, "stop"),
    ] == [(choice["delta"], choice["finish_reason"]) for choice in choices]


def test_usage_comes_last_and_only_when_asked(fake: FakeUpstream) -> None:
    *others, last = chunks(fake, stream_options={"include_usage": True})
    assert [None] * 5 == [chunk["usage"] for chunk in others]
    assert [] == last["choices"]
    assert {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4} == last["usage"]
    assert [] == [chunk for chunk in chunks(fake) if "usage" in chunk]


def test_openai_tool_calls_say_who_they_are_and_then_their_arguments(fake: FakeUpstream) -> None:
    fake.script(OPENAI, CALLS)
    role, *parts, finish = (chunk["choices"][0] for chunk in chunks(fake))
    assert {"role": "assistant", "content": None} == role["delta"]
    calls = [part["delta"]["tool_calls"][0] for part in parts]
    assert ["call_1", None, "call_fake0001", None] == [call.get("id") for call in calls]
    assert [0, 0, 1, 1] == [call["index"] for call in calls]
    assert ["", '{"a":1}', "", "{}"] == [call["function"]["arguments"] for call in calls]
    assert "tool_calls" == finish["finish_reason"]


def test_an_openai_answer_may_be_whole(fake: FakeUpstream) -> None:
    fake.script(OPENAI, Reply("Hello there", thinking="Hm."), CALLS)
    choice = told(fake, OPENAI, **CHAT)["choices"][0]
    assert ("Hello there", "Hm.", "stop") == (
        choice["message"]["content"],
        choice["message"]["reasoning_content"],
        choice["finish_reason"],
    )
    choice = told(fake, OPENAI, **CHAT)["choices"][0]
    assert (None, "tool_calls") == (choice["message"]["content"], choice["finish_reason"])
    assert ["f", "g"] == [call["function"]["name"] for call in choice["message"]["tool_calls"]]


def test_an_openai_answer_reads_content_in_parts_and_keeps_to_a_limit(fake: FakeUpstream) -> None:
    parts = [{"type": "text", "text": "Hi"}, {"type": "text", "text": "you"}]
    messages = [{"role": "user", "content": parts}]
    whole = told(fake, OPENAI, model="llama3.1", messages=messages, max_tokens=3)
    choice = whole["choices"][0]
    assert ("You said: Hi", "length") == (choice["message"]["content"], choice["finish_reason"])


def test_completions_have_a_text(fake: FakeUpstream) -> None:
    whole = told(fake, "/v1/completions", model="llama3.1", prompt=["Hi", "you"])
    assert "You said: Hi you" == whole["choices"][0]["text"]
    streamed = chunks(fake, "/v1/completions", messages=None, prompt="Hi")
    assert "You said: Hi" == "".join(chunk["choices"][0]["text"] for chunk in streamed)


def test_openai_embeddings_are_the_same_in_base64(fake: FakeUpstream) -> None:
    content = {"model": "nomic-embed-text", "input": ["a", "b"], "dimensions": 4}
    floats = told(fake, "/v1/embeddings", **content)
    packed = told(fake, "/v1/embeddings", **content, encoding_format="base64")
    assert {"prompt_tokens": 2, "total_tokens": 2} == packed["usage"]
    for one, other in zip(floats["data"], packed["data"], strict=True):
        unpacked = struct.unpack("<4f", base64.b64decode(other["embedding"]))
        assert one["embedding"] == list(unpacked)


def test_openai_models_are_listed_and_told_one_by_one(fake: FakeUpstream) -> None:
    listed = got(fake, "/v1/models")["data"]
    assert list(fake.models.listed) == [model["id"] for model in listed]
    assert listed[0] == got(fake, "/v1/models/llama3.1:latest")


def test_openai_refuses_in_its_own_shape(fake: FakeUpstream) -> None:
    for path in (OPENAI, "/v1/completions", "/v1/embeddings"):
        status, error = refused(fake, path, model="x", messages=[])
        assert (404, "model_not_found", "model") == (status, error["code"], error["param"])
    assert 404 == once(fake, "/v1/models/x", method="GET")[0]
    status, error = refused(fake, OPENAI, model=1)
    assert (400, "Expected `str`, got `int` - at `$.model`") == (status, error["message"])
    status, error = refused(fake, "/v1/none")
    assert (404, "no /v1/none here") == (status, error["message"])
