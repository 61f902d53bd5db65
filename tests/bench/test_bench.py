"""The bench counts what is good, and only that. What it measures is no matter here."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.bench import answers, profile
from tests.bench.__main__ import Contender, main, window
from tests.bench.answers import Asked, Pieces
from tests.bench.gateways import Gateway, facade, find_nginx
from tests.bench.load import Bounds, load
from tests.bench.processes import tree
from tests.bench.rows import KINDS, OPENAI, UPSTREAMS
from tests.bench.upstream import Upstream
from tests.parts import ROOT

Answer = Callable[[bytes, Asked], Pieces]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the bench reads Linux's clocks")


@contextlib.asynccontextmanager
async def _upstream(answer: Answer = answers.answer) -> AsyncIterator[int]:
    """The bench's own upstream, with short pauses; its port."""
    loop = asyncio.get_running_loop()
    made = await loop.create_server(lambda: Upstream(answer, pace=0.0001), "127.0.0.1", 0)
    async with made as server:
        yield server.sockets[0].getsockname()[1]


FIVE = Bounds(seconds=20, answers=5, connections=2)


@pytest.mark.parametrize("kind", KINDS)
async def test_answers_of_the_upstream_are_good(kind: str) -> None:
    async with _upstream() as port:
        outcome = await load(kind, OPENAI, port, FIVE)
    assert (5, 0, "") == (outcome.good, outcome.bad, outcome.fault)


async def test_every_kind_through_the_facade_is_good_whichever_the_upstream(
    tmp_path: Path,
) -> None:
    async with _upstream() as port:
        with facade(port, tmp_path) as gateway:
            for kind, name in itertools.product(KINDS, UPSTREAMS):
                outcome = await load(kind, name, gateway.port, FIVE)
                assert (5, 0, "") == (outcome.good, outcome.bad, outcome.fault), (kind, name)


_ENDS = b'{"content":"At"},"logprobs":null,"finish_reason":null'
_TWICE = b'{"content":"At"},"finish_reason":"stop"'
BAD = {
    "another status": ("chat", b"200 OK", b"500 No", "status 500"),
    "another text": ("chat", b"noon", b"moon", "another text"),
    "no end of a whole answer": ("chat", b'"stop"', b"null", "no end"),
    "no JSON": ("chat", b'{"id"', b'["id"', "Expected `object`"),
    "no HTTP": ("chat", b"HTTP/1.1", b"HTPT/1.1", "not HTTP"),
    "another number": ("embeddings", b"0.042073549,", b"0.042073548,", "another vector"),
    "a number less": ("embeddings", b"0.042073549,", b"", "another vector"),
    "another chunk": ("burst", b"noon", b"moon", "other chunks"),
    "a chunk less": ("burst", b'"At"', b'""', "other chunks"),
    "no mark of the end": ("burst", b"[DONE]", b"[GONE]", "no [DONE] at the end"),
    "two ends": ("burst", _ENDS, _TWICE, "no end, or several"),
    "another id": ("burst", b"chatcmpl-C", b"chatcmpl-D", "several ids"),
    "no event": ("burst", b"data: {", b"date: {", "an event without data"),
}


@pytest.mark.parametrize(("kind", "said", "instead", "fault"), BAD.values(), ids=BAD)
async def test_a_bad_answer_is_counted_as_bad_even_after_good_ones(
    kind: str, said: bytes, instead: bytes, fault: str
) -> None:
    asked: list[Asked] = []

    def answer(path: bytes, asks: Asked) -> Pieces:
        asked.append(asks)
        (piece,) = answers.answer(path, asks)
        assert said in piece
        bad = piece.replace(said, instead.ljust(len(said)), 1)
        return (bad if len(asked) == 3 else piece,)

    async with _upstream(answer) as port:
        outcome = await load(kind, OPENAI, port, FIVE._replace(connections=1))
    assert 1 == outcome.bad
    assert outcome.fault.startswith(fault)
    assert outcome.good == (2 if fault == "not HTTP" else 4)  # nothing is asked behind that


