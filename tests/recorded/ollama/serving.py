"""A facade on a port of its own, in front of one Ollama, and the official SDK to ask it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from openai import AsyncOpenAI

from facade.app import build
from facade.config import load

WAIT = 20.0  # seconds; a bound, never reached where all is well


class _Server(uvicorn.Server):
    """Tells when it has begun to answer."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.answers = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.answers.set()


@asynccontextmanager
async def client_of(ollama_url: str) -> AsyncIterator[AsyncOpenAI]:
    """The SDK, without its retries, at a facade that serves this Ollama's models."""
    config = uvicorn.Config(
        build(load({"OLLAMA_BASE_URL": ollama_url})),
        port=0,
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(WAIT):
            await server.answers.wait()
        port = server.servers[0].sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}/v1"
        async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=WAIT) as sdk:
            yield sdk
    finally:
        server.should_exit = True
        await serving
