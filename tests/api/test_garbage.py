"""What a request made is gone when it has ended: a collector would look through all there is."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from tests.api.asking import answer_of, chat, request, sent_raw
from tests.api.serving import Facade
from tests.fake_upstream import faults

CHAT: Final = "/v1/chat/completions"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@contextmanager
def _kept_garbage() -> Iterator[list[object]]:
    """What only the collector finds, afterwards."""
    while gc.collect():  # what one look frees may have held more
        pass
    gc.disable()
    found: list[object] = []
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found += gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


FAULTS: Final[dict[str, tuple[faults.Fault | None, int]]] = {
    "good": (None, 200),
    "refused": (faults.Status(500), 500),
    "broken": (faults.Html(), 502),
    "no answer": (faults.CutBeforeHeaders(), 502),
}


@pytest.mark.parametrize(("fault", "status"), FAULTS.values(), ids=FAULTS.keys())
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_request_leaves_nothing_to_the_collector(
    facade: Facade, model: str, streamed: bool, fault: faults.Fault | None, status: int
) -> None:
    if fault:
        facade.fake.fault(fault, times=None)
    sent = request("POST", CHAT, json.dumps(chat(model, stream=streamed)).encode())
    async with sent_raw(facade, sent) as client:
        assert status == (await answer_of(client)).status
        with _kept_garbage() as garbage:
            for _ in range(3):
                client.writer.write(sent)
                assert status == (await answer_of(client)).status
            await facade.idle()
    ours = [each for each in garbage if type(each).__module__.startswith(("facade", "adapters"))]
    assert [] == ours
