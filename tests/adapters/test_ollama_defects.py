"""Defects of other translations to Ollama, in what they send: each has a test that it would fail.

Of the forty that were found by reading and running Ollama's own /v1 and the gateways in use,
those of the answers stand in `test_ollama_defects_of_answers`.
"""

from __future__ import annotations

import msgspec
import pytest

from adapters.dialect import Facts, Target
from tests.adapters.ollama_calls import (
    TOOL,
    Json,
    asked,
    body_of,
    encoded,
    messages_of,
    options_of,
    refused,
    sent,
)


def test_the_newer_name_of_the_limit_limits() -> None:
    """Defect 1: max_completion_tokens ignored, so the answer is unbounded."""
    assert options_of(asked(max_completion_tokens=5)) == {"num_predict": 5}


def test_a_choice_of_tools_is_obeyed() -> None:
    """Defect 2: tool_choice none still calls tools, and a forced choice is ignored."""
    assert "tools" not in sent(asked(tools=[TOOL], tool_choice="none"))
    forced = sent(asked(tools=[TOOL], tool_choice="required"))
    schema = msgspec.convert(forced["format"], Json)
    properties = msgspec.convert(schema["properties"], Json)
    assert properties["name"] == {"type": "string", "enum": ["now"]}


def test_parts_of_content_are_one_message() -> None:
    """Defect 5: content parts split into several messages of the same role."""
    parts = [{"type": "text", "text": "One"}, {"type": "text", "text": "Two"}]
    (message,) = messages_of(asked(messages=[{"role": "user", "content": parts}]))
    assert {"role": "user", "content": "One\nTwo"} == message


def test_results_and_reasoning_survive_content_in_parts() -> None:
    """Defect 6: a result in parts loses its call and name, an assistant's parts their reasoning."""
    parts = [{"type": "text", "text": "x"}]
    call = {"id": "c1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    _, assistant, result = messages_of(
        asked(
            messages=[
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": parts, "reasoning": "r", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "content": parts},
            ]
        )
    )
    assert "r" == assistant["thinking"]
    assert {"role": "tool", "content": "x", "tool_name": "now", "tool_call_id": "c1"} == result


def test_a_developer_is_a_system() -> None:
    """Defect 7: the role developer goes as it is, and most templates drop it."""
    (message,) = messages_of(asked(messages=[{"role": "developer", "content": "Be brief."}]))
    assert {"role": "system", "content": "Be brief."} == message


def test_empty_arguments_are_an_empty_object() -> None:
    """Defect 8: tool arguments "" are an error."""
    call = {"id": "c1", "type": "function", "function": {"name": "now", "arguments": ""}}
    (message,) = messages_of(asked(messages=[{"role": "assistant", "tool_calls": [call]}]))
    (native,) = msgspec.convert(message["tool_calls"], list[Json])
    assert {"index": 0, "name": "now", "arguments": {}} == native["function"]


def test_an_assistant_who_said_nothing_is_no_error() -> None:
    """Defect 9: an assistant's content null without tool calls is an error."""
    (message,) = messages_of(asked(messages=[{"role": "assistant", "content": None}]))
    assert {"role": "assistant", "content": ""} == message


@pytest.mark.parametrize(
    "url",
    [
        "data:image/gif;base64,aGVs",
        "data:image/png;charset=utf-8;base64,aGVs",
        "DATA:IMAGE/PNG;BASE64,aGVs",
    ],
)
def test_every_spelling_of_an_image_is_read(url: str) -> None:
    """Defect 10: gif, parameters of the type and upper case are errors."""
    part = {"type": "image_url", "image_url": {"url": url}}
    (message,) = messages_of(asked(messages=[{"role": "user", "content": [part]}]))
    assert ["aGVs"] == message["images"]


