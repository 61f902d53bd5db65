"""What a request, its header and its key demand of where it goes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import pytest
import pytest_asyncio

from tests.api.asking import answer_of, ask, chat, request, sent_raw
from tests.api.serving import Facade, serving, settings, upstream
from tests.fake_upstream import FakeUpstream, faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"
KEYS: Final = {
    "sk-any": "",
    "sk-near": "prefer_local = true",
    "sk-only": "local_only = true",
    "sk-far": "force_cloud = true",
}
BODIES: Final[dict[str, dict[str, Any]]] = {
    CHAT: chat("openai/llama3.1"),
    "/v1/completions": {"model": "openai/llama3.1", "prompt": "Hi"},
    "/v1/embeddings": {"model": "openai/nomic-embed-text", "input": "Hi"},
}
MIXED: Final = '["openai/llama3.1", "ollama/llama3.1"]'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mixed(
    upstreams: FakeUpstream, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Facade]:
    """`ollama` is local, `openai` is not; `mixed` is first the one that is not."""
    text = upstream("openai", upstreams.url, local="false") + upstream("ollama", upstreams.url)
    text += f"[models.mixed]\ntargets = {MIXED}\n"
    for name, demanded in KEYS.items():
        text += f'[keys.{name}]\nsecret = "{name}"\n{demanded}\n'
    said = settings(tmp_path_factory.mktemp("mixed"), text)
    async with serving(said, upstreams) as facade:
        await upstreams.came(path="/api/version")
        await upstreams.came(path="/v1/models")
        yield facade


@pytest.mark.parametrize("asked", ["mixed", "llama3.1"])
@pytest.mark.parametrize(
    ("key", "constraints", "served"),
    [
        ("sk-any", {}, "openai"),
        ("sk-any", {"prefer_local": True}, "ollama"),
        ("sk-any", {"local_only": True}, "ollama"),
        ("sk-any", {"force_cloud": True}, "openai"),
        ("sk-any", {"prefer_local": True, "force_cloud": True}, "openai"),
        ("sk-near", {}, "ollama"),
        ("sk-near", {"prefer_local": False}, "ollama"),
        ("sk-near", {"force_cloud": True}, "openai"),
        ("sk-only", {}, "ollama"),
        ("sk-only", {"local_only": False}, "ollama"),
        ("sk-only", {"force_cloud": True}, None),
        ("sk-far", {}, "openai"),
        ("sk-far", {"local_only": True}, None),
    ],
)
async def test_constraints_of_key_and_request_add_up(
    asked: str,
    key: str,
    constraints: Mapping[str, bool],
    served: str | None,
    mixed: Facade,
) -> None:
    bearer = f"Bearer {key}"
    spelled = ", ".join(f"{name}={said}".lower() for name, said in constraints.items())
    bodies = [
        await ask(mixed, "POST", CHAT, chat(asked, constraints=constraints), authorization=bearer),
        await ask(
            mixed, "POST", CHAT, chat(asked), authorization=bearer, x_facade_constraints=spelled
        ),
    ]
    for answer in bodies:
        if served is None:
            assert (403, "constraints_unmet") == (answer.status, answer.error["code"])
        else:
            assert (200, served) == (answer.status, answer.headers["x-facade-upstream"])


async def test_the_others_are_still_tried_where_local_ones_are_only_preferred(
    mixed: Facade, fake: FakeUpstream
) -> None:
    fake.fault(faults.Status(500), path="/api/chat", times=None)
    answer = await ask(mixed, "POST", CHAT, chat("mixed"), authorization="Bearer sk-near")
    assert (200, "openai") == (answer.status, answer.headers["x-facade-upstream"])
    fake.reset()


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("said", [{"force_cloud": True}, {}, None], ids=str)
async def test_no_upstream_sees_them(
    path: str, said: object, mixed: Facade, fake: FakeUpstream
) -> None:
    sent = {**BODIES[path], "constraints": said, "seed": 7}
    header = "prefer_local"
    answer = await ask(
        mixed, "POST", path, sent, authorization="Bearer sk-any", x_facade_constraints=header
    )
    assert 200 == answer.status
    assert 7 == fake.last.json["seed"]
    assert "constraints" not in fake.last.json
    assert "x-facade-constraints" not in fake.last.headers


@pytest.mark.parametrize(
    ("said", "param"),
    [
        ({"local": True}, "constraints"),
        ({"local_only": "yes"}, "constraints.local_only"),
        ({"local_only": 1}, "constraints.local_only"),
        ({"local_only": None}, "constraints.local_only"),
        ([], "constraints"),
        ("local_only", "constraints"),
        ({"local_only": True, "force_cloud": True}, "constraints"),
    ],
    ids=str,
)
@pytest.mark.parametrize("path", BODIES)
async def test_a_constraint_that_is_not_understood_is_a_400_and_nothing_is_sent(
    path: str, said: object, param: str, mixed: Facade, fake: FakeUpstream
) -> None:
    sent = {**BODIES[path], "constraints": said}
    answer = await ask(mixed, "POST", path, sent, authorization="Bearer sk-any")
    assert (400, param) == (answer.status, answer.error["param"])
    assert [] == fake.requests


@pytest.mark.parametrize(
    ("said", "param"),
    [
        ("local", "x-facade-constraints"),
        ("local_only=yes", "x-facade-constraints"),
        ("local_only,", "x-facade-constraints"),
        (",", "x-facade-constraints"),
        ("local_only prefer_local", "x-facade-constraints"),
        ('{"local_only": true}', "x-facade-constraints"),
        ("Local_Only", "x-facade-constraints"),
        ("\u00e9", "x-facade-constraints"),
        ("local_only, local_only=false", "x-facade-constraints"),
        ("local_only=" + "1" * 5000, "x-facade-constraints"),
        ("local_only, force_cloud", "constraints"),
    ],
)
async def test_a_header_that_is_not_understood_is_a_400_and_nothing_is_sent(
    said: str, param: str, mixed: Facade, fake: FakeUpstream
) -> None:
    answer = await ask(
        mixed, "POST", CHAT, chat("mixed"), authorization="Bearer sk-any", x_facade_constraints=said
    )
    assert (400, param) == (answer.status, answer.error["param"])
    assert [] == fake.requests


@pytest.mark.parametrize(
    "said", ["local_only", " local_only = True ", "local_only=1", "local_only=TRUE"]
)
async def test_a_header_may_be_spelled_in_several_ways(said: str, mixed: Facade) -> None:
    answer = await ask(
        mixed, "POST", CHAT, chat("mixed"), authorization="Bearer sk-any", x_facade_constraints=said
    )
    assert "ollama" == answer.headers["x-facade-upstream"]


async def test_the_sdk_says_them_in_its_extra_body(mixed: Facade) -> None:
    async with mixed.sdk() as sdk:
        answer = await sdk.with_options(api_key="sk-any").chat.completions.with_raw_response.create(
            model="mixed",
            messages=[{"role": "user", "content": "Hi"}],
            extra_body={"constraints": {"local_only": True}},
        )
    assert "ollama" == answer.headers["x-facade-upstream"]


async def test_a_header_on_several_lines_is_one(mixed: Facade) -> None:
    body = json.dumps(chat("mixed")).encode()
    for lines, status in (
        (["local_only", "prefer_local"], 200),
        (["prefer_local", "local_only"], 200),
        (["local_only", "local_only=false"], 400),
        (["local_only", "nothing"], 400),
    ):
        head = request("POST", CHAT, body, authorization="Bearer sk-any")[: -len(body) - 2]
        more = "".join(f"x-facade-constraints: {line}\r\n" for line in lines).encode()
        async with sent_raw(mixed, head + more + b"\r\n" + body) as conversation:
            answer = await answer_of(conversation)
        assert status == answer.status
        assert status == 400 or "ollama" == answer.headers["x-facade-upstream"]


async def test_body_and_header_together_take_nothing_back_from_the_key(mixed: Facade) -> None:
    answer = await ask(
        mixed,
        "POST",
        CHAT,
        chat("openai/llama3.1", constraints={"local_only": False}),
        authorization="Bearer sk-only",
        x_facade_constraints="local_only=false",
    )
    assert 403 == answer.status
