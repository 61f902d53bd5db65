"""Models that were never in memory side by side are not used so, and nobody is stuck by that."""

from __future__ import annotations

import asyncio

import pytest

from facade.admission import Admission, Room
from facade.auth import Band
from facade.errors import WaitedOut
from facade.line import Slot
from facade.turns import Asker
from facade.waits import Wait
from tests.facade.virtual_time import run


def one_gpu(loaded: set[str], *, together: bool = False) -> Admission:
    """Two slots before a memory that has this."""
    clock = asyncio.get_running_loop().time
    return Admission("local", Room(2, 2, 100), clock, lambda: loaded, lambda *_: together)


def asked(
    queue: Admission, model: str, band: Band = "normal", patience: float = 60.0
) -> Slot | Wait[Slot]:
    return queue.enter(Asker("key", band, "generation", model, patience))


def slot(asking: Slot | Wait[Slot]) -> Slot:
    """What was given at once, also to one who came by the line."""
    return asking if isinstance(asking, Slot) else asking.result()


def waits(asking: Slot | Wait[Slot]) -> Wait[Slot]:
    assert isinstance(asking, Wait)
    assert not asking.done()
    return asking


def test_a_model_comes_into_memory_when_no_other_is_in_use() -> None:
    async def test() -> None:
        loaded = {"llama"}
        queue = one_gpu(loaded)
        first, second = (slot(asked(queue, "llama")) for _ in range(2))
        other = waits(asked(queue, "qwen", "interactive"))
        first.release()
        waits(other)
        second.release()
        loads = slot(other)
        llama = waits(asked(queue, "llama"))  # as long as the load is under way
        loaded.clear()
        loaded.add("qwen")
        loads.begun()
        waits(llama)  # it has been pushed out
        slot(asked(queue, "qwen")).release()
        loads.release()
        slot(llama).release()
        assert 0 == queue.snapshot()["generation"].in_use

    run(test())


@pytest.mark.parametrize("leaves", [True, False])
def test_who_waits_for_room_and_leaves_keeps_nobody_behind(leaves: bool) -> None:
    async def test() -> None:
        queue = one_gpu({"llama"})
        running = slot(asked(queue, "llama"))
        urgent = waits(asked(queue, "qwen", "interactive", patience=5.0))
        behind = waits(asked(queue, "llama"))
        if leaves:
            urgent.cancel()
        else:
            with pytest.raises(WaitedOut):
                await urgent
        slot(behind).release()
        running.release()
        assert 0 == queue.snapshot()["generation"].in_use

    run(test())


def test_models_that_were_in_memory_together_are_used_together() -> None:
    async def test() -> None:
        queue = one_gpu({"llama"}, together=True)
        for model in ("llama", "qwen"):
            slot(asked(queue, model))
        assert 2 == queue.snapshot()["generation"].in_use

    run(test())


def test_a_model_that_runs_elsewhere_is_in_nobodys_way() -> None:
    async def test() -> None:
        queue = one_gpu({"llama"})
        slot(asked(queue, "gpt-oss:cloud"))
        slot(asked(queue, "llama")).release()
        slot(asked(queue, "kimi:cloud"))

    run(test())
