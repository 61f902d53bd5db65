"""Every fault of the fake upstream does what its name says: in Python, over HTTP, by the CLI."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections.abc import Iterator

import pytest

from tests.fake_upstream import Answer, FakeUpstream, faults, ndjson, running, sse
from tests.fake_upstream.__main__ import main
from tests.plain_client import CHAT, POST, once, raw

LINES = ndjson({"n": 1}, {"n": 2, "done": True})
EVENTS = sse(
    {"choices": [{"delta": {"content": "a"}, "finish_reason": None}]},
    {"choices": [{"delta": {}, "finish_reason": "stop"}]},
)
OPENAI = "/v1/chat/completions"


@pytest.fixture
def fake() -> Iterator[FakeUpstream]:
    with running() as fake:
        yield fake


def befallen(
    fake: FakeUpstream, fault: faults.Fault, path: str = "/api/chat", answer: Answer = LINES
) -> tuple[int, bytes]:
    """The scripted answer, with the fault in it."""
    fake.script(path, answer)
    fake.fault(fault)
    return once(fake, path)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (faults.Status(), (503, b'{"error":"fake error 503"}')),
        (faults.Status(429, "slow down"), (429, b"slow down")),
        (faults.Garbage(), (200, b'\xff\xfe{"garbage\n')),
        (faults.Garbage(1), (200, b'{"n":1}\n\xff\xfe{"garbage\n')),
        (faults.NoEnd(), (200, b'{"n":1}\n')),
        (faults.ErrorLine(), (200, b'{"error":"fake error in the answer"}\n')),
        (faults.ErrorLine(1, "out of memory"), (200, b'{"n":1}\n{"error":"out of memory"}\n')),
        (faults.EmptyObject(), (200, b"{}")),
        (faults.Slices(), (200, b'{"n":1}\n{"n":2,"done":true}\n')),
        (faults.Slices(7), (200, b'{"n":1}\n{"n":2,"done":true}\n')),
    ],
)
def test_an_answer_that_is_another_one(
    fake: FakeUpstream, fault: faults.Fault, expected: tuple[int, bytes]
) -> None:
    assert expected == befallen(fake, fault)


def test_an_error_is_in_the_shape_of_its_dialect(fake: FakeUpstream) -> None:
    error = {"message": "no", "type": "server_error", "param": None, "code": None}
    _, body = befallen(fake, faults.ErrorLine(1, "no"), OPENAI, EVENTS)
    first, second, rest = body.split(b"\n\n")
    assert first + b"\n\n" == EVENTS.body[0]
    assert {"error": error} == json.loads(second.removeprefix(b"data: "))
    assert b"" == rest
    status, body = befallen(fake, faults.Status(500), OPENAI, EVENTS)
    assert (500, {"error": error | {"message": "fake error 500"}}) == (status, json.loads(body))


def test_a_stream_of_events_without_its_end_has_no_finish_and_no_done(fake: FakeUpstream) -> None:
    assert (200, EVENTS.body[0]) == befallen(fake, faults.NoEnd(), OPENAI, EVENTS)


def test_a_status_may_have_headers(fake: FakeUpstream) -> None:
    fake.fault(faults.Status(429, headers={"retry-after": "7"}))
    assert b"\r\nretry-after: 7\r\n" in raw(fake, POST)


def test_a_page_of_html(fake: FakeUpstream) -> None:
    fake.fault(faults.Html())
    assert b"\r\ncontent-type: text/html\r\n" in raw(fake, POST)


def test_a_cut_before_the_head_is_no_answer(fake: FakeUpstream) -> None:
    fake.fault(faults.CutBeforeHeaders())
    assert b"" == raw(fake, POST)


@pytest.mark.parametrize(
    ("fault", "body"),
    [
        (faults.CutBeforeContent(), b""),
        (faults.CutAfter(3), b'{"n'),
        (faults.CutAfter(9), b'{"n":1}\n{'),
        (faults.CutAfter(999), b'{"n":1}\n{"n":2,"done":true}\n'),
    ],
)
def test_a_cut_answer_ends_where_it_was_told(
    fake: FakeUpstream, fault: faults.Fault, body: bytes
) -> None:
    with pytest.raises(http.client.IncompleteRead) as seen:
        befallen(fake, fault)
    assert body == seen.value.partial


@pytest.mark.parametrize(("after", "body"), [(0, b""), (1, b'8\r\n{"n":1}\n\r\n')])
def test_a_malformed_chunk_comes_after_the_lines_told(
    fake: FakeUpstream, after: int, body: bytes
) -> None:
    fake.script("/api/chat", LINES)
    fake.fault(faults.MalformedChunks(after))
    came = raw(fake, POST)
    assert b"\r\ntransfer-encoding: chunked\r\n" in came
    assert came.endswith(b"\r\n\r\n" + body + b"size?\r\nmalformed\r\n")


@pytest.mark.parametrize(
    ("fault", "first"),
    [
        (faults.DelayHeaders(60), b""),
        (faults.HangBeforeHeaders(), b""),
        (faults.DelayContent(60), b"\r\n\r\n"),
        (faults.HangBeforeContent(), b"\r\n\r\n"),
        (faults.DelayLines(60), b'{"n":1}\n\r\n'),
        (faults.HangAfter(1), b'{"n":1}\n\r\n'),
        (faults.HangAfter(9), b'"done":true}\n\r\n'),
    ],
)
async def test_what_comes_late_has_not_come_before_its_time(
    fault: faults.Fault, first: bytes
) -> None:
    async with FakeUpstream() as fake:
        fake.script("/api/chat", LINES)
        fake.fault(fault)
        reader, writer = await asyncio.open_connection("127.0.0.1", fake.port)
        writer.write(POST)
        request = await fake.came()
        if first:
            assert (await asyncio.wait_for(reader.readuntil(first), 5)).endswith(first)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.05)
        writer.close()
        await fake.hung_up(request, within=2)


def test_a_delay_ends(fake: FakeUpstream) -> None:
    begun = time.monotonic()
    assert (200, b'{"n":1}\n{"n":2,"done":true}\n') == befallen(fake, faults.DelayLines(0.1))
    assert time.monotonic() - begun >= 0.1


def test_a_fault_befalls_as_many_requests_as_told_and_no_listing(fake: FakeUpstream) -> None:
    fake.fault(faults.Status(503), times=2)
    assert 200 == once(fake, "/api/tags", method="GET")[0]
    assert [503, 503, 200] == [once(fake)[0] for _ in range(3)]


def test_a_fault_may_befall_one_path_for_good(fake: FakeUpstream) -> None:
    fake.fault(faults.Status(503), times=None, path="/api/tags")
    tags = [once(fake, "/api/tags", method="GET")[0] for _ in range(3)]
    assert [503, 503, 503, 200] == [*tags, once(fake)[0]]
    fake.reset()
    assert 200 == once(fake, "/api/tags", method="GET")[0]


def test_faults_add_up(fake: FakeUpstream) -> None:
    fake.fault(faults.ErrorLine(1, "no"))
    fake.fault(faults.Slices(1))
    assert (200, b'{"n":1}\n{"error":"no"}\n') == befallen(
        fake, faults.DelayHeaders(0), answer=LINES
    )


def test_another_process_scripts_it_over_http(fake: FakeUpstream) -> None:
    answers = [
        {"type": "answer", "status": 418, "body": ["short ", {"seconds": 0}, "é"]},
        {"type": "reply", "text": "Hello", "tool_calls": [{"name": "f", "arguments": {"a": 1}}]},
    ]
    script = {"path": "/api/chat", "answers": answers}
    assert (200, b"{}") == once(fake, "/_fake/script", script)
    assert (418, "short é".encode()) == once(fake)
    assert b'"arguments":{"a":1}' in once(fake)[1]


def test_another_process_sets_faults_and_resets(fake: FakeUpstream) -> None:
    fault = {"fault": {"name": "cut-before-headers"}, "times": None, "path": "/api/chat"}
    once(fake, "/_fake/fault", fault)
    assert b"" == raw(fake, POST)
    once(fake, "/_fake/reset")
    assert 200 == once(fake)[0]
    assert ["/api/chat"] == [request.path for request in fake.requests]


def test_another_process_releases_what_hangs(fake: FakeUpstream) -> None:
    fake.fault(faults.HangBeforeHeaders())
    once(fake, "/_fake/release")
    assert 200 == once(fake)[0]


def test_another_process_reads_the_log(fake: FakeUpstream) -> None:
    once(fake)
    (logged,) = json.loads(once(fake, "/_fake/log", method="GET")[1])
    assert CHAT == logged["json"] == json.loads(logged["body"])
    assert ("/api/chat", 1, None) == (
        logged["target"],
        logged["connection"],
        logged["hung_up_at"],
    )


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("/_fake/fault", {"fault": {"name": "nonsense"}}, 400),
        ("/_fake/fault", {"fault": {"name": "status"}, "often": 1}, 400),
        ("/_fake/script", {"path": "/api/chat"}, 400),
        ("/_fake/script", {"path": "/api/tags", "answers": [{"type": "reply"}]}, 400),
        ("/_fake/script", {"path": "/api/chat", "answers": ["text"]}, 400),
        ("/_fake/nothing", {}, 404),
    ],
)
def test_what_it_is_told_wrongly_is_refused(
    fake: FakeUpstream, path: str, content: object, status: int
) -> None:
    assert status == once(fake, path, content)[0]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("status:429", faults.Status(429)),
        ("delay-lines:0.5", faults.DelayLines(0.5)),
        ("slices", faults.Slices(1)),
        ("hang-before-headers", faults.HangBeforeHeaders()),
    ],
)
def test_a_fault_of_the_command_line_has_a_name_and_an_argument(
    text: str, fault: faults.Fault
) -> None:
    assert fault == faults.parse(text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("nonsense", "no fault 'nonsense'"),
        ("html:3", "html takes no argument"),
        ("cut-after:x", "Expected `int`, got `str`"),
    ],
)
def test_a_wrong_fault_is_refused_by_the_command_line(
    text: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--fault", text])
    assert complaint in capsys.readouterr().err


def test_the_help_names_every_fault(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert [] == [name for name in faults.FAULTS if f"\n  {name}" not in said]


def test_a_port_that_is_taken_is_said(
    fake: FakeUpstream, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--port", str(fake.port)])
    assert 1 == ended.value.code
    assert f"cannot listen on port {fake.port}: " in capsys.readouterr().err
