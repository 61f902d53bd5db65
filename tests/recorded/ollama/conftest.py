"""Counts the comparisons that agree, and says at the end how many there were."""

from __future__ import annotations

from collections import Counter

import pytest

_AGREED = pytest.StashKey[Counter[str]]()


@pytest.fixture(scope="session")
def agreed(pytestconfig: pytest.Config) -> Counter[str]:
    """Comparisons that agree, by exchange."""
    return pytestconfig.stash.setdefault(_AGREED, Counter())


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    agreed = config.stash.get(_AGREED, Counter())
    if agreed:
        terminalreporter.write_line(
            f"recorded: {len(agreed)} exchanges agree in {agreed.total()} combinations"
        )
