"""What a request is taken to need before anybody counted its tokens."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.wire import ChatRequest, Input
from facade.limits.buckets import Tokens
from facade.limits.estimates import IMAGE, Answers, Estimate, Size, of_input, of_messages


def chat(**fields: Any) -> ChatRequest:  # noqa: ANN401 - JSON
    return msgspec.json.decode(json.dumps({"model": "m", **fields}), type=ChatRequest)


def said(content: object) -> list[object]:
    return [{"role": "user", "content": content}]


@pytest.mark.parametrize(
    ("content", "likely", "certain"),
    [
        ("", 0, 0),
        (None, 0, 0),
        ("x", 1, 0),
        ("x" * 24, 8, 3),
        ("\u00e9" * 12, 8, 3),
        ("\U0001f600" * 6, 8, 3),
        ([{"type": "text", "text": "x" * 24}], 8, 3),
        ([{"type": "refusal", "refusal": "x" * 24}], 8, 3),
        ([{"type": "image_url", "image_url": {"url": "data:," + "x" * 9999}}], IMAGE, 0),
        ([{"type": "input_audio", "input_audio": {"data": "x" * 9999}}], IMAGE, 0),
        ([{"type": "file", "file": {"file_data": "x" * 9999}}], IMAGE, 0),
    ],
)
def test_text_is_counted_in_bytes_and_media_by_the_piece(
    content: object, likely: int, certain: int
) -> None:
    assert Estimate(likely, certain) == of_messages(chat(messages=said(content)))


def test_calls_in_the_history_tools_and_schemas_are_part_of_the_prompt() -> None:
    function = {"name": "look", "description": "x" * 20, "parameters": {"type": "object"}}
    plain = of_messages(chat(messages=said("x" * 24)))
    for fields in (
        {"tools": [{"type": "function", "function": function}, {"type": "web"}]},
        {"functions": [function]},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": function}}},
    ):
        full = of_messages(chat(messages=said("x" * 24), **fields))
        assert full.likely > plain.likely + 12
        assert full.certain == plain.certain, "an upstream may shorten them"
    call = {"name": "look", "arguments": "x" * 20}
    for message in (
        {"role": "assistant", "tool_calls": [{"id": "1", "function": call}]},
        {"role": "assistant", "function_call": call},
    ):
        assert Estimate(8, 3) == of_messages(chat(messages=[message]))


@pytest.mark.parametrize(
    ("given", "estimate"),
    [
        (None, Estimate(0, 0)),
        ([], Estimate(0, 0)),
        ("x" * 24, Estimate(8, 3)),
        (["x" * 12, "x" * 12], Estimate(8, 3)),
        ([1, 2, 3], Estimate(3, 3)),
        ([[1, 2], [3]], Estimate(3, 3)),
    ],
)
def test_token_ids_count_themselves(given: Input | None, estimate: Estimate) -> None:
    assert estimate == of_input(given)


def test_a_bound_on_the_answer_is_reserved_whole_for_each_choice() -> None:
    assert Tokens(200, 230, 230) == Size(Estimate(30, 11), 100, 2).reserve(9, 1)
    assert Tokens(11, 30, 30) == Size(Estimate(30, 11), 0).reserve(9, 1)


@pytest.mark.parametrize("answer", [None, 0])
def test_a_reserve_is_never_nothing(answer: int | None) -> None:
    assert Tokens(0, 1, 1, 3) == Size(Estimate(0, 0), answer).reserve(0, 3)


def test_without_a_bound_only_the_prompt_has_to_fit_tensorzero_3648() -> None:
    assert Tokens(11, 30, 48) == Size(Estimate(30, 11), None, 2).reserve(9, 1)


def test_what_is_expected_of_a_model_is_the_95th_percentile_of_its_last_answers() -> None:
    answers = Answers()
    assert 512 == answers.expected("m")
    for tokens in range(1, 41):
        answers.note("m", tokens)
    assert 38 == answers.expected("m")
    for _ in range(64):
        answers.note("m", 7)
    assert 7 == answers.expected("m")
    assert 512 == answers.expected("other")


@given(st.lists(st.integers(0, 99), min_size=1, max_size=200))
def test_of_any_answers_the_last_64_count(tokens: list[int]) -> None:
    answers = Answers()
    for each in tokens:
        answers.note("m", each)
    last = sorted(tokens[-64:])
    assert last[math.ceil(0.95 * len(last)) - 1] == answers.expected("m")


def test_of_many_models_those_heard_of_last_are_known_litellm_12685() -> None:
    answers = Answers()
    for number in range(257):
        answers.note("kept", 5)
        answers.note(f"m{number}", 5)
    assert (5, 512, 5) == tuple(map(answers.expected, ("kept", "m0", "m256")))
