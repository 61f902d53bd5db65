"""The processes of a run: each on its core, its CPU time and memory read from Linux.

Every process is ended by whoever started it, and nothing else is.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.facade.command import environ

_WAIT: Final = 10.0  # seconds that a process has to end by itself
_PROC: Final = Path("/proc")


def cores() -> tuple[int, int]:
    """The gateway's core, and that of all others; the same where there is one only."""
    free = sorted(os.sched_getaffinity(0))
    return free[0], free[-1]


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started in here stays on this core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def running(command: Sequence[str], core: int) -> Iterator[subprocess.Popen[str]]:
    """A process until the end of the block; what it complains of goes where ours does."""
    with on_core(core):
        process = subprocess.Popen(command, env=environ(), stdout=subprocess.PIPE, text=True)
    with process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_WAIT)
            except subprocess.TimeoutExpired:
                process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    """What the process says when it is ready. Raises RuntimeError if it ends instead."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args!r} ended with {process.wait(_WAIT)}")
    return line


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its children, exact (stat counts in 10 ms).

    Its clock's number is that of clock_getcpuclockid(3).
    """
    return sum(time.clock_gettime((~each << 3) | 2) for each in tree(pid))


def resident_megabytes(pid: int) -> float:
    page = os.sysconf("SC_PAGE_SIZE")
    pages = (int((_PROC / str(each) / "statm").read_text().split()[1]) for each in tree(pid))
    return sum(pages) * page / 1e6


def tree(pid: int) -> Iterator[int]:
    """A process, its children, and theirs."""
    yield pid
    for children in (_PROC / str(pid) / "task").glob("*/children"):
        for child in children.read_text().split():
            yield from tree(int(child))
