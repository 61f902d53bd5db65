"""A caller's body goes upstream as it came, but for the model and that tokens are counted."""

from __future__ import annotations

import json

import pytest

from adapters.dialect import Target
from adapters.openai import OpenAI
from facade.faces import requests

MESSAGES = '"messages":[{"role":"user","content":"hi"}]'
TARGET = Target("there", "theirs")


def sent(body: str) -> bytes:
    (encoded,) = OpenAI().encode_chat(requests.chat(body.encode()), TARGET)
    return encoded.request.body


def test_bytes_that_are_not_the_models_stay_as_they_are() -> None:
    body = f'{{ "temperature" : 1.0, "model" :  "ours",{MESSAGES}, "x": 1e2 }}\n'
    assert body.replace('"model" :  "ours"', '"model":"theirs"') == sent(body).decode()


def test_a_stream_that_says_nothing_of_counts_asks_for_them_at_its_end() -> None:
    body = f'{{"model":"ours",{MESSAGES},"stream":true }} \n'
    counts = ',"stream_options":{"include_usage":true}}'
    assert f'{{"model":"theirs",{MESSAGES},"stream":true {counts}' == sent(body).decode()


@pytest.mark.parametrize(
    "said", ["null", "{}", '{"include_usage":false}', '{"include_usage":null,"x":[1]}']
)
@pytest.mark.parametrize("name", ["stream_options", "stream\\u005foptions", "\\u0073tream_options"])
def test_a_stream_that_wants_no_counts_is_counted_all_the_same(name: str, said: str) -> None:
    body = sent(f'{{"model":"ours","{name}":{said},{MESSAGES},"stream":true}}')
    options = json.loads(body)["stream_options"]
    assert (1, True) == (body.count(b"stream_options"), options.pop("include_usage"))
    kept = json.loads(said) or {}
    kept.pop("include_usage", None)
    assert kept == options


@pytest.mark.parametrize(
    "body",
    [
        f'{{"model":"ours",{MESSAGES},"metadata":{{"model":"x"}}}}',
        f'{{"metadata":{{"model":"x"}},"model":"ours",{MESSAGES}}}',
        f'{{"mod\\u0065l":"ours",{MESSAGES},"metadata":{{"model":"x"}}}}',
    ],
)
def test_only_the_model_of_the_request_itself_is_changed(body: str) -> None:
    said = json.loads(sent(body))
    assert ("theirs", "x") == (said["model"], said["metadata"]["model"])


@pytest.mark.parametrize(
    "twice",
    [
        '"model":"dear","model":"ours"',
        '"mod\\u0065l":"dear","model":"ours"',
        '"model":"dear","mo\\u0064el":"ours"',
    ],
)
def test_a_model_that_is_said_twice_is_said_once_however_it_is_spelled(twice: str) -> None:
    body = sent(f"{{{twice},{MESSAGES}}}")
    pairs = json.loads(body, object_pairs_hook=list)
    assert ["theirs"] == [value for name, value in pairs if name == "model"]


def test_a_model_in_escapes_is_replaced() -> None:
    said = json.loads(sent(f'{{"model":"o\\"rs",{MESSAGES}}}'))
    assert "theirs" == said["model"]
