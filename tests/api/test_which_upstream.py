"""Which upstream a name means that several have, or that one of them has not told of yet."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import pytest

from tests.api.asking import ask, chat
from tests.api.serving import DIALECTS, serving, settings, upstream
from tests.fake_upstream import FakeUpstream, Pause
from tests.fake_upstream.answers import Answer as Sent

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"


@pytest.mark.parametrize("order", [DIALECTS, DIALECTS[::-1]])
async def test_of_two_that_have_it_the_first_of_the_file_is_asked(
    order: tuple[str, ...], tmp_path: Path
) -> None:
    async with FakeUpstream() as fake:
        text = "".join(upstream(dialect, fake.url) for dialect in order)
        async with serving(settings(tmp_path, text), fake) as facade:
            answer = await ask(facade, "POST", CHAT, chat("llama3.1"))
        assert order[0] == answer.headers["x-facade-upstream"]


async def test_a_first_that_was_not_heard_yet_is_waited_for(tmp_path: Path) -> None:
    slow = Sent(200, pause=Pause(), body=(b'{"models":[{"name":"llama3.1:latest"}]}',))
    async with FakeUpstream() as near, FakeUpstream() as far:
        near.script("/api/tags", slow)
        text = upstream("ollama", near.url) + upstream("openai", far.url)
        async with serving(settings(tmp_path, text), near) as facade:
            await far.came(path="/v1/models")
            asking = asyncio.create_task(ask(facade, "POST", CHAT, chat("llama3.1")))
            await facade.until(lambda: facade.requests == 1)
            near.release()
            assert "ollama" == (await asking).headers["x-facade-upstream"]
    assert [] == far.requests_to(CHAT)
