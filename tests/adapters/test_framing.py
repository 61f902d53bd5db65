"""Framing does not depend on where the network cuts: any slicing gives the same events."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import framing
from adapters.errors import Kind, UpstreamError
from adapters.framing import LineFramer, SseFramer

BOM = b"\xef\xbb\xbf"
PIECES = st.sampled_from(
    [b"data:", b"data: ", b"a", b" ", b":", b"event: x", b"\n", b"\r", b"\r\n", b"\n\n", BOM]
)
BODIES = st.lists(PIECES, max_size=40).map(b"".join)


@st.composite
def sliced(draw: st.DrawFn) -> list[bytes]:
    """A body in slices; some are empty."""
    body = draw(BODIES)
    cuts = sorted(draw(st.lists(st.integers(0, len(body)), max_size=20)))
    return [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]


def framed(framer: LineFramer | SseFramer, slices: Sequence[bytes]) -> list[bytes]:
    given_ = [event for piece in slices for event in framer.feed(piece)]
    return given_ + framer.close()


def events_by_the_specification(body: bytes) -> list[bytes]:
    """The specification's algorithm over a whole body; a last event without its end counts."""
    text = body.removeprefix(BOM).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    events: list[bytes] = []
    fields: list[bytes] = []
    for line in [*text.split(b"\n"), b""]:
        name, _, value = line.partition(b":")
        if not line and fields:
            events.append(b"\n".join(fields))
            fields = []
        elif name == b"data" and b":" in line:
            fields.append(value.removeprefix(b" "))
    return events


@given(sliced())
def test_events_are_those_of_the_specification_however_they_are_sliced(
    slices: list[bytes],
) -> None:
    expected = events_by_the_specification(b"".join(slices))
    assert expected == framed(SseFramer(), slices)


@given(sliced())
def test_lines_are_the_same_however_they_are_sliced(slices: list[bytes]) -> None:
    expected = [line for line in map(bytes.strip, b"".join(slices).split(b"\n")) if line]
    assert expected == framed(LineFramer(), slices)


@pytest.mark.parametrize(
    ("slices", "expected"),
    [
        ([b"data: a\r", b"\ndata: b\r", b"\n\r", b"\n"], [b"a\nb"]),
        ([b"data: a\r", b"\r", b"data: b\r\r"], [b"a", b"b"]),
        ([b"data: a\n\r", b"", b"\ndata: b\n\n"], [b"a", b"b"]),
        ([b"\xef", b"\xbb", b"\xbfdata: a\n\n"], [b"a"]),
        ([b"\n" + BOM + b"data: a\n\n"], []),
        ([b"data:a\ndata:\ndata:  b\n\n"], [b"a\n\n b"]),
        ([b": note\nevent: ping\nid: 1\nretry: 2\n\ndata: a\n\n"], [b"a"]),
        ([b"data: [DONE]"], [b"[DONE]"]),
        ([b"data: a\nda"], [b"a"]),
        ([BOM], []),
        ([], []),
    ],
    ids=[
        "a CRLF cut in two is one line end",
        "CR alone ends lines",
        "an empty slice between CR and LF",
        "a byte order mark cut in three",
        "a byte order mark elsewhere is none",
        "data over several lines",
        "comments and names are dropped",
        "a last line without its end",
        "a last field cut in two",
        "nothing but a byte order mark",
        "nothing",
    ],
)
def test_events(slices: list[bytes], expected: list[bytes]) -> None:
    assert expected == framed(SseFramer(), slices)


def test_an_event_is_given_as_soon_as_its_blank_line_is_there() -> None:
    framer = SseFramer()
    assert [] == framer.feed(b"data: a\r\n")
    assert [b"a"] == framer.feed(b"\r")
    assert [] == framer.feed(b"\n")


@pytest.mark.parametrize("framer", [LineFramer, SseFramer])
def test_a_line_without_an_end_is_broken_once_it_is_too_long(
    framer: type[LineFramer | SseFramer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(framing, "LONGEST_LINE", 10)
    reader = framer()
    assert [] == reader.feed(b"data: 6789")
    with pytest.raises(UpstreamError) as raised:
        reader.feed(b"0")
    assert Kind.BROKEN == raised.value.kind


@pytest.mark.parametrize("framer", [LineFramer, SseFramer])
def test_only_the_line_that_has_no_end_yet_is_measured(
    framer: type[LineFramer | SseFramer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(framing, "LONGEST_LINE", 10)
    reader = framer()
    for _ in range(5):
        reader.feed(b"data: 67")
        reader.feed(b"\n")
    assert [] == reader.feed(b"data: 6789")
