"""Lengths of time: how they are read, however written, and how they are spelled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import durations

NOON = 1795262400.0  # 2026-11-21, in UTC


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12ms", 0.012),
        ("0s", 0.0),
        ("6m0s", 360.0),
        ("15m50.4s", 950.4),
        ("1h2m", 3720.0),
        ("1h2m3.5s", 3723.5),
        ("2d1h", 176400.0),
        ("2000us", 0.002),
        ("2000\u00b5s", 0.002),
        ("5000000ns", 0.005),
        ("1.s", 1.0),
        ("59.4", 59.4),
        ("22", 22.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("1795262430", 30.0),
        ("1795262430.5", 30.5),
        ("1795262430250", 30.25),
        ("1795262399", 0.0),
        ("2026-11-21T12:00:41Z", 41.0),
        ("2026-11-21T13:00:41.5+01:00", 41.5),
        ("2026-11-21T12:00:41", 41.0),
        ("2026-11-21T11:00:00Z", 0.0),
        ("Sat, 21 Nov 2026 12:01:30 GMT", 90.0),
        ("-1", None),
        ("", None),
        (None, None),
        ("5x", None),
        ("5mm", None),
        ("m5", None),
        ("1e3", None),
        ("nan", None),
        ("9" * 400, None),
        ("9" * 400 + "s", None),
        ("\u0663s", None),
        ("9999-99-99T00:00:00Z", None),
        ("0001-01-01T00:00:00+14:00", 0.0),
        ("Mon, 01 Jan 99999 00:00:00 GMT", None),
    ],
)
def test_a_moment_however_it_is_written(text: str | None, seconds: float | None) -> None:
    said = durations.until(text, NOON)
    assert said == (None if seconds is None else pytest.approx(seconds, abs=1e-6))


@pytest.mark.parametrize("text", ["1795262430", "2026-11-21T12:00:41Z"])
def test_without_a_clock_a_date_says_nothing(text: str) -> None:
    assert durations.until(text, None) is None
    assert 5.0 == durations.until("5s", None)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.0001, "1ms"),
        (0.12, "120ms"),
        (1, "1s"),
        (9.525, "9.525s"),
        (59.9999, "1m0s"),
        (360, "6m0s"),
        (950.4, "15m50.4s"),
        (3600, "1h0m0s"),
        (3723.5, "1h2m3.5s"),
        (90000, "25h0m0s"),
    ],
)
def test_how_a_length_is_spelled(seconds: float, text: str) -> None:
    assert text == durations.spelled(seconds)


@given(st.floats(0, 1e9))
def test_what_is_spelled_is_read_again_and_never_shorter(seconds: float) -> None:
    read = durations.length(durations.spelled(seconds))
    assert read == pytest.approx(seconds, abs=0.00101)
    assert read is not None
    assert read >= seconds - 1e-6


@given(st.text())
def test_no_text_breaks_the_reading(text: str) -> None:
    for said in (durations.until(text, NOON), durations.length(text), durations.number(text)):
        assert said is None or 0 <= said < float("inf")
