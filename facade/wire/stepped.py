"""A coroutine without a task: it is stepped where it begins, and where a Wait of it is done.

A task costs more than many a request's whole work: it is scheduled before its first step, kept
in registers, copied a context for. What runs here awaits Waits and nothing that asks for the
current task (`asyncio.timeout` does).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from facade.waits import Prompt, Wait


class Stepped(asyncio.Future[None]):
    """Done when the work has ended, however; `ended` is called then. It is cancelled as a task is.

    What the work raises, the loop's exception handler is told.
    """

    _waits: Wait[Any] | None = None
    _cancels = False  # at the next opportunity

    def __init__(
        self,
        work: Coroutine[Any, Any, object],
        ended: Callable[[Stepped], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(loop=loop)
        self._work = work
        self._ended = ended

    def step(self, _: object = None) -> None:
        """Go on until the next Wait that is not done."""
        self._waits = None
        try:
            if self._cancels:
                self._cancels = False
                wait = self._work.throw(asyncio.CancelledError())
            else:
                wait = self._work.send(None)
        except StopIteration:
            self._end()
        except asyncio.CancelledError:
            self._end()
        except BaseException as error:
            self._end()
            if not isinstance(error, Exception):
                raise
            said = {"message": "a request ended in an error", "exception": error}
            self.get_loop().call_exception_handler(said)
        else:
            self._await(wait)

    def cancel(self, msg: object = None) -> bool:
        if self.done():
            return False
        self._cancels = self._waits is None or not self._waits.cancel(msg)
        return True

    def uncancel(self) -> int:
        """There is nothing to count: who was cancelled and goes on, goes on."""
        return 0

    def _await(self, wait: Wait[Any] | None) -> None:
        if wait is None:  # a bare yield, as of asyncio.sleep(0)
            self.get_loop().call_soon(self.step)
            return
        wait._asyncio_future_blocking = False  # noqa: SLF001 - as tasks tell that they have it
        self._waits = wait
        if isinstance(wait, Prompt):
            wait.resume = self.step
        else:
            wait.add_done_callback(self.step)
        if self._cancels and wait.cancel():
            self._cancels = False

    def _end(self) -> None:
        self.set_result(None)
        ended = self._ended
        del self._ended, self._work  # who knows us: together we would wait for the collector
        ended(self)
