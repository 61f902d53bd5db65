"""What a client sees of one fault, in every mode: asked of a live facade.

Of two targets the first is faulty and the second is well. Every mode has a model of its own, so
that none learns from another's failures.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Final

from msgspec import Struct

from facade.config import Settings
from tests.api.asking import DONE, Answer, ask, chat, error_of
from tests.api.chains import refused
from tests.api.serving import DIALECTS, Facade, serving, settings
from tests.fake_upstream import FakeUpstream, Model
from tests.faults.rows import Row

COMMITS: Final = ("first-token", "complete")
TEXT: Final = "You said: Hi"
CHAINS: Final = ("alone", "chain")
MODES: Final = ("whole", "stream", "held back")  # the last: a stream with commit = "complete"
COLUMNS: Final = tuple(product(CHAINS, DIALECTS, MODES))

Column = tuple[str, str, str]  # chain, dialect, mode
Cells = dict[Column, str]


class Terms(Struct, frozen=True):
    """What holds for all requests: said of the second target, by the settings, by the request."""

    of_second: str = ""
    settings: str = ""
    headers: Mapping[str, str] = {}
    fields: Mapping[str, object] = {}


OPEN: Final = Terms()


def fakes() -> tuple[FakeUpstream, FakeUpstream]:
    """The first and the second target; not started."""
    models = [Model("-".join(column).replace(" ", "-")) for column in COLUMNS]
    return FakeUpstream(models), FakeUpstream(models)


def _settings(folder: Path, urls: Mapping[str, str], clocks: str, terms: Terms) -> Settings:
    text = terms.settings
    for dialect, (name, url) in product(DIALECTS, urls.items()):
        path = "/v1" if dialect == "openai" else ""
        text += f'[upstreams.{dialect}-{name}]\ndialect = "{dialect}"\nbase_url = "{url}{path}"\n'
        text += f"timeouts = {clocks}\n" + (terms.of_second if name == "two" else "")
    for dialect, commit in product(DIALECTS, COMMITS):
        for chain, names in (("alone", ["one"]), ("chain", ["one", "two"])):
            targets = ", ".join(f'"{dialect}-{name}/*"' for name in names)
            text += f'[models."{commit}-{chain}-{dialect}:*"]\n'
            text += f'targets = [{targets}]\nretries = 1\ncommit = "{commit}"\n'
    return settings(folder, text)


async def observe(
    row: Row, folder: Path, first: FakeUpstream, second: FakeUpstream, terms: Terms = OPEN
) -> Cells:
    """What is seen in each column under the fault of this row."""
    for fake in (first, second):
        fake.reset()
    if row.fault:
        first.fault(row.fault, times=None)
    urls = {"one": first.url if row.fault else refused(), "two": second.url}
    async with serving(_settings(folder, urls, row.clocks, terms), first) as facade:
        seen = await asyncio.gather(*(_seen(facade, column, terms) for column in COLUMNS))
    return dict(zip(COLUMNS, seen, strict=True))


async def _seen(facade: Facade, column: Column, terms: Terms) -> str:
    chain, dialect, mode = column
    commit = "complete" if mode == "held back" else "first-token"
    model = "-".join(column).replace(" ", "-")
    body = chat(f"{commit}-{chain}-{dialect}:{model}", stream=mode != "whole", **terms.fields)
    answer = await ask(facade, "POST", "/v1/chat/completions", body, **terms.headers)
    assert answer.complete
    served, attempts = (answer.headers[f"x-facade-{name}"] for name in ("upstream", "attempts"))
    said = _streamed(answer) if mode != "whole" and answer.status == 200 else _whole(answer)
    return f"{said} {served.removeprefix(dialect + '-')}/{attempts}"


def _whole(answer: Answer) -> str:
    """`fine`, or status and code, with the seconds to wait where they are told."""
    if answer.status != 200:
        wait = answer.headers.get("retry-after")
        return f"{answer.status} {answer.error['code']}" + (f" after {wait} s" if wait else "")
    (choice,) = answer.json["choices"]
    assert ("stop", TEXT) == (choice["finish_reason"], choice["message"]["content"])
    return "fine"


def _streamed(answer: Answer) -> str:
    """`fine`, or the text so far and the code of the error that ended it."""
    *before, last = answer.events
    choices = [choice for event in before for choice in json.loads(event)["choices"]]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    finished = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    if last == DONE:
        assert ("stop", TEXT) == (*finished, text)
        return "fine"
    assert [] == finished, "it failed, and has ended"
    return f"'{text}' {error_of(json.loads(last))['code']}"
