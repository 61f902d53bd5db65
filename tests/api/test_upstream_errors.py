"""An upstream that refuses: its status, and the status, type, code and exception it becomes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, NamedTuple

import openai
import pytest
from openai import APIStatusError, AsyncOpenAI

from facade import upstreams
from facade.deadlines import Timeouts
from tests.api.asking import ask, chat
from tests.api.serving import Facade, serving, settings, upstream
from tests.fake_upstream import Answer, FakeUpstream, Pause, faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"
_CALLER, _SERVER = "invalid_request_error", "server_error"


class Said(NamedTuple):
    """What the client is told: `kind` is the error's type; `raised` what the SDK makes of it."""

    status: int
    kind: str
    code: str | None
    raised: type[APIStatusError]


AUTH: Final = Said(502, _SERVER, "upstream_auth", openai.InternalServerError)
GATEWAY: Final = Said(502, _SERVER, "bad_gateway", openai.InternalServerError)
BUSY: Final = Said(503, _SERVER, "server_overloaded", openai.InternalServerError)
LATE: Final = Said(504, _SERVER, "upstream_timeout", openai.InternalServerError)
BROKEN: Final = Said(502, _SERVER, "upstream_broken", openai.InternalServerError)
LIMITED: Final = Said(429, "rate_limit_error", "rate_limit_exceeded", openai.RateLimitError)
UNPAID: Final = Said(402, "insufficient_quota", "insufficient_quota", APIStatusError)


def rejected(status: int, raised: type[APIStatusError]) -> Said:
    return Said(status, _CALLER, None, raised)


def failed(status: int) -> Said:
    return Said(status, _SERVER, "upstream_error", openai.InternalServerError)


STATUSES: Final = {
    "ollama": {
        201: BROKEN,
        204: BROKEN,
        301: BROKEN,
        400: rejected(400, openai.BadRequestError),
        401: AUTH,
        402: UNPAID,
        403: AUTH,
        404: GATEWAY,
        405: GATEWAY,
        408: LATE,
        409: rejected(409, openai.ConflictError),
        413: rejected(413, APIStatusError),
        418: rejected(418, APIStatusError),
        422: rejected(422, openai.UnprocessableEntityError),
        429: LIMITED,
        499: GATEWAY,
        500: failed(500),
        501: failed(501),
        502: GATEWAY,
        503: BUSY,
        504: LATE,
        600: BROKEN,
    },
    "openai": {
        201: BROKEN,
        204: BROKEN,
        307: BROKEN,
        400: rejected(400, openai.BadRequestError),
        401: AUTH,
        402: UNPAID,
        403: AUTH,
        404: rejected(404, openai.NotFoundError),
        408: LATE,
        409: rejected(409, openai.ConflictError),
        413: rejected(413, APIStatusError),
        422: rejected(422, openai.UnprocessableEntityError),
        429: LIMITED,
        500: failed(500),
        502: GATEWAY,
        503: BUSY,
        504: LATE,
        529: BUSY,
        600: BROKEN,
        999: BROKEN,
    },
}


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("dialect", "status"),
    [(dialect, status) for dialect, rows in STATUSES.items() for status in rows],
)
async def test_an_upstreams_status_becomes_its_exception(
    dialect: str, status: int, streamed: bool, sdk: AsyncOpenAI, facade: Facade
) -> None:
    said = STATUSES[dialect][status]
    body = None if 400 <= status < 600 else ""
    if dialect == "openai" and said.kind == _CALLER:
        body = json.dumps({"error": {"message": "no", "type": _CALLER}})
    facade.fake.fault(faults.Status(status, body))
    with pytest.raises(said.raised) as caught:
        await sdk.chat.completions.create(**chat(f"{dialect}/llama3.1", stream=streamed))
    error = caught.value
    assert said == Said(error.status_code, error.type or "", error.code, type(error))
    assert error.request_id == error.response.headers["x-request-id"]
    assert dialect == error.response.headers["x-facade-upstream"]
    pointless = said.code == "upstream_auth" or (
        said.status < 500 and said.status not in {409, 429}
    )
    assert ("false" if pointless else None) == error.response.headers.get("x-should-retry")


@pytest.mark.parametrize(
    ("seconds", "headers"),
    [
        ("7", {"retry-after": "7", "retry-after-ms": "7000"}),
        ("0.25", {"retry-after": "1", "retry-after-ms": "250"}),
        ("61", {"retry-after": "61", "retry-after-ms": "61000", "x-should-retry": "false"}),
    ],
)
async def test_a_retry_after_is_passed_on_and_a_long_one_forbids_retrying(
    seconds: str, headers: dict[str, str], model: str, facade: Facade
) -> None:
    facade.fake.fault(faults.Status(429, headers={"retry-after": seconds}))
    answer = await ask(facade, "POST", CHAT, chat(model))
    names = ("retry-after", "retry-after-ms", "x-should-retry")
    assert headers == {name: answer.headers[name] for name in names if name in answer.headers}


