"""`python -m tests.faults`: every fault in every mode, as it is seen now.

What is not as expected is marked, and the exit code is 1.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.faults.observed import CHAINS, COLUMNS, MODES, Cells, fakes, observe
from tests.faults.rows import ROWS, Row

_LEGEND: Final = """\
Each cell: what the client saw, then the target that served and the number of attempts. Target
`one` is faulty, `two` is well; `alone` has no `two`. One retry. `held back`: commit = "complete".
"""


def _lines(name: str, row: Row, seen: Cells) -> list[str]:
    """The row, its columns that are alike in one line."""
    said: dict[str, list[str]] = {}
    for column, cell in seen.items():
        chain, dialect, mode = column
        expected = row.cell(*column)
        mark = "" if cell == expected else f"   <-- expected: {expected}"
        said.setdefault(f"{chain:6} {cell}{mark}", []).append(f"{dialect} {mode}")
    lines = [f"\n{name}"]
    for cell, places in said.items():
        everywhere = len(places) == len(COLUMNS) // len(CHAINS)
        lines.append(f"  {cell}{'' if everywhere else '   (' + ', '.join(_joined(places)) + ')'}")
    return lines


def _joined(places: list[str]) -> list[str]:
    """A dialect whose modes are all there is said without them."""
    whole = [d for d in {p.partition(" ")[0] for p in places} if _all_of(d, places)]
    return sorted([*whole, *(p for p in places if p.partition(" ")[0] not in whole)])


def _all_of(dialect: str, places: list[str]) -> bool:
    return sum(place.startswith(f"{dialect} ") for place in places) == len(MODES)


async def _run() -> int:
    wrong = 0
    first, second = fakes()
    print(_LEGEND)
    async with first, second:
        for name, row in ROWS.items():
            with tempfile.TemporaryDirectory() as folder:
                seen = await observe(row, Path(folder), first, second)
            wrong += sum(cell != row.cell(*column) for column, cell in seen.items())
            print("\n".join(_lines(name, row, seen)), flush=True)
    print(f"\n{len(ROWS) * len(COLUMNS)} cells, {wrong} not as expected")
    return int(wrong > 0)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    sys.exit(asyncio.run(_run()))
