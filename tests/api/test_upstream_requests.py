"""What goes upstream: the request, our credential, and nothing of the client's own headers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from tests.api.asking import Json, ask, chat, opened
from tests.api.serving import Facade, serving, settings, upstream
from tests.fake_upstream import FakeUpstream, faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"
PRIVATE: Final = {
    "authorization": "Bearer sk-client",
    "cookie": "session=secret",
    "openai_organization": "org-client",
    "openai_project": "proj-client",
    "x_api_key": "client",
    "api_key": "client",
    "user_agent": "secret/1.0",
    "accept_encoding": "gzip, br, zstd",
    "x_forwarded_for": "10.1.2.3",
    "x_stainless_lang": "python",
    "referer": "http://localhost/secret",
}


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/embeddings"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_no_header_of_the_client_goes_upstream(
    facade: Facade, dialect: str, path: str, streamed: bool
) -> None:
    model = f"{dialect}/nomic-embed-text" if path.endswith("embeddings") else f"{dialect}/llama3.1"
    body = {**chat(model), "prompt": "Hi", "input": "Hi"}
    private = PRIVATE | {"idempotency_key": f"client-{model}-{path}-{streamed}"}
    answer = await ask(facade, "POST", path, body | {"stream": streamed}, **private)
    assert 200 == answer.status
    sent = dict(facade.fake.last.raw_headers)
    assert {"host", "content-type", "content-length", "user-agent", "accept-encoding"} == {
        name.lower() for name in sent
    }
    headers = facade.fake.last.headers
    assert ("identity", "application/json") == (
        headers["accept-encoding"],
        headers["content-type"],
    )
    assert headers["user-agent"].startswith("facade/")
    assert len(sent) == len(facade.fake.last.raw_headers), "a header went twice"
    assert "client" not in str(facade.fake.last.raw_headers)
    assert "secret" not in str(facade.fake.last.raw_headers)


async def test_our_own_key_goes_with_every_request(
    fake: FakeUpstream, tmp_path: Path, dialect: str
) -> None:
    text = upstream(dialect, fake.url, api_key='"sk-ours"')
    async with serving(settings(tmp_path, text), fake) as facade:
        await ask(facade, "GET", "/v1/models")
        await ask(facade, "POST", CHAT, chat("llama3.1"), authorization="Bearer sk-client")
    assert {"Bearer sk-ours"} == {request.headers["authorization"] for request in fake.requests}


async def test_the_openai_dialect_changes_nothing_that_it_need_not(facade: Facade) -> None:
    body = (
        b' {"model": "llama3.1:latest" ,\n'
        b'"messages":[ {"role":"user","content":"\\u00e9\xc3\xa9"}],'
        b'"x_vendor": {"big": 12345678901234567890.10, "a":[ ]}, "seed":1e0}'
    )
    direct = body.replace(b"llama3.1:latest", b"openai/llama3.1:latest")
    assert 400 == (await ask(facade, "POST", CHAT, direct)).status  # 1e0 is no integer here
    direct = direct.replace(b"1e0", b"10")
    assert 200 == (await ask(facade, "POST", CHAT, direct)).status
    sent = facade.fake.last.body
    assert b'"\\u00e9\xc3\xa9"' in sent
    assert b'{"big": 12345678901234567890.10, "a":[ ]}' in sent
    assert "llama3.1:latest" == json.loads(sent)["model"]


async def test_a_body_that_needs_no_change_goes_upstream_to_the_byte(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    body = b'{ "messages":[{"role":"user","content":"\\u0041"}], "model":"llama3.1" ,"x": 1.0 }\n'
    async with serving(settings(tmp_path, upstream("openai", fake.url)), fake) as facade:
        assert 200 == (await ask(facade, "POST", CHAT, body)).status
    assert body == fake.last.body


async def test_usage_is_always_asked_of_a_stream(facade: Facade) -> None:
    for options in ({}, {"stream_options": None}, {"stream_options": {"include_usage": False}}):
        await ask(facade, "POST", CHAT, chat("openai/llama3.1", stream=True) | options)
        assert facade.fake.last.json["stream_options"]["include_usage"] is True
    await ask(facade, "POST", CHAT, chat("openai/llama3.1"))
    assert "stream_options" not in facade.fake.last.json


OPTIONS: Final = """
keep_alive = "10m"
options = { num_ctx = 8192, temperature = 0.5 }
[upstreams.ollama.models."qwen3"]
options = { num_ctx = 512 }
[upstreams.ollama.models."llava:latest"]
options = { top_k = 3 }
[models.mine]
targets = ["ollama/qwen3"]
"""


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("llama3.1", {"num_ctx": 8192, "temperature": 0.5}),
        ("qwen3", {"num_ctx": 512, "temperature": 0.5}),
        ("qwen3:latest", {"num_ctx": 512, "temperature": 0.5}),
        ("ollama/qwen3:latest", {"num_ctx": 512, "temperature": 0.5}),
        ("mine", {"num_ctx": 512, "temperature": 0.5}),
        ("llava", {"num_ctx": 8192, "temperature": 0.5, "top_k": 3}),
        ("llava:latest", {"num_ctx": 8192, "temperature": 0.5, "top_k": 3}),
    ],
)
async def test_the_operators_options_go_with_their_models_under_each_name(
    fake: FakeUpstream, tmp_path: Path, model: str, options: Json
) -> None:
    text = upstream("ollama", fake.url) + OPTIONS
    async with serving(settings(tmp_path, text), fake) as facade:
        assert 200 == (await ask(facade, "POST", CHAT, chat(model))).status
        native = {"num_ctx": 1, "temperature": 1}
        body = chat(model, options=native, keep_alive=0, max_tokens=2)
        assert 200 == (await ask(facade, "POST", CHAT, body)).status
    first, second = (request.json for request in fake.requests_to("/api/chat"))
    assert (options, "10m") == (first["options"], first["keep_alive"])
    assert options | {"temperature": 1, "num_predict": 2} == second["options"]
    assert 0 == second["keep_alive"]


async def test_ollama_may_neither_cut_nor_forget(facade: Facade) -> None:
    await ask(facade, "POST", CHAT, chat("ollama/llama3.1"))
    assert {
        "model": "llama3.1",
        "stream": True,
        "truncate": False,
        "shift": False,
        "messages": [{"role": "user", "content": "Hi"}],
    } == facade.fake.last.json
    await ask(facade, "POST", "/v1/embeddings", {"model": "ollama/nomic-embed-text", "input": "a"})
    assert {
        "model": "nomic-embed-text",
        "input": ["a"],
        "truncate": False,
    } == facade.fake.last.json


# -- keep-alive ----------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
async def test_requests_one_after_the_other_use_one_connection(
    facade: Facade, model: str, streamed: bool
) -> None:
    for _ in range(5):
        answer = await ask(facade, "POST", CHAT, chat(model, stream=streamed))
        assert (200, True) == (answer.status, answer.complete)
    assert 1 == len({request.connection for request in facade.fake.requests})


async def test_refused_and_kept_requests_share_the_connection_too(
    facade: Facade, model: str
) -> None:
    facade.fake.fault(faults.Status(500))
    for status in (500, 200):
        answer = await ask(facade, "POST", CHAT, chat(model, stream=True))
        assert status == answer.status
    assert 1 == len({request.connection for request in facade.fake.requests})


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_connection_that_went_stale_is_replaced_unseen(
    facade: Facade, model: str, streamed: bool
) -> None:
    fake = facade.fake
    try:
        for fake.close_after, fake.stale_after in ((1, None), (None, 1)):
            for _ in range(4):
                answer = await ask(facade, "POST", CHAT, chat(model, stream=streamed))
                assert (200, True) == (answer.status, answer.complete)
    finally:
        fake.close_after = fake.stale_after = None


async def test_clients_keep_their_connection_too(facade: Facade, model: str) -> None:
    await facade.until(lambda: facade.connections == 0)
    async with facade.sdk() as sdk:
        for _ in range(3):
            await sdk.chat.completions.create(**chat(model))
            stream = await sdk.chat.completions.create(**chat(model), stream=True)
            assert [chunk async for chunk in stream]
        assert 1 == facade.connections


async def test_nothing_is_asked_before_the_body_is_here(facade: Facade, model: str) -> None:
    body = json.dumps(chat(model)).encode()
    sent = {"content_length": str(len(body))}
    async with opened(facade, "POST", CHAT, body[:-1], **sent) as conversation:
        await facade.until(lambda: facade.bodies == 1)
        assert [] == facade.fake.requests
        conversation.writer.write(body[-1:])
        assert 200 == (await conversation.head())[0]
