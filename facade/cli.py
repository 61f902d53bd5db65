"""The command line: what is served is decided here, and said in words.

Exit codes: 0 done, 1 the machine refused (a port in use), 2 the configuration is wrong.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import logging
import os
import re
import secrets
import signal
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from facade.config import ConfigError, Settings, UpstreamSettings, pepper
from facade.defaults import Served, choose
from facade.embedded import NAME, EngineFailed, PullFailed, pull
from facade.keys import new_key
from facade.serving import Beside, CannotListen, configured, listen, port_of, serve, url
from facade.workers import become

_EXAMPLES: Final = """\
examples:
  facade serve                        Ollama on this machine, else the embedded model
  OPENAI_API_KEY=... facade serve     a cloud
  facade serve --config facade.toml   several upstreams, names of your own, clocks
  facade check --config facade.toml   is the file right, and what would be served?
  facade explain --model assistant    what the name means; --simulate "local=503": what then
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
    except (CannotListen, EngineFailed, PullFailed) as error:
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
    explain = commands.add_parser("explain", help="what a model's name means, and what if")
    explain.add_argument("--model", required=True, help="the name that a client asks for")
    explain.add_argument("--key", metavar="NAME", help="the name of the key it asks with")
    explain.add_argument(
        "--simulate", metavar="FAULTS", default="", help='"local=503,cloud=429": what fails how'
    )
    models = commands.add_parser("models", help="the embedded model")
    pulling = models.add_subparsers(required=True, metavar="command").add_parser(
        "pull", help="fetch the embedded model; its hash is checked"
    )
    keys = commands.add_parser("keys", help="the keys of callers")
    making = keys.add_subparsers(required=True, metavar="command").add_parser(
        "new", help="make a key: its secret, and the table to paste into the configuration"
    )
    making.add_argument("--name", type=_key_name, default="client", help="whose key it is")
    for command in (serve, check, explain, making):
        command.add_argument("--config", metavar="FILE", help=".toml or .yaml; else FACADE_CONFIG")
    for command in (serve, check, explain):
        command.add_argument("--host", help="where to listen; else FACADE_HOST, else 127.0.0.1")
        command.add_argument("--port", type=int, help="0: any free; else FACADE_PORT, else 8080")
    serve.add_argument("--workers", type=int, help="processes that serve; they need a store")
    serve.set_defaults(run=_serve)
    check.set_defaults(run=_check)
    explain.set_defaults(run=_explain)
    pulling.set_defaults(run=_pull)
    making.set_defaults(run=_new_key)
    return parser


def _file(asked: argparse.Namespace) -> Path | None:
    file = asked.config or os.environ.get("FACADE_CONFIG")
    return Path(file) if file else None


def _chosen(asked: argparse.Namespace) -> Served:
    given = {"host": asked.host, "port": asked.port, "workers": getattr(asked, "workers", None)}
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
    configured(settings)  # what cannot be built is not valid
    print("\n".join(_described(settings)))
    return 0


def _explain(asked: argparse.Namespace) -> int:
    from facade.explain import Explanation, faults_of  # noqa: PLC0415 - as in facade.serving

    settings = _chosen(asked).settings
    faults = faults_of(asked.simulate, settings.upstreams)
    print("\n".join(Explanation(settings, asked.key).lines(asked.model, faults)))
    return 0


def _described(settings: Settings) -> Iterator[str]:
    server = settings.server
    yield f"The configuration is valid. Clients would use {url(server.host, server.port)}/v1"
    hosts = f"for the hosts {', '.join(server.allowed_hosts)}"
    yield "with a key." if settings.keys else f"{hosts}; no key is asked of them."
    if server.ops_port is not None:
        yield f"Whoever operates it: {url(server.ops_host, server.ops_port)}, without a key."
    if server.ip_allowlist:
        yield f"Only requests from {', '.join(server.ip_allowlist)} are answered."
    if server.ip_limits:
        yield f"Each address: at most {', '.join(server.ip_limits)}."
    for name, key in settings.keys.items():
        known = (
            f"whoever asks from {', '.join(key.networks)} {hosts}" if key.networks else "a secret"
        )
        demanded = key.constraints.words if key.constraints else []
        rights = ", ".join((*(key.models or ("every model",)), *demanded, *["admin"] * key.admin))
        yield f"key {name}: {known}, {key.priority}, {rights}{_limited(key.limits)}"
    for name, upstream in settings.upstreams.items():
        yield from _described_upstream(name, upstream)
    for alias, model in settings.models.items():
        yield f"model {alias}: {', then '.join(map(' or '.join, model.groups))}"
        goes_on = [f", {when}: next" for when in ("busy", "cold") if getattr(model, when) == "next"]
        how = f"{model.retries} retries, commit {model.commit}{''.join(goes_on)}"
        yield f"  {how}{_limited(model.limits)}"


def _limited(limits: Sequence[str]) -> str:
    return f", at most {', '.join(limits)}" if limits else ""


def _described_upstream(name: str, upstream: UpstreamSettings) -> Iterator[str]:
    place = "local" if upstream.local else "not local"
    key = "with a key" if upstream.api_key else "without a key"
    spoken = upstream.vendor or upstream.dialect
    yield f"upstream {name}: {spoken} at {upstream.address}, {place}, {key}"
    yield f"  clocks: {upstream.timeouts}"
    if upstream.slots is not None:
        embeddings = f"(embeddings: {upstream.embedding_slots})"
        yield f"  {upstream.slots} at a time {embeddings}, {upstream.queue} may wait"
    if upstream.limits:
        yield f"  at most {', '.join(upstream.limits)}"
    if upstream.keep_alive is not None:
        yield f"  keep_alive: {upstream.keep_alive}"
    scopes = {"every model": upstream.options}
    scopes |= {model: said.options for model, said in upstream.models.items()}
    for scope, options in scopes.items():
        if options:
            yield f"  options for {scope}: {msgspec.json.encode(options).decode()}"


def _serve(asked: argparse.Namespace) -> int:
    settings, engine = _chosen(asked)
    server = settings.server
    listener = listen(server.host, server.port, "--port")
    operations = None
    if server.ops_port is not None:
        operations = listen(server.ops_host, server.ops_port, "server.ops_port")
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("facade").setLevel(settings.server.log_level.upper())
    behind = ", ".join(f"{name} ({it.address})" for name, it in settings.upstreams.items())
    behind = f"the embedded model {NAME}" if engine else behind
    said = f"facade answers at {url(server.host, port_of(listener))}/v1 from {behind}"
    if operations:
        said += f"; operations at {url(server.ops_host, port_of(operations))}"
    first = server.workers == 1 or become(server.workers) == 0
    # After its drain uvicorn raises the signal again; its default would skip every clean-up.
    signal.signal(signal.SIGTERM, _leave)
    greet = partial(print, said, flush=True) if first else _silently
    serve(settings, Beside(operations, engine, greet), listener)
    return 0


def _silently() -> None:
    """The first worker has greeted for all."""


def _leave(*_: object) -> None:
    sys.exit(0)
