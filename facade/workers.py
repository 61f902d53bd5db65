"""Several processes behind one listener.

Strategy: they are forked before anything of the application is made, so that they share the
listener and nothing else. The first process only watches: a worker that is killed is replaced; one
that ends by itself could not serve, and ends them all; a signal is passed on to all; and should the
first one be killed, the others end too.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Final

_log = logging.getLogger(__name__)
_BREATH: Final = 1.0  # seconds before a worker is replaced: what kills it may kill the next
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def become(count: int) -> int:
    """The number, from 0 on, of the worker that this process is from now on.

    The first process never returns: it raises SystemExit when all its workers have ended.
    """
    return _First().watch(deque(range(count)))


class _First:
    """The first process; a worker leaves it where it is forked."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}  # by process id
        self._code: int | None = None  # once they are to end
        self._alive = os.pipe()
        self._before = {each: signal.signal(each, self._stop) for each in _SIGNALS}

    def watch(self, lacking: deque[int]) -> int:
        while lacking or self._numbers:
            if lacking and self._code is None:
                number = lacking.popleft()
                signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # until it is known whose it is
                process = os.fork()
                if not process:
                    return self._leave(number)
                self._numbers[process] = number
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            else:
                lacking.extend(self._ended())
        sys.exit(self._code)

    def _ended(self) -> list[int]:
        """Wait for one to end; its number, if it is to be replaced."""
        process, status = os.wait()
        number, code = self._numbers.pop(process), os.waitstatus_to_exitcode(status)
        if self._code is not None:
            return []
        if code >= 0:
            self._end(code)
            return []
        _log.error("worker %s was killed by signal %s and is replaced", number, -code)
        time.sleep(_BREATH)
        return [number]

    def _stop(self, *_: object) -> None:
        self._end(0)

    def _end(self, code: int) -> None:
        """Each ends what it has under way."""
        self._code = code
        for process in self._numbers:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)

    def _leave(self, number: int) -> int:
        """In the worker: a terminal's signals are for the first process alone."""
        os.setpgrp()
        for each, handler in self._before.items():
            signal.signal(each, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        os.close(self._alive[1])
        threading.Thread(target=_end_with, args=(self._alive[0],), daemon=True).start()
        return number


def _end_with(alive: int) -> None:
    os.read(alive, 1)  # nothing is ever written
    os.kill(os.getpid(), signal.SIGTERM)
