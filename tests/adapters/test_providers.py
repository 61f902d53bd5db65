"""The rows of the vendors: each can be used as it stands, and none changes what it need not."""

from __future__ import annotations

import json
import re
from collections import Counter
from urllib.parse import urlsplit

import pytest

from adapters.dialect import Completes, Embeds, ListsModels, Model, Target
from adapters.errors import Kind, UpstreamError
from adapters.openai import OpenAI
from adapters.openai_embeddings import signed_bytes
from adapters.openai_requests import _ESSENTIAL, _HINTS, _UNASKED
from adapters.patching import Inside, patched
from adapters.providers import PROVIDERS, Provider
from adapters.registry import DIALECTS, spoken
from adapters.wire import ChatCall, ChatRequest, Message, StreamOptions
from facade.faces import requests

ROWS = pytest.mark.parametrize(("name", "row"), PROVIDERS.items())
PLAIN = b' {"model":"m", "messages":[{"role":"user","content":"Hi"}], "temperature":0.10} '


# -- the table -----------------------------------------------------------------------------


@ROWS
def test_a_row_has_a_usable_address_or_none(name: str, row: Provider) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9.-]*", name)
    assert row.dialect in DIALECTS
    assert row.path == "" or re.fullmatch(r"(/[\w-]+)+", row.path)
    if row.base_url is None:
        assert row.path
        return
    url = urlsplit(row.base_url)
    assert url.hostname
    assert url.scheme == ("http" if url.hostname == "127.0.0.1" else "https")
    assert (row.base_url, "", "") == (row.base_url.rstrip("/"), url.query, url.fragment)


@ROWS
def test_a_cloud_has_the_variable_of_its_key_and_a_server_of_ones_own_has_none(
    name: str, row: Provider
) -> None:
    address = row.base_url or row.base_url_variable or row.query
    is_cloud = bool(address) and "127.0.0.1" not in address
    assert is_cloud == bool(row.key_variables)
    assert all(re.fullmatch(r"[A-Z][A-Z_]+", variable) for variable in row.key_variables)


def test_a_variable_belongs_to_one_vendor() -> None:
    named = Counter(variable for row in PROVIDERS.values() for variable in row.key_variables)
    surfaces = {"AZURE_OPENAI_API_KEY": 2}  # two of one vendor
    assert surfaces == {variable: times for variable, times in named.items() if times > 1}


@ROWS
def test_a_field_is_not_renamed_to_one_that_is_renamed(name: str, row: Provider) -> None:
    quirks = row.quirks
    for names in (quirks.fields, quirks.in_messages, quirks.embedding_fields):
        renamed = {own for own in names.values() if own}
        assert len(renamed) == len([own for own in names.values() if own])
        assert not renamed & names.keys()


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("openai", {"authorization": "Bearer k"}),
        ("groq", {"authorization": "Bearer k"}),
        ("azure", {"api-key": "k"}),
        ("azure-deployments", {"api-key": "k"}),
    ],
)
def test_the_key_goes_where_the_vendor_looks(name: str, header: dict[str, str]) -> None:
    assert header == PROVIDERS[name].credentials("k")


def test_what_is_said_of_a_field_is_said_of_one_that_some_row_leaves_out() -> None:
    left_out = {
        name
        for row in PROVIDERS.values()
        for names in (row.quirks.fields, row.quirks.in_messages, row.quirks.embedding_fields)
        for name, own in names.items()
        if own is None
    }
    assert set() == (_HINTS | _ESSENTIAL | _UNASKED.keys()) - left_out
    assert set() == _HINTS & _ESSENTIAL


# -- what every vendor gets ----------------------------------------------------------------


@ROWS
def test_a_request_with_nothing_special_keeps_its_bytes(name: str, row: Provider) -> None:
    (encoded,) = spoken(row.dialect, name).encode_chat(requests.chat(PLAIN), Target("up", "m"))
    assert PLAIN is encoded.request.body
    assert () == encoded.warnings


@ROWS
@pytest.mark.parametrize("said", ["max_tokens", "max_completion_tokens"])
def test_one_bound_goes_out_whatever_the_caller_calls_it(
    name: str, row: Provider, said: str
) -> None:
    body = patched(PLAIN, Inside({said: 5}))
    (encoded,) = spoken(row.dialect, name).encode_chat(requests.chat(body), Target("up", "m"))
    sent = json.loads(encoded.request.body)
    assert [5] == [sent[each] for each in ("max_tokens", "max_completion_tokens") if each in sent]


