"""A Redis or Valkey server of the tests' own, on a socket in a folder that goes with it."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.parts import store_server


@contextmanager
def running() -> Iterator[str]:
    """The URL of an empty server that keeps nothing on disk."""
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "s"
        command = [store_server(), "--port", "0", "--unixsocket", str(socket), "--save", ""]
        with subprocess.Popen([*command, "--dir", folder], stdout=subprocess.DEVNULL) as server:
            try:
                _wait_for(socket, server)
                yield f"unix://{socket}"
            finally:
                server.kill()


def _wait_for(socket: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while not socket.exists():
        assert server.poll() is None, "the server ended"
        assert time.monotonic() < deadline, "the server does not listen"
        time.sleep(0.01)
