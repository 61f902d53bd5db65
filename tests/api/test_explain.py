"""`facade explain` says what a live facade does."""

from __future__ import annotations

import re
from typing import Final

import pytest

from facade.config import Settings
from facade.explain import Explanation, faults_of
from tests.api.asking import ask, chat
from tests.api.chains import ALIAS, Link, Pair, chain
from tests.api.serving import serving
from tests.fake_upstream import faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"
LIVE: Final[dict[str, faults.Fault]] = {
    "429": faults.Status(429),
    "429:20": faults.Status(429, headers={"retry-after": "20"}),
    "broken": faults.Html(),
    **{str(status): faults.Status(status) for status in (400, 401, 402, 403, 404, 408, 422, 500)},
    **{str(status): faults.Status(status) for status in (502, 529)},
}


def _said(settings: Settings, simulated: str) -> tuple[int, int]:
    """The status that the client is told, and the number of attempts."""
    found = faults_of(simulated, settings.upstreams)
    lines = list(Explanation(settings, None).lines(ALIAS, found))
    attempts = [line for line in lines if ", attempt " in line]
    told = [int(status) for status in re.findall(r"told (\d+)", "\n".join(lines))]
    return (told or [200])[0], len(attempts)


@pytest.mark.parametrize("both", [False, True], ids=["one fails", "both fail"])
@pytest.mark.parametrize("dialect", ["ollama", "openai"])
@pytest.mark.parametrize("name", LIVE)
async def test_what_it_says_is_what_happens(
    name: str, dialect: str, both: bool, pair: Pair
) -> None:
    settings = chain(pair.folder, *(Link(fake.url, dialect) for fake in (pair.one, pair.two)))
    simulated = f"one={name},two={name}" if both else f"one={name}"
    for fake in (pair.one, pair.two) if both else (pair.one,):
        fake.fault(LIVE[name], times=None)
    async with serving(settings, pair.one) as facade:
        answer = await ask(facade, "POST", CHAT, chat(ALIAS))
    seen = answer.status, int(answer.headers["x-facade-attempts"])
    assert _said(settings, simulated) == seen
