"""What a facade holds, read from its metrics and from Linux; and whether it grows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from statistics import linear_regression, median
from typing import Final, NamedTuple
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families as parse

from tests.bench.processes import resident_megabytes

SETTLES: Final = 40.0  # seconds in which all is to be given back: longer than a request outlives
_SHORTEST: Final = 6  # rounds, before memory is judged
_GROWTH: Final = 0.05  # of the memory, from the second quarter to the last


class Held(NamedTuple):
    """What is held at one moment. `resident` in megabytes."""

    seconds: float
    tasks: int
    sockets: int
    slots: int
    waiting: int
    resident: float


class Watch:
    """One facade's, whose operations answer at this URL."""

    def __init__(self, pid: int, operations: str) -> None:
        self._pid = pid
        self._url = f"{operations}/metrics"
        self._began = asyncio.get_running_loop().time()

    async def look(self) -> Held:
        """What it holds now; the look's own connection is not counted."""
        text = await asyncio.to_thread(self._metrics)
        values = {"facade_tasks": 0.0, "facade_slots_in_use": 0.0, "facade_queue_waiting": 0.0}
        for family in parse(text):
            for sample in family.samples:
                if sample.name in values:
                    values[sample.name] += sample.value
        tasks, slots, waiting = (int(value) for value in values.values())
        seconds = asyncio.get_running_loop().time() - self._began
        return Held(seconds, tasks, self._sockets(), slots, waiting, resident_megabytes(self._pid))

    async def settled(self) -> Held:
        """What it holds when it gives nothing back any more, or after SETTLES seconds."""
        held = await self.look()
        for _ in range(int(SETTLES)):
            await asyncio.sleep(1)
            before, held = held, await self.look()
            if not (held.slots or held.waiting) and held[1:3] == before[1:3]:
                break
        return held

    def _metrics(self) -> str:
        with urlopen(self._url, timeout=SETTLES) as answer:
            text: str = answer.read().decode()
        return text

    def _sockets(self) -> int:
        files = Path(f"/proc/{self._pid}/fd").iterdir()
        return sum(_link(file).startswith("socket:") for file in files)


def _link(file: Path) -> str:
    try:
        return str(file.readlink())
    except FileNotFoundError:  # closed meanwhile
        return ""


def leaks(rounds: Sequence[Held]) -> list[str]:
    """What grew, in words. The first round is what the others are held to."""
    first, last = rounds[0], rounds[-1]
    found = []
    if last.slots or last.waiting:
        found.append(f"{last.slots} slots are in use, {last.waiting} calls wait")
    for name in ("tasks", "sockets"):
        before, after = getattr(first, name), min(getattr(each, name) for each in rounds[-3:])
        if after > before + before // 2:
            found.append(f"{name} grew from {before} to {after}")
    if len(rounds) >= _SHORTEST:
        quarter = len(rounds) // 4
        before = median(each.resident for each in rounds[quarter : 2 * quarter + 1])
        after = median(each.resident for each in rounds[-quarter:])
        if after > before * (1 + _GROWTH):
            found.append(f"memory grew from {before:.1f} to {after:.1f} MB")
    return found


def slope(rounds: Sequence[Held]) -> float:
    """Of the memory behind the first quarter, in kilobytes a minute."""
    later = rounds[len(rounds) // 4 :]
    if len(later) < 2:
        return 0.0
    line = linear_regression([each.seconds for each in later], [each.resident for each in later])
    return line.slope * 1000 * 60
