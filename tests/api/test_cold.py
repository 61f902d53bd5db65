"""`cold = "next"`: while a model is loaded another target answers."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Final

import pytest
from msgspec.structs import replace

from facade import loading
from facade.config import ModelSettings, Settings
from tests.api.asking import Answer, ask, chat
from tests.api.chains import ALIAS, MODEL, Link, Pair, chain, provenance
from tests.api.queues import CHAT, OLLAMA, in_line
from tests.api.serving import Facade, serving
from tests.fake_upstream import Answer as Told
from tests.fake_upstream import FakeUpstream, Model, Pause, faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

LOAD: Final = "/api/generate"
FIRST: Final = ("one", "1", None)
NEXT: Final = ("two", "1", "cold")


def cold(pair: Pair, **alias: str) -> AbstractAsyncContextManager[Facade]:
    """A facade whose alias means first an Ollama with nothing in memory, then a cloud."""
    pair.one.models.loaded.clear()
    more = 'keep_alive = "10m"\noptions = { num_ctx = 8192 }'
    links = [Link(pair.one.url, "ollama", more), Link(pair.two.url)]
    return serving(chain(pair.folder, *links, **{"cold": '"next"', **alias}), pair.one)


async def asked(facade: Facade, **headers: str) -> Answer:
    return await ask(facade, "POST", CHAT, chat(ALIAS), **headers)


async def test_a_cold_model_is_loaded_once_while_the_next_target_answers(pair: Pair) -> None:
    pair.one.script(LOAD, Told(body=(b'{"done":true}',), pause=Pause()))
    async with cold(pair) as facade:
        for _ in range(3):
            assert NEXT == provenance(await asked(facade))
        load = await pair.one.came(path=LOAD)
        said = {key: load.json.get(key) for key in ("model", "prompt", "keep_alive", "options")}
        assert {
            "model": MODEL,
            "prompt": None,  # so nothing is generated
            "keep_alive": "10m",
            "options": {"num_ctx": 8192},
        } == said
        pair.one.models.loaded.add(f"{MODEL}:latest")
        pair.one.release()
        while NEXT == provenance(answer := await asked(facade)):
            pass
        assert FIRST == provenance(answer)
    assert 1 == len(pair.one.requests_to(LOAD))
    assert 1 == len(pair.one.requests_to(OLLAMA))


async def test_without_it_a_cold_model_is_waited_for(pair: Pair) -> None:
    async with cold(pair, cold='"wait"') as facade:
        assert FIRST == provenance(await asked(facade))
    assert [] == pair.one.requests_to(LOAD)


async def test_a_loaded_model_is_asked(pair: Pair) -> None:
    async with cold(pair) as facade:
        pair.one.models.loaded.add(f"{MODEL}:latest")
        assert FIRST == provenance(await asked(facade))
    assert [] == pair.one.requests_to(LOAD)


async def test_where_the_next_target_fails_the_cold_one_is_waited_for(pair: Pair) -> None:
    pair.two.fault(faults.Status(500))
    async with cold(pair, retries="0") as facade:
        answer = await asked(facade)
        assert (200, ("one", "2", None)) == (answer.status, provenance(answer))


@pytest.mark.parametrize("constraint", ["prefer_local", "local_only"])
async def test_who_wants_a_local_answer_waits_for_the_load(constraint: str, pair: Pair) -> None:
    async with cold(pair) as facade:
        answer = await asked(facade, x_facade_constraints=constraint)
        assert FIRST == provenance(answer)
    assert [] == pair.two.requests_to(CHAT)


async def test_where_nothing_tells_what_is_loaded_the_target_is_asked(pair: Pair) -> None:
    pair.one.fault(faults.Status(500), times=None, path="/api/ps")
    async with cold(pair) as facade:
        assert FIRST == provenance(await asked(facade))


async def test_a_load_that_fails_is_not_tried_with_every_request(pair: Pair) -> None:
    pair.one.script(LOAD, Told(500, body=(b'{"error":"there is no room for it"}',)))
    async with cold(pair) as facade:
        for _ in range(3):
            assert NEXT == provenance(await asked(facade))
        await pair.one.came(path=LOAD)
        for _ in range(3):
            assert NEXT == provenance(await asked(facade))
    assert 1 == len(pair.one.requests_to(LOAD))


async def test_a_model_that_is_listed_while_it_is_loaded_is_cold(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ollama lists it from early in its load."""
    monkeypatch.setattr(loading, "_EVERY", 0.0)
    pair.one.fault(faults.HangBeforeHeaders(), path=LOAD)
    async with cold(pair) as facade:
        assert NEXT == provenance(await asked(facade))
        await pair.one.came(path=LOAD)
        pair.one.models.loading.add(f"{MODEL}:latest")
        assert [NEXT] * 3 == [provenance(await asked(facade)) for _ in range(3)]
        pair.one.release()
        while NEXT == provenance(answer := await asked(facade)):
            pass
        assert FIRST == provenance(answer)


