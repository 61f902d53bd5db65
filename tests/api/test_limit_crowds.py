"""500 at once through the front door, on small buckets: nobody is let in whom an empty one refuses.

In one process, by either store, and in two processes that share one. What comes back while a
test runs is less than one request.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest
from msgspec import Struct

from tests.api.asking import Json, Listening, answer_of, ask, chat, opened
from tests.api.elsewhere import processes
from tests.api.serving import serving, settings, upstream
from tests.facade.limits import server
from tests.fake_upstream import FakeUpstream, Reply, faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"
KEY: Final = {"authorization": "Bearer sk-agents"}
CROWD: Final = 500
ROOM: Final = 20  # of them
WORDS: Final = 49


class Limited(Struct, frozen=True):
    """`limits` of a key, and the bound on each answer, which has WORDS words and costs one more."""

    limits: str
    bound: int | None = None

    def file(self, fake: FakeUpstream, store: str) -> str:
        return (
            '[server]\nlog_level = "warning"\n'  # nobody reads what a process says
            f'[store]\nurl = "{store}"\n{upstream("openai", fake.url, connections="600")}'
            f'[keys.agents]\nsecret = "sk-agents"\nlimits = [{self.limits}]\n'
        )

    def body(self, *, streamed: bool) -> Json:
        return chat("llama3.1", stream=streamed, max_tokens=self.bound)

    def check(self, statuses: Counter[int], asked: int) -> None:
        """Who has no bound reserves all that is left, and may find that it is reserved."""
        assert asked == statuses[200] + statuses[429]
        assert statuses[200] <= ROOM
        if self.bound:
            assert ROOM == statuses[200]


LIMITS: Final = {
    "requests": Limited('"20/year"', WORDS),
    "tokens": Limited('"1000 tokens/year"', WORDS),
    "tokens of unbounded answers": Limited('"1000 tokens/year"'),
    "all": Limited('"20/year", "1000 tokens/year", "400 concurrent"', WORDS),
}
PLACES: Final = Limited('"20 concurrent"')


@pytest.fixture(params=["memory", pytest.param("shared", marks=pytest.mark.store)])
def store(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "memory":
        yield "memory://"
        return
    with server.running() as url:
        yield url


async def crowd(facades: Sequence[Listening], body: dict[str, object]) -> Counter[int]:
    """How often which status was told to a crowd in each of them."""

    async def one(facade: Listening) -> int:
        return (await ask(facade, "POST", CHAT, body, **KEY)).status

    return Counter(await asyncio.gather(*map(one, [*facades] * CROWD)))


@pytest.mark.parametrize("limited", LIMITS.values(), ids=LIMITS.keys())
async def test_500_at_once_never_overshoot_litellm_18730(
    limited: Limited, store: str, fake: FakeUpstream, tmp_path: Path
) -> None:
    fake.script(CHAT, *[Reply("word " * WORDS)] * CROWD)
    said = settings(tmp_path, limited.file(fake, store))
    async with serving(said, fake) as facade:
        statuses = await crowd([facade], limited.body(streamed=True))
    limited.check(statuses, CROWD)
    assert statuses[200] == len(fake.requests_to(CHAT))


@pytest.mark.store
@pytest.mark.parametrize("limited", LIMITS.values(), ids=LIMITS.keys())
async def test_500_at_once_in_each_of_two_processes_never_overshoot_one_api_2440(
    limited: Limited, fake: FakeUpstream, tmp_path: Path
) -> None:
    fake.script(CHAT, *[Reply("word " * WORDS)] * CROWD)
    with server.running() as url, processes(tmp_path, limited.file(fake, url), 2) as both:
        statuses = await crowd(both, limited.body(streamed=False))
    limited.check(statuses, 2 * CROWD)
    assert statuses[200] == len(fake.requests_to(CHAT))


async def held(facades: Sequence[Listening], fake: FakeUpstream) -> int:
    """How many of a crowd are at the upstream when all others have been refused; then all leave."""
    fake.reset()
    fake.fault(faults.HangBeforeHeaders(), times=None)
    refused = asyncio.Semaphore(0)

    async def one(facade: Listening) -> None:
        async with opened(facade, "POST", CHAT, chat("llama3.1"), **KEY) as asked:
            assert 429 == (await answer_of(asked)).status
            refused.release()

    asking = [asyncio.create_task(one(facade)) for facade in [*facades] * CROWD]
    for _ in range(len(asking) - ROOM):
        await refused.acquire()
    await fake.came(ROOM, path=CHAT)
    at_once = fake.requests_to(CHAT)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    for each in at_once:
        await fake.hung_up(each, within=5)
    return len(at_once)


async def test_500_at_once_find_no_more_than_its_places_and_leave_them_all_litellm_27955(
    store: str, fake: FakeUpstream, tmp_path: Path
) -> None:
    async with serving(settings(tmp_path, PLACES.file(fake, store)), fake) as facade:
        assert ROOM == await held([facade], fake)
        assert ROOM == await held([facade], fake), "all were given back"


@pytest.mark.store
async def test_two_processes_have_no_more_places_than_one_litellm_28160(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    with server.running() as url, processes(tmp_path, PLACES.file(fake, url), 2) as both:
        assert ROOM == await held(both, fake)
        assert ROOM == await held(both, fake), "all were given back"
