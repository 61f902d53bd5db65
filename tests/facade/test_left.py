"""A client that leaves in the very turn in which a clock runs out has left."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adapters.dialect import UpstreamRequest
from adapters.errors import UpstreamError
from adapters.openai import OpenAI
from facade.deadlines import Timeouts
from facade.upstreams import Traits, Upstream
from facade.waits import Prompt
from tests.facade.test_stepped import Work
from tests.facade.virtual_time import run


class _Hangs:
    """Connections on which nothing comes."""

    def open(self, *_: object, **__: object) -> Any:  # noqa: ANN401 - a Wait of anything
        return Prompt()

    async def close(self) -> None: ...


@pytest.mark.parametrize(
    ("leaves", "ended"),
    [("before", "left"), ("after", "left"), ("a moment after", "timeout")],
)
def test_who_leaves_as_a_clock_runs_out_is_asked_for_nowhere_else(leaves: str, ended: str) -> None:
    """Told of a timeout, a chain would ask its next target for nobody."""
    seen: list[str] = []

    async def test() -> None:
        upstream = Upstream("local", OpenAI(), Traits(), _Hangs(), _Hangs())
        work = Work()

        async def asks() -> None:
            try:
                await upstream.ask(UpstreamRequest("GET", "/"), Timeouts(total=1))
            except UpstreamError:
                seen.append("timeout")
            except asyncio.CancelledError:
                seen.append("left")

        if leaves == "before":
            upstream._alarms.set(1, work.cancel)  # which rings before the clock's
        work.begin(asks())
        if leaves == "after":
            upstream._alarms.set(1, work.cancel)
        elif leaves == "a moment after":
            upstream._alarms.set(1.01, work.cancel)
        await asyncio.sleep(2)

    run(test())
    assert [ended] == seen
