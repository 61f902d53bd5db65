"""Bytes in slices of any size become lines or server-sent events.

Strategy: each framer keeps one buffer; `feed` returns what became whole, `close` what the
end of the body makes whole. A line end may be LF, CRLF or CR, also split between slices.
Nothing is decoded here: framers return bytes.
Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from __future__ import annotations

from adapters.errors import UpstreamError, broken

LONGEST_LINE = 32 * 1024 * 1024  # a tool call may carry a file; beyond this it is no answer


def _too_long() -> UpstreamError:
    return broken(f"the upstream sent a line of more than {LONGEST_LINE} bytes")


class LineFramer:
    """NDJSON: lines ended by LF (a CR before it is dropped); blank lines are skipped."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._held = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines `data` completed, without their ends."""
        cut = data.rfind(b"\n")
        if cut < 0:
            self._rest.append(data)
            self._held += len(data)
            if self._held > LONGEST_LINE:
                raise _too_long()
            return []
        whole = b"".join((*self._rest, data[:cut]))
        tail = data[cut + 1 :]
        self._rest = [tail] if tail else []
        self._held = len(tail)
        return [line for line in map(bytes.strip, whole.split(b"\n")) if line]

    def close(self) -> list[bytes]:
        """The last line, where the body ended without a line end."""
        line = b"".join(self._rest).strip()
        self._rest, self._held = [], 0
        return [line] if line else []


class SseFramer:
    """Server-sent events: gives each event's `data`, joined by LF. Comments and names are dropped.

    Unlike the specification, an event the body's end cuts off is given too (`close`): real
    upstreams end with `data: [DONE]` and no blank line.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._fields: list[bytes] = []
        self._after_cr = False
        self._first = True

    def feed(self, data: bytes) -> list[bytes]:
        """The `data` of the events that `data` completed."""
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        text = self._rest + data
        if self._first and len(text) >= 3:
            text = text.removeprefix(b"\xef\xbb\xbf")
            self._first = False
        if data.endswith(b"\r"):
            self._after_cr = True
        lines = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > LONGEST_LINE:
            raise _too_long()
        return self._take(lines)

    def close(self) -> list[bytes]:
        """The event that the end of the body left open."""
        lines = [self._rest, b""]
        self._rest = b""
        return self._take(lines)

    def _take(self, lines: list[bytes]) -> list[bytes]:
        events = []
        for line in lines:
            if line:
                if line.startswith(b"data:"):
                    self._fields.append(line[5:].removeprefix(b" "))
            elif self._fields:
                events.append(b"\n".join(self._fields))
                self._fields = []
        return events
