"""Who is asked of an upstream with slots, and who waits for one."""

from __future__ import annotations

import asyncio
from typing import Final

from tests.api.asking import Answer, Json, ask, chat
from tests.api.serving import Facade
from tests.fake_upstream import FakeUpstream, Request

CHAT: Final = "/v1/chat/completions"
OLLAMA: Final = "/api/chat"
MODEL: Final = "ollama/llama3.1"


def said(text: str, **more: object) -> Json:
    return chat(MODEL, messages=[{"role": "user", "content": text}], **more)


def prompts(fake: FakeUpstream) -> list[str]:
    """What each chat said, in the order in which they came."""
    return [prompt(request) for request in fake.requests_to(OLLAMA)]


def prompt(request: Request) -> str:
    text: str = request.json["messages"][0]["content"]
    return text


async def in_line(facade: Facade, body: Json, **headers: str) -> asyncio.Task[Answer]:
    """A request that has come as far as it can before a slot is free."""
    before = facade.requests
    task = asyncio.create_task(ask(facade, "POST", CHAT, body, **headers))
    await facade.until(lambda: facade.requests > before)
    return task


def behind(lane: Json) -> int:
    """How many wait in a lane of `/api/admin/queue`."""
    return sum(band["waiting"] for band in lane["bands"].values())
