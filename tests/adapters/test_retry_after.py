"""How long to wait: every place where an upstream says it, and which of them is believed."""

from __future__ import annotations

import json

import pytest

from adapters.openai import OpenAI
from facade.errors import told

NOON = "Sat, 21 Nov 2026 12:00:00 GMT"


def wait(
    headers: dict[str, str], message: str = "m", status: int = 429, **said: object
) -> float | None:
    body = json.dumps({"error": {"message": message, **said}}).encode()
    return OpenAI().decode_error(status, headers, body).retry_after


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": "7s"}, 7.0),
        ({"retry-after": "2", "retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "1", "retry-after-ms": "0"}, 1.0),
        ({"retry-after": "1", "retry-after-ms": "x"}, 1.0),
        ({"retry-after": "Sat, 21 Nov 2026 12:01:30 GMT", "date": NOON}, 90.0),
        ({"retry-after": "Sat, 21 Nov 2026 11:00:00 GMT", "date": NOON}, 0.0),
        ({"retry-after": "21 Nov 2026 12:01:30 -0000", "date": NOON}, 90.0),
        ({"retry-after": "2026-11-21T12:01:30Z", "date": NOON}, 90.0),
        ({"retry-after": "Sat, 21 Nov 2026 12:01:30 GMT"}, None),
        ({"retry-after": "Sat, 21 Nov 2026 12:01:30 GMT", "date": "noon"}, None),
        ({"retry-after": "soon", "date": NOON}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "9" * 999}, None),
        ({"retry-after": "\u0663"}, None),
    ],
)
def test_what_the_headers_say(headers: dict[str, str], seconds: float | None) -> None:
    assert seconds == wait(headers)


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Please try again in 18.642s. Visit the site", 18.642),
        ("Please try again in 1m2.5s.", 62.5),
        ("Please try again in 40m26.976s", 2426.976),
        ("try again in 1h2m3s", 3723.0),
        ("Please try again in 120ms.", 0.12),
        ("Please retry after 86400 seconds.", 86400.0),
        ("Try again in 2 seconds", 2.0),
        ("Please try again in 1 minute, 5 seconds", 65.0),
        ("retry in about 3 minutes", 180.0),
        ("Try again in 5 moons", None),
        ("Try again in 5", None),
        ("Try again in a moment", None),
    ],
)
def test_what_the_sentence_says(message: str, seconds: float | None) -> None:
    assert seconds == wait({}, message)


def test_headers_are_believed_before_the_body_and_resets_last() -> None:
    empty = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "9s"}
    details = [{}, 7, {"retryDelay": "42.3s"}]
    assert 2.0 == wait({**empty, "retry-after": "2"}, "try again in 3s", details=details)
    assert 42.3 == wait(empty, "try again in 3s", details=details)
    assert 3.0 == wait(empty, "try again in 3s", details="d")
    assert 9.0 == wait(empty)
    assert wait({**empty, "x-ratelimit-remaining-tokens": "1"}) is None


def test_a_reset_may_stand_in_the_body() -> None:
    limits = {
        "X-RateLimit-Limit": 50,
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": "1795262430000",
    }
    assert 30.0 == wait({"date": NOON}, metadata={"headers": limits})
    assert wait({}, metadata={"headers": limits}) is None
    assert wait({"date": NOON}, metadata={"headers": {}}) is None
    assert wait({"date": NOON}, metadata={"headers": "none"}) is None


def test_where_waiting_changes_nothing_none_is_asked_for() -> None:
    assert wait({"retry-after": "5"}, status=400) is None
    assert wait({"retry-after": "5", "x-should-retry": "true"}, status=400) == 5.0


def test_a_wait_beyond_reason_is_capped() -> None:
    body = b'{"error":"m"}'
    answer = told(OpenAI().decode_error(429, {"retry-after": "900000000"}, body))
    assert ("2592000", "false") == (
        answer.headers()["retry-after"],
        answer.headers()["x-should-retry"],
    )
