"""What HTTP itself can do wrong at the front door, before there is a request."""

from __future__ import annotations

import asyncio
import json
from typing import Final

import pytest

from tests.api.asking import answer_of, chat, request, rest_of, sent_raw
from tests.api.serving import Facade
from tests.fake_upstream import faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"
NOT_HTTP: Final = {
    "no request line": b"hello\r\n\r\n",
    "an unknown method": request("FETCH", "/livez"),
    "a path that is not ASCII": request("GET", "/\xe9"),
    "no path": request("GET", "?x=1"),
    "TLS": bytes.fromhex("16030100c8010000c40303"),
    "two lengths": b"POST /livez HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
    "a length that is none": b"POST /livez HTTP/1.1\r\ncontent-length: x\r\n\r\n",
    "a chunk that is none": request("POST", CHAT, content_length="", transfer_encoding="chunked")
    + b"size\r\n",
}


@pytest.mark.parametrize("sent", NOT_HTTP.values(), ids=NOT_HTTP.keys())
async def test_what_is_not_http_is_a_400_in_our_form(sent: bytes, facade: Facade) -> None:
    async with sent_raw(facade, sent) as conversation:
        answer = await answer_of(conversation)
    assert (400, "invalid_http", "close") == (
        answer.status,
        answer.error["code"],
        answer.headers["connection"],
    )
    assert answer.headers["x-request-id"].startswith("req_")
    await facade.idle()


async def test_what_is_not_http_adds_nothing_to_an_answer_under_way(
    facade: Facade, path: str, model: str
) -> None:
    """Words of ours would stand where its client reads the upstream's."""
    facade.fake.fault(faults.HangAfter(3), path=path)
    body = json.dumps(chat(model, stream=True)).encode()
    async with sent_raw(facade, request("POST", CHAT, body)) as conversation:
        assert 200 == (await conversation.head())[0]
        await conversation.piece()
        conversation.writer.write(b"hello\r\n\r\n")
        with pytest.raises(EOFError):
            await rest_of(conversation)
    await facade.idle()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request("GET", "/livez"), 200),
        (request("GET", "/nowhere"), 404),
        (request("POST", CHAT, b"{"), 400),
        (b"hello\r\n\r\n", 400),
    ],
    ids=["a probe", "not there", "not JSON", "not HTTP"],
)
async def test_who_says_no_more_reads_what_is_answered_at_once(
    sent: bytes, status: int, facade: Facade
) -> None:
    async with sent_raw(facade, sent) as conversation:
        conversation.writer.write_eof()
        answer = await answer_of(conversation)
        assert (status, True) == (answer.status, answer.complete)
        with pytest.raises(EOFError):
            await conversation.until_blank()  # of another: the connection is closed
    await facade.idle()


async def test_a_head_without_end_is_refused(facade: Facade) -> None:
    async with sent_raw(facade, b"GET /livez HTTP/1.1\r\nx: " + b"y" * 2_000_000) as conversation:
        answer = await answer_of(conversation)
    assert (400, "the request's head is too large") == (answer.status, answer.error["message"])


async def test_a_long_head_with_a_large_body_is_read(facade: Facade, model: str) -> None:
    """However the system cuts it: the end of the head comes together with much of the body."""
    body = json.dumps(chat(model)).encode() + b" " * 1_000_000
    sent = request("POST", CHAT, body, x_long="y" * 50_000)
    async with sent_raw(facade, sent[:40_000]) as conversation:
        await facade.until(lambda: facade.of_a_head == 40_000)
        conversation.writer.write(sent[40_000:])
        assert 200 == (await answer_of(conversation)).status


@pytest.mark.parametrize("offer", ["h2c", "websocket"])
async def test_an_offer_to_speak_another_protocol_is_passed_over(
    offer: str, facade: Facade, model: str
) -> None:
    """Java's own client offers h2c with every request, on kept connections too."""
    body = json.dumps(chat(model)).encode()
    headers = {"connection": "Upgrade, HTTP2-Settings", "upgrade": offer, "http2_settings": "AAEA"}
    async with sent_raw(facade, request("POST", CHAT, body, **headers)) as conversation:
        assert 200 == (await answer_of(conversation)).status
        conversation.writer.write(request("POST", CHAT, body, **headers))
        assert 200 == (await answer_of(conversation)).status


