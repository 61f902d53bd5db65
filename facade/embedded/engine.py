"""The facade's side of the embedded engine: one child process, started again when it dies.

Port and key are chosen once, so an upstream made from them stays right over restarts. The child
ends when its stdin closes, which also happens when this process is killed.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import secrets
import socket
import sys
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Final, cast

from facade.embedded.model import NAME, model_file

_LOADING: Final = 120.0  # seconds a child has to load the model; a second or two is usual
_ENDING: Final = 5.0  # seconds a child has to end by itself
_FIRST_PAUSE: Final = 0.5  # seconds before a dead child is started again; doubles ...
_LONGEST_PAUSE: Final = 30.0  # ... up to this, and begins anew once a child lived as long

_ERRORS_ONLY: Final = 1  # llama.cpp's levels of verbosity
_TALKS: Final = 3

_log = logging.getLogger(__name__)


class EngineFailed(Exception):
    """The engine did not start; the text is one sentence for the user."""


def installed() -> bool:
    """Whether the engine and its model are both on this machine."""
    return not _lacking()


def _lacking() -> str:
    if importlib.util.find_spec("xllamacpp") is None:
        return "the embedded engine is not installed: run `pip install xllamacpp`"
    if not model_file().is_file():
        return "the embedded model is not on this machine: run `facade models pull`"
    return ""


class Engine:
    """llama.cpp behind `base_url`, which wants `api_key`; both stand from the beginning."""

    slots: Final = 2  # calls at a time

    def __init__(self) -> None:
        self._port = _free_port()
        self._child: Process
        self._keeper: asyncio.Task[None] | None = None
        self.base_url = f"http://127.0.0.1:{self._port}/v1"
        self.api_key = secrets.token_urlsafe(32)

    async def start(self) -> None:
        """Returns when the engine answers. Raises EngineFailed."""
        if reason := _lacking():
            raise EngineFailed(reason)
        await self._spawn()
        self._keeper = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Returns when the child is gone. Harmless where nothing was started."""
        if self._keeper:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE
        try:
            while True:
                born = loop.time()
                code = await self._child.wait()
                if loop.time() - born > _LONGEST_PAUSE:
                    pause = _FIRST_PAUSE
                _log.error("the embedded engine ended (%d); it starts again in %g s", code, pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                try:
                    await self._spawn()
                except EngineFailed as error:
                    _log.error("%s", error)
        finally:
            await _end(self._child)

    async def _spawn(self) -> None:
        """Returns when a new child answers. Raises EngineFailed, and then it is gone again."""
        program = Path(__file__).with_name("child.py")
        self._child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", str(program)),
            stdin=PIPE,
            stdout=PIPE,
            start_new_session=True,  # ^C in a terminal is for the facade, which drains first
        )
        try:
            await asyncio.wait_for(self._order(*_pipes(self._child)), _LOADING)
        except BaseException as error:  # also where starting was cancelled
            await _end(self._child)
            if isinstance(error, TimeoutError):
                raise EngineFailed(f"the embedded engine took over {_LOADING:g} s") from None
            raise

    async def _order(self, stdin: StreamWriter, stdout: StreamReader) -> None:
        """Says what to serve; returns when it is served."""
        order = {
            "model": str(model_file()),
            "name": NAME,
            "port": self._port,
            "key": self.api_key,
            "slots": self.slots,
            "verbosity": _TALKS if _log.isEnabledFor(logging.DEBUG) else _ERRORS_ONLY,
        }
        stdin.write(json.dumps(order).encode() + b"\n")
        if not await stdout.readline():
            raise EngineFailed(
                "the embedded engine did not start (it says above why);"
                " `facade models pull` checks its model"
            )


async def _end(child: Process) -> None:
    stdin, _ = _pipes(child)
    stdin.close()
    try:
        await asyncio.wait_for(child.wait(), _ENDING)
    except TimeoutError:
        child.kill()
        await child.wait()


def _pipes(child: Process) -> tuple[StreamWriter, StreamReader]:
    # They are None only where a process was made without PIPE.
    return cast(StreamWriter, child.stdin), cast(StreamReader, child.stdout)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
