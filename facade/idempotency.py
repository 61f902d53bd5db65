"""Idempotency-Key: a request that is sent again is the same request, not a second one.

Strategy: a request with a key runs in a task of its own and writes into a Recording; its client
is the first of those who listen. Who sends the same again listens too, from the beginning, while
it runs and for a while after its end. It outlives its last listener for a moment: a client whose
connection broke comes back. Only good answers are kept: after a failure the next one tries anew.
What is kept is bounded; beyond the bounds a request is like one without a key.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Final

from adapters.rate_limits import SHOWN
from facade.edge import Handle, Request
from facade.errors import BadRequest, Conflict, Stopping
from facade.wire.answer import AnswerWriter
from facade.wire.recording import Recording

KEPT: Final = 600.0  # seconds that a finished answer is kept
OUTLIVES: Final = 30.0  # seconds that a request runs on without anybody who listens
MOST_ANSWERS: Final = 1000
MOST_BYTES: Final = 64 * 1024 * 1024  # of all that is kept
MOST_OF_ONE: Final = 16 * 1024 * 1024
_HEADER: Final = "idempotency-key"
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
_ASKING: Final = "x-facade-"  # what such a header asks for is part of the request

_log = logging.getLogger(__name__)
_Scope = tuple[str | None, str]  # the caller's name, the key


class _Run:
    """One request under its key."""

    task: asyncio.Task[None]

    def __init__(
        self, scope: _Scope, fingerprint: bytes, grew: Callable[[_Run, int], None]
    ) -> None:
        self.scope = scope
        self.fingerprint = fingerprint
        self.recording = Recording(self._grow)
        self.size = 0  # bytes that are kept
        self.kept_until = 0.0
        self._grew = grew
        self._alone: asyncio.TimerHandle | None = None

    async def answered(self, answer: AnswerWriter) -> None:
        """Give the answer, as it comes. Raises what the request raised."""
        if self._alone is not None:
            self._alone.cancel()
        self.recording.listen(answer)
        try:
            await asyncio.wait([self.task])
        finally:
            self.recording.leave(answer)
            if not self.recording.listeners and not self.task.done():
                self._go_on_alone()
        if self.task.cancelled():
            raise Stopping("the request was given up: try again")
        if not answer.started:
            answer.headers |= self.recording.headers
        self.task.result()

    def ended(self) -> bool:
        """Nothing of it is waited for any more; whether it ended well."""
        if self._alone is not None:
            self._alone.cancel()
        if self.task.cancelled():
            return False
        error = self.task.exception()
        if error is not None and not self.recording.listeners:  # whose words may quote the prompt
            _log.warning("failed when its client had left: %s", type(error).__name__)
        return error is None

    def forget(self) -> None:
        """Keep nothing of it; it ends with its last listener."""
        self.recording.forget()
        if not self.recording.listeners:
            self.task.cancel()

    def _go_on_alone(self) -> None:
        if not self.recording.kept:
            self.task.cancel()
            return
        loop = asyncio.get_running_loop()
        self._alone = loop.call_later(OUTLIVES, self.task.cancel)

    def _grow(self, size: int) -> None:
        self.size += size
        self._grew(self, size)


class Idempotency:
    """The requests with a key that run, and the answers of those that have ended."""

    def __init__(self) -> None:
        self._running: dict[_Scope, _Run] = {}
        self._ended: dict[_Scope, _Run] = {}  # in the order in which they expire
        self._bytes = 0  # that both keep
        self._expiry: asyncio.TimerHandle | None = None

    def __call__(self, handle: Handle) -> Handle:
        """`handle`, with which a request that has a key is answered once."""

        def once(request: Request, answer: AnswerWriter) -> Awaitable[None]:
            if _HEADER in request.headers:
                return self._once(handle, request, answer)
            return handle(request, answer)

        return once

    async def close(self) -> None:
        """End what nobody listens to any more."""
        tasks = [run.task for run in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._expiry is not None:
            self._expiry.cancel()

    async def _once(self, handle: Handle, request: Request, answer: AnswerWriter) -> None:
        key = request.headers[_HEADER]
        if not _KEY.fullmatch(key):
            raise BadRequest(
                "an Idempotency-Key has 1 to 255 visible ASCII characters",
                code="invalid_idempotency_key",
            )
        scope = (request.caller.name, key)
        fingerprint = _fingerprint(request)
        run = self._running.get(scope) or self._ended.get(scope)
        if run is None:
            if not self._has_place():
                await handle(request, answer)
                return
            run = self._begin(_Run(scope, fingerprint, self._grew), handle, request)
        elif run.fingerprint != fingerprint:
            raise Conflict(
                "this Idempotency-Key was sent with another request: a new one needs a new key",
                code="idempotency_key_reused",
                retry=False,
            )
        else:
            answer.headers["idempotent-replayed"] = "true"
        await run.answered(answer)

    def _begin(self, run: _Run, handle: Handle, request: Request) -> _Run:
        self._running[run.scope] = run
        run.task = asyncio.create_task(_done(handle, request, run.recording))
        run.task.add_done_callback(lambda _: self._end(run))
        return run

    def _end(self, run: _Run) -> None:
        good = run.ended()
        if run.recording.kept:
            del self._running[run.scope]
            if good:
                self._keep(run)
            else:
                self._bytes -= run.size

    def _keep(self, run: _Run) -> None:
        loop = asyncio.get_running_loop()
        for name in SHOWN:  # are not so any more when it is told again
            run.recording.headers.pop(name, None)
        run.kept_until = loop.time() + KEPT
        self._ended[run.scope] = run
        if self._expiry is None:
            self._expiry = loop.call_at(run.kept_until, self._expire)

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        self._expiry = None
        while (oldest := next(iter(self._ended.values()), None)) is not None:
            if oldest.kept_until > loop.time():
                self._expiry = loop.call_at(oldest.kept_until, self._expire)
                return
            self._drop(oldest)

    def _has_place(self) -> bool:
        while self._ended and len(self._running) + len(self._ended) >= MOST_ANSWERS:
            self._drop(next(iter(self._ended.values())))
        return len(self._running) < MOST_ANSWERS

    def _grew(self, run: _Run, size: int) -> None:
        """So many bytes more are kept of a request; what there is no room for is forgotten."""
        self._bytes += size
        while self._bytes > MOST_BYTES and self._ended:
            self._drop(next(iter(self._ended.values())))
        if run.size > MOST_OF_ONE or self._bytes > MOST_BYTES:
            del self._running[run.scope]
            self._bytes -= run.size
            run.forget()

    def _drop(self, ended: _Run) -> None:
        del self._ended[ended.scope]
        self._bytes -= ended.size


def _fingerprint(request: Request) -> bytes:
    """What makes two requests the same: where they are sent, what they ask for, their body."""
    said = hashlib.sha256(request.path.encode())
    for name in sorted(request.headers):
        if name.startswith(_ASKING):
            said.update(f"\0{name}\0{request.headers[name]}".encode())
    said.update(b"\0\0" + request.body)
    return said.digest()


async def _done(handle: Handle, request: Request, answer: AnswerWriter) -> None:
    await handle(request, answer)
