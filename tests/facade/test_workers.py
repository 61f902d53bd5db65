"""Several processes behind one listener: all serve, one that is killed is replaced, all end."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.facade.command import WAIT, SmallOllama, answer_to, ended, facade, serving
from tests.facade.config_files import LOCAL, sentence, write
from tests.facade.limits import server

ALONE = "server.workers: several processes need a store that they share: see store.url, or take 1"


@pytest.fixture
def file(tmp_path: Path) -> Iterator[str]:
    """Behind it an Ollama, and a store."""
    with server.running() as url, SmallOllama().running() as ollama:
        upstream = f'[upstreams.local]\ndialect = "ollama"\nbase_url = "{ollama.url}"\n'
        yield str(write(tmp_path, f'{upstream}[store]\nurl = "{url}"\n'))


def children(process: subprocess.Popen[str]) -> set[int]:
    said = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return {int(child) for child in said.split()}


def until(so: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def gone(process: int) -> bool:
    try:
        return "Z" in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2]
    except FileNotFoundError:
        return True


def is_alive(greeting: str) -> None:
    with answer_to(greeting, "GET", "/livez") as answer:
        assert 200 == answer.status


def test_several_processes_without_a_store_that_they_share_are_refused(tmp_path: Path) -> None:
    assert f"facade.toml: {ALONE}" == sentence(tmp_path, f"[server]\nworkers = 2\n{LOCAL}")
    done = facade("serve", "--workers", "2", OLLAMA_HOST="127.0.0.1")
    assert (2, f"facade: --workers: {ALONE.partition(': ')[2]}\n") == (done.returncode, done.stderr)
    said = sentence(tmp_path, f"[server]\nworkers = 0\n{LOCAL}")
    assert "facade.toml: server.workers: expected a whole number >= 1" == said


@pytest.mark.store
def test_all_serve_at_one_address_and_end_with_the_first(file: str) -> None:
    with serving("--config", file, "--workers", "3") as (process, greeting):
        assert greeting.startswith("facade answers at ")
        until(lambda: len(children(process)) == 3)
        workers = children(process)
        is_alive(greeting)
        process.terminate()
        assert 0 == ended(process)[0]
        assert all(map(gone, workers))


@pytest.mark.store
def test_a_worker_that_is_killed_is_replaced(file: str) -> None:
    with serving("--config", file, "--workers", "2") as (process, greeting):
        until(lambda: len(children(process)) == 2)
        before = children(process)
        killed = min(before)
        os.kill(killed, signal.SIGKILL)
        until(lambda: len(children(process) - {killed}) == 2)
        assert 1 == len(children(process) & before)
        for _ in range(8):
            is_alive(greeting)
        process.send_signal(signal.SIGINT)
        code, said = ended(process)
        assert 0 == code
        assert "was killed by signal 9 and is replaced" in said


@pytest.mark.store
def test_no_worker_outlives_the_first_process(file: str) -> None:
    with serving("--config", file, "--workers", "2") as (process, _):
        until(lambda: len(children(process)) == 2)
        workers = children(process)
        process.kill()
        until(lambda: all(map(gone, workers)))


@pytest.mark.store
def test_no_two_workers_give_the_same_request_an_id(file: str) -> None:
    """What is forked has what its parent drew: so nothing is drawn before."""
    with serving("--config", file, "--workers", "2") as (process, greeting):
        until(lambda: len(children(process)) == 2)
        ids = []
        for _ in range(40):
            with answer_to(greeting, "GET", "/livez") as answer:
                ids.append(answer.headers["x-request-id"])
        assert 40 == len(set(ids))
