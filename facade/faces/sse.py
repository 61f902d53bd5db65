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


def event(json: bytes) -> bytes:
    """One event; `json` has no line ends (JSON encoders write none)."""
    return b"data: " + json + b"\n\n"


def error_event(error: FacadeError) -> bytes:
    """What ends a stream that failed: the SDKs raise on it. No [DONE] may follow."""
    return event(error.body())
