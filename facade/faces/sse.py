"""The stream's outer form: only `data:` lines and comments, never an `event:` or `id:`.

Every SDK in use breaks on more than that (an `event: ping` without data kills both), so
there is one function per thing that may be written.
"""

from __future__ import annotations

from typing import Final

from facade.errors import FacadeError

HEADERS: Final = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}
DONE: Final = b"data: [DONE]\n\n"
BETWEEN: Final = b"\n\ndata: "  # events that leave together


# What Unicode calls a line end (NEL, LS, PS) may stand in JSON as it is, but readers that split
# text into lines by Unicode's rules, as httpx's do, would tear the event apart there.
_LINE_ENDS: Final = {
    "\x85".encode(): b"\\u0085",
    "\u2028".encode(): b"\\u2028",
    "\u2029".encode(): b"\\u2029",
}


def event(json: bytes) -> bytes:
    """One event; `json` has no LF or CR (JSON encoders write none). Several are BETWEEN apart."""
    if not json.isascii():
        for end, escaped in _LINE_ENDS.items():
            if end[-1] in json:  # one byte is found far sooner than three
                json = json.replace(end, escaped)
    return b"data: %b\n\n" % json


def events(jsons: list[bytes]) -> bytes:
    """What leaves together; nothing where there is none."""
    return event(BETWEEN.join(jsons)) if jsons else b""


def comment(text: bytes) -> bytes:
    """What clients pass over; one printable line."""
    return b": %b\n\n" % text


def error_event(error: FacadeError) -> bytes:
    """What ends a stream that failed: the SDKs raise on it. No [DONE] may follow."""
    return event(error.body())
