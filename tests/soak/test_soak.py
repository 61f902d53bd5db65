"""The soak itself: seconds of it leak nothing, and what leaks is found."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Final

import pytest

from tests.soak.__main__ import soak
from tests.soak.watch import Held, leaks, slope

STEADY: Final = Held(seconds=0, tasks=5, sockets=12, slots=0, waiting=0, resident=70.0)
GREW: Final = "memory grew from 74.5 to 80.0 MB"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_seconds_of_faults_leave_nothing_behind(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == asyncio.run(soak(minutes=0.05, seed=1))
    said = capsys.readouterr().out
    assert "'good': " in said
    assert said.endswith("nothing leaks\n")


def _rounds(of: Callable[[int], Held]) -> list[Held]:
    return [of(number)._replace(seconds=10.0 * number) for number in range(12)]


@pytest.mark.parametrize(
    ("leak", "found"),
    [
        (lambda number: STEADY, []),
        (lambda number: STEADY._replace(sockets=12 + number % 2 * 9), []),
        (lambda number: STEADY._replace(resident=70 + min(number, 3)), []),
        (lambda number: STEADY._replace(tasks=5 + number), ["tasks grew from 5 to 14"]),
        (lambda number: STEADY._replace(sockets=12 + number), ["sockets grew from 12 to 21"]),
        (lambda number: STEADY._replace(slots=1), ["1 slots are in use, 0 calls wait"]),
        (lambda number: STEADY._replace(waiting=2), ["0 slots are in use, 2 calls wait"]),
        (
            lambda number: STEADY._replace(resident=70 + number),
            ["memory grew from 74.5 to 80.0 MB"],
        ),
    ],
)
def test_what_grows_is_found(leak: Callable[[int], Held], found: list[str]) -> None:
    assert found == leaks(_rounds(leak))


def test_the_slope_is_that_of_the_memory_behind_the_first_quarter() -> None:
    rounds = _rounds(lambda number: STEADY._replace(resident=70 + max(number - 3, 0) * 0.1))
    assert 600 == pytest.approx(slope(rounds))
