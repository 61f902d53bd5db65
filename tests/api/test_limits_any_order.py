"""Whatever becomes of requests, in whatever order: no reserve and no place is left behind.

Crowds of random requests meet random faults and leave at random moments, by seeds. A reserve is so
large, next to what all of them can have used, that one which is left would be seen.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from facade.limits import shared
from tests.api.asking import Conversation, Json, answer_of, chat, opened
from tests.api.chains import refused
from tests.api.limited import CHAT, KEY, asked, left
from tests.api.serving import Facade, serving, settings
from tests.facade.limits import server
from tests.fake_upstream import FakeUpstream, Reply, faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

CROWD: Final = 60
PLACES: Final = 40
RESERVE: Final = 10_000
MOST: Final = 12  # tokens of a prompt and an answer
ROOM: Final = 10_000_000
FAULTS: Final[tuple[faults.Fault, ...]] = (
    *(faults.Status(status) for status in (400, 401, 429, 500, 503)),
    faults.Html(),
    faults.EmptyObject(),
    faults.CutBeforeHeaders(),
    faults.CutBeforeContent(),
    faults.CutAfter(500),
    faults.NoEnd(),
    faults.ErrorLine(1),
    faults.Garbage(2),
    faults.HangBeforeHeaders(),
    faults.HangBeforeContent(),
    faults.HangAfter(2),
    faults.DelayLines(0.01),
)
FILE: Final = """
[store]
url = "{store}"
[server]
ip_limits = [{limits}]
[keys.agents]
secret = "sk-agents"
limits = [{limits}]
[upstreams.gone]
dialect = "openai"
base_url = "{gone}/v1"
limits = [{limits}]
[upstreams.openai]
dialect = "openai"
base_url = "{url}/v1"
limits = [{limits}]
[upstreams.ollama]
dialect = "ollama"
base_url = "{url}"
limits = [{limits}]
slots = 30
[models.assistant]
targets = ["gone/llama3.1", "openai/llama3.1", "ollama/llama3.1"]
limits = [{limits}]
[models.careful]
targets = ["ollama/llama3.1", "openai/llama3.1"]
limits = [{limits}]
commit = "complete"
"""
LIMITS: Final = f'"{ROOM} tokens/year", "{ROOM}/year", "{PLACES} concurrent"'


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """One that is never given up: what a trip that took too long leaves only drains by itself."""
    monkeypatch.setattr(shared, "_PATIENCE", 30.0)
    with server.running() as url:
        yield url


async def lived(facade: Facade, chance: random.Random) -> int:
    """One request from its beginning to some end; tokens of an answer that was complete."""
    path, body = drawn(chance)
    patience = chance.choice((0.0, 0.01, 0.05, 0.3))
    await asyncio.sleep(chance.random() / 5)
    async with opened(facade, "POST", path, body, **KEY) as client:
        try:
            async with asyncio.timeout(patience or 1):
                answer = await (answer_of(client) if patience else begun(client))
        except (TimeoutError, EOFError, ConnectionError):
            answer = None
        client.leave(reset=chance.random() < 0.5)
    whole = answer and answer.status == 200 and answer.complete and not body.get("stream")
    return int(answer.json["usage"]["total_tokens"]) if answer and whole else 0


async def begun(client: Conversation) -> None:
    """Its first piece is there."""
    await client.head()
    await client.piece()


def drawn(chance: random.Random) -> tuple[str, Json]:
    """A request; an unbounded one reserves 512 for each choice, which is little here."""
    model = chance.choice(("assistant", "careful", "openai/llama3.1", "ollama/llama3.1"))
    kind = chance.choice(("chat", "chat", "completions", "embeddings"))
    if kind == "embeddings":
        return "/v1/embeddings", {"model": model, "input": ["Hi", "you"]}
    body = chat(model, stream=chance.random() < 0.6, n=chance.choice((None, 2)))
    body["max_tokens"] = RESERVE
    if kind == "completions":
        return "/v1/completions", {**body, "prompt": "Hi"}
    return CHAT, body


async def befall(fake: FakeUpstream, chance: random.Random) -> None:
    """All that goes wrong for one crowd."""
    fake.reset()
    for path in (CHAT, "/api/chat", "/v1/completions", "/api/generate"):
        fake.script(path, *[Reply("one two three four five")] * 3 * CROWD)
    for fault in chance.choices(FAULTS, k=CROWD):
        fake.fault(fault)


async def check(facade: Facade, fake: FakeUpstream, used: int) -> None:
    """Nothing is left of what was reserved: not of tokens, and not of places."""
    await written(facade, fake)
    fake.reset()
    answer = await asked(facade, "careful", max_tokens=1)
    assert 200 == answer.status
    cost = ROOM - left(answer)
    assert used <= cost <= CROWD * 2 * MOST < RESERVE, "tokens"
    assert CROWD >= ROOM - left(answer, "requests") - 1, "requests"
    fake.fault(faults.HangBeforeHeaders(), times=None)
    held = [opened(facade, "POST", CHAT, chat("openai/llama3.1"), **KEY) for _ in range(PLACES)]
    clients = [await client.__aenter__() for client in held]
    await fake.came(PLACES, path=CHAT)
    assert 429 == (await asked(facade, "openai/llama3.1")).status
    for client in clients:
        client.leave()
    for conversation in held:
        await conversation.__aexit__(None, None, None)
    await facade.idle()


async def written(facade: Facade, fake: FakeUpstream) -> None:
    """Return when no request is under way, nor what a store has to be told of one.

    A shared store is told in turn, and what its caller left while it was taken is given back once
    it is taken: all of that stands before a request that comes after one that failed.
    """
    await facade.idle()
    fake.reset()
    fake.fault(faults.Status(500))
    await asked(facade, "openai/llama3.1")
    await facade.idle()


async def lives(facade: Facade, fake: FakeUpstream, seed: int) -> None:
    chance = random.Random(seed)
    await befall(fake, chance)
    used = await asyncio.gather(*(lived(facade, chance) for _ in range(CROWD)))
    await check(facade, fake, sum(used))


@pytest.mark.parametrize("seed", range(6))
async def test_after_any_interleaving_nothing_is_reserved_in_memory(
    seed: int, fake: FakeUpstream, tmp_path: Path
) -> None:
    text = FILE.format(store="memory://", limits=LIMITS, gone=refused(), url=fake.url)
    async with serving(settings(tmp_path, text), fake) as facade:
        await lives(facade, fake, seed)


@pytest.mark.store
@pytest.mark.parametrize("seed", range(3))
async def test_after_any_interleaving_nothing_is_reserved_in_the_shared_store(
    seed: int, store: str, fake: FakeUpstream, tmp_path: Path
) -> None:
    text = FILE.format(store=store, limits=LIMITS, gone=refused(), url=fake.url)
    async with serving(settings(tmp_path, text), fake) as facade:
        await lives(facade, fake, seed)
