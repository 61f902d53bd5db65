"""An event loop whose time passes only where everything waits for it: at once, and exactly."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _NoWait(selectors.DefaultSelector):
    """Instead of waiting for so long, it lets the loop's time go on by as much."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:  # noqa: ANN401 - as its parent
        assert timeout is not None, "everything waits, and for nothing"
        self.loop.passed += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Starts at 0."""

    def __init__(self) -> None:
        self.passed = 0.0
        selector = _NoWait()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.passed


def run(test: Coroutine[Any, Any, T]) -> T:
    """The result of the coroutine, in a loop of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(test)
