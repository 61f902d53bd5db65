"""The engine of the embedded model says why it does not start, answers, and is kept running."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from facade.embedded import NAME, Engine, EngineFailed, engine, installed
from facade.embedded.model import model_file


async def test_without_its_model_the_engine_says_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACADE_MODELS_DIR", str(tmp_path))
    assert not installed()
    with pytest.raises(EngineFailed) as refused:
        await Engine().start()
    assert "the embedded model is not on this machine: run `facade models pull`" == str(
        refused.value
    )


async def test_a_model_that_does_not_load_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACADE_MODELS_DIR", str(tmp_path))
    model_file().write_bytes(b"no weights")
    started = Engine()
    with pytest.raises(EngineFailed) as refused:
        await started.start()
    await started.stop()
    assert (
        "the embedded engine did not start (it says above why); `facade models pull` checks its"
        " model" == str(refused.value)
    )


async def test_an_engine_that_takes_too_long_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_LOADING", 0.001)
    monkeypatch.setenv("FACADE_MODELS_DIR", str(tmp_path))
    model_file().write_bytes(b"no weights")
    started = Engine()
    with pytest.raises(EngineFailed) as refused:
        await started.start()
    assert "the embedded engine took over 0.001 s" == str(refused.value)
    assert started._child.returncode is not None


@pytest.fixture
async def running() -> AsyncIterator[Engine]:
    started = Engine()
    await started.start()
    yield started
    await started.stop()


def client_of(running: Engine) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {running.api_key}"}
    return httpx.AsyncClient(base_url=running.base_url, headers=headers, trust_env=False)


async def answers(running: Engine) -> bool:
    """Whether the engine lists its model within half a minute."""
    status = 0
    async with client_of(running) as client:
        for _ in range(600):
            with suppress(httpx.TransportError):
                status = (await client.get("/models")).status_code
            if status == 200:  # 503 while it loads
                break
            await asyncio.sleep(0.05)
    return status == 200


@pytest.mark.embedded
async def test_the_engine_lists_its_model_to_whoever_has_the_key(running: Engine) -> None:
    assert installed()
    async with client_of(running) as client:
        listing = (await client.get("/models")).json()
        stranger = await client.get("/models", headers={"authorization": "Bearer nobody"})
    assert [NAME] == [model["id"] for model in listing["data"]]
    assert 401 == stranger.status_code


@pytest.mark.embedded
async def test_the_engine_generates(running: Engine) -> None:
    call = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3}
    async with client_of(running) as client:
        answer = (await client.post("/chat/completions", json=call, timeout=60)).json()
    assert "length" == answer["choices"][0]["finish_reason"]
    assert 3 == answer["usage"]["completion_tokens"]


@pytest.mark.embedded
async def test_the_key_is_on_no_command_line(running: Engine) -> None:
    shown = Path("/proc", str(running._child.pid), "cmdline")
    assert running.api_key not in await asyncio.to_thread(shown.read_text)


@pytest.mark.embedded
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM], ids=str)
async def test_a_dead_engine_is_started_again_at_the_same_address(
    running: Engine, blow: signal.Signals, caplog: pytest.LogCaptureFixture
) -> None:
    dead = running._child
    assert await answers(running)
    dead.send_signal(blow)
    assert -blow == await dead.wait()
    assert await answers(running)
    assert [f"the embedded engine ended ({-blow}); it starts again in 0.5 s"] == caplog.messages


@pytest.mark.embedded
async def test_an_engine_that_does_not_start_again_is_tried_until_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engine, "_FIRST_PAUSE", 0.01)
    whole = model_file()
    monkeypatch.setenv("FACADE_MODELS_DIR", str(tmp_path))
    model_file().symlink_to(whole)
    started = Engine()
    await started.start()
    model_file().unlink()
    started._child.kill()
    failures = 0
    for _ in range(600):
        failures = sum("did not start" in message for message in caplog.messages)
        if failures > 1:
            break
        await asyncio.sleep(0.05)
    assert failures > 1
    model_file().symlink_to(whole)
    assert await answers(started)
    await started.stop()


@pytest.mark.embedded
async def test_a_stopped_engine_ends_although_it_is_generating(running: Engine) -> None:
    call = {"messages": [{"role": "user", "content": "Hi"}], "ignore_eos": True, "stream": True}
    async with (
        client_of(running) as client,
        client.stream("POST", "/chat/completions", json=call, timeout=60) as reply,
    ):
        assert 200 == reply.status_code
        await running.stop()
    assert 0 == running._child.returncode


@pytest.mark.embedded
async def test_an_engine_that_does_not_end_is_killed(
    running: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_ENDING", 0.1)
    running._child.send_signal(signal.SIGSTOP)
    await running.stop()
    assert -signal.SIGKILL == running._child.returncode


async def refused(port: int) -> None:
    """Raises ConnectionRefusedError when nobody listens any more."""
    while True:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(0.05)


OWNER = """
import asyncio
from facade.embedded import Engine
async def main():
    engine = Engine()
    await engine.start()
    print(engine._port, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


@pytest.mark.embedded
async def test_an_engine_whose_owner_is_killed_ends() -> None:
    owner = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OWNER), stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    port = int(await owner.stdout.readline())
    owner.kill()
    await owner.wait()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.wait_for(refused(port), 30)
