"""The upstream that plays recordings, a facade in front of it, and the SDK that asks.

The facade is a process of its own, one for a whole run. It has an upstream for each exchange, so
that what one of them taught it (a cooldown, a listing) is nothing to the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from adapters.providers import PROVIDERS
from tests.clients.facades import facade
from tests.fake_upstream import Answer, FakeUpstream
from tests.recorded.clouds.asking import Client
from tests.recorded.clouds.exchanges import Exchange, Play

_SERVER: Final = '[server]\nlog_level = "error"\n'  # nobody reads its log while it runs
_NAMES: Final = {"llamacpp": "llama.cpp", "ollama": "ollama-v1", "ollama-cloud": "ollama-v1"}
_DEPLOYMENT: Final = re.compile(r"/deployments/([^/]+)$")
_OF_ONE_CONNECTION: Final = (
    "connection",
    "content-encoding",
    "content-length",
    "date",
    "transfer-encoding",
)


class Parts(NamedTuple):
    """What a run needs."""

    fake: FakeUpstream
    client: Client


@contextlib.asynccontextmanager
async def serving(exchanges: Iterable[Exchange]) -> AsyncIterator[Parts]:
    """A facade that can ask for these exchanges."""
    async with FakeUpstream() as fake, contextlib.AsyncExitStack() as stack:
        file = Path(stack.enter_context(TemporaryDirectory())) / "facade.toml"
        file.write_text(_SERVER + "\n".join(_upstream(one, fake.url) for one in exchanges))
        process = contextlib.ExitStack()
        stack.push_async_callback(asyncio.to_thread, process.close)
        url = await asyncio.to_thread(process.enter_context, facade(FACADE_CONFIG=str(file)))
        client = Client(url)
        await stack.enter_async_context(client.sdk)
        yield Parts(fake, client)


def path_of(exchange: Exchange) -> str:
    """Where the fake plays the exchange: the recorded path, below its id."""
    return f"/{exchange.id}{exchange.base}{exchange.verb}"


def deployment(exchange: Exchange) -> str | None:
    """The deployment that the path names; elsewhere the model stands in the body."""
    found = _DEPLOYMENT.search(exchange.base)
    return found[1] if found else None


def _upstream(exchange: Exchange, url: str) -> str:
    """The table of the upstream, as an operator would write it for this vendor."""
    name = _NAMES.get(exchange.provider, exchange.provider)
    base = exchange.base
    if deployment(exchange):
        name, base = "azure-deployments", _DEPLOYMENT.sub("", base)
    if name in PROVIDERS and exchange.verb in PROVIDERS[name].quirks.paths:
        base = base.removesuffix("/v1")  # the row says where it is
    address = f"{url}/{exchange.id}{base}" + (f"?{exchange.query}" if exchange.query else "")
    kind = ("vendor", name) if name in PROVIDERS else ("dialect", "openai")
    lines = [kind, ("base_url", address), ("api_key", "sk-upstream")]
    said = "".join(f'{key} = "{value}"\n' for key, value in lines)
    return f'[upstreams."{exchange.id}"]\n{said}'


def answer(exchange: Exchange, play: Play) -> Answer:
    """The recorded answer as it came, but for lengths and what belongs to one connection."""
    headers = {
        name: value for name, value in exchange.headers.items() if name not in _OF_ONE_CONNECTION
    }
    return Answer(
        exchange.status,
        headers,
        play.pieces,
        framing="chunked" if exchange.streamed else "length",
        ends="cut" if play.broken else "properly",
    )
