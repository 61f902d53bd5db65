"""Facades with limits, whose windows are of a year: nothing comes back while a test runs."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

from tests.api.asking import Answer, ask, chat
from tests.api.serving import Facade, both, serving, settings
from tests.fake_upstream import FakeUpstream, faults

CHAT: Final = "/v1/chat/completions"
KEY: Final = {"authorization": "Bearer sk-agents"}
PROMPT: Final = 1  # tokens that "Hi" is taken to have
ANSWER: Final = "one two three four"
ALL: Final = '"1000 tokens/year", "9/year", "1 concurrent"'
PATHS: Final = {"openai": CHAT, "ollama": "/api/chat"}


class Limited:
    """Facades with these limits, on the key of `KEY`, on the alias `assistant`, on addresses."""

    def __init__(self, fake: FakeUpstream, folder: Path) -> None:
        self.fake = fake
        self.folder = folder

    def serving(
        self, key: str = "", model: str = "", near: str = "", more: str = ""
    ) -> AbstractAsyncContextManager[Facade]:
        text = (
            f"[server]\nip_limits = [{near}]\n{both(self.fake)}"
            f'[keys.agents]\nsecret = "sk-agents"\nlimits = [{key}]\n'
            '[keys.other]\nsecret = "sk-o"\n'
            f'[models.assistant]\ntargets = ["openai/llama3.1"]\nlimits = [{model}]\n'
            '[models.helper]\ntargets = ["ollama/llama3.1"]\n'
        )
        return serving(settings(self.folder, text + more), self.fake)


async def asked(facade: Facade, model: str = "helper", **more: object) -> Answer:
    return await ask(facade, "POST", CHAT, chat(model, **more), **KEY)


def left(answer: Answer, kind: str = "tokens") -> int:
    return int(answer.headers[f"x-ratelimit-remaining-{kind}"])


async def standing(facade: Facade) -> tuple[int, int]:
    """The requests and tokens that are left: a request that fails shows them and takes none.

    It fails on a 500 of the fake's; a place that was not given back would be a 429.
    """
    await facade.idle()
    facade.fake.reset()
    facade.fake.fault(faults.Status(500))
    answer = await asked(facade, "openai/llama3.1")
    assert 500 == answer.status
    return left(answer, "requests"), left(answer)
