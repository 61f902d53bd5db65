"""Errors of OpenAI-shaped upstreams: what kind they are, and whether trying again may help."""

from __future__ import annotations

import json

import pytest

from adapters import openai_errors
from adapters.errors import Kind
from facade.errors import told
from tests.adapters.openai_refusals import error


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": {"message": "no"}}, Kind.REJECTED),
        (401, {"detail": "Invalid API Key"}, Kind.CREDENTIAL),
        (402, {"error": {"message": "Empty", "code": "invalid_request_error"}}, Kind.PAYMENT),
        (403, {"error": {"message": "Not yours"}}, Kind.CREDENTIAL),
        (403, {"error": "Your prompt was flagged"}, Kind.REJECTED),
        (403, {"error": "Key needs more: insufficient credits"}, Kind.PAYMENT),
        (
            400,
            {"code": "Invalid argument", "error": "Incorrect API key provided: x"},
            Kind.CREDENTIAL,
        ),
        (400, [{"error": {"message": "API key not valid.", "code": 400}}], Kind.CREDENTIAL),
        (400, {"error": {"message": "m", "code": "invalid_api_key"}}, Kind.CREDENTIAL),
        (400, {"error": "The tool said: invalid API key"}, Kind.REJECTED),
        (404, {"error": {"message": "m", "code": "model_not_found"}}, Kind.MODEL_NOT_FOUND),
        (404, {"error": {"message": "m", "param": "model"}}, Kind.MODEL_NOT_FOUND),
        (
            404,
            {"object": "error", "message": "The model `m` does not exist."},
            Kind.MODEL_NOT_FOUND,
        ),
        (404, {"error": {"message": "model 'm' not found"}}, Kind.MODEL_NOT_FOUND),
        (404, {"error": {"message": "No endpoints found for a/b."}}, Kind.MODEL_NOT_FOUND),
        (404, {"error": {"message": "No endpoints found that take tools"}}, Kind.REJECTED),
        (404, {"error": {"code": "DeploymentNotFound", "message": "m"}}, Kind.MODEL_NOT_FOUND),
        (403, {"error": {"code": "model_not_found", "message": "m"}}, Kind.MODEL_NOT_FOUND),
        (400, {"error": "The requested model 'm' does not exist."}, Kind.MODEL_NOT_FOUND),
        (
            400,
            {"error": {"message": "m-9 is not a valid model ID", "code": 400}},
            Kind.MODEL_NOT_FOUND,
        ),
        (400, {"message": "Invalid model: m-9", "code": "1500"}, Kind.MODEL_NOT_FOUND),
        (400, {"error": "Tool 'model' not found in the model card"}, Kind.REJECTED),
        (404, b"404 page not found", Kind.REJECTED),
        (408, {}, Kind.TIMEOUT),
        (409, {}, Kind.REJECTED),
        (413, {"error": {"message": "Request too large"}}, Kind.REJECTED),
        (413, {"error": {"message": "m", "code": "rate_limit_exceeded"}}, Kind.TOO_LARGE),
        (413, {"error": {"message": "9 tokens per minute is the limit"}}, Kind.TOO_LARGE),
        (424, {"error": {"message": "behind"}}, Kind.GATEWAY),
        (498, {"error": {"message": "full", "code": "capacity_exceeded"}}, Kind.OVERLOADED),
        (422, {"detail": [{"loc": ["body", "store"], "msg": "Extra"}]}, Kind.REJECTED),
        (429, {"error": {"message": "slow", "type": "tokens"}}, Kind.RATE_LIMITED),
        (429, {"error": {"message": "q", "code": "insufficient_quota"}}, Kind.PAYMENT),
        (429, {"error": {"message": "q", "type": "insufficient_quota"}}, Kind.PAYMENT),
        (429, {"error": {"message": "Error: insufficient_quota"}}, Kind.PAYMENT),
        (429, {"code": "Exhausted", "error": "The team used all its credits"}, Kind.PAYMENT),
        (429, {"error": "You exceeded your current quota, see your plan"}, Kind.PAYMENT),
        (429, {"error": "You exceeded your current quota. Retry in 3s"}, Kind.RATE_LIMITED),
        (429, {"error": {"message": "60 queries", "type": "credit_limit"}}, Kind.RATE_LIMITED),
        (429, {"error": "Request too large for m: Limit 5, Requested 6"}, Kind.TOO_LARGE),
        (429, {"message": "Capacity", "code": "3505"}, Kind.OVERLOADED),
        (429, {"message": "Capacity", "code": 3505}, Kind.OVERLOADED),
        (429, {"error": {"message": "m", "type": "Overloaded_Error"}}, Kind.OVERLOADED),
        (500, {"error": {"message": "m", "code": "rate_limit_exceeded"}}, Kind.RATE_LIMITED),
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


