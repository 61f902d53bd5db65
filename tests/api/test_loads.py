"""Models that are not in memory: one call loads them, whoever else asks waits for that."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import pytest

from facade import loading
from tests.api.asking import Answer, ask, chat, opened
from tests.api.queues import CHAT, OLLAMA, in_line, said
from tests.api.serving import Facade, serving, settings, upstream
from tests.fake_upstream import FakeUpstream, Model, faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

QWEN: Final = chat("ollama/qwen3")


@pytest.fixture
def cold(fake: FakeUpstream, monkeypatch: pytest.MonkeyPatch) -> FakeUpstream:
    """A fake that has no model in memory, and is asked for that whenever it matters."""
    monkeypatch.setattr(loading, "_EVERY", 0.01)
    fake.models.loaded.clear()
    return fake


def asked_for(fake: FakeUpstream) -> list[str]:
    return [request.json["model"] for request in fake.requests_to(OLLAMA)]


async def seen(facade: Facade, fake: FakeUpstream, *loaded: str) -> None:
    """Return when the facade has seen that these are in memory: one asking comes after another."""
    fake.models.loaded = {f"{name}:latest" for name in loaded}
    wanted = len(fake.requests_to("/api/ps")) + 3
    while len(fake.requests_to("/api/ps")) < wanted:
        assert 200 == (await ask(facade, "POST", CHAT, chat("ollama/llava"))).status
    fake.reset()


async def statuses(asked: list[asyncio.Task[Answer]]) -> list[int]:
    return [(await each).status for each in asked]


@pytest.mark.parametrize("streamed", [False, True])
async def test_many_who_ask_for_a_cold_model_make_one_load(
    streamed: bool, cold: FakeUpstream, tmp_path: Path
) -> None:
    """And leave the other slots to those who ask for another, where there is room for both."""
    text = upstream("ollama", cold.url, slots="4")
    async with serving(settings(tmp_path, text), cold) as facade:
        await seen(facade, cold, "llama3.1", "qwen3")
        await seen(facade, cold)
        cold.fault(faults.HangBeforeHeaders(), times=2, path=OLLAMA)
        asked = [await in_line(facade, said(f"{n}", stream=streamed)) for n in range(6)]
        asked.append(await in_line(facade, QWEN))
        await cold.came(2, path=OLLAMA)
        assert ["llama3.1", "qwen3"] == asked_for(cold)
        cold.release()
        await cold.came(7, path=OLLAMA)
        cold.release()
        assert [200] * 7 == await statuses(asked)


async def test_where_a_load_fails_the_next_in_line_loads(
    cold: FakeUpstream, tmp_path: Path
) -> None:
    cold.fault(faults.Status(500), path=OLLAMA)
    text = upstream("ollama", cold.url, slots="4")
    async with serving(settings(tmp_path, text), cold) as facade:
        asked = [asyncio.create_task(ask(facade, "POST", CHAT, said(f"{n}"))) for n in range(3)]
        assert [200, 200, 500] == sorted(await statuses(asked))


async def test_where_who_loads_leaves_the_next_in_line_loads(
    cold: FakeUpstream, tmp_path: Path
) -> None:
    cold.fault(faults.HangBeforeHeaders(), path=OLLAMA)
    text = upstream("ollama", cold.url, slots="4")
    async with (
        serving(settings(tmp_path, text), cold) as facade,
        opened(facade, "POST", CHAT, said("loads")) as client,
    ):
        await cold.came(path=OLLAMA)
        waits = await in_line(facade, said("waits"))
        client.leave()
        assert 200 == (await waits).status
    assert ["llama3.1"] * 2 == asked_for(cold)


async def test_who_asks_for_a_loaded_model_does_not_wait_for_a_load(
    cold: FakeUpstream, tmp_path: Path
) -> None:
    text = upstream("ollama", cold.url, slots="2")
    async with serving(settings(tmp_path, text), cold) as facade:
        await seen(facade, cold, "llama3.1", "qwen3")
        await seen(facade, cold, "llama3.1")
        cold.fault(faults.HangBeforeHeaders(), path=OLLAMA)
        loads = [await in_line(facade, QWEN)]
        await cold.came(path=OLLAMA)
        loads += [await in_line(facade, QWEN) for _ in range(3)]
        for number in range(3):
            assert 200 == (await ask(facade, "POST", CHAT, said(f"{number}"))).status
        assert ["qwen3", *["llama3.1"] * 3] == asked_for(cold)
        cold.release()
        assert [200] * 4 == await statuses(loads)


async def test_calls_of_a_model_that_runs_elsewhere_do_not_wait_for_one_another(
    tmp_path: Path,
) -> None:
    """It is never in memory here."""
    async with FakeUpstream([Model("big:cloud")]) as passing:
        passing.models.loaded.clear()
        passing.fault(faults.HangBeforeHeaders(), times=2, path=OLLAMA)
        text = upstream("ollama", passing.url, slots="4")
        async with serving(settings(tmp_path, text), passing) as facade:
            asked = [await in_line(facade, chat("ollama/big:cloud")) for _ in range(2)]
            await passing.came(2, path=OLLAMA)
            for _ in asked:
                passing.release()
            assert [200, 200] == await statuses(asked)


async def test_two_models_on_one_gpu_are_not_loaded_in_turns(
    cold: FakeUpstream, tmp_path: Path
) -> None:
    """Side by side each call would push the other's model out, once the call to that has ended."""
    text = upstream("ollama", cold.url, slots="2")
    async with serving(settings(tmp_path, text), cold) as facade:
        await seen(facade, cold, "llama3.1")
        cold.fault(faults.HangBeforeHeaders(), path=OLLAMA)
        asked = [await in_line(facade, said("runs"))]
        await cold.came(path=OLLAMA)
        asked.append(await in_line(facade, QWEN))
        assert 200 == (await ask(facade, "POST", CHAT, said("is loaded, so goes first"))).status
        assert ["llama3.1"] * 2 == asked_for(cold)
        cold.fault(faults.HangBeforeHeaders(), path=OLLAMA)
        cold.release()
        await cold.came(3, path=OLLAMA)
        cold.models.loaded = {"qwen3:latest"}
        asked += [await in_line(facade, said(f"{n}")) for n in range(2)]
        assert ["llama3.1", "llama3.1", "qwen3"] == asked_for(cold)
        cold.release()
        assert [200] * 4 == await statuses(asked)


async def test_the_load_clock_holds_while_a_listed_model_is_still_being_loaded(
    cold: FakeUpstream, tmp_path: Path
) -> None:
    """Ollama lists it from early in its load, and the weights may take minutes."""
    cold.models.loading.add("llama3.1:latest")
    cold.fault(faults.HangBeforeHeaders(), path=OLLAMA)
    text = upstream("ollama", cold.url, timeouts="{ load = 0.5, first_token = 0.1 }")
    async with serving(settings(tmp_path, text), cold) as facade:
        answer = await ask(facade, "POST", CHAT, said("waits"))
    assert (504, True) == (answer.status, "not loaded in time" in answer.error["message"])
    assert len(cold.requests_to("/api/ps")) > 2
