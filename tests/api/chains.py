"""A facade in front of a chain: several fakes behind one alias, in their order."""

from __future__ import annotations

import socket
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

from msgspec import Struct

from facade.config import Settings
from tests.api.asking import Answer
from tests.api.serving import Facade, serving, settings
from tests.fake_upstream import FakeUpstream

NAMES: Final = ("one", "two", "three")
ALIAS: Final = "assistant"
MODEL: Final = "llama3.1"


class Link(Struct, frozen=True):
    """One upstream of a chain; `more` are further lines of its table."""

    url: str
    dialect: str = "openai"
    more: str = ""


def chain(
    folder: Path, *links: Link, clocks: str = "{}", server: str = "", **alias: str
) -> Settings:
    """The settings of that chain; `alias` and `clocks` are written as they are."""
    text = f"[server]\n{server}\n"
    for name, link in zip(NAMES, links, strict=False):
        url = f"{link.url}/v1" if link.dialect == "openai" else link.url
        text += f'[upstreams.{name}]\ndialect = "{link.dialect}"\nbase_url = "{url}"\n'
        text += f"timeouts = {clocks}\n{link.more}\n"
    targets = ", ".join(f'"{name}/{MODEL}"' for name in NAMES[: len(links)])
    text += f"[models.{ALIAS}]\ntargets = [{targets}]\n"
    return settings(folder, text + "".join(f"{key} = {value}\n" for key, value in alias.items()))


def serving_chain(
    folder: Path, *fakes: FakeUpstream, dialect: str = "openai", clocks: str = "{}", **alias: str
) -> AbstractAsyncContextManager[Facade]:
    """A facade whose alias means these fakes."""
    links = [Link(fake.url, dialect) for fake in fakes]
    return serving(chain(folder, *links, clocks=clocks, **alias), fakes[0])


class Pair(Struct, frozen=True):
    """Two fakes, and a folder for the settings of who asks them."""

    one: FakeUpstream
    two: FakeUpstream
    folder: Path

    def serving(self, **said: str) -> AbstractAsyncContextManager[Facade]:
        """A facade whose alias means first the one, then the other."""
        return serving_chain(self.folder, self.one, self.two, **said)


def refused() -> str:
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def calls(fake: FakeUpstream) -> int:
    """How many generating calls came."""
    return sum(request.method == "POST" and "show" not in request.path for request in fake.requests)


def provenance(answer: Answer) -> tuple[str | None, str | None, str | None]:
    """The upstream that served, the number of attempts, the reason of the last move."""
    names = ("x-facade-upstream", "x-facade-attempts", "x-facade-fallback")
    upstream, attempts, reason = (answer.headers.get(name) for name in names)
    return upstream, attempts, reason


def text_of(answer: Answer) -> str:
    """What a good answer says, whole or streamed."""
    if not answer.headers["content-type"].startswith("text/event-stream"):
        said: str = answer.json["choices"][0]["message"]["content"]
        return said
    choices = [choice for each in answer.chunks for choice in each["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)
