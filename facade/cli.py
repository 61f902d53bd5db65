"""The command line: what is served is decided here, and said in words.

Exit codes: 0 done, 1 the machine refused (a port in use), 2 the configuration is wrong.
"""

from __future__ import annotations

import argparse
import errno
import gc
import importlib.metadata
import logging
import os
import re
import secrets
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import uvicorn

from facade.config import ConfigError, Settings, UpstreamSettings, pepper
from facade.defaults import Served, choose
from facade.embedded import NAME, Engine, EngineFailed, PullFailed, pull
from facade.keys import new_key
from facade.listening import ServerSettings

_DRAIN: Final = 10  # seconds that answers under way have after SIGTERM
_COLLECT_EVERY: Final = 10_000  # containers; a request makes and frees some hundred
_KEEP_ALIVE: Final = 75  # seconds; longer than clients and ingresses keep, so that they close first

_EXAMPLES: Final = """\
examples:
  facade serve                        Ollama on this machine, else the embedded model
  OPENAI_API_KEY=... facade serve     a cloud
  facade serve --config facade.toml   several upstreams, names of your own, clocks
  facade check --config facade.toml   is the file right, and what would be served?
  facade keys new --name ci           a secret for a caller, and the table that knows it

Then point a client at it:
  OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=none python my_agent.py
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code."""
    asked = _parser().parse_args(arguments)
    try:
        code: int = asked.run(asked)
    except ConfigError as error:
        return _refused(2, error)
    except (EngineFailed, PullFailed) as error:
        return _refused(1, error)
    except KeyboardInterrupt:
        return 130
    return code


