"""Rate-limit headers of every family, read into one form and told in OpenAI's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.rate_limits import SHOWN, Limit, RateLimits, read, tighter

NOON = 1795262400.0  # 2026-11-21, in UTC


def said(names: str, *values: str) -> dict[str, str]:
    """Headers `x-ratelimit-limit-NAMES`, `...-remaining-...` and `...-reset-...` of the values."""
    parts = ("limit", "remaining", "reset")
    return {f"x-ratelimit-{part}{names}": value for part, value in zip(parts, values, strict=False)}


FAMILIES = {
    "openai": (
        said("-requests", "60", "59", "1s") | said("-tokens", "150000", "149984", "6m0s"),
        RateLimits(Limit(60, 59, 1.0), Limit(150000, 149984, 360.0)),
    ),
    "openai, of a project": (
        said("-tokens", "1000", "900", "6ms") | said("-project-tokens", "100", "20", "8ms"),
        RateLimits(None, Limit(100, 20, 0.008)),
    ),
    "openai, images": (said("-input-images", "50", "49", "1ms"), None),
    "azure": (
        said("-requests", "8", "7") | said("-tokens", "8000", "0", "22"),
        RateLimits(Limit(8, 7, None), Limit(8000, 0, 22.0)),
    ),
    "azure, unlimited": (said("-tokens", "-1", "-1", "0"), None),
    "azure, what is left only": (
        {"x-ratelimit-remaining-requests": "11", "x-ratelimit-renewalperiod-requests": "10"},
        RateLimits(Limit(None, 11, None), None),
    ),
    "groq": (
        said("-requests", "1000", "989", "15m50.4s") | said("-tokens", "6000", "5500", "25ms"),
        RateLimits(Limit(1000, 989, 950.4), Limit(6000, 5500, 0.025)),
    ),
    "mistral": (
        said("-req-minute", "100", "97")
        | said("-req-10-second", "20", "19")
        | said("-tokens-minute", "5000", "4900")
        | said("-tokens-month", "90000", "300")
        | said("-audio-seconds-minute", "9", "1")
        | {"x-ratelimit-tokens-query-cost": "100"},
        RateLimits(Limit(20, 19, None), Limit(90000, 300, None)),
    ),
    "mistral, by size": (
        {
            "ratelimitbysize-limit": "500",
            "ratelimitbysize-remaining": "0",
            "ratelimitbysize-reset": "41",
        },
        RateLimits(None, Limit(500, 0, 41.0)),
    ),
    "cerebras": (
        said("-requests-day", "1440", "1439", "24478.67193")
        | said("-tokens-minute", "6000", "10", "58.5"),
        RateLimits(Limit(1440, 1439, 24478.67193), Limit(6000, 10, 58.5)),
    ),
    "together": (said("", "2", "1", "1"), RateLimits(Limit(2, 1, 1.0), None)),
    "openrouter": (said("", "50", "0", "1795262430000"), RateLimits(Limit(50, 0, 30.0), None)),
    "fireworks": (
        said("-requests", "60", "5") | {"x-ratelimit-over-limit": "no"},
        RateLimits(Limit(60, 5, None), None),
    ),
    "anthropic": (
        {
            "anthropic-ratelimit-requests-limit": "50",
            "anthropic-ratelimit-requests-remaining": "48",
            "anthropic-ratelimit-requests-reset": "2026-11-21T12:00:02Z",
            "anthropic-ratelimit-input-tokens-limit": "30000",
            "anthropic-ratelimit-input-tokens-remaining": "0",
            "anthropic-ratelimit-input-tokens-reset": "2026-11-21T12:01:05Z",
            "anthropic-ratelimit-output-tokens-limit": "8000",
            "anthropic-ratelimit-output-tokens-remaining": "8000",
            "anthropic-ratelimit-output-tokens-reset": "2026-11-21T12:00:00Z",
        },
        RateLimits(Limit(50, 48, 2.0), Limit(30000, 0, 65.0)),
    ),
    "cohere": (
        {"x-trial-endpoint-call-limit": "40", "x-trial-endpoint-call-remaining": "39"},
        RateLimits(Limit(40, 39, None), None),
    ),
    "the draft": (
        {"ratelimit-limit": "100, 100;w=60", "ratelimit-remaining": "7", "ratelimit-reset": "9"},
        RateLimits(Limit(100, 7, 9.0), None),
    ),
    "none": ({"content-type": "application/json", "x-limit": "5"}, None),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_family_says(family: str) -> None:
    headers, limits = FAMILIES[family]
    assert limits == read(headers, NOON)


@pytest.mark.parametrize(
    ("values", "limit"),
    [
        (("0", "0", "0"), None),
        (("100", "-1", "5s"), Limit(100, None, 5.0)),
        (("100", "x", "5s"), Limit(100, None, 5.0)),
        (("x", "7", "5s"), Limit(None, 7, 5.0)),
        (("x", "x", "5s"), None),
        (("100", "7", "soon"), Limit(100, 7, None)),
        (("100", "7", "-5"), Limit(100, 7, None)),
        (("100", "7", "99999999"), Limit(100, 7, None)),
        (("100.0", "7.5", "5"), Limit(100, 7, 5.0)),
        (("1e3", "7", ""), Limit(None, 7, None)),
        (("9" * 99, "7", ""), Limit(None, 7, None)),
        (("\u0663", "7", ""), Limit(None, 7, None)),
        (("100 per minute", "7", ""), Limit(None, 7, None)),
    ],
)
def test_what_cannot_be_read_is_as_if_unsaid(
    values: tuple[str, str, str], limit: Limit | None
) -> None:
    told = read(said("-tokens", *values), NOON)
    assert limit == (told.tokens if told else None)


@pytest.mark.parametrize(
    ("minute", "day", "tightest"),
    [
        (("100", "50", "5s"), ("1000", "400", "9h"), Limit(1000, 400, 32400.0)),
        (("100", "50", "5s"), ("1000", "600", "9h"), Limit(100, 50, 5.0)),
        (("100", "0", "5s"), ("1000", "0", "9h"), Limit(1000, 0, 32400.0)),
        (("100",), ("1000", "999"), Limit(1000, 999, None)),
        (("100", "0"), ("x", "5"), Limit(100, 0, None)),
        (("100", "7"), ("x", "0"), Limit(None, 0, None)),
        (("100", "200"), ("1000", "999"), Limit(1000, 999, None)),
    ],
)
def test_of_several_windows_the_tightest_is_told(
    minute: tuple[str, ...], day: tuple[str, ...], tightest: Limit
) -> None:
    windows = said("-tokens-minute", *minute), said("-tokens-day", *day)
    for first, second in (windows, windows[::-1]):
        told = read(first | second, NOON)
        assert told is not None
        assert tightest == told.tokens


@pytest.mark.parametrize(
    ("requests", "tokens", "wait"),
    [
        (Limit(9, 0, 3.0), Limit(9, 0, 4.0), 4.0),
        (Limit(9, 0, 3.0), Limit(9, 1, 4.0), 3.0),
        (Limit(9, 0, None), None, None),
        (Limit(9, 5, 3.0), None, None),
    ],
)
def test_what_is_used_up_is_waited_for(
    requests: Limit | None, tokens: Limit | None, wait: float | None
) -> None:
    assert wait == RateLimits(requests, tokens).wait


def test_they_are_told_in_openais_form() -> None:
    limits = RateLimits(Limit(60, 0, 90.5), Limit(5, 4, 0.0))
    assert {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1m30.5s",
        "x-ratelimit-limit-tokens": "5",
        "x-ratelimit-remaining-tokens": "4",
        "x-ratelimit-reset-tokens": "0s",
    } == limits.headers()
    assert set(SHOWN) == limits.headers().keys()
    assert {"x-ratelimit-remaining-tokens": "0"} == RateLimits(None, Limit(remaining=0)).headers()
    assert {"x-ratelimit-limit-requests": "9"} == RateLimits(Limit(9), None).headers()


@pytest.mark.parametrize(
    ("limit", "seconds", "left"),
    [
        (Limit(9, 0, 90.0), 0.0, Limit(9, 0, 90.0)),
        (Limit(9, 0, 90.0), 61.5, Limit(9, 0, 28.5)),
        (Limit(9, 0, 90.0), 91.0, None),
        (Limit(9, 8, 1.0), 5.0, Limit(9, 8, 0.0)),
        (Limit(9, 8, 1.0), 61.0, None),
        (Limit(9, 8, None), 59.0, Limit(9, 8, None)),
        (Limit(9, 8, None), 61.0, None),
    ],
)
def test_what_holds_later(limit: Limit, seconds: float, left: Limit | None) -> None:
    assert left == limit.after(seconds)
    for limits in (RateLimits(limit, None), RateLimits(None, limit)):
        later = limits.after(seconds)
        assert left == (later and (later.requests or later.tokens))


NAMES = st.one_of(
    st.sampled_from([*SHOWN, *(name for headers, _ in FAMILIES.values() for name in headers)]),
    st.from_regex(r"x-ratelimit-(limit|remaining|reset)-[a-z0-9-]{0,20}", fullmatch=True),
    st.text(),
)
VALUES = st.one_of(
    st.text(),
    st.integers().map(str),
    st.floats().map(str),
    st.from_regex(r"([0-9]+(\.[0-9]*)?(h|m|s|ms|d)){1,3}", fullmatch=True),
    st.datetimes().map(str),
)


@given(st.dictionaries(NAMES, VALUES))
def test_no_headers_break_the_reading(headers: dict[str, str]) -> None:
    limits = read(headers, NOON)
    if limits is None:
        return
    assert all(text.isascii() for text in limits.headers().values())
    for each in (limits.requests, limits.tokens):
        if each is not None:
            assert each.limit is None or each.limit > 0
            assert each.remaining is None or each.remaining >= 0
            assert each.reset is None or 0 <= each.reset < 1e9


@given(st.integers(1, 10**15 - 1), st.integers(0, 10**15 - 1), st.integers(0, 10**7))
def test_what_is_told_in_openais_form_is_read_again(
    limit: int, remaining: int, milliseconds: int
) -> None:
    limits = RateLimits(None, Limit(limit, remaining, milliseconds / 1000))
    told = read(limits.headers(), NOON)
    assert told is not None
    assert told.tokens is not None
    assert (limit, remaining) == (told.tokens.limit, told.tokens.remaining)
    assert milliseconds / 1000 == pytest.approx(told.tokens.reset, abs=0.0011)


@pytest.mark.parametrize(
    ("one", "other", "tightest"),
    [
        (RateLimits(Limit(10, 9)), None, RateLimits(Limit(10, 9))),
        (RateLimits(Limit(10, 9)), RateLimits(Limit(100, 1)), RateLimits(Limit(100, 1))),
        (RateLimits(Limit(10, 0)), RateLimits(Limit(100, 0)), RateLimits(Limit(10, 0))),
        (
            RateLimits(Limit(10, 9)),
            RateLimits(tokens=Limit(5)),
            RateLimits(Limit(10, 9), Limit(5)),
        ),
        (RateLimits(), RateLimits(), RateLimits()),
    ],
)
def test_of_each_kind_the_tighter_is_told(
    one: RateLimits, other: RateLimits | None, tightest: RateLimits
) -> None:
    assert tightest == tighter(one, other)
