"""A Redis or Valkey server of the tests' own, on a socket in a folder that goes with it."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.parts import store_server


class Server:
    """One that can be ended and started again on the same socket; it forgets all."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "s"
        self.url = f"unix://{self._path}"
        self.process = self._started()

    def end(self) -> None:
        """At once, as by a crash."""
        self.process.kill()
        self.process.wait()

    def start(self) -> None:
        self.process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        command = [store_server(), "--port", "0", "--unixsocket", str(self._path), "--save", ""]
        folder = str(self._path.parent)
        process = subprocess.Popen([*command, "--dir", folder], stdout=subprocess.DEVNULL)
        _wait_for(self._path, process)
        return process


@contextmanager
def ending() -> Iterator[Server]:
    """An empty server that keeps nothing on disk."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        try:
            yield server
        finally:
            server.end()


@contextmanager
def running() -> Iterator[str]:
    """The URL of an empty server."""
    with ending() as server:
        yield server.url


def _wait_for(path: Path, server: subprocess.Popen[bytes]) -> None:
    """Its file is there before it listens."""
    deadline = time.monotonic() + 10
    while True:
        assert server.poll() is None, "the server ended"
        assert time.monotonic() < deadline, "the server does not listen"
        with socket.socket(socket.AF_UNIX) as client:
            if client.connect_ex(str(path)) == 0:
                return
        time.sleep(0.01)
