"""The server stops while it answers: each client is told, and no answer looks complete."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Final

import pytest

from tests.api.asking import answer_of, chat, error_of, opened, rest_of
from tests.api.serving import Facade, both, serving, settings
from tests.fake_upstream import FakeUpstream, faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"


async def _stopped(facade: Facade) -> None:
    """Cancel what is under way, as uvicorn does when its patience ends."""
    for task in list(facade.tasks):
        task.cancel("the server stops")
    await facade.idle()


@pytest.mark.parametrize("streamed", [False, True])
async def test_who_waits_for_an_answer_is_told_to_try_again(
    facade: Facade, model: str, path: str, streamed: bool
) -> None:
    facade.fake.fault(faults.HangBeforeContent())
    async with opened(facade, "POST", CHAT, chat(model, stream=streamed)) as client:
        request = await facade.fake.came(path=path)
        await _stopped(facade)
        answer = await answer_of(client)
    assert (503, "server_stopping") == (answer.status, answer.error["code"])
    await facade.fake.hung_up(request, within=5)


async def test_a_stream_ends_in_an_error(facade: Facade, model: str, path: str) -> None:
    facade.fake.fault(faults.HangAfter(2))
    async with opened(facade, "POST", CHAT, chat(model, stream=True)) as client:
        request = await facade.fake.came(path=path)
        await client.head()
        first = await client.piece()
        await _stopped(facade)
        rest = await rest_of(client)
    events = (first + rest).decode().removesuffix("\n\n").split("\n\n")
    assert "server_stopping" == error_of(json.loads(events[-1].removeprefix("data: ")))["code"]
    assert "[DONE]" not in events[-2]
    await facade.fake.hung_up(request, within=5)


async def test_an_answer_that_is_being_sent_is_given_up_in_silence(
    fake: FakeUpstream, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its last byte was handed out, but a client that does not read holds it up."""
    body = {"model": "openai/nomic-embed-text", "input": ["a"] * 500, "encoding_format": "float"}
    async with (
        serving(settings(tmp_path, both(fake)), fake) as facade,
        opened(facade, "POST", "/v1/embeddings", body) as client,
    ):
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it reads
        sent = await fake.came(path="/v1/embeddings")
        await facade.until(lambda: sent.written > 7_000_000)
        await asyncio.sleep(0.3)  # until it was read, translated, and is being sent
        with caplog.at_level(logging.ERROR, "uvicorn.error"):
            await _stopped(facade)
    assert [] == [record for record in caplog.records if record.exc_info]
