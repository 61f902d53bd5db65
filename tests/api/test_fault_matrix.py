"""Every fault in every mode, as `python -m tests.faults` prints it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.fake_upstream import FakeUpstream
from tests.fake_upstream.faults import FAULTS
from tests.faults.observed import COLUMNS, fakes, observe
from tests.faults.rows import ROWS

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def targets() -> AsyncIterator[tuple[FakeUpstream, FakeUpstream]]:
    first, second = fakes()
    async with first, second:
        yield first, second


async def test_every_fault_of_the_fake_is_in_the_matrix() -> None:
    assert set(FAULTS.values()) <= {type(row.fault) for row in ROWS.values()}


@pytest.mark.parametrize("name", ROWS)
async def test_a_fault_is_seen_in_every_mode_as_its_row_says(
    name: str, targets: tuple[FakeUpstream, FakeUpstream], tmp_path: Path
) -> None:
    row = ROWS[name]
    expected = {column: row.cell(*column) for column in COLUMNS}
    assert expected == await observe(row, tmp_path, *targets)
