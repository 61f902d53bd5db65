"""The live facade of each module, in front of one fake that is both its upstreams.

Tests of a module share a loop, uvloop as in production; those that a loop may decide run on
asyncio's own too. Every test ends within BOUND.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
import uvloop
from openai import AsyncOpenAI

from facade import attempts
from tests.api.asking import ask
from tests.api.chains import Pair
from tests.api.limited import Limited
from tests.api.serving import DIALECTS, Facade, both, serving, settings
from tests.fake_upstream import FakeUpstream

BOUND: Final = 20.0  # seconds
_ON_BOTH_LOOPS: Final = ("test_cancellation",)
Loops = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]
Test = Callable[..., Awaitable[None]]


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Loops:
    loops = {"uvloop": uvloop.new_event_loop}
    if item.path.stem in _ON_BOTH_LOOPS:
        return {**loops, "asyncio": asyncio.new_event_loop}
    return loops


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if not isinstance(item, pytest.Function) or here not in item.path.parents:
            continue
        if inspect.iscoroutinefunction(item.obj):
            item.obj = _bounded(item.obj)


def _bounded(test: Test) -> Test:
    @functools.wraps(test)
    async def bounded(*arguments: object, **fixtures: object) -> None:
        async with asyncio.timeout(BOUND):
            await test(*arguments, **fixtures)

    return bounded


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    """Each test that takes it is run over both; the upstream has the same name."""
    name: str = request.param
    return name


@pytest.fixture
def model(dialect: str) -> str:
    """A model of that upstream."""
    return f"{dialect}/llama3.1"


@pytest.fixture
def path(dialect: str) -> str:
    """Where that upstream is asked for a chat."""
    return {"ollama": "/api/chat", "openai": "/v1/chat/completions"}[dialect]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def upstreams() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as fake:
        yield fake


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def live(
    upstreams: FakeUpstream, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Facade]:
    folder = tmp_path_factory.mktemp("facade")
    async with serving(settings(folder, both(upstreams)), upstreams) as facade:
        await ask(facade, "GET", "/v1/models")  # so that all is known that is asked at the start
        yield facade


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sdk(live: Facade) -> AsyncIterator[AsyncOpenAI]:
    async with live.sdk() as sdk:
        yield sdk


@pytest.fixture
def fake(upstreams: FakeUpstream) -> FakeUpstream:
    """The upstream, as if nothing had been asked of it."""
    upstreams.reset()
    upstreams.models.loaded.update(upstreams.models.listed)
    upstreams.models.loading.clear()
    return upstreams


@pytest.fixture
def facade(live: Facade, fake: FakeUpstream) -> Facade:
    """The facade of the module, its upstream as if nothing had been asked of it."""
    return live


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long between two attempts."""
    monkeypatch.setattr(attempts, "_FIRST_BACKOFF", 0.001)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def others() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as fake:
        yield fake


@pytest.fixture
def second(others: FakeUpstream) -> FakeUpstream:
    """Another upstream, as if nothing had been asked of it."""
    others.reset()
    return others


@pytest.fixture
def limited(fake: FakeUpstream, tmp_path: Path) -> Limited:
    return Limited(fake, tmp_path)


@pytest.fixture
def pair(fake: FakeUpstream, second: FakeUpstream, tmp_path: Path) -> Pair:
    return Pair(fake, second, tmp_path)
