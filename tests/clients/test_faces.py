"""What is not chat, as each official SDK sees it: completions, embeddings, models, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from tests.clients.conftest import CHAT, Scripted, Upstream
from tests.clients.sdks import Failed, Json, Sdk
from tests.fake_upstream.models import unit_vector

CREATE: Final = "completions.create"
CHAT_CREATE: Final = "chat.completions.create"
EMBED: Final = "embeddings.create"
COUNTING: Final[Json] = {"prompt": "1 2 3", "max_tokens": 2, "temperature": 0}
WHOLE: Final = {"ollama": "You said:", "openai": "You said:", "embedded": " 4"}


def test_a_whole_completion(sdk: Sdk, upstream: Upstream) -> None:
    answer = sdk.one(upstream.url, CREATE, model=upstream.model, **COUNTING)
    (choice,) = answer["choices"]
    assert "text_completion" == answer["object"]
    assert (WHOLE[upstream.name], 0, "length") == (
        choice["text"],
        choice["index"],
        choice["finish_reason"],
    )
    assert 2 == answer["usage"]["completion_tokens"]


def test_a_streamed_completion(sdk: Sdk, upstream: Upstream) -> None:
    chunks = sdk.all(upstream.url, CREATE, model=upstream.model, stream=True, **COUNTING)
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert WHOLE[upstream.name] == "".join(choice["text"] for choice in choices)
    finishes = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    assert ["length"] == finishes
    assert {chunks[0]["id"]} == {chunk["id"] for chunk in chunks}


@pytest.mark.parametrize("encoding", [{}, {"encoding_format": "float"}], ids=["default", "float"])
def test_embeddings_are_the_upstreams_to_the_bit(
    sdk: Sdk, scripted: Scripted, encoding: Json
) -> None:
    texts = ["a cat", "a dog"]
    answer = sdk.one(scripted.url, EMBED, model=scripted.embeds, input=texts, **encoding)
    assert [0, 1] == [item["index"] for item in answer["data"]]
    assert [unit_vector(text, 768) for text in texts] == [
        item["embedding"] for item in answer["data"]
    ]
    assert {"prompt_tokens": 4, "total_tokens": 4} == answer["usage"]


def test_models_are_listed_and_found_by_their_ids(sdk: Sdk, upstream: Upstream) -> None:
    models = sdk.all(upstream.url, "models.list")
    assert {"model"} == {model["object"] for model in models}
    listed = [model["id"] for model in models]
    assert upstream.model in {name.removesuffix(":latest") for name in listed}
    for name in (upstream.model, listed[0]):
        assert name == sdk.one(upstream.url, "models.retrieve", model=name)["id"]


def test_headers_tell_where_an_answer_is_from(sdk: Sdk, upstream: Upstream) -> None:
    method = "chat.completions.with_raw_response.create"
    headers = sdk.one(upstream.url, method, model=upstream.model, **CHAT)
    assert headers["x-request-id"].startswith("req_")
    assert "application/json" == headers["content-type"]
    assert (upstream.name, upstream.model, "1") == (
        headers["x-facade-upstream"],
        headers["x-facade-model"],
        headers["x-facade-attempts"],
    )


def failure(ask: Callable[..., object], url: str, method: str, **request: object) -> Json:
    """What a request is refused with; the id of the request, which differs, is looked at here."""
    with pytest.raises(Failed) as failed:
        ask(url, method, **request)
    error = failed.value.error
    assert error.pop("request_id").startswith("req_")
    return error


UNKNOWN: Final[Json] = {
    "kind": "NotFoundError",
    "status": 404,
    "code": "model_not_found",
    "param": "model",
}


@pytest.mark.parametrize(
    ("method", "request_"),
    [(CHAT_CREATE, CHAT), (CHAT_CREATE, CHAT | {"stream": True}), (CREATE, COUNTING),
     (EMBED, {"input": "Hi"}), ("models.retrieve", {})],
)  # fmt: skip
def test_an_unknown_model_is_not_found(
    sdk: Sdk, upstream: Upstream, method: str, request_: Json
) -> None:
    error = failure(sdk.one, upstream.url, method, model="nope", **request_)
    assert "the model 'nope' does not exist" in error.pop("message")
    assert UNKNOWN == error


@pytest.mark.parametrize(
    ("method", "request_", "param"),
    [(CHAT_CREATE, CHAT | {"temperature": "hot"}, "temperature"),
     (CHAT_CREATE, CHAT | {"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
     (CREATE, {"prompt": 1}, "prompt"),
     (EMBED, {"input": {}}, "input")],
)  # fmt: skip
def test_a_value_of_a_wrong_type_is_a_bad_request(
    sdk: Sdk, upstream: Upstream, method: str, request_: Json, param: str
) -> None:
    error = failure(sdk.one, upstream.url, method, model=upstream.model, **request_)
    assert error.pop("message").startswith(f"'{param}': expected `")
    assert {
        "kind": "BadRequestError",
        "status": 400,
        "code": "invalid_type",
        "param": param,
    } == error