def test_a_frequency_penalty_is_not_a_repeat_penalty() -> None:
    """Defect 11: frequency_penalty becomes repeat_penalty, so that 0.5 rewards repetition."""
    options = options_of(asked(frequency_penalty=0.5))
    assert 0.5 == options["frequency_penalty"]
    assert "repeat_penalty" not in options


def test_presence_penalty_log_probabilities_and_n_are_served() -> None:
    """Defect 12: presence_penalty, logprobs and n are refused or dropped."""
    calls = encoded(asked(presence_penalty=1.5, logprobs=True, top_logprobs=3, n=2, seed=7))
    bodies = [body_of(call) for call in calls]
    assert [True, True] == [each["logprobs"] for each in bodies]
    assert [3, 3] == [each["top_logprobs"] for each in bodies]
    expected = {"presence_penalty": 1.5, "repeat_last_n": 131072}
    assert [expected | {"seed": 7}, expected | {"seed": 8}] == [each["options"] for each in bodies]


def test_a_stop_is_a_list() -> None:
    """Defect 17: a stop string goes as a string, which the server answers with 500."""
    assert {"stop": ["END"]} == options_of(asked(stop="END"))


def test_the_model_file_decides_what_the_caller_does_not() -> None:
    """Defect 31: temperature and top_p are forced to 1, whatever the model file says."""
    assert "options" not in sent(asked())


def test_what_cannot_be_honoured_is_refused() -> None:
    """Defect 32: stops that are no strings are skipped; a format without a schema is none."""
    stop = refused(asked(stop=["a", 5]))
    assert (400, "stop[1]") == (stop.status, stop.param)
    wanted = {"type": "json_schema", "json_schema": {"name": "x"}}
    schema = refused(asked(response_format=wanted))
    assert (400, "response_format.json_schema") == (schema.status, schema.param)


def test_penalties_see_the_whole_text() -> None:
    """Defect 33: penalties look at the last 64 tokens."""
    assert 131072 == options_of(asked(presence_penalty=1))["repeat_last_n"]


def test_every_seed_gives_the_same_answer_twice() -> None:
    """Defect 34: the seed -1 means another one each time."""
    assert {"seed": 0x7FFFFFFF} == options_of(asked(seed=-1))


def test_schemas_of_tools_lose_nothing() -> None:
    """Defect 35: $ref, const and oneOf are lost in silence."""
    schema = {
        "type": "object",
        "$defs": {"City": {"type": "string"}},
        "properties": {
            "city": {"$ref": "#/$defs/City"},
            "unit": {"const": "C"},
            "day": {"oneOf": [{"type": "string"}, {"type": "integer"}]},
        },
    }
    function = {"name": "f", "parameters": schema}
    (tool,) = msgspec.convert(
        sent(asked(tools=[{"type": "function", "function": function}]))["tools"], list[Json]
    )
    described = msgspec.convert(tool["function"], Json)
    parameters = msgspec.convert(described["parameters"], Json)
    assert {
        "city": {"type": "string"},
        "unit": {"enum": ["C"]},
        "day": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    } == parameters["properties"]


def test_options_and_keep_alive_can_be_reached() -> None:
    """Defect 36: neither has a way in."""
    operator = Target("up", "m", options={"num_ctx": 8192}, keep_alive="10m", facts=Facts())
    request = sent(asked(options={"mirostat": 2}, top_k=3), operator)
    assert {"num_ctx": 8192, "mirostat": 2, "top_k": 3} == request["options"]
    assert "10m" == request["keep_alive"]
    assert "1h" == sent(asked(keep_alive="1h"), operator)["keep_alive"]


@pytest.mark.parametrize(
    ("effort", "think"),
    [("none", False), ("minimal", "low"), ("low", "low"), ("medium", "medium"), ("high", "high")],
)
def test_every_effort_has_its_level(effort: str, think: object) -> None:
    """Defect 38: minimal switches thinking off, and the levels are flattened to true."""
    assert think == sent(asked(reasoning_effort=effort))["think"]
