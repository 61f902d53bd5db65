"""Token ids as text: by which vocabulary, and what is no token."""

from __future__ import annotations

import json
import sys

import pytest

from adapters.wire import Input
from facade.errors import BadRequest
from facade.faces import requests
from facade.tokens import readable
from facade.waits import result_of

THUMB = [9468, 239, 235]  # one character


async def text(given: object, model: str = "nomic-embed-text") -> Input | None:
    """What a text-only upstream is sent of a prompt."""
    body = json.dumps({"model": model, "prompt": given}).encode()
    call = requests.completion(body)
    step = readable(call, "prompt", lambda call: call.request.prompt, takes_tokens=False)
    return await result_of(step)


@pytest.mark.parametrize(
    "model",
    [
        "nomic-embed-text",
        "ollama/nomic-embed-text:latest",
        "text-embedding-3-small",
        "text-embedding-ada-002",
        "gpt-4",
        "gpt-4-turbo",
        "gpt-3.5-turbo",
        "my-gpt-4o",
        "olmo",
        "o1x",
        "llama3.1",
    ],
)
async def test_most_models_are_asked_in_tokens_of_cl100k(model: str) -> None:
    assert ["hello world"] == await text([15339, 1917], model)


@pytest.mark.parametrize(
    "model",
    [
        "gpt-4o",
        "openai/gpt-4o-mini",
        "chatgpt-4o-latest",
        "gpt-4.1",
        "gpt-4.1-nano",
        "gpt-4.5-preview",
        "gpt-5",
        "a/b/gpt-5-mini",
        "gpt-oss:20b",
        "o1",
        "o3-mini",
        "o4-mini-2025-04-16",
    ],
)
async def test_newer_models_are_asked_in_tokens_of_o200k(model: str) -> None:
    assert ["hello world"] == await text([24912, 2375], model)


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        ("hello", "hello"),
        (["a", "b"], ["a", "b"]),
        ([], []),
        (None, None),
        ([15339], ["hello"]),
        ([[15339], [1917]], ["hello", " world"]),
        (THUMB, ["\U0001f44d"]),
        ([THUMB[:2], THUMB[2:]], ["\ufffd", "\ufffd"]),
        ([0, 100255], ["! Conveyor"]),
        ([[15339]] * 2048, ["hello"] * 2048),
        ([15339] * 5000, ["hello" * 5000]),
    ],
)
async def test_what_is_sent_instead(given: object, texts: object) -> None:
    assert texts == await text(given)


@pytest.mark.parametrize(
    ("model", "given", "param", "code"),
    [
        ("m", [-1], "prompt", "invalid_value"),
        ("m", [15339, 100256], "prompt", "invalid_value"),  # stands for nothing
        ("m", [100257], "prompt", "invalid_value"),  # special: the end of a text
        ("m", [[15339], [100276]], "prompt[1]", "invalid_value"),
        ("m", [200000], "prompt", "invalid_value"),
        ("m", [2**63], "prompt", "invalid_value"),
        ("gpt-4o", [199998], "prompt", "invalid_value"),
        ("gpt-4o", [199999], "prompt", "invalid_value"),
        ("gpt-4o", [200018], "prompt", "invalid_value"),
        ("m", [[15339], []], "prompt[1]", "invalid_value"),
        ("m", ["a", [15339]], "prompt[0]", "invalid_type"),
        ("m", [[15339], "a"], "prompt[1]", "invalid_type"),
        ("m", [15339, [15339]], "prompt[0]", "invalid_type"),
        ("m", [15339, "a"], "prompt[0]", "invalid_type"),
        ("m", [[15339]] * 2049, "prompt", "invalid_value"),
    ],
)
async def test_what_is_no_text_is_refused(model: str, given: object, param: str, code: str) -> None:
    with pytest.raises(BadRequest) as refused:
        await text(given, model)
    assert param == refused.value.param
    assert code == refused.value.code


async def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bpe_openai", None)
    with pytest.raises(BadRequest, match=r"`tokens` extra \(`pip install bpe-openai`\)") as refused:
        await text([15339])
    assert "prompt" == refused.value.param
    assert "hello" == await text("hello")


@pytest.mark.parametrize("given", [[["x"]], [[True]], [[1.5]], [[[1]]], [None], {"a": 1}])
async def test_what_is_neither_text_nor_ids_is_refused_before(given: object) -> None:
    with pytest.raises(BadRequest):
        await text(given)
