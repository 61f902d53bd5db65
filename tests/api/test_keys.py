"""Keys through the front door: who is let in, and to which models.

Lesson 30 of other gateways: whatever opened there without a key (a Host, a path written
otherwise, a page's preflight, a header that lies about the address) stays shut here.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from typing import Final

import pytest
import pytest_asyncio
from openai import (
    AsyncAzureOpenAI,
    AsyncOpenAI,
    AuthenticationError,
)

from tests.api.asking import Answer, answer_of, ask, chat, opened, request, sent_raw
from tests.api.serving import Facade, both, serving, settings
from tests.fake_upstream import FakeUpstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"
PAGE: Final = "https://chat.example.org"
ASKED: Final = chat("ollama/llama3.1")
KEYS: Final = """
[keys.operator]
secret = "sk-operator"
[keys.agents]
secret = "sk-agents"
models = ["assistant", "gpt-*"]
[keys.direct]
secret = "sk-direct"
models = ["openai/*"]
[models.assistant]
targets = ["ollama/llama3.1"]
[models."gpt-*"]
targets = ["ollama/llama3.1"]
[models.other]
targets = ["openai/llama3.1"]
"""


def with_keys(fake: FakeUpstream, server: str = "", keys: str = KEYS) -> str:
    return f'[server]\ncors_allow_origins = ["{PAGE}"]\n{server}{both(fake)}{keys}'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keyed(
    upstreams: FakeUpstream, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Facade]:
    said = settings(tmp_path_factory.mktemp("keyed"), with_keys(upstreams))
    async with serving(said, upstreams) as facade:
        # So that all is known that is asked at the start.
        await ask(facade, "GET", "/v1/models", authorization="Bearer sk-operator")
        yield facade


def client(facade: Facade, key: str) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{facade.url}/v1", api_key=key, max_retries=0)


def assert_shut(answer: Answer) -> None:
    assert (401, "Bearer") == (answer.status, answer.headers["www-authenticate"])
    assert ("invalid_request_error", "invalid_api_key") == (
        answer.error["type"],
        answer.error["code"],
    )
    assert answer.headers["x-request-id"].startswith("req_")


# -- secrets -------------------------------------------------------------------------------


async def test_the_sdk_with_a_key_is_answered_and_no_key_goes_upstream(
    keyed: Facade, fake: FakeUpstream, model: str
) -> None:
    async with client(keyed, "sk-operator") as sdk:
        answer = await sdk.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Hi"}]
        )
    assert answer.choices[0].message.content
    assert fake.requests
    for sent in fake.requests:
        assert not any("sk-operator" in value for value in sent.headers.values())


async def test_azures_sdk_is_known_by_its_own_header(keyed: Facade, fake: FakeUpstream) -> None:
    async with AsyncAzureOpenAI(
        base_url=f"{keyed.url}/v1", api_key="sk-operator", api_version="v1", max_retries=0
    ) as sdk:
        assert (await sdk.models.list()).data


@pytest.mark.parametrize("key", ["sk-other", "sk-operator2", "SK-OPERATOR", "none"])
async def test_the_sdk_with_another_key_raises_its_authentication_error(
    key: str, keyed: Facade, fake: FakeUpstream
) -> None:
    async with client(keyed, key) as sdk:
        with pytest.raises(AuthenticationError) as caught:
            await sdk.models.list()
        with pytest.raises(AuthenticationError):
            await sdk.embeddings.create(model="ollama/llama3.1", input="Hi")
    assert ("invalid_api_key", 401) == (caught.value.code, caught.value.status_code)
    assert key not in caught.value.message
    assert caught.value.request_id
    assert [] == fake.requests


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": "sk-operator"},
        {"authorization": "Basic sk-operator"},
        {"authorization": "Bearer sk-operator, Bearer sk-operator"},
        {"authorization": "Bearer \u00e9\u00ff"},
        {"authorization": "Bearer " + "x" * 60_000},
        {"authorization": "Bearer sk-other", "x-api-key": "sk-operator"},
        {"cookie": "api-key=sk-operator"},
        {"host": "example.org"},
        {"x-forwarded-for": "127.0.0.1"},
        {"x-forwarded-host": "localhost"},
        {"x-original-url": "/livez"},
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/embeddings", "/v1/models", "/v1/models/llama3.1"])
async def test_without_its_key_nothing_of_the_api_is_open(
    path: str, headers: dict[str, str], keyed: Facade, fake: FakeUpstream
) -> None:
    method = "GET" if "models" in path else "POST"
    sent = {name.replace("-", "_"): value for name, value in headers.items()}
    answer = await ask(keyed, method, path, ASKED, **sent)
    assert_shut(answer)
    assert [] == fake.requests


@pytest.mark.parametrize("host", ["127.0.0.1/livez", "localhost/?x=", "localhost#"])
async def test_a_host_that_holds_a_path_opens_nothing(
    host: str, keyed: Facade, fake: FakeUpstream
) -> None:
    assert_shut(await ask(keyed, "POST", CHAT, ASKED, host=host))
    assert 400 == (await ask(keyed, "GET", "/v1/models", host=host)).status
    assert [] == fake.requests


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/%761/models", 401),
        ("//v1/models", 401),
        ("/v1//models", 401),
        ("/v1/models/", 401),
        ("/v1/models?path=/livez", 401),
        ("/v1/models#/livez", 401),
        ("/v1/models/..%2f..%2flivez", 401),
        ("/livez/../v1/models", 404),
        ("/livez/..%2fv1/models", 404),
        ("/v1/models;/livez", 404),
    ],
)
async def test_a_path_that_is_written_otherwise_opens_nothing(
    path: str, status: int, keyed: Facade, fake: FakeUpstream
) -> None:
    answer = await ask(keyed, "GET", path)
    assert status == answer.status
    assert [] == fake.requests


@pytest.mark.parametrize(
    "sent", ["bearer sk-operator", "BEARER sk-operator", "Bearer   sk-operator  "]
)
async def test_the_scheme_has_any_case(sent: str, keyed: Facade) -> None:
    assert 200 == (await ask(keyed, "GET", "/v1/models", authorization=sent)).status


async def test_the_last_of_two_keys_counts(keyed: Facade) -> None:
    lines = [b"authorization: Bearer sk-operator\r\n", b"authorization: Bearer sk-other\r\n"]
    for order, status in ((lines, 401), (lines[::-1], 200)):
        sent = b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n" + b"".join(order) + b"\r\n"
        async with sent_raw(keyed, sent) as conversation:
            assert status == (await answer_of(conversation)).status


async def test_the_refusal_does_not_wait_for_the_body(keyed: Facade) -> None:
    async with opened(keyed, "POST", CHAT, content_length="1000") as conversation:
        assert_shut(await answer_of(conversation))


async def test_after_a_refusal_the_connection_lives_on(keyed: Facade, fake: FakeUpstream) -> None:
    body = json.dumps(ASKED).encode()
    sent = request("POST", CHAT, body) + request(
        "POST", CHAT, body, authorization="Bearer sk-operator"
    )
    async with sent_raw(keyed, sent) as conversation:
        assert [401, 200] == [(await answer_of(conversation)).status for _ in range(2)]


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/docs", "/openapi.json"])
async def test_probes_and_documentation_ask_for_no_key_and_no_host(
    path: str, keyed: Facade
) -> None:
    assert 200 == (await ask(keyed, "GET", path, host="10.0.0.7:8080")).status


async def test_with_a_key_any_host_is_answered(keyed: Facade) -> None:
    answer = await ask(
        keyed, "GET", "/v1/models", host="llm.example.org", authorization="Bearer sk-operator"
    )
    assert 200 == answer.status


async def test_no_secret_is_logged(
    keyed: Facade, fake: FakeUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        for key in ("sk-operator", "sk-other"):
            await ask(keyed, "POST", CHAT, ASKED, authorization=f"Bearer {key}")
    assert any(CHAT in record.getMessage() for record in caplog.records)
    assert not any("sk-o" in record.getMessage() for record in caplog.records)


async def test_without_keys_any_key_is_answered(facade: Facade) -> None:
    answer = await ask(facade, "GET", "/v1/models", authorization="Bearer whatever")
    assert 200 == answer.status


# -- pages ---------------------------------------------------------------------------------


async def test_a_page_from_elsewhere_is_403_with_a_key_too(
    keyed: Facade, fake: FakeUpstream
) -> None:
    answer = await ask(
        keyed,
        "POST",
        CHAT,
        ASKED,
        origin="https://example.com",
        authorization="Bearer sk-operator",
    )
    assert (403, "origin_not_allowed") == (answer.status, answer.error["code"])
    assert [] == fake.requests


async def test_an_allowed_page_asks_first_without_its_key(
    keyed: Facade, fake: FakeUpstream
) -> None:
    preflight = await ask(
        keyed,
        "OPTIONS",
        CHAT,
        origin=PAGE,
        access_control_request_method="POST",
        access_control_request_headers="authorization",
    )
    assert (200, b"") == (preflight.status, preflight.body)
    assert "authorization" == preflight.headers["access-control-allow-headers"]
    without = await ask(keyed, "POST", CHAT, ASKED, origin=PAGE)
    assert_shut(without)
    assert PAGE == without.headers["access-control-allow-origin"]
    assert [] == fake.requests
    answer = await ask(keyed, "POST", CHAT, ASKED, origin=PAGE, authorization="Bearer sk-operator")
    assert 200 == answer.status