def _refused(code: int, reason: object) -> int:
    print(f"facade: {reason}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="facade",
        description="An OpenAI-compatible API in front of Ollama and OpenAI-shaped clouds.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    version = importlib.metadata.version("facade")
    parser.add_argument("--version", action="version", version=f"facade {version}")
    commands = parser.add_subparsers(required=True, metavar="command")

    serve = commands.add_parser("serve", help="answer OpenAI clients until stopped")
    check = commands.add_parser("check", help="say what would be served, or what is wrong")
    models = commands.add_parser("models", help="the embedded model")
    pulling = models.add_subparsers(required=True, metavar="command").add_parser(
        "pull", help="fetch the embedded model; its hash is checked"
    )
    keys = commands.add_parser("keys", help="the keys of callers")
    making = keys.add_subparsers(required=True, metavar="command").add_parser(
        "new", help="make a key: its secret, and the table to paste into the configuration"
    )
    making.add_argument("--name", type=_key_name, default="client", help="whose key it is")
    for command in (serve, check, making):
        command.add_argument("--config", metavar="FILE", help=".toml or .yaml; else FACADE_CONFIG")
    for command in (serve, check):
        command.add_argument("--host", help="where to listen; else FACADE_HOST, else 127.0.0.1")
        command.add_argument("--port", type=int, help="0: any free; else FACADE_PORT, else 8080")
    serve.set_defaults(run=_serve)
    check.set_defaults(run=_check)
    pulling.set_defaults(run=_pull)
    making.set_defaults(run=_new_key)
    return parser


def _file(asked: argparse.Namespace) -> Path | None:
    file = asked.config or os.environ.get("FACADE_CONFIG")
    return Path(file) if file else None


def _chosen(asked: argparse.Namespace) -> Served:
    given = {"host": asked.host, "port": asked.port}
    flags = {name: value for name, value in given.items() if value is not None}
    return choose(os.environ, _file(asked), flags)


def _pull(_: argparse.Namespace) -> int:
    pull()
    return 0


def _new_key(asked: argparse.Namespace) -> int:
    known = pepper(os.environ, _file(asked))
    mixed_in = known or secrets.token_hex(32)
    secret, table = new_key(asked.name, mixed_in)
    print(f"The secret, shown only this once; clients send it as their API key:\n\n{secret}\n")
    if not known:
        print("No pepper is configured yet: this new one goes into [server] (or FACADE_PEPPER)")
        print(f'of every facade that shall know the key:\n\npepper = "{mixed_in}"\n')
    print(f"The key, to be pasted into the configuration:\n\n{table}")
    return 0


def _key_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", text):
        raise argparse.ArgumentTypeError("only letters, digits, '_' and '-'")
    return text


def _check(asked: argparse.Namespace) -> int:
    settings = _chosen(asked).settings
    _uvicorn(settings)  # what cannot be built is not valid
    print("\n".join(_described(settings)))
    return 0


def _described(settings: Settings) -> Iterator[str]:
    server = settings.server
    yield f"The configuration is valid. Clients would use {_url(server, server.port)}"
    hosts = f"for the hosts {', '.join(server.allowed_hosts)}"
    yield "with a key." if settings.keys else f"{hosts}; no key is asked of them."
    if server.ip_allowlist:
        yield f"Only requests from {', '.join(server.ip_allowlist)} are answered."
    if server.ip_limits:
        yield f"Each address: at most {', '.join(server.ip_limits)}."
    for name, key in settings.keys.items():
        known = (
            f"whoever asks from {', '.join(key.networks)} {hosts}" if key.networks else "a secret"
        )
        rights = f"{', '.join(key.models) or 'every model'}{', admin' if key.admin else ''}"
        yield f"key {name}: {known}, {key.priority}, {rights}{_limited(key.limits)}"
    for name, upstream in settings.upstreams.items():
        yield from _described_upstream(name, upstream)
    for alias, model in settings.models.items():
        yield f"model {alias}: {', then '.join(model.targets)}"
        yield f"  {model.retries} retries, commit {model.commit}{_limited(model.limits)}"


def _limited(limits: Sequence[str]) -> str:
    return f", at most {', '.join(limits)}" if limits else ""


def _described_upstream(name: str, upstream: UpstreamSettings) -> Iterator[str]:
    place = "local" if upstream.local else "not local"
    key = "with a key" if upstream.api_key else "without a key"
    spoken = upstream.vendor or upstream.dialect
    yield f"upstream {name}: {spoken} at {upstream.address}, {place}, {key}"
    clocks = msgspec.structs.asdict(upstream.timeouts)
    yield "  clocks: " + ", ".join(f"{clock} {limit:g} s" for clock, limit in clocks.items())
    if upstream.limits:
        yield f"  at most {', '.join(upstream.limits)}"
    if upstream.keep_alive is not None:
        yield f"  keep_alive: {upstream.keep_alive}"
    scopes = {"every model": upstream.options}
    scopes |= {model: said.options for model, said in upstream.models.items()}
    for scope, options in scopes.items():
        if options:
            yield f"  options for {scope}: {msgspec.json.encode(options).decode()}"


def _url(server: ServerSettings, port: int) -> str:
    """The base URL for clients; one of this machine's where every interface is listened on."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(server.host, server.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"


def _serve(asked: argparse.Namespace) -> int:
    settings, engine = _chosen(asked)
    try:
        listener = _listen(settings.server)
    except OSError as error:
        return _refused(1, _not_listening(settings.server, error))
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("facade").setLevel(settings.server.log_level.upper())
    # After its drain uvicorn raises the signal again; its default would skip every clean-up.
    signal.signal(signal.SIGTERM, _leave)
    behind = ", ".join(f"{name} ({it.address})" for name, it in settings.upstreams.items())
    behind = f"the embedded model {NAME}" if engine else behind
    url = _url(settings.server, listener.getsockname()[1])
    server = _Server(_uvicorn(settings), f"facade answers at {url} from {behind}", engine)
    server.run(sockets=[listener])
    return 0


def _listen(server: ServerSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    listener = socket.create_server((server.host, server.port), family=family)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # connections inherit it
    return listener


def _not_listening(server: ServerSettings, error: OSError) -> str:
    place = f"{server.host}, port {server.port}"
    if error.errno == errno.EADDRINUSE:
        return f"{place} is in use: stop what listens there, or take another port with --port"
    reason = str(error.strerror).partition(" (")[0]
    return f"cannot listen on {place}: {reason}"


def _uvicorn(settings: Settings) -> uvicorn.Config:
    from facade.app import build  # noqa: PLC0415 - nothing else needs the whole application
    from facade.wire.server import Protocol  # noqa: PLC0415 - the same

    return uvicorn.Config(
        build(settings),
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # X-Forwarded-For is believed only from configured proxies
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_DRAIN,
    )


class _Server(uvicorn.Server):
    """Runs the engine while it serves, and says where it answers as soon as it does."""

    def __init__(self, config: uvicorn.Config, greeting: str, engine: Engine | None) -> None:
        super().__init__(config)
        self._greeting = greeting
        self._engine = engine

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self._engine:
            await self._engine.start()
        await super().startup(sockets=sockets)
        _collect_less()
        print(self._greeting, flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets=sockets)
        if self._engine:
            await self._engine.stop()


def _collect_less() -> None:
    """What is there now stays: the collector need not look through it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY, 20, 20)


def _leave(*_: object) -> None:
    sys.exit(0)
