"""`python -m tests.fake_upstream`: the fake on a port of yours, for trying an agent against."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import suppress
from typing import Final

from tests.fake_upstream import faults
from tests.fake_upstream.models import DEFAULT_MODELS, Model
from tests.fake_upstream.server import FakeUpstream

_KNOWN: Final = {model.name: model for model in DEFAULT_MODELS}
_MORE: Final = """
From another process, while it runs (JSON bodies):
  POST /_fake/fault    {{"fault": {{"name": "status", "code": 429}}, "times": 1}}
  POST /_fake/script   {{"path": "/api/chat", "answers": [{{"type": "reply", "text": "Hello"}}]}}
  POST /_fake/release  lets one answer that hangs go on
  POST /_fake/reset    forgets scripts, faults and log
  GET  /_fake/log      every request, and when its client hung up
A fault befalls the calls of a model, or with "path" that path; "times": null is all that follow.
An answer is a reply (text, thinking, tool_calls, end) or {{"type": "answer"}} with status, headers,
body (a list of texts and {{"seconds": 0.5}}), framing (length, chunked, close) and
ends (properly, cut, reset).

faults:
{faults}
"""


def _parser() -> argparse.ArgumentParser:
    rows = [f"  {_usage(name):<26}{kind.__doc__}" for name, kind in faults.FAULTS.items()]
    parser = argparse.ArgumentParser(
        prog="python -m tests.fake_upstream",
        description="An upstream that speaks Ollama and OpenAI, and breaks on command.",
        epilog=_MORE.format(faults="\n".join(rows)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=11434, help="default: 11434, Ollama's own")
    parser.add_argument(
        "--models",
        type=_models,
        default=DEFAULT_MODELS,
        help="NAME[=CAPABILITY+...],... (default capabilities: completion+tools)",
    )
    parser.add_argument(
        "--fault",
        type=_fault,
        action="append",
        default=[],
        metavar="NAME[:ARG]",
        help="befalls every call of a model; may be given several times; see below",
    )
    return parser


def _usage(name: str) -> str:
    argument = faults.argument_of(name)
    return f"{name}[:{argument.upper()}]" if argument else name


def _fault(text: str) -> faults.Fault:
    try:
        return faults.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _models(text: str) -> list[Model]:
    return [_model(*each.split("=")) for each in text.split(",")]


def _model(name: str, capabilities: str = "") -> Model:
    full = name if ":" in name else f"{name}:latest"
    if capabilities:
        return Model(full, tuple(capabilities.split("+")))
    return _KNOWN.get(full, Model(full))


async def _serve(fake: FakeUpstream) -> None:
    async with fake:
        first = next(iter(fake.models.listed))
        print(
            f"Ollama at {fake.url}, OpenAI at {fake.url}/v1; models: "
            f"{', '.join(fake.models.listed)}\nTry it:\n"
            f"  curl {fake.url}/api/chat -d "
            f'\'{{"model": "{first}", "messages": [{{"role": "user", "content": "Hi"}}]}}\'\n'
            "Ctrl-C ends it.",
            flush=True,
        )
        await asyncio.Event().wait()


def main(arguments: list[str] | None = None) -> None:
    """Serve until interrupted."""
    parser = _parser()
    options = parser.parse_args(arguments)
    fake = FakeUpstream(options.models, port=options.port)
    for fault in options.fault:
        fake.fault(fault, times=None)
    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(_serve(fake))
    except OSError as error:
        parser.exit(1, f"cannot listen on port {options.port}: {error.strerror}\n")


if __name__ == "__main__":
    main()
