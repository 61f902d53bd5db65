"""Errors of OpenAI-shaped upstreams: their kinds, their words, and how long to wait."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from adapters.errors import Kind, UpstreamError
from adapters.openai import OpenAI
from facade.errors import told


def error(status: int, body: object, headers: Mapping[str, str] | None = None) -> UpstreamError:
    said = body if isinstance(body, bytes) else json.dumps(body).encode()
    return OpenAI().decode_error(status, headers or {}, said)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": {"message": "no"}}, Kind.REJECTED),
        (401, {"detail": "Invalid API Key"}, Kind.CREDENTIAL),
        (402, {"error": {"message": "Empty", "code": "invalid_request_error"}}, Kind.PAYMENT),
        (403, {"error": {"message": "Not yours"}}, Kind.CREDENTIAL),
        (404, {"error": {"message": "m", "code": "model_not_found"}}, Kind.MODEL_NOT_FOUND),
        (404, {"error": {"message": "m", "param": "model"}}, Kind.MODEL_NOT_FOUND),
        (
            404,
            {"object": "error", "message": "The model `m` does not exist."},
            Kind.MODEL_NOT_FOUND,
        ),
        (404, {"error": {"message": "model 'm' not found"}}, Kind.MODEL_NOT_FOUND),
        (404, b"404 page not found", Kind.REJECTED),
        (408, {}, Kind.TIMEOUT),
        (409, {}, Kind.REJECTED),
        (413, {"error": {"message": "Request too large"}}, Kind.REJECTED),
        (422, {"detail": [{"loc": ["body", "store"], "msg": "Extra"}]}, Kind.REJECTED),
        (429, {"error": {"message": "slow", "type": "tokens"}}, Kind.RATE_LIMITED),
        (429, {"error": {"message": "q", "code": "insufficient_quota"}}, Kind.PAYMENT),
        (429, {"error": {"message": "q", "type": "insufficient_quota"}}, Kind.PAYMENT),
        (500, {"error": {"message": "oops"}}, Kind.FAILED),
        (501, b"", Kind.FAILED),
        (502, b"<html><h1>502 Bad Gateway</h1></html>", Kind.GATEWAY),
        (503, {"error": {"message": "Loading model", "code": 503}}, Kind.OVERLOADED),
        (504, b"", Kind.TIMEOUT),
        (529, {"error": {"message": "busy"}}, Kind.OVERLOADED),
        (400, {"error": {"message": "m", "code": "context_length_exceeded"}}, Kind.CONTEXT_LENGTH),
        (400, {"error": {"type": "exceed_context_size_error"}}, Kind.CONTEXT_LENGTH),
        (400, {"message": "This model's maximum context length is 8"}, Kind.CONTEXT_LENGTH),
        (413, {"error": {"message": "Too many tokens in the request"}}, Kind.CONTEXT_LENGTH),
        (500, {"error": {"message": "cannot find the context length"}}, Kind.FAILED),
        (401, {"error": {"message": "m", "code": "model_not_found"}}, Kind.CREDENTIAL),
    ],
)
def test_the_kind_of_an_error(status: int, body: object, kind: Kind) -> None:
    assert kind == error(status, body).kind
    assert status == error(status, body).status


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "a"}}, "a"),
        ({"error": "a"}, "a"),
        ({"error": "a", "message": "b"}, "b"),
        ({"code": "c", "error": "a"}, "a"),
        ({"message": "a"}, "a"),
        ({"detail": "a"}, "a"),
        ({"detail": [{"loc": ["body", 0], "msg": "a"}, {"msg": "b"}, 7]}, "body.0: a; b"),
        ({"message": {"detail": [{"msg": "a"}]}}, "a"),
        ({"error": {"code": 400}}, "the upstream answered 400 without saying why"),
        (["a"], "the upstream answered 400 without saying why"),
        ("a", "the upstream answered 400 without saying why"),
        (b"<html>a</html>", "the upstream answered 400 without saying why"),
        (b"\xff\xfe", "the upstream answered 400 without saying why"),
        (b"", "the upstream answered 400 without saying why"),
    ],
)
def test_the_words_of_an_error(body: object, message: str) -> None:
    assert message == error(400, body).message


def test_a_rejected_request_is_told_in_the_upstreams_own_fields() -> None:
    said = {"error": {"message": "no", "type": "BadRequestError", "param": "stop", "code": 400}}
    answer = told(error(400, said))
    expected = {"message": "no", "type": "BadRequestError", "param": "stop", "code": "400"}
    assert (400, {"error": expected}) == (answer.status, json.loads(answer.body()))


def test_too_long_a_prompt_has_openais_code_whatever_the_upstream_says() -> None:
    said = {"message": "maximum context length is 8", "type": "BadRequestError", "code": 400}
    answer = told(error(400, said))
    assert ("invalid_request_error", "context_length_exceeded") == (answer.type, answer.code)


@pytest.mark.parametrize(
    ("status", "message", "shown"),
    [
        (401, "Incorrect key: sk-proj-ab_12*****yz.", "Incorrect key: ***"),
        (403, "Key 5bfd0532-8fa8-4e41-8eda-16a9a73a8d6d may not", "Key *** may not"),
        (401, "Key abcdefghij********* is unknown", "Key *** is unknown"),
        (400, "Incorrect key: sk-12", "Incorrect key: ***"),
        (400, "no model gpt-4o-mini-2024-07-18", "no model gpt-4o-mini-2024-07-18"),
        (401, "authentication-unsuccessful", "authentication-unsuccessful"),
    ],
)
def test_no_credential_is_shown(status: int, message: str, shown: str) -> None:
    assert shown == error(status, {"error": {"message": message}}).message


NOON = "Sat, 21 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "2", "retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "1", "retry-after-ms": "0"}, 1.0),
        ({"retry-after": "Sat, 21 Nov 2026 12:01:30 GMT", "date": NOON}, 90.0),
        ({"retry-after": "Sat, 21 Nov 2026 11:00:00 GMT", "date": NOON}, 0.0),
        ({"retry-after": "Sat, 21 Nov 2026 12:01:30 GMT"}, None),
        ({"retry-after": "21 Nov 2026 12:01:30 -0000", "date": NOON}, None),
        ({"retry-after": "soon", "date": NOON}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert seconds == error(429, {}, headers).retry_after
