"""Errors of OpenAI-shaped upstreams: their words, and what the client is told."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import openai_errors
from facade.errors import told
from tests.adapters.openai_refusals import error

NAMES = st.one_of(
    st.sampled_from(("error", "message", "msg", "detail", "details", "type", "code", "param")),
    st.sampled_from(("status", "loc", "metadata", "raw", "headers", "violations", "quotaId")),
    st.sampled_from(("innererror", "retryDelay", "x-ratelimit-remaining")),
)
HEADERS = st.sampled_from(
    ("retry-after", "retry-after-ms", "date", "x-should-retry", "x-ratelimit-remaining-tokens")
)


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
        ([{"error": {"message": "a"}}], "a"),
        ({"error": ["a", "b"]}, "a; b"),
        ({"message": {"detail": "a"}, "object": "error"}, "a"),
        ({"error": " a\n"}, "a"),
        ({"error": {"message": "a", "metadata": {"raw": '{"error":"b"}'}}}, "a: b"),
        ({"error": {"message": "a", "metadata": {"raw": {"message": "b"}}}}, "a: b"),
        ({"error": {"message": "a", "metadata": {"raw": "b"}}}, "a: b"),
        ({"error": {"message": "a b", "metadata": {"raw": "b"}}}, "a b"),
        ({"error": {"message": "a", "metadata": {"raw": "<html>"}}}, "a"),
        ({"error": {"message": "a", "metadata": {"raw": None}}}, "a"),
        ({"error": {"metadata": {"raw": "b"}}}, "b"),
        (b"no healthy\n upstream\n", "no healthy upstream"),
        (b"a" * 999, "a" * 300),
        (["a"], "the upstream answered 400 without saying why"),
        (b'{"error": "cut', "the upstream answered 400 without saying why"),
        (b"[" * 9999, "the upstream answered 400 without saying why"),
        (b'{"error":' * 700 + b'"a"' + b"}" * 700, "the upstream answered 400 without saying why"),
        (
            b'{"detail":' + b"[" * 700 + b"]" * 700 + b"}",
            "the upstream answered 400 without saying why",
        ),
        (b'{"detail":[{"msg":"a","loc":' + b"[" * 700 + b"]" * 700 + b"}]}", "a"),
        (b"\x00\x01", "the upstream answered 400 without saying why"),
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
        (400, "Incorrect API key provided: xa***1bAB12cd34EF56", "Incorrect API key provided: ***"),
        (400, "No: gsk_abcdefghij0123456789", "No: ***"),
        (400, "no field hf_token", "no field hf_token"),
    ],
)
def test_no_credential_is_shown(status: int, message: str, shown: str) -> None:
    assert shown == error(status, {"error": {"message": message}}).message


def test_why_a_prompt_was_filtered_goes_to_the_client_beside_the_four_keys() -> None:
    inner = {"code": "Policy", "content_filter_result": {"hate": {"filtered": True}}}
    said = {"message": "no", "param": "prompt", "code": "content_filter", "status": 400}
    answer = told(error(400, {"error": {**said, "type": None, "innererror": inner}}))
    assert {
        "message": "no",
        "type": "invalid_request_error",
        "param": "prompt",
        "code": "content_filter",
        "innererror": inner,
    } == json.loads(answer.body())["error"]
    other = told(error(401, {"error": {"message": "no", "innererror": inner}}))
    assert {"message", "type", "param", "code"} == json.loads(other.body())["error"].keys()


@pytest.mark.parametrize(
    ("status", "said", "headers", "told_to"),
    [
        (429, "m", {}, None),
        (429, "m", {"retry-after": "86400"}, "false"),
        (429, "out of credits", {}, "false"),
        (500, "m", {"x-should-retry": "false"}, "false"),
        (400, "m", {}, "false"),
        (400, "m", {"x-should-retry": "true"}, "true"),
        (400, "m", {"x-should-retry": "true", "retry-after": "61"}, "false"),
    ],
)
def test_the_client_is_told_what_its_sdk_would_not_do_of_itself(
    status: int, said: str, headers: dict[str, str], told_to: str | None
) -> None:
    answer = told(error(status, {"error": {"message": said}}, headers))
    assert told_to == answer.headers().get("x-should-retry")


@pytest.mark.parametrize(("status", "client"), [(413, 413), (429, 429)])
def test_larger_than_the_limit_of_a_minute_is_told_as_it_was(status: int, client: int) -> None:
    said = {"message": "Request too large", "type": "tokens", "code": "rate_limit_exceeded"}
    answer = told(error(status, {"error": said}))
    assert (client, "tokens", "rate_limit_exceeded") == (answer.status, answer.type, answer.code)
    assert "false" == answer.headers()["x-should-retry"]


def test_an_error_in_a_200_may_hold_anything_as_its_status() -> None:
    deep = b"[" * 700 + b"]" * 700
    for status in (deep, b"null", b'"500"', b"9e99", b"[429]"):
        failure = openai_errors.told(b'{"error":{"message":"m","status":%b}}' % status)
        assert ("m", 500) == (failure.message, told(failure).status)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner),
    max_leaves=20,
)


@given(st.integers(400, 599), JSON | st.binary(), st.dictionaries(HEADERS, st.text()))
def test_no_body_breaks_the_reading(status: int, body: object, headers: dict[str, str]) -> None:
    for failure in (
        error(status, body, headers),
        openai_errors.told(body if isinstance(body, bytes) else json.dumps(body).encode()),
    ):
        said = json.loads(told(failure).body())["error"]
        assert {"message", "type", "param", "code"} <= said.keys()
        assert said["message"]
        assert said["code"] is None or isinstance(said["code"], str)
        assert failure.retry_after is None or failure.retry_after >= 0
        assert 400 <= told(failure).status <= 599
