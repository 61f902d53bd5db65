"""The faults, and what is expected of each, where an alias has one retry."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from tests.fake_upstream import faults
from tests.fake_upstream.faults import Fault

FINE: Final = "fine"


class Expected(Struct, frozen=True):
    """What a client is told where nobody else is asked, as `observed` spells it.

    `tries` of the faulty target, `before` of them where another is left; `stays`: no other is
    asked. `after`: a stream has begun, and fails in this way. `whole`: what is told of an answer in
    one piece, where that differs.
    """

    told: str
    tries: int = 2
    before: int | None = None
    stays: bool = False
    after: str = ""
    whole: str = ""

    def cell(self, chain: str, mode: str) -> str:
        if mode == "stream" and self.after:
            return f"{self.after} one/1"
        told = self.whole if mode == "whole" and self.whole else self.told
        if told == FINE:
            return "fine one/1"
        if chain == "alone" or self.stays:
            return f"{told} one/{self.tries}"
        return f"fine two/{(self.before or self.tries) + 1}"


class Row(Struct, frozen=True):
    """A fault (None: the connection is refused), and what each dialect makes of it."""

    fault: Fault | None
    ollama: Expected
    openai: Expected
    clocks: str = "{}"

    def cell(self, chain: str, dialect: str, mode: str) -> str:
        return (self.ollama if dialect == "ollama" else self.openai).cell(chain, mode)


def same(fault: Fault | None, expected: Expected, clocks: str = "{}") -> Row:
    return Row(fault, expected, expected, clocks)


WELL: Final = Expected(FINE)
CUT: Final = "502 upstream_incomplete"
BROKEN: Final = "502 upstream_broken"
FAILED: Final = "500 upstream_error"
LATE: Final = "504 upstream_timeout"
LIMITED: Final = "429 rate_limit_exceeded after"
BUSY: Final = "503 server_overloaded after 1 s"
HASTY: Final = "{load = 0.5, first_token = 0.5, idle = 0.5, total = 1}"
HTML: Final = faults.Status(502, "<h1>Bad Gateway</h1>", {"content-type": "text/html"})
IN_SECONDS: Final = faults.Status(429, headers={"retry-after": "60"})
IN_MS: Final = faults.Status(429, headers={"retry-after-ms": "60000"})
AS_A_DATE: Final = faults.Status(
    429,
    headers={
        "date": "Fri, 20 Nov 2026 10:00:00 GMT",
        "retry-after": "Fri, 20 Nov 2026 10:01:00 GMT",
    },
)
UNHURRIED: Final = Expected(f"{LIMITED} 2 s")  # nobody says how long
COOLS: Final = Expected(f"{LIMITED} 60 s", 1)

ROWS: Final[dict[str, Row]] = {
    "connection refused": same(None, Expected("503 upstream_unavailable", before=1)),
    "401": same(faults.Status(401), Expected("502 upstream_auth", 1)),
    "402": same(faults.Status(402), Expected("402 insufficient_quota", 1)),
    "403": same(faults.Status(403), Expected("502 upstream_auth", 1)),
    "404": Row(faults.Status(404), Expected("502 bad_gateway", 1), Expected("404 None", 1)),
    "408": same(faults.Status(408), Expected(LATE)),
    "429": same(faults.Status(429), UNHURRIED),
    "429, retry-after in seconds": same(IN_SECONDS, COOLS),
    "429, retry-after-ms": same(IN_MS, COOLS),
    "429, retry-after as a date": same(AS_A_DATE, COOLS),
    "400": same(faults.Status(400), Expected("400 None", 1, stays=True)),
    "422": same(faults.Status(422), Expected("422 None", 1, stays=True)),
    "context overflow": same(faults.ContextOverflow(), Expected("400 context_length_exceeded", 1)),
    "500": same(faults.Status(500), Expected(FAILED)),
    "502 html": same(HTML, Expected("502 bad_gateway")),
    "503": same(faults.Status(503, headers={"retry-after": "0.01"}), Expected(BUSY)),
    "504": same(faults.Status(504), Expected(LATE)),
    "slow headers": same(faults.DelayHeaders(0.05), WELL),
    "slow content": same(faults.DelayContent(0.05), WELL),
    "slow lines": same(faults.DelayLines(0.02), WELL),
    "byte by byte": same(faults.Slices(1), WELL),
    "hang before headers": same(faults.HangBeforeHeaders(), Expected(LATE), HASTY),
    "hang before content": same(faults.HangBeforeContent(), Expected(LATE), HASTY),
    "hang after content": Row(
        faults.HangAfter(2),
        Expected(LATE, after="'You said:' upstream_timeout"),
        Expected(LATE, after="'You' upstream_timeout", whole=FINE),
        HASTY,
    ),
    "cut before headers": same(faults.CutBeforeHeaders(), Expected(CUT)),
    "cut before content": same(faults.CutBeforeContent(), Expected(CUT)),
    "cut after content": Row(
        faults.CutAfter(500),
        Expected(CUT, after="'You said: Hi' upstream_incomplete"),
        Expected(CUT, after="'You' upstream_incomplete"),
    ),
    "error event first": same(faults.ErrorLine(), Expected(FAILED)),
    "error event later": Row(
        faults.ErrorLine(2),
        Expected(FAILED, after="'You said:' upstream_error"),
        Expected(FAILED, after="'You' upstream_error", whole=BROKEN),
    ),
    "malformed json": Row(faults.Garbage(), Expected(BROKEN), Expected(CUT, whole=BROKEN)),
    "malformed json later": Row(
        faults.Garbage(2),
        Expected(BROKEN, after="'You said:' upstream_broken"),
        Expected(CUT, after="'You' upstream_incomplete", whole=BROKEN),
    ),
    "malformed chunk": same(faults.MalformedChunks(), Expected(BROKEN)),
    "malformed chunk later": Row(
        faults.MalformedChunks(2),
        Expected(BROKEN, after="'You said:' upstream_broken"),
        Expected(BROKEN, after="'You' upstream_broken"),
    ),
    "missing end marker": Row(
        faults.NoEnd(),
        Expected(CUT, after="'You said: Hi' upstream_incomplete"),
        Expected(CUT, after="'You said: Hi' upstream_incomplete", whole=BROKEN),
    ),
    "html in a 200": same(faults.Html(), Expected(BROKEN)),
    "empty object in a 200": same(faults.EmptyObject(), Expected(BROKEN)),
}
