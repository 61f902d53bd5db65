"""Targets that are equals: which of them answers, and what is measured for it."""

from __future__ import annotations

from collections import Counter
from typing import Final

import pytest

from tests.api.asking import Answer, ask, chat, opened
from tests.api.chains import Link, Pair, calls, provenance
from tests.api.serving import Facade, serving, settings
from tests.fake_upstream import faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"
SLOW: Final = 0.15  # seconds


def equals(pair: Pair, dialect: str = "openai", more: str = "") -> str:
    """Two upstreams `one` and `two`, and `assistant`, of which they are equal targets."""
    text = ""
    for name, fake in (("one", pair.one), ("two", pair.two)):
        link = Link(fake.url, dialect)
        url = f"{link.url}/v1" if dialect == "openai" else link.url
        text += f'[upstreams.{name}]\ndialect = "{dialect}"\nbase_url = "{url}"\n{more}\n'
    return text + '[models.assistant]\ntargets = [["one/llama3.1", "two/llama3.1"]]\nretries = 0\n'


async def asked(facade: Facade, **more: object) -> Answer:
    return await ask(facade, "POST", CHAT, chat("assistant", **more))


async def test_the_faster_of_two_equals_is_asked_once_both_are_known(pair: Pair) -> None:
    pair.one.fault(faults.DelayHeaders(SLOW), times=None)
    async with serving(settings(pair.folder, equals(pair)), pair.one) as facade:
        served = [(await asked(facade)).headers["x-facade-upstream"] for _ in range(6)]
    assert ["one", "two", "two", "two", "two", "two"] == served


async def test_the_one_whose_model_is_in_memory_is_asked(pair: Pair) -> None:
    pair.one.models.loaded.clear()
    pair.two.fault(faults.DelayHeaders(0.05), times=None)  # it is not for its speed
    try:
        text = equals(pair, "ollama")
        async with serving(settings(pair.folder, text), pair.one) as facade:
            await asked(facade)  # from then on it is asked what is loaded
            await pair.one.came(path="/api/ps")
            await pair.two.came(path="/api/ps")
            while "two" != (await asked(facade)).headers["x-facade-upstream"]:
                pass
            served = Counter([(await asked(facade)).headers["x-facade-upstream"] for _ in range(4)])
        assert {"two": 4} == served
    finally:
        pair.one.models.loaded.update(pair.one.models.listed)


async def test_the_one_with_a_free_slot_is_asked(pair: Pair) -> None:
    pair.one.fault(faults.HangBeforeContent())
    text = equals(pair, "ollama", "slots = 1")
    async with serving(settings(pair.folder, text), pair.one) as facade:
        async with opened(facade, "POST", CHAT, chat("assistant", stream=True)):
            await pair.one.came(path="/api/chat")
            for _ in range(3):
                assert ("two", "1", None) == provenance(await asked(facade))
        await facade.idle()


async def test_23_an_equal_that_fails_at_once_does_not_attract_the_others(pair: Pair) -> None:
    pair.one.fault(faults.Status(500), times=None)
    pair.two.fault(faults.DelayHeaders(0.02), times=None)
    async with serving(settings(pair.folder, equals(pair)), pair.one) as facade:
        answers = [await asked(facade) for _ in range(8)]
    assert {200} == {answer.status for answer in answers}
    assert (1, 8) == (calls(pair.one), calls(pair.two))


async def test_the_next_of_the_equals_answers_where_the_first_fails(pair: Pair) -> None:
    pair.one.fault(faults.Status(401), times=None)
    async with serving(settings(pair.folder, equals(pair)), pair.one) as facade:
        assert ("two", "2", "credential") == provenance(await asked(facade))


# -- max_latency_ms ------------------------------------------------------------------------


async def test_a_target_that_is_known_to_be_too_slow_is_not_asked(pair: Pair) -> None:
    pair.one.fault(faults.DelayHeaders(SLOW), times=None)
    text = equals(pair).replace(
        '[["one/llama3.1", "two/llama3.1"]]', '["one/llama3.1", "two/llama3.1"]'
    )
    async with serving(settings(pair.folder, text), pair.one) as facade:
        quick = {"max_latency_ms": 100}
        assert ("one", "1", None) == provenance(await asked(facade, constraints=quick))
        assert ("two", "1", None) == provenance(await asked(facade, constraints=quick))
        assert ("one", "1", None) == provenance(await asked(facade))
        assert ("one", "1", None) == provenance(
            await asked(facade, constraints={"max_latency_ms": 60_000}, stream=True)
        )


async def test_where_all_are_too_slow_it_is_a_403_and_nothing_is_sent(pair: Pair) -> None:
    pair.one.fault(faults.DelayHeaders(SLOW), times=None)
    async with serving(settings(pair.folder, equals(pair)), pair.one) as facade:
        body = chat("one/llama3.1")
        header = {"x_facade_constraints": "max_latency_ms=50"}
        assert 200 == (await ask(facade, "POST", CHAT, body, **header)).status
        answer = await ask(facade, "POST", CHAT, body, **header)
        assert (403, "constraints_unmet") == (answer.status, answer.error["code"])
        assert "max_latency_ms" in answer.error["message"]
    assert 1 == calls(pair.one)


@pytest.mark.parametrize(
    "said",
    [
        "max_latency_ms",
        "max_latency_ms=0",
        "max_latency_ms=-1",
        "max_latency_ms=1.5",
        "max_latency_ms=x",
        "max_latency_ms=" + "9" * 5000,
    ],
)
async def test_a_latency_that_is_none_is_a_400(said: str, pair: Pair) -> None:
    async with serving(settings(pair.folder, equals(pair)), pair.one) as facade:
        answer = await ask(facade, "POST", CHAT, chat("assistant"), x_facade_constraints=said)
    assert (400, "x-facade-constraints") == (answer.status, answer.error["param"])
    assert 0 == calls(pair.one) + calls(pair.two)
