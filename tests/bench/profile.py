"""`python -m tests.bench.profile [KIND [UPSTREAM]]`: where the CPU time of an answer goes, by file.

A thousand times in each second of CPU the facade notes which of its files runs. What is spent in
C and in the system counts for the file that asked for it, what the loop spends for whose turn is
next.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Final

from facade import cli
from tests.bench.__main__ import Contender, window
from tests.bench.gateways import facade
from tests.bench.processes import cores, first_line, running
from tests.bench.rows import KINDS, OPENAI, UPSTREAMS
from tests.parts import ROOT

_SECONDS: Final = 5.0
_WARM_UP: Final = 0.5
_EVERY: Final = 0.001  # seconds of CPU
_SHOWN: Final = 40


def main(arguments: list[str]) -> int:
    """Measure and print."""
    kind, upstream = [*arguments, *("chat", OPENAI)[len(arguments) :]]
    if kind not in KINDS or upstream not in UPSTREAMS:
        sys.exit(f"a kind ({', '.join(KINDS)}) and an upstream ({', '.join(UPSTREAMS)})")
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        answers = running([sys.executable, "-m", "tests.bench.upstream"], cores()[1])
        port = int(first_line(held.enter_context(answers)))
        with facade(port, folder, module="tests.bench.profile") as gateway:
            contender = Contender("facade", gateway, upstream)
            window(kind, contender, _WARM_UP)
            os.kill(gateway.pid, signal.SIGUSR1)
            window(kind, contender, _SECONDS)
        print("\n".join(_table(_noted(folder).read_text().split("\n"))))
    return 0


def _table(files: list[str]) -> Iterator[str]:
    counts = Counter(files)
    for file, count in counts.most_common(_SHOWN):
        yield f"{count / len(files):7.1%}  {file}"


def _noted(folder: Path) -> Path:
    return folder / "profile"


def _serve(arguments: list[str]) -> int:
    """As the command `facade` does; write down what was seen of it since it was told to look."""
    seen: list[str] = []

    def begin(_: int, __: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_PROF, _EVERY, _EVERY)

    def look(_: int, frame: FrameType | None) -> None:
        seen.append(_file_of(frame))

    signal.signal(signal.SIGPROF, look)
    signal.signal(signal.SIGUSR1, begin)
    try:
        return cli.main(arguments)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        _noted(Path(arguments[-1]).parent).write_text("\n".join(seen))  # beside its configuration


def _file_of(frame: FrameType | None) -> str:
    file = Path(frame.f_code.co_filename) if frame else Path()
    if file.is_relative_to(ROOT / "facade") or file.is_relative_to(ROOT / "adapters"):
        return str(file.relative_to(ROOT))
    return file.name


if __name__ == "__main__":
    sys.exit(_serve(sys.argv[1:]) if "serve" in sys.argv else main(sys.argv[1:]))
