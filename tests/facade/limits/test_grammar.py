"""Limits as operators write them."""

from __future__ import annotations

import pytest

from facade.limits.grammar import parse


@pytest.mark.parametrize(
    ("written", "kind", "amount", "period", "text"),
    [
        ("60/minute", "requests", 60, 60, "60/minute"),
        ("  60  per 1 Minute ", "requests", 60, 60, "60/minute"),
        ("100000 tokens/minute", "tokens", 100_000, 60, "100000 tokens/minute"),
        ("100000 tokens per hour", "tokens", 100_000, 3600, "100000 tokens/hour"),
        ("30/5 minutes", "requests", 30, 300, "30/5 minutes"),
        ("007/day", "requests", 7, 86_400, "7/day"),
        ("4 concurrent", "concurrent", 4, 0, "4 concurrent"),
        ("04 Concurrent", "concurrent", 4, 0, "4 concurrent"),
    ],
)
def test_a_limit_is_read_and_has_one_text_however_it_is_written(
    written: str, kind: str, amount: int, period: int, text: str
) -> None:
    limit = parse(written)
    assert (kind, amount, period, text) == (limit.kind, limit.amount, limit.period, limit.text)
    assert limit == parse(limit.text)


@pytest.mark.parametrize("written", ["7/minute", "60/second", "977 tokens/day", "10000000/month"])
def test_a_full_period_gives_back_exactly_the_amount(written: str) -> None:
    limit = parse(written)
    assert limit.capacity == limit.rate * limit.period * 1000 == limit.amount * limit.unit


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("", "'' is no limit; write it like '60/minute'"),
        ("fast", "'fast' is no limit"),
        ("60", "'60' is no limit"),
        ("60/fortnight", "'60/fortnight' is no limit"),
        ("-1/minute", "'-1/minute' is no limit"),
        ("1.5/minute", "is no limit"),
        ("\u0663/minute", "is no limit"),
        ("60/minute;5/second", "is no limit"),
        ("60 tokens", "is no limit"),
        ("60 tokens concurrent", "is no limit"),
        ("60 words/minute", "is no limit"),
        ("4 concurrent/minute", "is no limit"),
        ("0/minute", "lets nothing through"),
        ("60/0 minutes", "lets nothing through"),
        ("60/0minutes", "lets nothing through"),
        ("0concurrent", "lets nothing through"),
        ("00 concurrent", "lets nothing through"),
        ("9" * 60 + "/day", "cannot be counted exactly"),
        ("9" * 5000 + "/day", "... is no limit"),
    ],
)
def test_what_is_no_limit_is_a_sentence_that_quotes_it(written: str, problem: str) -> None:
    with pytest.raises(ValueError, match=r"^'.*'.* ") as raised:
        parse(written)
    assert problem in str(raised.value)
    assert len(str(raised.value)) < 200