@pytest.mark.parametrize(
    ("kept", "fault"),
    [(lambda piece: piece[:-1], "it did not come in time"), (lambda _: b"", "it did not come")],
    ids=["cut", "none"],
)
async def test_an_answer_that_does_not_end_is_bad(
    kept: Callable[[bytes], bytes], fault: str
) -> None:
    async with _upstream(lambda path, asks: (kept(answers.answer(path, asks)[0]),)) as port:
        outcome = await load("chat", OPENAI, port, FIVE._replace(seconds=0.05, grace=0.05))
    assert (0, 2) == (outcome.good, outcome.bad)
    assert outcome.fault.startswith(fault)


async def test_a_connection_that_is_lost_under_way_is_a_bad_answer() -> None:
    class Leaves(Upstream):
        def on_message_complete(self) -> None:
            self._transport.close()

    loop = asyncio.get_running_loop()
    async with await loop.create_server(Leaves, "127.0.0.1", 0) as server:
        outcome = await load("chat", OPENAI, server.sockets[0].getsockname()[1], FIVE)
    assert (0, 2, "the connection was lost") == (outcome.good, outcome.bad, outcome.fault)


async def test_a_load_with_a_bad_answer_has_no_figure() -> None:
    async with _upstream(lambda _, asks: answers.answer(b"/nowhere", asks)) as port:
        broken = Contender("broken", Gateway(os.getpid(), port, ready=0), OPENAI)
        with pytest.raises(SystemExit, match=r"chat of broken: .* bad answers, first status 404"):
            await asyncio.to_thread(window, "chat", broken, 0.01)


def test_the_command_prints_a_row_for_each_gateway_and_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    options = ["--only", "chat", "--rounds", "1", "--seconds", "0.1"]
    ran = subprocess.run(
        [sys.executable, "-m", "tests.bench", *options],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (0, "") == (ran.returncode, ran.stderr)
    rows = [line.split() for line in ran.stdout.splitlines()]
    measured = [row[1] for row in rows if row[0] == "chat"]
    assert ["openai", "ollama", "limited", "asgi"] == measured
    assert ("no nginx here" in ran.stdout) == (find_nginx() is None)
    assert [] == list(tmp_path.iterdir())


def test_the_profile_tells_which_files_an_answer_spends_its_time_in(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(profile, "_SECONDS", 0.5)
    assert 0 == profile.main(["burst", "ollama"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    parts = {file: float(share.removesuffix("%")) for share, file in rows}
    assert {"adapters/ollama_runs.py", "facade/wire/direct_exchange.py"} <= parts.keys()
    assert 80 < sum(parts.values()) < 101
    with pytest.raises(SystemExit, match="chat, embeddings, burst, paced"):
        profile.main(["speech"])


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--only", "chat,speech", "'speech' is none of chat, embeddings, burst, paced"),
        ("--seconds", "nan", "at most 60 seconds"),
        ("--seconds", "0", "at most 60 seconds"),
        ("--seconds", "3600", "at most 60 seconds"),
        ("--rounds", "0", "and 20 rounds"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    option: str, value: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([option, value])
    assert said in capsys.readouterr().err


def test_a_run_that_is_stopped_ends_what_it_started(tmp_path: Path) -> None:
    bench = subprocess.Popen(
        [sys.executable, "-m", "tests.bench", "--only", "paced", "--seconds", "60"],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with bench:
        assert bench.stdout is not None
        while "facade/CPU-s" not in bench.stdout.readline():
            assert bench.poll() is None
        started = list(tree(bench.pid))
        bench.terminate()
        assert 143 == bench.wait(30)
    assert len(started) >= 3
    assert [] == [pid for pid in started if Path(f"/proc/{pid}").exists()]
    assert [] == list(tmp_path.iterdir())
