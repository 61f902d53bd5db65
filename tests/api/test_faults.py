"""Everything an upstream can do wrong, and what the client is told: one row per fault.

Before the first content a failure has its own status; after it the stream ends in an error
event. Nothing that was cut is ever complete.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, Final

import pytest
import pytest_asyncio
from msgspec import Struct
from openai import APIError, APIStatusError, AsyncOpenAI

from tests.api.asking import DONE, ask, chat, error_of
from tests.api.serving import DIALECTS, Facade, both, serving, settings
from tests.fake_upstream import FakeUpstream, faults
from tests.fake_upstream.faults import FAULTS, Fault

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Told(Struct, frozen=True):
    """What a client got: content, and a failure's code; `status` is that of the answer."""

    text: str = ""
    status: int = 200
    code: str | None = None


def after(text: str, failure: Told) -> Told:
    """A stream that failed, in this way, after this text."""
    return Told(text, 200, failure.code)


TEXT: Final = "You said: Hi"
FINE: Final = Told(TEXT)
CUT: Final = Told(status=502, code="upstream_incomplete")
BROKEN: Final = Told(status=502, code="upstream_broken")
FAILED: Final = Told(status=500, code="upstream_error")
BUSY: Final = Told(status=503, code="server_overloaded")
SMALL: Final = Told(status=400, code="context_length_exceeded")
LATE: Final = Told(status=504, code="upstream_timeout")


class Row(Struct, frozen=True):
    """A fault, and what becomes of a whole answer and of a stream, for each dialect."""

    fault: Fault
    ollama_whole: Told
    ollama_stream: Told
    openai_whole: Told
    openai_stream: Told


ROWS: Final = (
    #   fault                                   ollama whole, streamed; openai whole, streamed
    Row(faults.Slices(1), FINE, FINE, FINE, FINE),
    Row(faults.DelayHeaders(0.05), FINE, FINE, FINE, FINE),
    Row(faults.DelayContent(0.05), FINE, FINE, FINE, FINE),
    Row(faults.DelayLines(0.02), FINE, FINE, FINE, FINE),
    Row(faults.Status(503), BUSY, BUSY, BUSY, BUSY),
    Row(faults.ContextOverflow(), SMALL, SMALL, SMALL, SMALL),
    Row(faults.CutBeforeHeaders(), CUT, CUT, CUT, CUT),
    Row(faults.CutBeforeContent(), CUT, CUT, CUT, CUT),
    Row(faults.CutAfter(1), CUT, CUT, CUT, CUT),
    Row(faults.CutAfter(150), CUT, after("You", CUT), CUT, CUT),
    Row(faults.CutAfter(500), CUT, after(TEXT, CUT), CUT, after("You", CUT)),
    Row(faults.Garbage(), BROKEN, BROKEN, BROKEN, CUT),
    Row(faults.Garbage(2), BROKEN, after("You said:", BROKEN), BROKEN, after("You", CUT)),
    Row(faults.MalformedChunks(), BROKEN, BROKEN, BROKEN, BROKEN),
    Row(
        faults.MalformedChunks(2), BROKEN, after("You said:", BROKEN), BROKEN, after("You", BROKEN)
    ),
    Row(faults.NoEnd(), CUT, after(TEXT, CUT), BROKEN, after(TEXT, CUT)),
    Row(faults.ErrorLine(), FAILED, FAILED, FAILED, FAILED),
    Row(faults.ErrorLine(2), FAILED, after("You said:", FAILED), BROKEN, after("You", FAILED)),
    Row(faults.Html(), BROKEN, BROKEN, BROKEN, BROKEN),
    Row(faults.EmptyObject(), BROKEN, BROKEN, BROKEN, BROKEN),
)
# Before a facade that has no patience. The whole answer of one piece is there before the hang.
HANGS: Final = (
    Row(faults.HangBeforeHeaders(), LATE, LATE, LATE, LATE),
    Row(faults.HangBeforeContent(), LATE, LATE, LATE, LATE),
    Row(faults.HangAfter(1), LATE, after("You", LATE), FINE, LATE),
    Row(faults.HangAfter(2), LATE, after("You said:", LATE), FINE, after("You", LATE)),
)
MODES: Final = [(dialect, streamed) for dialect in DIALECTS for streamed in (False, True)]


async def test_every_fault_has_its_row() -> None:
    assert set(FAULTS.values()) == {type(row.fault) for row in (*ROWS, *HANGS)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.fault))
async def test_each_fault_is_told_as_its_row_says(
    row: Row, facade: Facade, sdk: AsyncOpenAI
) -> None:
    facade.fake.fault(row.fault, times=None)
    assert row == await _observed(row.fault, partial(_raw, facade))
    assert row == await _observed(row.fault, partial(_by_sdk, sdk))
    # A kept connection that ends unanswered may have been stale: that one is asked again.
    calls = [each for each in facade.fake.requests if each.path != "/api/ps"]  # for the queue
    assert 8 == len(calls) or isinstance(row.fault, faults.CutBeforeHeaders)


@pytest.mark.parametrize("row", HANGS, ids=lambda row: str(row.fault))
async def test_an_upstream_that_hangs_is_cut_off_as_its_row_says(
    row: Row, hasty: Facade, fake: FakeUpstream
) -> None:
    fake.fault(row.fault, times=None)
    assert row == await _observed(row.fault, partial(_raw, hasty))
    if row.openai_whole == FINE:
        fake.release()  # its connection is kept, and still held


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hasty(
    upstreams: FakeUpstream, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Facade]:
    clocks = "{first_token = 0.5, idle = 0.5, total = 1}"
    said = settings(tmp_path_factory.mktemp("hasty"), both(upstreams, timeouts=clocks))
    async with serving(said, upstreams) as facade:
        yield facade


async def _observed(fault: Fault, asked: Callable[[str, bool], Awaitable[Told]]) -> Row:
    return Row(fault, *await asyncio.gather(*(asked(*mode) for mode in MODES)))


# -- what a client gets --------------------------------------------------------------------


async def _raw(facade: Facade, dialect: str, streamed: bool) -> Told:
    body = chat(f"{dialect}/llama3.1", stream=streamed)
    answer = await ask(facade, "POST", "/v1/chat/completions", body)
    assert answer.complete
    if answer.status != 200:
        return Told(status=answer.status, code=answer.error["code"])
    if not streamed:
        return Told(answer.json["choices"][0]["message"]["content"])
    *before, last = answer.events
    chunks = [json.loads(event) for event in before]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    finished = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    if last == DONE:
        assert ["stop"] == finished
        return Told(text)
    assert [] == finished, "it failed, and has ended"
    return Told(text, code=error_of(json.loads(last))["code"])


async def _by_sdk(sdk: AsyncOpenAI, dialect: str, streamed: bool) -> Told:
    create: Any = sdk.chat.completions.create
    text = ""
    try:
        answer = await create(**chat(f"{dialect}/llama3.1", stream=streamed))
        if not streamed:
            return Told(answer.choices[0].message.content)
        async for chunk in answer:
            text += "".join(choice.delta.content or "" for choice in chunk.choices)
    except APIStatusError as error:
        return Told(status=error.status_code, code=error.code)
    except APIError as error:
        return Told(text, code=error.code)
    return Told(text)
