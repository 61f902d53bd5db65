"""Without a file nothing leads from one upstream to another, unless FACADE_FALLBACK says so."""

from __future__ import annotations

from typing import Final

import pytest

from facade.config import load
from tests.api.asking import ask, chat
from tests.api.chains import Pair, calls, provenance
from tests.api.serving import serving
from tests.fake_upstream import faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"


def environ(pair: Pair, **more: str) -> dict[str, str]:
    base = f"{pair.two.url}/v1"
    return {"OLLAMA_HOST": pair.one.url, "OPENAI_BASE_URL": base, "OPENAI_API_KEY": "sk-1", **more}


@pytest.mark.parametrize("asked", ["llama3.1", "ollama/llama3.1"])
async def test_the_environment_alone_sends_no_prompt_from_one_upstream_to_another(
    asked: str, pair: Pair
) -> None:
    pair.one.fault(faults.Status(500), times=None)
    async with serving(load(environ(pair)), pair.one) as facade:
        answer = await ask(facade, "POST", CHAT, chat(asked))
    assert (500, ("ollama", "1", None)) == (answer.status, provenance(answer))
    assert 0 == calls(pair.two)


async def test_facade_fallback_makes_the_chain_that_it_names(pair: Pair) -> None:
    pair.one.fault(faults.Status(401), times=None)
    said = environ(pair, FACADE_FALLBACK="llama3.1=ollama/llama3.1,openai/qwen3")
    async with serving(load(said), pair.one) as facade:
        answer = await ask(facade, "POST", CHAT, chat("llama3.1"))
        assert ("openai", "2", "credential") == provenance(answer)
        assert "qwen3" == answer.headers["x-facade-model"]
        other = await ask(facade, "POST", CHAT, chat("ollama/llama3.1"))
        assert (502, "ollama") == (other.status, other.headers["x-facade-upstream"])
