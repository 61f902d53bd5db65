"""`python -m tests.bench`: answers per CPU-second of the facade, and of nginx in the same run."""

from __future__ import annotations

import argparse
import signal
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from tests.bench.gateways import LIMITS, Gateway, facade, find_nginx, nginx
from tests.bench.load import GRACE, Outcome
from tests.bench.processes import (
    cores,
    cpu_seconds,
    first_line,
    on_core,
    resident_megabytes,
    running,
)
from tests.bench.rows import KINDS, OPENAI, UPSTREAMS

_WARM_UP: Final = 0.5  # seconds
_NGINX: Final = "nginx"
_LIMITED: Final = "limited"
_ASGI: Final = "asgi"
_LEGEND: Final = """
Counted are good answers, of paced streams their chunks. nginx is asked for the same answer in
OpenAI's form. "limited" is "openai" with a key, a limit of requests and one of tokens; "asgi" is
"openai" under a server that is not ours. "busy" is the part of its core that the gateway had.
"""


class Speed(NamedTuple):
    """`rate` is per CPU-second; `busy` is the part of its core that the gateway had."""

    rate: float
    busy: float


class Contender(NamedTuple):
    """Someone who is asked for one kind of answer."""

    name: str
    gateway: Gateway
    upstream: str


Speeds = Mapping[str, Speed]  # medians, by contender


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, epilog=_LEGEND
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="of a window (default 2)")
    parser.add_argument("--rounds", type=int, default=3, help="medians of so many (default 3)")
    parser.add_argument("--only", metavar="KIND,...", help=f"of {', '.join(KINDS)}")
    asked = parser.parse_args(arguments)
    if sys.platform != "linux":
        parser.error("CPU time is read as Linux tells it")
    if not 0 < asked.seconds <= 60 or not 1 <= asked.rounds <= 20:
        parser.error("at most 60 seconds and 20 rounds, and more than none")
    asked.kinds = asked.only.split(",") if asked.only else list(KINDS)
    if unknown := [kind for kind in asked.kinds if kind not in KINDS]:
        parser.error(f"{unknown[0]!r} is none of {', '.join(KINDS)}")
    return asked


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; ends with a sentence and 1 where an answer is not good."""
    asked = _asked(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended then too
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        upstream = running([sys.executable, "-m", "tests.bench.upstream"], cores()[1])
        port = int(first_line(held.enter_context(upstream)))
        own = held.enter_context(facade(port, folder))
        contenders = [Contender(name, own, name) for name in UPSTREAMS]
        limited = held.enter_context(facade(port, folder, LIMITS))
        contenders.append(Contender(_LIMITED, limited, OPENAI))
        asgi = held.enter_context(facade(port, folder, module="tests.bench.asgi"))
        contenders.append(Contender(_ASGI, asgi, OPENAI))
        if program := find_nginx():
            plain = held.enter_context(nginx(program, port, folder))
            contenders.insert(0, Contender(_NGINX, plain, OPENAI))
        else:
            print("There is no nginx here: the figures stand alone.")
        if cores()[0] == cores()[1]:
            print("There is one core only: gateway, upstream and load share it.")
        print(
            _line("", "nginx/CPU-s", "busy", "facade/CPU-s", "busy", "us each", "ratio", "goal"),
            flush=True,
        )
        for kind in asked.kinds:
            speeds = _measured(kind, contenders, asked.seconds, asked.rounds)
            print("\n".join(_rows(kind, speeds)), flush=True)
        print(f"facade: ready in {own.ready:.2f} s, {resident_megabytes(own.pid):.0f} MB resident")
    return 0


def _measured(kind: str, contenders: Sequence[Contender], seconds: float, rounds: int) -> Speeds:
    for contender in contenders:
        window(kind, contender, _WARM_UP)
    speeds: dict[str, list[Speed]] = defaultdict(list)
    for _ in range(rounds):
        for contender in contenders:
            speeds[contender.name].append(window(kind, contender, seconds))
    return {
        name: Speed(*map(statistics.median, zip(*all_of, strict=True)))
        for name, all_of in speeds.items()
    }


def window(kind: str, contender: Contender, seconds: float) -> Speed:
    """One load on one gateway. Raises SystemExit for an answer that is not good."""
    gateway = contender.gateway
    asks = [kind, contender.upstream, str(gateway.port), str(seconds)]
    before = cpu_seconds(gateway.pid)
    with on_core(cores()[1]):
        said = subprocess.run(
            [sys.executable, "-m", "tests.bench.load", *asks],
            stdout=subprocess.PIPE,
            timeout=seconds + 2 * GRACE,
            check=True,
        ).stdout
    spent = cpu_seconds(gateway.pid) - before
    outcome = msgspec.json.decode(said, type=Outcome)
    if outcome.bad or not outcome.good:
        sys.exit(f"{kind} of {contender.name}: {outcome.bad} bad answers, first {outcome.fault}")
    return Speed(outcome.good * KINDS[kind].counts / spent, spent / outcome.seconds)


def _rows(kind: str, speeds: Speeds) -> Iterator[str]:
    plain = speeds.get(_NGINX)
    rows = [*zip(UPSTREAMS, UPSTREAMS, strict=True), (_LIMITED, OPENAI), (_ASGI, OPENAI)]
    for name, upstream in rows:
        own = speeds[name]
        yield _line(
            f"{kind} {name}",
            f"{plain.rate:,.0f}" if plain else "-",
            f"{plain.busy:.0%}" if plain else "-",
            f"{own.rate:,.0f}",
            f"{own.busy:.0%}",
            f"{1e6 / own.rate:.1f}",
            f"{own.rate / plain.rate:.3f}" if plain else "-",
            KINDS[kind].goals.get(upstream, "-"),
        )


def _line(name: str, *cells: str) -> str:
    return f"{name:<18}" + "".join(f"{cell:>13}" for cell in cells)


if __name__ == "__main__":
    sys.exit(main())