async def test_what_looks_like_an_offer_in_a_body_stays_as_it_is(facade: Facade) -> None:
    """Behind a proxy the end of a longer body would be a request that somebody else has sent."""
    body = b"\r\nupgrade:" * 14 + b"GET /readyz HTTP/1.1\r\n\r\n" * 2
    async with sent_raw(facade, request("POST", CHAT, body)) as conversation:
        assert 400 == (await answer_of(conversation)).status
        conversation.writer.write(request("GET", "/nope"))
        assert 404 == (await answer_of(conversation)).status


async def test_an_offer_in_two_reads_is_the_connections_last_request(
    facade: Facade, model: str
) -> None:
    """The parser takes what follows its head for the other protocol."""
    body = json.dumps(chat(model)).encode()
    headers = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c"}
    sent = request("POST", CHAT, body, **headers)
    cut = sent.index(b"grade: h2c")
    async with sent_raw(facade, sent[:cut]) as conversation:
        await facade.until(lambda: facade.of_a_head == cut)
        conversation.writer.write(sent[cut:])
        answer = await answer_of(conversation)
        with pytest.raises(asyncio.IncompleteReadError):
            await conversation.until_blank()
    assert (400, "close") == (answer.status, answer.headers["connection"])


async def test_a_client_of_http_1_0_is_answered_and_let_go(facade: Facade) -> None:
    async with sent_raw(facade, b"GET /livez HTTP/1.0\r\nhost: localhost\r\n\r\n") as conversation:
        answer = await answer_of(conversation)
    assert (200, "close", True) == (answer.status, answer.headers["connection"], answer.complete)


async def test_requests_in_one_packet_are_answered_in_order(facade: Facade, model: str) -> None:
    body = json.dumps(chat(model)).encode()
    sent = request("GET", "/livez") + request("POST", CHAT, body) + request("GET", "/nope")
    async with sent_raw(facade, sent) as conversation:
        answers = [await answer_of(conversation) for _ in range(3)]
    assert [200, 200, 404] == [answer.status for answer in answers]


async def test_who_leaves_with_another_request_in_line_stops_the_upstream(
    facade: Facade, path: str, model: str
) -> None:
    facade.fake.fault(faults.HangBeforeHeaders(), path=path)
    one = request("POST", CHAT, json.dumps(chat(model)).encode())
    async with sent_raw(facade, one + one):
        asked = await facade.fake.came(path=path)
    await facade.fake.hung_up(asked, within=5)
    assert [asked] == facade.fake.requests_to(path)
    await facade.idle()


async def test_who_leaves_in_the_middle_of_the_line_stops_the_upstream(
    facade: Facade, path: str, model: str
) -> None:
    one = request("POST", CHAT, json.dumps(chat(model)).encode())
    facade.fake.fault(faults.Status(400), path=path)
    facade.fake.fault(faults.HangBeforeHeaders(), path=path, times=None)
    facade.fake.release()
    async with sent_raw(facade, one + one + one):
        asked = await facade.fake.came(2, path=path)
    await facade.fake.hung_up(asked, within=5)
    assert 2 == len(facade.fake.requests_to(path))
    await facade.idle()


async def test_a_body_may_be_sent_when_it_is_asked_for(facade: Facade, model: str) -> None:
    body = json.dumps(chat(model)).encode()
    head, _ = request("POST", CHAT, body, expect="100-continue").split(b"\r\n\r\n")
    async with sent_raw(facade, head + b"\r\n\r\n") as conversation:
        assert b"HTTP/1.1 100 Continue\r\n\r\n" == await conversation.until_blank()
        conversation.writer.write(body)
        assert 200 == (await answer_of(conversation)).status