async def test_a_model_that_somebody_else_loads_is_cold_until_it_is_there(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_EVERY", 0.0)
    pair.one.script(LOAD, Told(500, body=(b'{"error":"there is no room for it"}',)))
    async with cold(pair) as facade:
        assert NEXT == provenance(await asked(facade))
        await pair.one.came(path=LOAD)
        pair.one.models.loading.add(f"{MODEL}:latest")
        assert [NEXT] * 3 == [provenance(await asked(facade)) for _ in range(3)]
        pair.one.models.loading.clear()
        pair.one.models.loaded.add(f"{MODEL}:latest")
        assert NEXT == provenance(await asked(facade))  # one look does not tell
        assert FIRST == provenance(await asked(facade))


async def test_a_server_that_does_not_tell_while_it_loads_is_not_waited_for(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newer than 0.24, Ollama answers `/api/ps` when the load is over."""
    monkeypatch.setattr(loading, "_EVERY", 0.0)
    monkeypatch.setattr(loading, "_PATIENCE", 0.05)
    pair.one.script(LOAD, Told(500, body=(b'{"error":"there is no room for it"}',)))
    async with cold(pair) as facade:
        assert NEXT == provenance(await asked(facade))
        await pair.one.came(path=LOAD)
        pair.one.fault(faults.HangBeforeHeaders(), path="/api/ps")
        assert [NEXT] * 3 == [provenance(await asked(facade)) for _ in range(3)]
        pair.one.release()


async def test_what_is_in_memory_is_not_asked_with_every_request(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_EVERY", 600.0)
    async with cold(pair) as facade:
        pair.one.models.loaded.add(f"{MODEL}:latest")
        assert [FIRST] * 5 == [provenance(await asked(facade)) for _ in range(5)]
    assert 1 == len(pair.one.requests_to("/api/ps"))


async def test_a_model_that_is_listed_by_another_name_is_not_cold_for_ever(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of models that share their weights Ollama lists the one that was loaded first."""
    monkeypatch.setattr(loading, "_EVERY", 0.0)
    pair.one.script(LOAD, Told(body=(b'{"done":true}',)))
    async with cold(pair) as facade:
        pair.one.models.loaded.add("qwen3:latest")
        assert NEXT == provenance(await asked(facade))
        while NEXT == provenance(answer := await asked(facade)):
            pass
        assert [FIRST] * 3 == [provenance(await asked(facade)) for _ in range(3)]
        pair.one.models.loaded.clear()
        while FIRST == provenance(answer := await asked(facade)):
            pass
        assert NEXT == provenance(answer)
    assert 1 == len(pair.one.requests_to(LOAD))


async def test_two_models_do_not_push_each_other_out_with_every_request(pair: Pair) -> None:
    """The second is loaded only when the first has been there for a while."""
    async with cold(pair) as facade:
        assert NEXT == provenance(await asked(facade))
        await facade.until(lambda: f"{MODEL}:latest" in pair.one.models.loaded)
        pair.one.models.loaded.clear()  # as if the other had been loaded in its place
        pair.one.models.loaded.add("qwen3:latest")
        while FIRST == provenance(answer := await asked(facade)):
            pass
        assert NEXT == provenance(answer)
        assert NEXT == provenance(await asked(facade))
    assert 1 == len(pair.one.requests_to(LOAD))


async def test_a_load_waits_for_a_slot_and_ends_with_the_facade(pair: Pair) -> None:
    async with cold(pair) as facade:
        pair.one.fault(faults.HangBeforeHeaders(), path=OLLAMA)
        running = await in_line(facade, chat("one/qwen3"))
        await pair.one.came(path=OLLAMA)
        assert NEXT == provenance(await asked(facade))
        assert [] == pair.one.requests_to(LOAD)
        pair.one.fault(faults.HangBeforeHeaders(), path=LOAD)
        pair.one.release()
        assert 200 == (await running).status
        await pair.one.came(path=LOAD)


def told_of(said: Settings, *models: str) -> Settings:
    """Each of these models of the first upstream as an alias, with the second behind it."""
    aliases = {
        name: ModelSettings(targets=(f"one/{name}", f"two/{name}"), cold="next") for name in models
    }
    return replace(said, models=aliases)


async def test_what_only_embeds_is_waited_for_as_no_request_without_a_prompt_loads_it(
    pair: Pair,
) -> None:
    pair.one.models.loaded.clear()
    said = chain(pair.folder, Link(pair.one.url, "ollama"), Link(pair.two.url))
    async with serving(told_of(said, "nomic-embed-text"), pair.one) as facade:
        body = {"model": "nomic-embed-text", "input": "Hi"}
        assert FIRST == provenance(await ask(facade, "POST", "/v1/embeddings", body))
    assert [] == pair.one.requests_to(LOAD)


async def test_a_model_that_runs_elsewhere_is_never_cold(pair: Pair) -> None:
    """Ollama passes it on, and `/api/ps` does not tell of it."""
    names = ("mine", "big:cloud")
    async with FakeUpstream([Model("mine:latest", remote="big:1t"), Model("big:cloud")]) as passing:
        passing.models.loaded.clear()
        said = chain(pair.folder, Link(passing.url, "ollama"), Link(pair.two.url))
        async with serving(told_of(said, *names), passing) as facade:
            await ask(facade, "GET", "/v1/models")  # from then on it is known
            for name in names:
                assert FIRST == provenance(await ask(facade, "POST", CHAT, chat(name)))
        assert [] == passing.requests_to(LOAD)
