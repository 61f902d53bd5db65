"""Host, Origin, preflight, size: who is let in, and what cannot be written in a header."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Final

import pytest
from openai import AsyncOpenAI, PermissionDeniedError

from adapters.ollama import Ollama
from adapters.ollama_answers import OllamaStream
from adapters.openai import OpenAI
from adapters.openai_stream import OpenAIStream
from tests.api.asking import answer_of, ask, chat, error_of, events, request, sent_raw
from tests.api.serving import Facade, both, serving, settings
from tests.fake_upstream import FakeUpstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"
PAGE: Final = "https://chat.example.org"


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost", "127.0.0.1", "[::1]", "localhost:8080", "[::1]:1"]
)
async def test_loopback_names_are_answered_on_any_port(host: str, facade: Facade) -> None:
    assert 200 == (await ask(facade, "GET", "/livez", host=host)).status


@pytest.mark.parametrize(
    "host",
    [
        "",
        "example.org",
        "localhost.example.org",
        "127.0.0.1.nip.io",
        "localhost@example.org",
        "example.org:80:localhost",
        "127.0.0.2",
        "::1",
    ],
)
@pytest.mark.parametrize("path", ["/", "/livez", "/nope", CHAT])
async def test_any_other_host_is_403_on_every_path(host: str, path: str, facade: Facade) -> None:
    answer = await ask(facade, "POST" if path == CHAT else "GET", path, host=host)
    assert 403 == answer.status
    assert ("permission_error", "host_not_allowed") == (answer.error["type"], answer.error["code"])


@pytest.mark.parametrize("host", ["\xff", "local host", "<localhost>"])
async def test_a_host_that_is_none_is_400(host: str, facade: Facade) -> None:
    answer = await ask(facade, "GET", "/livez", host=host)
    assert (400, "invalid_host") == (answer.status, answer.error["code"])
    assert answer.headers["x-request-id"].startswith("req_")


async def test_the_last_of_two_hosts_counts(facade: Facade) -> None:
    twice = b"GET /livez HTTP/1.1\r\nhost: localhost\r\nhost: example.org\r\n\r\n"
    async with sent_raw(facade, twice) as conversation:
        assert 403 == (await answer_of(conversation)).status


async def test_configured_hosts_are_answered_and_no_others(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    text = f'[server]\nallowed_hosts = ["Models.Example.org", "[fe80::1]"]\n{both(fake)}'
    async with serving(settings(tmp_path, text), fake) as facade:
        for host, status in (("models.example.org:443", 200), ("[FE80::1]", 200), ("x", 403)):
            assert status == (await ask(facade, "GET", "/livez", host=host)).status
        assert 403 == (await ask(facade, "GET", "/livez", host="localhost")).status


async def test_any_host_may_be_allowed(fake: FakeUpstream, tmp_path: Path) -> None:
    text = f'[server]\nallowed_hosts = ["*"]\n{both(fake)}'
    async with serving(settings(tmp_path, text), fake) as facade:
        assert 200 == (await ask(facade, "GET", "/livez", host="any.example.org")).status
        without = b"GET /livez HTTP/1.0\r\n\r\n"
        async with sent_raw(facade, without) as conversation:
            assert 200 == (await answer_of(conversation)).status


async def test_the_sdk_raises_its_permission_error(facade: Facade) -> None:
    async with AsyncOpenAI(
        base_url=f"{facade.url}/v1",
        api_key="none",
        max_retries=0,
        default_headers={"Host": "example.org"},
    ) as sdk:
        with pytest.raises(PermissionDeniedError) as caught:
            await sdk.models.list()
    assert "host_not_allowed" == caught.value.code
    assert caught.value.request_id


# -- web pages -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin", [PAGE, "null", "http://localhost:3000", "https://localhost", "http://example.org"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_a_web_page_from_elsewhere_is_403_and_reaches_no_model(
    origin: str, method: str, facade: Facade, model: str
) -> None:
    path = "/v1/models" if method == "GET" else CHAT
    answer = await ask(facade, method, path, chat(model), origin=origin)
    assert (403, "origin_not_allowed") == (answer.status, answer.error["code"])
    assert not any(name.startswith("access-control-") for name in answer.headers)
    assert [] == facade.fake.requests


@pytest.mark.parametrize("origin", ["http://localhost:8080", "http://LOCALHOST:8080"])
async def test_a_page_of_the_same_origin_may_ask(origin: str, facade: Facade) -> None:
    answer = await ask(facade, "GET", "/livez", host="localhost:8080", origin=origin)
    assert 200 == answer.status


async def test_an_allowed_origin_may_ask_and_read(
    fake: FakeUpstream, tmp_path: Path, model: str
) -> None:
    text = f'[server]\ncors_allow_origins = ["{PAGE}"]\n{both(fake)}'
    async with serving(settings(tmp_path, text), fake) as facade:
        preflight = await ask(
            facade,
            "OPTIONS",
            CHAT,
            origin=PAGE,
            access_control_request_method="POST",
            access_control_request_headers="authorization,content-type,x-stainless-os",
        )
        good = await ask(facade, "POST", CHAT, chat(model), origin=PAGE)
        bad = await ask(facade, "POST", CHAT, b"{", origin=PAGE)
        other = await ask(facade, "POST", CHAT, chat(model), origin="https://example.com")
        plain = await ask(facade, "POST", CHAT, chat(model))
    assert 200 == preflight.status
    assert "POST" == preflight.headers["access-control-allow-methods"]
    wanted = "authorization,content-type,x-stainless-os"
    assert wanted == preflight.headers["access-control-allow-headers"]
    for answer in (preflight, good, bad):
        assert PAGE == answer.headers["access-control-allow-origin"]
        assert "origin" == answer.headers["vary"]
        assert "x-request-id" in answer.headers["access-control-expose-headers"]
    assert [200, 400, 403, 200] == [each.status for each in (good, bad, other, plain)]
    for answer in (other, plain):
        assert "access-control-allow-origin" not in answer.headers


async def test_a_preflight_of_a_path_that_is_not_there_is_404(facade: Facade) -> None:
    assert 404 == (await ask(facade, "OPTIONS", "/nope", origin="http://localhost")).status


# -- sizes ---------------------------------------------------------------------------------


async def test_a_body_that_is_too_large_is_413_and_the_connection_lives_on(
    fake: FakeUpstream, tmp_path: Path, model: str
) -> None:
    async with serving(
        settings(tmp_path, f"[server]\nmax_body = 2000\n{both(fake)}"), fake
    ) as facade:
        body = json.dumps(chat(model)).encode()
        fits = body + b" " * (2000 - len(body))
        huge = body + b" " * 3_000_000
        chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(huge), huge)
        sent = (
            request("POST", CHAT, fits)
            + request("POST", CHAT, fits + b" ")
            + request("POST", CHAT, huge)
            + request("POST", CHAT, content_length="", transfer_encoding="chunked")
            + chunked
            + request("POST", CHAT, fits)
        )
        async with sent_raw(facade, sent) as conversation:
            answers = [await answer_of(conversation) for _ in range(5)]
    assert [200, 413, 413, 413, 200] == [answer.status for answer in answers]
    for answer in answers[1:4]:
        assert ("invalid_request_error", "request_too_large") == (
            answer.error["type"],
            answer.error["code"],
        )


async def test_a_client_that_leaves_while_it_sends_reaches_no_model(
    facade: Facade, model: str
) -> None:
    body = json.dumps(chat(model)).encode()
    sent = request("POST", CHAT, body, content_length=str(len(body) + 1))
    async with sent_raw(facade, sent):
        await facade.until(lambda: facade.bodies == 1)
    await facade.until(lambda: not facade.connections)
    assert [] == facade.fake.requests


# -- what cannot be written ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("m\u00f6del", "m?del"),
        ("a\r\nset-cookie: b", "a??set-cookie: b"),
        ("\u0000\u007f\t", "???"),
        ("\u200b\U0001f600", "??"),
        ("x" * 500, "x" * 500),
    ],
)
async def test_a_name_that_no_header_can_hold_breaks_no_answer(
    name: str, written: str, facade: Facade, dialect: str
) -> None:
    answer = await ask(facade, "POST", CHAT, chat(f"{dialect}/{name}"))
    assert (404, written) == (answer.status, answer.headers["x-facade-model"])
    assert "model_not_found" == answer.error["code"]


async def test_warnings_without_end_break_no_answer(facade: Facade) -> None:
    options = {f"option_{number}": 1 for number in range(5000)}
    answer = await ask(facade, "POST", CHAT, chat("ollama/llama3.1", options=options))
    assert 200 == answer.status
    warning = answer.headers["x-facade-warning"]
    assert warning.startswith("option option_0 is the operator's: ignored; option option_1 is")
    assert 4096 == len(warning)


# -- our own bugs --------------------------------------------------------------------------


def _bug(*_: object) -> Any:  # noqa: ANN401 - raises
    raise ZeroDivisionError("the secret of the bug")


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_bug_of_ours_is_a_500_without_details_that_the_log_has(
    streamed: bool,
    model: str,
    facade: Facade,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(Ollama, "encode_chat", _bug)
    monkeypatch.setattr(OpenAI, "encode_chat", _bug)
    with caplog.at_level(logging.ERROR, "facade.requests"):
        answer = await ask(facade, "POST", CHAT, chat(model, stream=streamed))
    assert 500 == answer.status
    assert {
        "message": "the facade failed to answer this request; its log says why",
        "type": "server_error",
        "param": None,
        "code": "internal_error",
    } == answer.error
    (record,) = caplog.records
    assert f"{answer.headers['x-request-id']}: the secret of the bug" == record.getMessage()
    assert record.exc_info is not None
    assert ZeroDivisionError is record.exc_info[0]


async def test_a_bug_in_mid_stream_ends_it_in_an_error(
    model: str, facade: Facade, monkeypatch: pytest.MonkeyPatch
) -> None:
    for decoder in (OllamaStream, OpenAIStream):
        monkeypatch.setattr(decoder, "close", _bug)
    answer = await ask(facade, "POST", CHAT, chat(model, stream=True))
    said = [json.loads(event) for event in events(answer.body)]
    assert (200, True) == (answer.status, answer.complete)
    assert "internal_error" == error_of(said[-1])["code"]
    assert b"secret" not in answer.body
