"""An upstream's limits: a target without room is passed over; it is no 429 while another has it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import pytest

from tests.api.asking import Answer, ask, chat, opened
from tests.api.chains import ALIAS, MODEL, Pair, calls, provenance, refused
from tests.api.serving import Facade, serving, settings
from tests.fake_upstream import Reply, faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = "/v1/chat/completions"


def limited(
    pair: Pair, one: str, two: str = "", url: str = "", dialect: str = "openai"
) -> AbstractAsyncContextManager[Facade]:
    """The pair behind the alias, with these limits; `url` stands for the first."""
    path = "/v1" if dialect == "openai" else ""
    text = '[keys.agents]\nsecret = "sk-agents"\nlimits = ["9/year"]\n'
    text += f'[models.{ALIAS}]\ntargets = ["one/{MODEL}", "two/{MODEL}"]\nretries = 0\n'
    for name, base, limits in (("one", url or pair.one.url, one), ("two", pair.two.url, two)):
        text += f'[upstreams.{name}]\ndialect = "{dialect}"\nbase_url = "{base}{path}"\n'
        text += f"limits = [{limits}]\n"
    return serving(settings(pair.folder, text), pair.one)


async def asked(facade: Facade, model: str = ALIAS, **more: object) -> Answer:
    body = chat(model, **more)
    return await ask(facade, "POST", CHAT, body, authorization="Bearer sk-agents")


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_a_target_without_room_is_passed_over(pair: Pair, streamed: bool) -> None:
    async with limited(pair, one='"2/year"') as facade:
        for _ in range(2):
            answer = await asked(facade, stream=streamed)
            assert (200, ("one", "1", None)) == (answer.status, provenance(answer))
        answer = await asked(facade, stream=streamed)
        assert (200, ("two", "1", "rate_limited")) == (answer.status, provenance(answer))
        assert "9" == answer.headers["x-ratelimit-limit-requests"], "the other has no limit"
    assert (2, 1) == (calls(pair.one), calls(pair.two))


async def test_all_targets_without_room_are_a_429_with_the_shortest_wait_litellm_27823(
    pair: Pair,
) -> None:
    async with limited(pair, one='"1/hour"', two='"1/minute"') as facade:
        for _ in range(2):
            assert 200 == (await asked(facade)).status
        for _ in range(9):  # which costs its caller nothing
            answer = await asked(facade)
        assert (429, "rate_limit_exceeded") == (answer.status, answer.error["code"])
        assert answer.error["message"].startswith(
            "upstream 'two' is limited to 1/minute, and no requests are left now; try again in "
        )
        assert 55 < int(answer.headers["retry-after"]) <= 60
    assert (1, 1) == (calls(pair.one), calls(pair.two))


async def test_a_target_asked_for_by_name_without_room_is_a_429(pair: Pair) -> None:
    async with limited(pair, one='"1/minute"') as facade:
        answer = await asked(facade, f"one/{MODEL}")
        assert ("1", "0") == (
            answer.headers["x-ratelimit-limit-requests"],
            answer.headers["x-ratelimit-remaining-requests"],
        )
        answer = await asked(facade, f"one/{MODEL}")
        assert (429, 1) == (answer.status, calls(pair.one))
        assert "upstream 'one' is limited to 1/minute" in answer.error["message"]
        assert "0" == answer.headers["x-ratelimit-remaining-requests"]


async def test_a_target_too_small_for_the_request_is_passed_over_and_all_of_them_are_a_400(
    pair: Pair,
) -> None:
    async with limited(pair, one='"100 tokens/year"', two='"500 tokens/year"') as facade:
        answer = await asked(facade, max_tokens=200)
        assert (200, ("two", "1", "unsupported")) == (answer.status, provenance(answer))
        answer = await asked(facade, max_tokens=600)
        assert (400, "request_larger_than_limit") == (answer.status, answer.error["code"])
        assert "upstream 'one' is limited to 100 tokens/year" in answer.error["message"]
    assert 0 == calls(pair.one)


async def test_tokens_of_an_upstream_are_settled_by_its_count(pair: Pair) -> None:
    async with limited(pair, one='"1000 tokens/year"') as facade:
        pair.one.script(CHAT, Reply("one two three four"))
        answer = await asked(facade, stream=True, max_tokens=900)
        assert "99" == answer.headers["x-ratelimit-remaining-tokens"]
        await facade.idle()
        pair.one.script(CHAT, Reply("one"))
        answer = await asked(facade, max_tokens=900)
        assert ("one", "993") == (
            provenance(answer)[0],
            answer.headers["x-ratelimit-remaining-tokens"],
        )


async def test_what_an_upstream_refused_was_a_request_but_cost_no_tokens(pair: Pair) -> None:
    async with limited(pair, one='"2/year", "1000 tokens/year", "1 concurrent"') as facade:
        pair.one.fault(faults.Status(500))
        answer = await asked(facade)
        assert (200, ("two", "2", "failed")) == (answer.status, provenance(answer))
        answer = await asked(facade, max_tokens=990)
        assert "one" == provenance(answer)[0]
        assert "0" == answer.headers["x-ratelimit-remaining-requests"]
        assert "two" == provenance(await asked(facade))[0]


async def test_what_never_reached_an_upstream_was_no_request(pair: Pair) -> None:
    async with limited(pair, one='"1/year"', url=refused()) as facade:
        for _ in range(3):
            answer = await asked(facade)
            assert (200, ("two", "2", "unreachable")) == (answer.status, provenance(answer))


async def test_each_choice_that_is_a_call_of_its_own_is_a_request(pair: Pair) -> None:
    async with limited(pair, one='"5/year", "1 concurrent"', dialect="ollama") as facade:
        pair.one.script("/api/chat", *[Reply("one")] * 3)
        answer = await asked(facade, f"one/{MODEL}", n=3)
        assert (200, "2") == (answer.status, answer.headers["x-ratelimit-remaining-requests"])
        assert 429 == (await asked(facade, f"one/{MODEL}", n=3)).status
        assert 200 == (await asked(facade, f"one/{MODEL}", n=2)).status
    assert 5 == calls(pair.one)


async def test_the_place_of_who_leaves_is_free_at_once_litellm_20256(pair: Pair) -> None:
    async with limited(pair, one='"1 concurrent"') as facade:
        pair.one.fault(faults.HangBeforeContent())
        key = {"authorization": "Bearer sk-agents"}
        async with opened(facade, "POST", CHAT, chat(ALIAS), **key) as client:
            await pair.one.came()
            assert "two" == provenance(await asked(facade))[0]
            client.leave()
        await facade.until(lambda: facade.requests == 0)
        assert "one" == provenance(await asked(facade))[0]
