"""What stands between load and upstream: the facade, and nginx as a plain proxy to compare with."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.bench.processes import cores, first_line, running
from tests.bench.rows import KEY

_WAIT: Final = 10.0  # seconds
_FACADE: Final = """
[server]
log_level = "warning"

[upstreams.openai]
dialect = "openai"
base_url = "http://127.0.0.1:{port}/v1"
api_key = "sk-upstream"
connections = 200

[upstreams.ollama]
dialect = "ollama"
base_url = "http://127.0.0.1:{port}"
connections = 200
slots = 200
"""
LIMITS: Final = f"""
[keys.bench]
secret = "{KEY}"
limits = ["100000000/minute", "10000000000 tokens/minute"]
"""  # which are never reached
_NGINX: Final = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  keepalive_requests 100000000;
  upstream model {{
    server 127.0.0.1:{upstream};
    keepalive 256;
    keepalive_requests 100000000;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://model;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_buffer_size 64k;
      proxy_buffers 8 64k;
    }}
  }}
}}
"""


class Gateway(NamedTuple):
    """`ready`: seconds from its start to its first answer, or to its word that it answers."""

    pid: int
    port: int
    ready: float


def find_nginx() -> str | None:
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@contextlib.contextmanager
def facade(
    upstream: int, folder: Path, more: str = "", module: str = "facade"
) -> Iterator[Gateway]:
    """A facade as it is started by hand, with the upstream at that port as its two upstreams.

    `more` is added to its configuration; `module` is the command.
    """
    file = folder / f"facade{len(more)}.toml"
    file.write_text(_FACADE.format(port=upstream) + more)
    command = [sys.executable, "-m", module, "serve", "--port", "0", "--config", str(file)]
    began = time.monotonic()
    with running(command, cores()[0]) as process:
        port = re.search(r"http://[^/]*:(\d+)", first_line(process))
        assert port is not None
        yield Gateway(process.pid, int(port[1]), time.monotonic() - began)


@contextlib.contextmanager
def nginx(program: str, upstream: int, folder: Path) -> Iterator[Gateway]:
    """One process that passes on what comes as it comes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    file = folder / "nginx.conf"
    file.write_text(_NGINX.format(port=port, upstream=upstream))
    command = [program, "-p", str(folder), "-e", "stderr", "-c", str(file)]
    began = time.monotonic()
    with running(command, cores()[0]) as process:
        while not _listens(port):
            if process.poll() is not None or time.monotonic() - began > _WAIT:
                raise RuntimeError(f"{command} does not answer at port {port}")
            time.sleep(0.01)
        yield Gateway(process.pid, port, time.monotonic() - began)


def _listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0