@pytest.mark.parametrize(
    ("status", "error", "asked"),
    [
        (429, {"message": "Slow down"}, 3),
        (429, {"message": "m", "code": "insufficient_quota"}, 1),
        (429, {"message": "Request too large: Limit 5, Requested 6"}, 1),
        (429, {"message": "Limit of requests per day reached, try again in 1s"}, 1),
        (429, {"message": "m", "code": "3505"}, 3),
        (498, {"message": "m"}, 3),
        (424, {"message": "m"}, 3),
        (402, {"message": "m"}, 1),
        (403, {"message": "m"}, 1),
        (400, {"message": "m"}, 1),
    ],
)
async def test_the_sdk_tries_again_only_where_it_may_help(
    status: int, error: dict[str, str], asked: int, sdk: AsyncOpenAI, facade: Facade
) -> None:
    body = json.dumps({"error": error})
    facade.fake.fault(faults.Status(status, body, {"retry-after-ms": "1"}), times=3)
    with pytest.raises(APIStatusError):
        await sdk.with_options(max_retries=2).chat.completions.create(**chat("openai/llama3.1"))
    assert asked == len(facade.fake.requests)


async def test_the_upstreams_own_word_on_trying_again_is_obeyed(
    sdk: AsyncOpenAI, facade: Facade
) -> None:
    for status, said, asked in ((400, "true", 3), (500, "false", 1)):
        facade.fake.reset()
        headers = {"x-should-retry": said, "retry-after-ms": "1"}
        facade.fake.fault(faults.Status(status, headers=headers), times=3)
        with pytest.raises(APIStatusError):
            await sdk.with_options(max_retries=2).chat.completions.create(**chat("openai/llama3.1"))
        assert asked == len(facade.fake.requests)


HALF: Final = b'{"error":{"message":"Slow'


@pytest.mark.parametrize(
    "sent",
    [
        Answer(429, {"retry-after": "7"}, (HALF, b" down"), ends="cut"),
        Answer(429, {"retry-after": "7"}, (HALF,), framing="chunked", ends="reset"),
        Answer(429, {"retry-after": "7"}, (HALF, *(b"x" * 65_536,) * 20)),
        Answer(429, {"retry-after": "7"}, (HALF, Pause(), b" down")),
    ],
    ids=["cut", "reset", "endless", "stalled"],
)
async def test_an_error_whose_body_breaks_off_keeps_its_status(
    sent: Answer, dialect: str, model: str, facade: Facade, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstreams, "_SLOWEST_ERROR", Timeouts(total=0.05))
    facade.fake.script({"ollama": "/api/chat", "openai": CHAT}[dialect], sent)
    answer = await ask(facade, "POST", CHAT, chat(model))
    assert (429, "rate_limit_exceeded") == (answer.status, answer.error["code"])
    assert "7" == answer.headers["retry-after"]


async def test_an_upstream_that_is_not_there_is_503(
    fake: FakeUpstream, tmp_path: Path, dialect: str
) -> None:
    async with FakeUpstream() as gone:
        url = gone.url
    async with serving(settings(tmp_path, upstream(dialect, url)), fake) as facade:
        for streamed in (False, True):
            answer = await ask(facade, "POST", CHAT, chat(f"{dialect}/m", stream=streamed))
            assert (503, "upstream_unavailable") == (answer.status, answer.error["code"])
            assert "the connection was refused" in answer.error["message"]


SIGN_IN: Final = b'{"error":"unauthorized","signin_url":"https://ollama.com/connect?name=x"}'


async def test_where_to_sign_in_is_kept(facade: Facade) -> None:
    facade.fake.script("/api/chat", Answer(401, {"content-type": "application/json"}, (SIGN_IN,)))
    answer = await ask(facade, "POST", CHAT, chat("ollama/llama3.1"))
    assert 502 == answer.status
    assert "https://ollama.com/connect?name=x" in answer.error["message"]


async def test_the_clouds_words_keep_no_key(facade: Facade) -> None:
    said = b'{"error":{"message":"Incorrect API key provided: sk-abcdef0123456789abcdef"}}'
    facade.fake.script(CHAT, Answer(401, {"content-type": "application/json"}, (said,)))
    answer = await ask(facade, "POST", CHAT, chat("openai/llama3.1"))
    assert (502, "upstream_auth") == (answer.status, answer.error["code"])
    assert b"sk-abc" not in answer.body
