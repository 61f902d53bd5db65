"""`python -m tests.recorded`: replays the recorded traffic of clouds, and says what agrees.

How many are left out and why, a row per provider, a line per exchange that does not agree.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter

from tests.parts import corpus
from tests.recorded.clouds.exchanges import left_out, replayed
from tests.recorded.clouds.replay import mismatches
from tests.recorded.clouds.serving import serving


async def _failures() -> dict[str, list[str]]:
    """By exchange, also of those that agree: these have none."""
    exchanges = replayed()
    async with serving(exchanges) as parts:
        return {one.id: await mismatches(parts, one) for one in exchanges}


def _left_out() -> dict[str, list[str]]:
    """By reason, the exchanges."""
    found: dict[str, list[str]] = {}
    for out in left_out():
        found.setdefault(out.reason, []).append(out.id)
    return found


def main() -> int:
    """0 where all agree; else 1."""
    if not replayed():
        print(f"no recordings at {corpus()}; FACADE_CORPUS names their folder")
        return 1
    failures = asyncio.run(_failures())
    number: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    for one in replayed():
        number[one.provider] += 1
        passed[one.provider] += not failures[one.id]
    for reason, ids in _left_out().items():
        more = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
        print(f"left out {ids[0]}{more}: {reason}")
    print(f"{'vendor':16} exchanges passed/total")
    for provider in sorted(number):
        print(f"{provider:16} {passed[provider]:4}/{number[provider]}")
    print(f"{'all':16} {passed.total():4}/{number.total()} of {corpus()}")
    for id_, found in failures.items():
        if found:
            more = f" (and {len(found) - 1} more ways)" if len(found) > 1 else ""
            print(f"FAILED {id_}: {found[0]}{more}")
    return int(any(failures.values()))


if __name__ == "__main__":
    sys.exit(main())
