"""What every test shares: a test whose part is lacking on this machine is skipped by name."""

from __future__ import annotations

import pytest

from tests.parts import PARTS, unusable


@pytest.hookimpl(tryfirst=True)  # before any fixture tries to start the part
def pytest_runtest_setup(item: pytest.Item) -> None:
    for part in PARTS:
        if item.get_closest_marker(part.name) is None or not (reason := part.lacking()):
            continue
        if unusable(part):
            pytest.fail(f"lacks: {part.name} ({reason})", pytrace=False)
        pytest.skip(f"lacks: {part.name} ({reason})")
