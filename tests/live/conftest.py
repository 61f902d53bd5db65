"""A facade in front of the live Ollama, and the smallest of its models that can do what is asked.

Nothing is pulled, made or removed. A test whose model is not there is skipped by its capability.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Collection, Iterator
from functools import cached_property
from typing import Final

import pytest
from msgspec import Struct

from tests.clients.facades import facade
from tests.clients.sdks import PYTHON, Json
from tests.parts import ollama_url

WINDOW: Final = 4096  # tokens of prompt and answer, whatever the server's own default is
_WAIT: Final = 120.0  # seconds


class Model(Struct, frozen=True):
    name: str
    capabilities: frozenset[str]


class Ollama:
    """The server itself, asked directly."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, body: Json | None = None) -> Json:
        """A GET, or a POST of the body."""
        sent = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"{self.url}{path}", sent, timeout=_WAIT) as answer:
            said: Json = json.load(answer)
        return said

    @cached_property
    def models(self) -> list[Model]:
        """Those on its own machine, the smallest first."""
        listed = self.ask("/api/tags")["models"]
        here = [model for model in listed if "remote_model" not in model]
        names = [model["name"] for model in sorted(here, key=lambda model: model["size"])]
        return [Model(name, self._capabilities(name)) for name in names]

    def _capabilities(self, name: str) -> frozenset[str]:
        return frozenset(self.ask("/api/show", {"model": name})["capabilities"])

    def pick(self, capability: str, without: Collection[str] = ()) -> str:
        """The smallest model that has the capability, or a skip that names it."""
        for model in self.models:
            if capability in model.capabilities and model.capabilities.isdisjoint(without):
                return model.name
        lacking = "".join(f" without {name}" for name in without)
        pytest.skip(f"lacks: ollama ({self.url} has no model for {capability}{lacking})")

    def last_end(self, name: str) -> object:
        """What changes whenever the last of the model's answers under way has ended."""
        loaded = self.ask("/api/ps")["models"]
        return next((model["expires_at"] for model in loaded if model["name"] == name), None)


class Live(Struct, frozen=True):
    """The facade in front of it, driven by the official SDK."""

    url: str
    ollama: Ollama

    def one(self, method: str, **request: object) -> Json:
        return PYTHON.one(self.url, method, **request)

    def all(self, method: str, **request: object) -> list[Json]:
        return PYTHON.all(self.url, method, **request)


@pytest.fixture(scope="session")
def live() -> Iterator[Live]:
    options = json.dumps({"num_ctx": WINDOW})
    with facade(OLLAMA_BASE_URL=ollama_url(), OLLAMA_DEFAULT_OPTIONS=options) as url:
        yield Live(url, Ollama(ollama_url()))


@pytest.fixture(scope="session")
def chat_model(live: Live) -> str:
    return live.ollama.pick("completion", without=["insert", "thinking", "vision"])


@pytest.fixture(scope="session")
def embedding_model(live: Live) -> str:
    return live.ollama.pick("embedding")


@pytest.fixture(scope="session")
def tools_model(live: Live) -> str:
    return live.ollama.pick("tools", without=["thinking"])


@pytest.fixture(scope="session")
def thinking_model(live: Live) -> str:
    return live.ollama.pick("thinking")
