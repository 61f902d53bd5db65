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


@contextmanager
def running() -> Iterator[str]:
    """The URL of an empty server that keeps nothing on disk."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s"
        command = [store_server(), "--port", "0", "--unixsocket", str(path), "--save", ""]
        with subprocess.Popen([*command, "--dir", folder], stdout=subprocess.DEVNULL) as server:
            try:
                _wait_for(path, server)
                yield f"unix://{path}"
            finally:
                server.kill()


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