@ROWS
def test_a_stream_counts_its_tokens_where_that_is_to_be_asked(name: str, row: Provider) -> None:
    request = ChatRequest(model="m", messages=[Message(role="user")], stream=True)
    call = ChatCall(b'{"messages":[{}]}', request)
    (encoded,) = spoken(row.dialect, name).encode_chat(call, Target("up", "m"))
    asked = json.loads(encoded.request.body).get("stream_options")
    assert asked == (None if "stream_options" in row.quirks.fields else {"include_usage": True})


def test_no_options_of_a_text_stream_go_where_they_are_refused() -> None:
    body = b'{"model":"m","prompt":"Hi","stream":true,"stream_options":{"include_usage":true}}'
    dialect = spoken("openai", "mistral")
    assert isinstance(dialect, Completes)
    (encoded,) = dialect.encode_completion(requests.completion(body), Target("up", "m"))
    assert b'{"model":"m","prompt":"Hi","stream":true}' == encoded.request.body
    plain = body.replace(b',"stream_options":{"include_usage":true}', b"")
    (encoded,) = dialect.encode_completion(requests.completion(plain), Target("up", "m"))
    assert plain is encoded.request.body


@ROWS
def test_a_vendor_lists_its_models_where_the_row_says_so(name: str, row: Provider) -> None:
    dialect = spoken(row.dialect, name)
    assert isinstance(dialect, Embeds)
    assert isinstance(dialect, Completes)
    assert row.lists == isinstance(dialect, ListsModels)


# -- odd answers ---------------------------------------------------------------------------


def test_models_may_be_listed_without_an_object_around_them() -> None:
    assert [Model("a", 0, "unknown")] == OpenAI().decode_models(b' [{"id":"a"}]\n')
    assert [] == OpenAI().decode_models(b"[]")


def test_vectors_that_are_not_packed_stay_to_be_judged_as_any_other() -> None:
    body = b'{"data":[{"embedding":[1, 2.50]},{"embedding":null}]}'
    assert body is signed_bytes(body)


@pytest.mark.parametrize("embedding", ['"AX+A/w="', '"%%%%"', '"\u00e9"'])
def test_vectors_that_are_none_are_broken(embedding: str) -> None:
    with pytest.raises(UpstreamError) as raised:
        signed_bytes(f'{{"data":[{{"embedding":{embedding}}}]}}'.encode())
    assert Kind.BROKEN == raised.value.kind


# -- ids -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "foreign", ["", "call_1", "abcdefgh", "abcdefghij", "abcdefgh\u00e9", "abcdefghi\n"]
)
def test_a_foreign_id_becomes_nine_letters_always_the_same(foreign: str) -> None:
    said = json.dumps(foreign)
    body = (
        f'{{"model":"m","messages":[{{"role":"assistant","tool_calls":[{{"id":{said}}}]}},'
        f'{{"role":"tool","tool_call_id":{said},"content":"1"}}]}}'
    ).encode()
    names = []
    for _ in range(2):
        (encoded,) = spoken("openai", "mistral").encode_chat(requests.chat(body), Target("up", "m"))
        assistant, tool = json.loads(encoded.request.body)["messages"]
        names += [assistant["tool_calls"][0]["id"], tool["tool_call_id"]]
    assert 1 == len(set(names))
    assert re.fullmatch("[A-Za-z0-9]{9}", names[0])


def test_calls_and_results_without_an_id_stay_without_one() -> None:
    body = (
        b'{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":null}]},'
        b'{"role":"tool","content":"1"}]}'
    )
    (encoded,) = spoken("openai", "mistral").encode_chat(requests.chat(body), Target("up", "m"))
    assert body is encoded.request.body


def test_usage_that_is_asked_already_is_not_asked_again() -> None:
    request = ChatRequest(
        model="m",
        messages=[Message(role="user")],
        stream=True,
        stream_options=StreamOptions(include_usage=True),
    )
    call = ChatCall(b'{"messages":[{}]}', request)
    (encoded,) = spoken("openai", "groq").encode_chat(call, Target("up", "m"))
    assert call.body is encoded.request.body
