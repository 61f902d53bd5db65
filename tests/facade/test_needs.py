"""What a request surely needs of a model."""

from __future__ import annotations

import json
from typing import Any

import pytest

from facade import needs
from facade.faces import requests
from facade.needs import NONE, Needs

TOOL = {"type": "function", "function": {"name": "f"}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 8000}}

SEEN = [{"role": "user", "content": [IMAGE]}]


def of_chat(text: str = "Hi", **more: Any) -> Needs:  # noqa: ANN401
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **more}
    return needs.of_chat(requests.chat(json.dumps(body).encode()))


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ({}, set()),
        ({"tools": []}, set()),
        ({"tools": [TOOL]}, {"tools"}),
        ({"tools": [TOOL], "tool_choice": "auto"}, {"tools"}),
        ({"tools": [TOOL], "tool_choice": "none"}, set()),
        ({"tools": [TOOL], "tool_choice": "required"}, set()),  # which is emulated
        ({"functions": [{"name": "f"}]}, {"tools"}),
        ({"functions": [{"name": "f"}], "function_call": {"name": "f"}}, set()),
        ({"messages": SEEN}, {"vision"}),
        ({"messages": SEEN, "tools": [TOOL]}, {"vision", "tools"}),
    ],
)
def test_a_chat_needs_what_it_carries(more: dict[str, Any], wanted: set[str]) -> None:
    assert wanted == of_chat(**more).capabilities


def test_a_short_chat_without_tools_needs_nothing_at_all() -> None:
    assert of_chat("a" * 1900) is NONE


@pytest.mark.parametrize("text", ["a" * 8000, "\u00e9" * 4000, "\U0001f600" * 2000])
def test_a_prompt_has_at_least_an_eighth_of_its_bytes_in_tokens(text: str) -> None:
    assert 1000 == of_chat(text).tokens


def test_an_image_and_a_schema_are_no_text() -> None:
    assert 0 == of_chat(messages=[{"role": "user", "content": [IMAGE]}]).tokens
    tool = {"type": "function", "function": {"name": "f", "description": "d" * 9000}}
    assert 0 == of_chat(tools=[tool]).tokens


@pytest.mark.parametrize(
    ("given", "tokens"),
    [
        ("a" * 8000, 1000),
        (["a" * 8000] * 3, 1000),  # each has the window for itself
        (["a" * 80, "b" * 16_000], 2000),
        ([1] * 3000, 3000),
        ([[1] * 3000, [2] * 4000], 4000),
        ("a" * 1000, 0),
    ],
)
def test_the_longest_of_several_inputs_counts(given: object, tokens: int) -> None:
    body = json.dumps({"model": "m", "input": given}).encode()
    assert Needs(frozenset({"embedding"}), tokens) == needs.of_embedding(requests.embedding(body))
    body = json.dumps({"model": "m", "prompt": given}).encode()
    assert tokens == needs.of_completion(requests.completion(body)).tokens


def test_a_completion_without_a_prompt_needs_nothing() -> None:
    call = requests.completion(b'{"model":"m"' + b" " * 3000 + b"}")
    assert 0 == needs.of_completion(call).tokens
