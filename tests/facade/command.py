"""The command `facade` as a process of its own, and a small Ollama to put behind it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from facade.environment import ROWS

_ROW_VARIABLES = {variable for row in ROWS for variable in row.variables}
WAIT = 20.0  # seconds; a bound, never reached where all is well


def environ(**said: str) -> dict[str, str]:
    """This process's environment without what configures a facade, and with what is said."""
    plain = {name: value for name, value in os.environ.items() if name not in _ROW_VARIABLES}
    plain.pop("FACADE_CONFIG", None)
    return plain | said


def facade(*arguments: str, **said: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "facade", *arguments],
        env=environ(**said),
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=False,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code, and what was said on stderr."""
    said = process.communicate(timeout=WAIT)[1]
    return process.returncode, said


@contextlib.contextmanager
def answer_to(
    greeting: str, method: str, path: str, body: str | None = None, key: str = "none"
) -> Iterator[http.client.HTTPResponse]:
    """The head of the answer is there, its body may still be on its way."""
    url = re.search(r"http://\S+", greeting)
    assert url is not None
    with contextlib.closing(
        http.client.HTTPConnection(urlsplit(url[0]).netloc, timeout=WAIT)
    ) as connection:
        connection.request(method, path, body, {"authorization": f"Bearer {key}"})
        with connection.getresponse() as answer:
            yield answer


@contextlib.contextmanager
def serving(
    *arguments: str, program: Sequence[str] = ("-m", "facade"), **said: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`facade serve` on a free port, and the line that it greets with."""
    process = subprocess.Popen(
        [sys.executable, *program, "serve", "--port", "0", *arguments],
        env=environ(**said),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline()
        finally:
            process.kill()


class SmallOllama(ThreadingHTTPServer):
    """Answers every GET with `status`, and a chat in two lines, the second once `released`."""

    daemon_threads = True

    def __init__(self, status: int = 200) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.status = status
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    @contextlib.contextmanager
    def running(self) -> Iterator[SmallOllama]:
        thread = threading.Thread(target=self.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self.released.set()
            self.shutdown()
            self.server_close()
            thread.join(WAIT)


class _Answers(BaseHTTPRequestHandler):
    server: SmallOllama

    def do_GET(self) -> None:
        body = b'{"version":"0.24.0","models":[]}'
        self.send_response(self.server.status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        if self.path != "/api/chat":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("content-type", "application/x-ndjson")
        self.end_headers()
        self._line(content="one ")
        self.server.released.wait(WAIT)
        self._line(content="two", done_reason="stop", prompt_eval_count=1, eval_count=2)

    def _line(self, content: str, **end: object) -> None:
        line = {
            "model": "m",
            "created_at": "2026-11-21T10:00:00Z",
            "message": {"role": "assistant", "content": content},
            "done": bool(end),
        }
        self.wfile.write(json.dumps(line | end).encode() + b"\n")
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass
