"""The SDKs, and the upstreams they are driven over: a facade for each, started once.

`upstream` is every one of them; `scripted` those whose answers a test can write.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import Final

import pytest
from msgspec import Struct

from facade.embedded import NAME
from tests.clients.facades import facade
from tests.clients.sdks import NODE, PYTHON, PYTHON_ASYNC, Json, Sdk
from tests.facade.test_defaults import ALONE
from tests.fake_upstream import FakeUpstream, Reply, running

CHAT: Final[Json] = {
    "messages": [{"role": "user", "content": "Hi"}],
    "temperature": 0,
    "seed": 1,
    "max_tokens": 32,
}


class Upstream(Struct, frozen=True, kw_only=True):
    """A facade in front of one upstream, and what this says to CHAT, ending by itself."""

    url: str
    name: str
    model: str
    says: str = "You said: Hi"
    prompt_tokens: int = 1
    completion_tokens: int = 3

    @property
    def usage(self) -> Json:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


class Scripted(Upstream, frozen=True, kw_only=True):
    """An upstream that says what a test wants. `chat_path` is its own path of a chat."""

    fake: FakeUpstream
    chat_path: str
    embeds: str = "nomic-embed-text"

    def will_say(self, reply: Reply) -> None:
        """Answer the next chat with this."""
        self.fake.script(self.chat_path, reply)

    @property
    def heard(self) -> Json:
        """The latest chat that it was asked."""
        return self.fake.requests_to(self.chat_path)[-1].json


@pytest.fixture(
    params=[PYTHON, PYTHON_ASYNC, pytest.param(NODE, marks=pytest.mark.node)],
    ids=attrgetter("name"),
)
def sdk(request: pytest.FixtureRequest) -> Sdk:
    chosen: Sdk = request.param
    return chosen


@pytest.fixture(scope="session")
def fake() -> Iterator[FakeUpstream]:
    with running() as fake:
        yield fake


@pytest.fixture(scope="session")
def over_ollama(fake: FakeUpstream) -> Iterator[Scripted]:
    with facade(OLLAMA_BASE_URL=fake.url) as url:
        yield Scripted(url=url, name="ollama", model="llama3.1", fake=fake, chat_path="/api/chat")


@pytest.fixture(scope="session")
def over_openai(fake: FakeUpstream) -> Iterator[Scripted]:
    with facade(OPENAI_BASE_URL=f"{fake.url}/v1", OPENAI_API_KEY="sk-test") as url:
        yield Scripted(
            url=url, name="openai", model="llama3.1", fake=fake, chat_path="/v1/chat/completions"
        )


@pytest.fixture(scope="session")
def over_embedded() -> Iterator[Upstream]:
    """What the model says is asked of it once: at temperature 0 it says it again."""
    with facade(("-c", ALONE)) as url:
        said = PYTHON.one(url, "chat.completions.create", model=NAME, **CHAT)
        yield Upstream(
            url=url,
            name="embedded",
            model=NAME,
            says=said["choices"][0]["message"]["content"],
            prompt_tokens=said["usage"]["prompt_tokens"],
            completion_tokens=said["usage"]["completion_tokens"],
        )


@pytest.fixture(params=["ollama", "openai"])
def scripted(request: pytest.FixtureRequest) -> Scripted:
    chosen: Scripted = request.getfixturevalue(f"over_{request.param}")
    chosen.fake.reset()
    return chosen


@pytest.fixture(params=["ollama", "openai", pytest.param("embedded", marks=pytest.mark.embedded)])
def upstream(request: pytest.FixtureRequest) -> Upstream:
    chosen: Upstream = request.getfixturevalue(f"over_{request.param}")
    return chosen
