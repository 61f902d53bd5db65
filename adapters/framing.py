"""Bytes in slices of any size become lines or server-sent events.

Strategy: each framer keeps one buffer; `feed` returns what became whole, `close` what the
end of the body makes whole. A line end may be LF, CRLF or CR, also split between slices.
Nothing is decoded here: framers return bytes.
Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from __future__ import annotations

from adapters.errors import broken

LONGEST_LINE = 32 * 1024 * 1024  # a tool call may carry a file; beyond this it is no answer
_DATA = b"data: "
_END = b"\n\n"
_LF, _CR = b"\n\r"  # as numbers, which are found in bytes without a detour


class _Lines:
    """Cuts at LF. What is not ended yet is kept in pieces, so that no byte is copied twice."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self.held = 0

    def feed(self, data: bytes) -> list[bytes]:
        whole, ended, rest = data.rpartition(b"\n")
        if not ended:
            self._rest.append(rest)
            self.held += len(rest)
            if self.held > LONGEST_LINE:
                raise broken(f"the upstream sent a line of more than {LONGEST_LINE} bytes")
            return []
        lines = b"".join((*self._rest, whole)).split(b"\n")
        self._rest, self.held = [rest], len(rest)
        return lines

    def close(self) -> bytes:
        rest, self._rest, self.held = b"".join(self._rest), [], 0
        return rest


class LineFramer:
    """NDJSON: lines ended by LF (a CR before it is dropped); blank lines are skipped."""

    def __init__(self) -> None:
        self._lines = _Lines()
        self.between_lines = True  # nothing of a line has come that is not whole

    def feed(self, data: bytes) -> list[bytes]:
        """The lines `data` completed, without their ends."""
        lines = [line for line in map(bytes.strip, self._lines.feed(data)) if line]
        self.between_lines = not self._lines.held
        return lines

    def close(self) -> list[bytes]:
        """The last line, where the body ended without a line end."""
        line = self._lines.close().strip()
        return [line] if line else []


class SseFramer:
    """Server-sent events: gives each event's `data`, joined by LF. Comments and names are dropped.

    Unlike the specification, an event the body's end cuts off is given too (`close`): real
    upstreams end with `data: [DONE]` and no blank line. And `error:` is read as `data:`: old
    servers name their errors so (https://github.com/ggml-org/llama.cpp/tree/master/tools/server).
    """

    def __init__(self) -> None:
        self._lines = _Lines()
        self._fields: list[bytes] = []
        self._after_cr = False
        self._begun = False
        self.between_events = True  # nothing of an event has come that is not whole

    def feed(self, data: bytes) -> list[bytes]:
        """The `data` of the events that `data` completed."""
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if _CR in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        events = self._take(self._lines.feed(data))
        self.between_events = not (self._lines.held or self._fields or self._after_cr)
        return events

    def feed_first(self, data: bytes, at: int) -> tuple[list[bytes], int]:
        """As `feed`, but from `at` up to an event's end only; and where that is."""
        end = data.find(_END, at)
        if end < 0:
            return self.feed(data[at:]), len(data)
        after = end + len(_END)
        if self.between_events and data.startswith(_DATA, at):
            event = data[at + len(_DATA) : end]
            if not (_LF in event or _CR in event):  # as most are: nothing to put together
                self._begun = True
                return [event], after
        return self.feed(data[at:after]), after

    def close(self) -> list[bytes]:
        """The event that the end of the body left open."""
        return self._take([self._lines.close(), b""])

    def _take(self, lines: list[bytes]) -> list[bytes]:
        events = []
        if lines and not self._begun:
            self._begun = True
            lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")  # a byte order mark
        for line in lines:
            if line:
                if line.startswith((b"data:", b"error:")):
                    self._fields.append(line.partition(b":")[2].removeprefix(b" "))
            elif self._fields:
                events.append(b"\n".join(self._fields))
                self._fields = []
        return events
