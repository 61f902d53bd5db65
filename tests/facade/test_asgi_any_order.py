"""Work, client and server in any order: what was not all sent is never ended as if it were."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facade.wire import asgi, written
from facade.wire.answer import Answer
from tests.facade.slow_client import SlowClient
from tests.facade.virtual_time import run

Step = tuple[str, int]
STEPS: Final = st.tuples(
    st.sampled_from(["write", "write", "turn", "turn", "take", "take", "end", "leave", "stop"]),
    st.integers(0, 5),
)
ERROR: Final = b'data: {"error":'


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written, "READ_AHEAD", 20)
    monkeypatch.setattr(asgi, "SLICE", 8)


class _Client(SlowClient):
    """Is gone at its server's send of that number."""

    def __init__(self, fails_at: int | None) -> None:
        super().__init__()
        self._fails_at = fails_at

    async def send(self, message: Any) -> None:  # noqa: ANN401 - an ASGI message
        if len(self.sent) == self._fails_at:
            raise OSError("the client is gone")
        await super().send(message)


class _Work:
    """Writes numbers, so that none can be lost unseen."""

    def __init__(self, client: SlowClient, steps: list[Step]) -> None:
        self.client = client
        self.steps = steps
        self.text = b""
        self.ended = False

    async def __call__(self, answer: Answer) -> None:
        answer.start(200, {})
        for what, how in self.steps:
            if what == "write" and not self.ended:
                piece = b"%d," % len(self.text) * how
                self.text += piece
                answer.write(piece)
            elif what == "end" and not self.ended:
                self.ended = True
                answer.end()
            elif what == "turn":
                for _ in range(how):
                    await asyncio.sleep(0)
            elif what == "take":
                self.client.take(how)
            elif what == "leave":
                self.client.leave()
            elif what == "stop":
                self.client.stop()
        asyncio.get_running_loop().call_later(1, self.client.take)
        if not self.ended:
            asyncio.get_running_loop().call_later(2, self.client.leave)
            await asyncio.Event().wait()


@settings(deadline=None, max_examples=400)
@given(st.lists(STEPS, max_size=25), st.none() | st.integers(0, 4))
def test_an_end_means_that_all_before_it_was_sent(steps: list[Step], fails_at: int | None) -> None:
    async def test() -> None:
        client = _Client(fails_at)
        work = _Work(client, steps)
        said = await client.served(work)
        await asyncio.sleep(0)
        assert {asyncio.current_task()} == asyncio.all_tasks()
        body, ends = client.body, [each["more_body"] for each in client.sent[1:]]
        told = body.partition(ERROR[:1])[0]  # an error may be cut, too
        assert work.text.startswith(told)
        if False in ends:
            assert ends.index(False) == len(ends) - 1
            assert work.text == told
            assert work.ended or ERROR in body
        if said is not None:
            assert False in ends
        if work.ended and fails_at is None and not {"leave", "stop"} & {what for what, _ in steps}:
            assert (200, work.text) == (said, body)

    run(test())
