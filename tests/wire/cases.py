"""The file format of a golden conversation, read into values.

    # why this case exists, in a sentence or more
    = target {"model": "qwen3:8b"}           where the attempt goes; also options, version, facts
    = vendor groq                            whose row of the dialect speaks; plain if not named
    > client POST /v1/completions            what the caller sends (chat completions if not named)
    < upstream POST /chat/completions        what must reach the upstream, below its base URL
    > upstream 200 {"retry-after": "3"}      what it answers, byte for byte; headers may follow
    ! upstream cut                           the body breaks off here, without its proper end
    = warning n is served one by one         a warning that the encoded call must carry
    < client 400                             what the caller must get (200 if not named)

Under each arrow stands its body. What the caller gets of a stream is one line per event,
without `data: `. Pairs of `< upstream` and `> upstream` are repeated for several calls.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from adapters.dialect import Target

FOLDER: Final = Path(__file__).parent
CHAT: Final = "POST /v1/chat/completions"
_ARROW: Final = re.compile(
    r"(= target|= vendor|= warning|> client|< upstream|> upstream|! upstream cut|< client)"
    r"(?: (.*))?"
)


class Exchange(NamedTuple):
    """One call to the upstream: what it must be sent, and what it answers."""

    expected: str  # method and path
    request: bytes
    status: int
    headers: dict[str, str]
    body: bytes
    cut: bool


class Case(NamedTuple):
    dialect: str
    vendor: str | None
    target: Target
    face: str  # method and path of the caller's request
    request: bytes
    exchanges: list[Exchange]
    warnings: list[str]
    status: int
    answer: str


class _Section(NamedTuple):
    arrow: str
    rest: str
    body: str


def read(path: Path) -> Case:
    sections = _sections(path.read_text(encoding="utf-8"))
    found = {section.arrow: section for section in sections}
    client, answer = found["> client"], found["< client"]
    about = found["= target"].rest if "= target" in found else "{}"
    upstream = [s for s in sections if s.arrow.endswith(("upstream", "cut"))]
    return Case(
        dialect=path.parent.name,
        vendor=found["= vendor"].rest if "= vendor" in found else None,
        target=_target(about),
        face=client.rest or CHAT,
        request=client.body.strip().encode(),
        exchanges=_exchanges(upstream),
        warnings=[section.rest for section in sections if section.arrow == "= warning"],
        status=int(answer.rest or 200),
        answer=answer.body.strip(),
    )


def _sections(text: str) -> list[_Section]:
    sections: list[_Section] = []
    for line in re.findall(r".*\n?", text):
        arrow = _ARROW.fullmatch(line.rstrip())
        if arrow:
            sections.append(_Section(arrow[1], arrow[2] or "", ""))
        elif sections:
            last = sections.pop()
            sections.append(last._replace(body=last.body + line))
        elif line.strip() and not line.startswith("#"):
            raise ValueError(f"neither a comment nor an arrow: {line!r}")
    return sections


def _target(about: str) -> Target:
    known = {"upstream": "up", "model": "m"} | msgspec.json.decode(about, type=dict[str, object])
    return msgspec.convert(known, Target)


def _exchanges(sections: list[_Section]) -> list[Exchange]:
    exchanges: list[Exchange] = []
    for section in sections:
        if section.arrow == "< upstream":
            request = section.body.strip().encode()
            exchanges.append(Exchange(section.rest, request, 0, {}, b"", cut=False))
        elif section.arrow == "> upstream":
            status, _, headers = section.rest.partition(" ")
            exchanges[-1] = exchanges[-1]._replace(
                status=int(status),
                headers=msgspec.json.decode(headers or "{}", type=dict[str, str]),
                body=section.body.encode(),
            )
        else:  # the line end before the arrow is the file's, not the upstream's
            body = exchanges[-1].body.removesuffix(b"\n")
            exchanges[-1] = exchanges[-1]._replace(body=body, cut=True)
    return exchanges
