"""Answers that end early: the client leaves and the model stops, or its runner is killed."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Final

import openai
import pytest
from openai import AsyncOpenAI

from tests.clients.sdks import Json
from tests.live.conftest import Live

pytestmark = pytest.mark.ollama

CREATE: Final = "chat.completions.create"
_DIGITS: Final = "".join(str(number * number) for number in range(10, 1300))
ENDLESS: Final[Json] = {
    "messages": [{"role": "user", "content": "Hi"}],
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "digits", "schema": {"type": "string", "enum": [_DIGITS]}},
    },
}
_LOOKS: Final = 500  # 5 seconds; each of these answers has thousands of tokens to come


@pytest.fixture
async def client(live: Live) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=live.url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def model(live: Live, chat_model: str) -> str:
    """Loaded, and at rest: its end stands still only when the server has seen the last one's."""
    said(live, chat_model)
    ends = (live.ollama.last_end(chat_model) for _ in range(_LOOKS))
    assert any(one == other for one, other in pairwise(ends))
    return chat_model


def said(live: Live, model: str) -> Json:
    """A small answer."""
    messages = [{"role": "user", "content": "Hi"}]
    return live.one(CREATE, model=model, messages=messages, max_tokens=1)


class Work:
    """What the server says of a model that answers: whether that has ended."""

    def __init__(self, live: Live, model: str) -> None:
        self._live = live
        self._model = model
        self._before = live.ollama.last_end(model)

    @property
    def ended(self) -> bool:
        return self._live.ollama.last_end(self._model) != self._before

    async def ends(self) -> None:
        """Return once it has ended, and the model answers again."""
        for _ in range(_LOOKS):
            if self.ended:
                break
            await asyncio.sleep(0.01)
        assert self.ended
        assert 1 == said(self._live, self._model)["usage"]["completion_tokens"]


async def test_a_model_stops_when_the_client_of_its_stream_leaves(
    live: Live, client: AsyncOpenAI, model: str
) -> None:
    work = Work(live, model)
    stream = await client.chat.completions.create(model=model, stream=True, **ENDLESS)
    first = [await anext(stream) for _ in range(3)]
    assert (3, False) == (len(first), work.ended)
    await stream.close()
    await work.ends()


async def test_a_model_stops_when_the_client_of_a_whole_answer_leaves(
    live: Live, client: AsyncOpenAI, model: str
) -> None:
    work = Work(live, model)
    asking = asyncio.create_task(client.chat.completions.create(model=model, **ENDLESS))
    await asyncio.sleep(1)  # some of the answer is there
    assert not work.ended
    assert asking.cancel()
    await work.ends()


async def test_a_model_stops_when_a_client_leaves_before_the_first_token(
    live: Live, client: AsyncOpenAI, model: str
) -> None:
    work = Work(live, model)
    # A server evaluates the prompt to its end, whoever has left: so it is not longer than this.
    request = ENDLESS | {"messages": [{"role": "user", "content": "word " * 128}]}
    asking = asyncio.create_task(
        client.chat.completions.create(model=model, stream=True, **request)
    )
    await asyncio.sleep(0.1)
    if asking.done():
        pytest.skip("lacks: ollama (this one is too quick to leave before its first token)")
    assert not work.ended
    assert asking.cancel()
    await work.ends()


def runners(live: Live, model: str) -> list[int]:
    """The processes on this machine that run the model's file for a server."""
    modelfile = live.ollama.ask("/api/show", {"model": model})["modelfile"]
    file = re.search(r"^FROM (/.+)$", modelfile, re.MULTILINE)
    assert file is not None
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue  # it has ended
        if command[1:2] == ["runner"] and file[1] in command:
            found.append(int(entry.name))
    return found


@pytest.mark.skipif(
    os.environ.get("OLLAMA_LAB_MAY_KILL") != "1",
    reason="lacks: OLLAMA_LAB_MAY_KILL=1 (the runner belongs to somebody)",
)
async def test_a_killed_runner_is_an_error_in_the_stream(
    live: Live, client: AsyncOpenAI, model: str
) -> None:
    stream = await client.chat.completions.create(model=model, stream=True, **ENDLESS)
    await anext(stream)
    killed = runners(live, model)
    assert killed
    for process in killed:
        os.kill(process, signal.SIGKILL)
    with pytest.raises(openai.APIError, match="an error was encountered while running the model"):
        async for _ in stream:
            pass
    assert 1 == said(live, model)["usage"]["completion_tokens"]
