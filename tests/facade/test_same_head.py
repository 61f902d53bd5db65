"""A request whose head is the last one's is read without the parser, and nobody can tell.

The same bytes in the same reads are given to a connection that remembers heads and to one that
does not: the application has to see the same requests, and the client the same answers.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facade.wire import server
from tests.facade.one_connection import MOST, Application, Transport, connected

STOP: Final = b""  # no read, but the server that wants to end


async def _conversation(reads: Sequence[bytes]) -> tuple[Application, Transport]:
    application, transport, connection = connected()
    for read in reads:
        if read is STOP:
            connection.shutdown()
        elif not transport.closed:
            connection.data_received(read)
        for _ in range(len(read) % 3):  # some come while an answer is under way
            await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    connection.connection_lost(None)
    for task in list(connection.tasks):
        task.cancel()
    await asyncio.sleep(0)
    return application, transport


def _unparsed(reads: Sequence[bytes]) -> int:
    """How many requests needed no parser. That they did not is all the difference there is."""
    with pytest.MonkeyPatch.context() as patch:
        heard, got = asyncio.run(_conversation(reads))
        patch.setattr(server, "remembered", lambda *_: None)
        parsed, expected = asyncio.run(_conversation(reads))
    assert parsed.seen == heard.seen
    ids = re.compile(rb"req_\w{24}")
    assert ids.sub(b"", expected.written) == ids.sub(b"", got.written)
    assert expected.closed == got.closed
    return parsed.entered - heard.entered


def _request(body: bytes = b"abc", length: bytes | None = None, *lines: bytes) -> bytes:
    said = b"%d" % len(body) if length is None else length
    head = [b"POST /busy HTTP/1.1", b"host: a", *lines, b"content-length: " + said, b"key: right"]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


FIRST: Final = _request(b"first")
LAST: Final = _request(b"the last of all")
HEAD, _, _ = FIRST.partition(b"first")

# How many of these and two good ones afterwards are not parsed, after the first.
LIKE_IT: Final = {
    "the same": ([FIRST], 3),
    "a longer body": ([_request(b"x" * 99)], 3),
    "the longest body": ([_request(b"x" * MOST)], 3),
    "a blank line in the body": ([_request(b"\r\n\r\n" + FIRST[:40])], 3),
    "the body in another read": ([HEAD, b"first"], 3),
    "the body in many reads": ([HEAD, *(b"%c" % byte for byte in b"first")], 3),
    "some of the body in another read": ([FIRST[:-2], b"st"], 3),
    "while the last is answered": ([_request(b"wait"), FIRST], 1),
    "a head that came before its body": ([_request(b"abc", None, b"x: y"), HEAD, b"first"], 2),
}
OTHERS: Final = {
    "too long a body": [_request(b"x" * (MOST + 1))],
    "no body": [_request(b"")],
    "a leading zero": [_request(b"abc", b"03")],
    "a sign": [_request(b"abc", b"+3")],
    "a space behind": [_request(b"abc", b"3 ")],
    "two spaces before": [_request(b"abc", b" 3")],
    "a hexadecimal length": [_request(b"abc", b"0x3")],
    "an underscore": [_request(b"a" * 10, b"1_0")],
    "digits of another script": [_request(b"abc", "\u0663".encode())],
    "a list of lengths": [_request(b"abc", b"3, 3")],
    "a length without digits": [_request(b"abc", b"")],
    "a length of many digits": [_request(b"abc", b"99999999999999999999")],
    "a length of eleven digits": [_request(b"abc", b"00000000003")],
    "another header": [_request(b"abc", None, b"x: y")],
    "a second length": [_request(b"abc", None, b"content-length: 3")],
    "another second length": [_request(b"abc", None, b"content-length: 4")],
    "chunks": [_request(b"3\r\nabc\r\n0\r\n\r\n", None, b"transfer-encoding: chunked")],
    "another key": [FIRST.replace(b"right", b"wrong")],
    "another method": [FIRST.replace(b"POST", b"PUT")],
    "another path": [FIRST.replace(b"/busy", b"/other")],
    "an older version": [FIRST.replace(b"1.1", b"1.0")],
    "a connection that ends": [_request(b"abc", None, b"connection: close")],
    "an offer": [_request(b"abc", None, b"connection: upgrade", b"upgrade: h2c")],
    "an announced body": [_request(b"abc", None, b"expect: 100-continue")],
    "line ends alone": [FIRST.replace(b"\r\n", b"\n")],
    "a line end of its own": [b"\r\n", FIRST],
    "a line end before": [b"\r\n" + FIRST],
    "a line end behind": [FIRST + b"\r\n"],
    "a byte more": [FIRST + b"x"],
    "a byte more later": [FIRST, b"x"],
    "two in one read": [FIRST + FIRST],
    "one and a half": [FIRST + FIRST[:40], FIRST[40:]],
    "one and another's head": [FIRST + HEAD, b"first"],
    "a head in two reads": [FIRST[:40], FIRST[40:]],
    "a length in two reads": [HEAD[:-17], FIRST[len(HEAD) - 17 :]],
    "a head that ends later": [HEAD[:-2], b"\r\nfirst"],
    "the end of a head again": [FIRST[:21], FIRST[21:], FIRST[21:]],
    "a head behind, and what looks like a request": [HEAD, b"first" + FIRST[:21] + b"x: ", FIRST],
    "a length and no line end": [HEAD[: HEAD.index(b": 5") + 3] + b"x"],
    "a body and more in another read": [HEAD, b"first" + FIRST],
    "a body that is a request": [_request(FIRST[:MOST])],
    "a body that is short of another's": [_request(b"x" * 5, b"7"), b"yz" + FIRST],
    "a body that does not come": [HEAD, STOP],
    "a server that stops before it": [STOP, FIRST],
    "a server that stops while it is read": [HEAD, b"fir", STOP, b"st"],
    "a server that stops while a like one is read": [FIRST, HEAD, b"fir", STOP, b"st"],
    "a server that stops while it is answered": [_request(b"wait"), STOP],
    "no HTTP": [b"hello\r\n\r\n"],
    "nothing of the length": [HEAD[: HEAD.index(b": 5") + 2], FIRST[HEAD.index(b": 5") + 2 :]],
}


@pytest.mark.parametrize(("reads", "unparsed"), LIKE_IT.values(), ids=LIKE_IT.keys())
def test_what_differs_in_its_length_alone_is_not_parsed(reads: list[bytes], unparsed: int) -> None:
    assert unparsed == _unparsed([FIRST, *reads, LAST, LAST])


@pytest.mark.parametrize("reads", OTHERS.values(), ids=OTHERS.keys())
def test_whatever_else_comes_is_read_as_it_ever_was(reads: list[bytes]) -> None:
    _unparsed([FIRST, *reads])
    _unparsed([FIRST, *reads, LAST, LAST])
    _unparsed([FIRST, FIRST, *reads, *reads, LAST, LAST])
    _unparsed([*reads, LAST, LAST])


def test_an_offer_is_the_parsers_every_time() -> None:
    offer = _request(b"abc", None, b"connection: upgrade", b"upgrade: h2c")
    assert 0 == _unparsed([offer, offer, offer])


def test_a_length_that_stands_early_is_one_only_with_its_line_end() -> None:
    early = b"POST /busy HTTP/1.1\r\ncontent-length: 5\r\nkey: %b\r\n\r\nfirst" % (b"x" * 99)
    assert 1 == _unparsed([early, early])
    assert 0 == _unparsed([early, early[: early.index(b": 5") + 3] + b"x"])


@pytest.mark.parametrize("bound", ["LONGEST_REMEMBERED", "_LONGEST_PART"])
def test_what_is_kept_of_a_connection_is_bounded(
    bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 1 == _unparsed([FIRST, HEAD, b"first"])
    monkeypatch.setattr(server, bound, len(HEAD) - 1)
    assert 0 == _unparsed([FIRST, HEAD, b"first"])


POOL: Final = [FIRST, LAST, _request(b"wait"), *(b"".join(reads) for reads in OTHERS.values())]
STREAMS: Final = st.lists(st.sampled_from([FIRST, FIRST, LAST, HEAD, *POOL]), max_size=6)


STOPS: Final = st.one_of(st.none(), st.integers(0, 20))


@settings(max_examples=300, deadline=None)
@given(STREAMS, st.lists(st.integers(0, 600), max_size=8), st.booleans(), STOPS)
def test_any_requests_in_any_reads_are_read_as_they_ever_were(
    requests: list[bytes], cuts: list[int], whole: bool, stops: int | None
) -> None:
    """Also what makes no sense where the reads are cut."""
    reads = [FIRST, *requests] if whole else []
    stream = b"".join(requests)
    at = sorted({0, *(cut % (len(stream) + 1) for cut in cuts), len(stream)})
    reads += [stream[a:b] for a, b in pairwise(at)]
    if stops is not None:
        reads.insert(stops % (len(reads) + 1), STOP)
    _unparsed(reads)
