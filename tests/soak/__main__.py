"""`python -m tests.soak --minutes 10`: prints what is held after each round; 1 where it grows.

A round is ten seconds of requests with faults at random, then silence until nothing more is given
back. Everything is on loopback; the facade is a process of its own. Needs Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Final

from tests.bench.processes import cores, first_line, running
from tests.fake_upstream import FakeUpstream
from tests.soak.clients import Clients
from tests.soak.watch import Held, Watch, leaks, slope

_CLIENTS: Final = 24
_ROUND: Final = 10.0  # seconds
_CLOCKS: Final = "{ connect = 1, load = 1, first_token = 1, idle = 1, total = 3 }"
_SEEN: Final = ("good", "failed", "refused", "left", "wrong")


def _file(folder: str, one: str, two: str) -> Path:
    file = Path(folder) / "facade.toml"
    file.write_text(f"""\
[server]
ops_port = 0
deadline = 6
keep_alive_comments = 0.3
log_level = "error"
ip_limits = ["1000000/minute", "1000000000 tokens/minute", "{_CLIENTS * 4} concurrent"]
[upstreams.one]
dialect = "ollama"
base_url = "{one}"
slots = 8
queue = 20
timeouts = {_CLOCKS}
[upstreams.two]
dialect = "openai"
base_url = "{two}/v1"
slots = 8
queue = 20
timeouts = {_CLOCKS}
[models.assistant]
targets = ["one/llama3.1", "two/llama3.1"]
[models.whole]
targets = ["two/llama3.1", "one/llama3.1"]
commit = "complete"
""")
    return file


async def soak(minutes: float, seed: int) -> int:
    """Run it; 1 where something grew, or an answer was wrong."""
    async with FakeUpstream() as one, FakeUpstream() as two:
        with tempfile.TemporaryDirectory() as folder:
            file = _file(folder, one.url, two.url)
            command = [sys.executable, "-m", "facade", "serve", "--port=0", f"--config={file}"]
            with running(command, cores()[0]) as process:
                port, *_, operations = re.findall(r"127.0.0.1:(\d+)", first_line(process))
                watch = Watch(process.pid, f"http://127.0.0.1:{operations}")
                clients = Clients(int(port), (one, two), Random(seed))
                rounds = await _rounds(minutes * 60, clients, watch, (one, two))
    return _verdict(rounds, clients.seen)


async def _rounds(
    seconds: float, clients: Clients, watch: Watch, fakes: tuple[FakeUpstream, FakeUpstream]
) -> list[Held]:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    rounds: list[Held] = []
    print(_row("time", "requests", _SEEN, ("tasks", "sockets", "slots", "MB")))
    while not rounds or loop.time() < end:
        before = clients.seen.copy()
        until = min(loop.time() + _ROUND, max(end, loop.time() + 1))
        await asyncio.gather(*(clients.ask(until) for _ in range(_CLIENTS)))
        for fake in fakes:
            fake.reset()
        rounds.append(await watch.settled())
        print(_told(rounds[-1], clients.seen - before), flush=True)
    return rounds


def _told(held: Held, seen: Counter[str]) -> str:
    now = (held.tasks, held.sockets, held.slots, f"{held.resident:.1f}")
    return _row(f"{held.seconds:.0f} s", seen.total(), [seen[name] for name in _SEEN], now)


def _row(time: str, requests: object, seen: Sequence[object], held: Sequence[object]) -> str:
    left, right = ("".join(f"{cell!s:>9}" for cell in cells) for cells in (seen, held))
    return f"{time:>7}{requests!s:>10}{left} |{right}"


def _verdict(rounds: list[Held], seen: Counter[str]) -> int:
    print(f"all: {dict(seen)}; memory {slope(rounds):+.0f} kB a minute behind the first quarter")
    found = leaks(rounds)
    if seen["wrong"]:
        found.append(f"{seen['wrong']} answers were wrong")
    print("\n".join(found) or "nothing leaks")
    return 1 if found else 0


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    return asyncio.run(soak(asked.minutes, asked.seed))


if __name__ == "__main__":
    sys.exit(main())