LONG_SENTENCES = [
    "This model's maximum context length is 8 tokens. However, you requested 9 tokens.",
    "Prompt contains 9 tokens, too large for model with 8 maximum context length",
    "This model's maximum prompt length is 8 but the request contains 9 tokens.",
    "the request exceeds the available context size, try increasing it",
    "request (9 tokens) exceeds the available context size (8 tokens)",
    "The decoder prompt (length 9) is longer than the maximum model length of 8.",
    "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8.",
    "`inputs` must have less than 8 tokens. Given: 9",
    "too many tokens: total number of tokens in the prompt cannot exceed 8",
    "The total length of all messages is too long.",
    "Please reduce the length of the messages or completion.",
    "The prompt is too long: 9, model maximum context length: 8",
    "The input token count (9) exceeds the maximum number of tokens allowed (8).",
    "Your request exceeded model token limit: 8",
    "Prompt exceeds max length",
    "Range of input length should be [1, 8]",
    "The number of tokens to keep is greater than the context length",
    "prompt too long; exceeded max context length by 1 tokens",
    "Error code: 400 - {'error': {'message': \"This model's maximum context length is 8\"}}",
    "ContextWindowExceededError: m",
]


@pytest.mark.parametrize("status", [400, 413, 422, 500])
@pytest.mark.parametrize("sentence", LONG_SENTENCES)
def test_too_long_a_prompt_is_known_by_its_sentence(status: int, sentence: str) -> None:
    assert Kind.CONTEXT_LENGTH == error(status, {"error": {"message": sentence}}).kind


@pytest.mark.parametrize(
    "word",
    [
        "context_length_exceeded",
        "exceed_context_size_error",
        "too_many_prompt_tokens",
        "tokens_limit_reached",
        "TOO_MANY_TOKENS",
    ],
)
def test_too_long_a_prompt_is_known_by_its_code_or_type(word: str) -> None:
    assert Kind.CONTEXT_LENGTH == error(400, {"error": {"message": "m", "code": word}}).kind
    assert Kind.CONTEXT_LENGTH == error(400, {"message": "m", "type": word}).kind


@pytest.mark.parametrize(
    "sentence",
    [
        "Invalid 'tools[0].function.name': 'context length' does not match the pattern",
        "Tool `maximum context length` was called without arguments",
        'Unknown tool "too many tokens"',
        "the field context_length is unknown",
        "context size is no parameter",
        "max_tokens is too large: 9. This model supports at most 8 completion tokens",
        "Request too large",
    ],
)
def test_what_only_names_a_length_is_no_overflow(sentence: str) -> None:
    assert Kind.REJECTED == error(400, {"error": {"message": sentence}}).kind


@pytest.mark.parametrize(
    ("type_", "kind"),
    [
        ("invalid_request_error", Kind.REJECTED),
        ("authentication_error", Kind.CREDENTIAL),
        ("not_found_error", Kind.REJECTED),
        ("rate_limit_error", Kind.RATE_LIMITED),
        ("insufficient_quota", Kind.PAYMENT),
        ("overloaded_error", Kind.OVERLOADED),
        ("server_error", Kind.FAILED),
        (None, Kind.FAILED),
    ],
)
def test_an_error_without_a_status_is_known_by_its_type(type_: str | None, kind: Kind) -> None:
    for said in ({"type": type_, "code": None}, {"type": None, "code": type_}):
        body = json.dumps({"error": {"message": "m", **said}}).encode()
        failure = openai_errors.told(body)
        assert kind == failure.kind
        limited = kind in {Kind.RATE_LIMITED, Kind.PAYMENT}
        assert not limited or told(failure).status == 429


@pytest.mark.parametrize(
    ("status", "said", "headers", "retry"),
    [
        (400, "m", {}, False),
        (402, "m", {}, False),
        (408, "m", {}, True),
        (409, "m", {}, True),
        (424, "m", {}, True),
        (429, "m", {}, True),
        (498, "m", {}, True),
        (500, "m", {}, True),
        (429, "Request too large for m", {}, False),
        (429, "out of credits", {}, False),
        (429, "Limit of requests per day (RPD) reached. Please try again in 7s", {}, False),
        (429, "Rate limit exceeded: free-models-per-day", {}, False),
        (429, "You are limited to 1000 API calls / month", {}, False),
        (429, "Limit: 200 / day", {}, False),
        (429, "You reached your daily request limit", {}, False),
        (429, "Slow down, or take the plan for $20/month or $200 per month", {}, True),
        (429, "Slow down, or see our daily news", {}, True),
        (429, "Limit of tokens per min (TPM) reached", {}, True),
        (429, "Limit of tokens per day", {"x-should-retry": "true"}, True),
        (429, "m", {"x-should-retry": "false"}, False),
        (500, "m", {"x-should-retry": "false"}, False),
        (400, "m", {"x-should-retry": "true"}, True),
        (400, "m", {"x-should-retry": "maybe"}, False),
    ],
)
def test_whether_trying_again_may_help(
    status: int, said: str, headers: dict[str, str], retry: bool
) -> None:
    assert retry is error(status, {"error": {"message": said}}, headers).retry


def test_a_quota_of_a_day_may_stand_in_the_details() -> None:
    def retry(details: object) -> bool:
        return error(429, [{"error": {"message": "m", "details": details}}]).retry

    day = {"violations": [7, {"quotaId": "RequestsPerDayPerProject"}]}
    minute = {"violations": [{"quotaId": "RequestsPerMinutePerProject"}]}
    assert not retry([{"reason": "r"}, day])
    assert retry([minute])
    assert retry([{"violations": "per day"}, {"violations": []}, "per day"])
    assert retry("per day")
