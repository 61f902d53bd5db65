"""A coroutine without a task: stepped where it begins, and in the turn after a Wait of it is done.

A task costs more than many a request's whole work: it is scheduled before its first step, kept
in registers, copied a context for. What runs here awaits Waits and nothing that asks for the
current task (`asyncio.timeout` does).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from facade.waits import Cohort, Left, Prompt, Wait


class Stepped:
    """Work that is begun once, and cancelled as a task is. `has_ended` is called then, however.

    What the work raises, the loop's exception handler is told.
    """

    _work: Coroutine[Any, Any, object]

    def __init__(self, cohort: Cohort) -> None:
        self._cohort = cohort
        self._waits: Wait[Any] | None = None
        self._cancels = False  # at the next opportunity
        self._is_over = False

    def begin(self, work: Coroutine[Any, Any, object]) -> None:
        self._work = work
        self.step()

    def has_ended(self) -> None:
        """Nothing of the work is left."""

    def step(self, _: object = None) -> None:
        """Go on until the next Wait that is not done."""
        self._waits = None
        try:
            if self._cancels:
                self._cancels = False
                wait = self._work.throw(Left())
            else:
                wait = self._work.send(None)
        except (StopIteration, asyncio.CancelledError):
            self._end()
        except BaseException as error:
            self._end()
            if not isinstance(error, Exception):
                raise
            said = {"message": "a request ended in an error", "exception": error}
            asyncio.get_running_loop().call_exception_handler(said)
        else:
            if wait is None:  # the next stage
                self._cohort.add(self)
            else:
                self._await(wait)

    def cancel(self, msg: object = None) -> bool:
        if self._is_over:
            return False
        self._cancels = True
        if self._waits is not None:
            self._waits.cancel(msg)
        return True

    def _await(self, wait: Wait[Any]) -> None:
        wait._asyncio_future_blocking = False  # noqa: SLF001 - as tasks tell that they have it
        self._waits = wait
        if isinstance(wait, Prompt):
            wait.cohort, wait.waiter = self._cohort, self
        else:
            wait.add_done_callback(self.step)
        if self._cancels:
            wait.cancel()

    def _end(self) -> None:
        self._is_over = True
        del self._work  # which knows us: together we would wait for the collector
        self.has_ended()
