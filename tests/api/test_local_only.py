"""With local_only a cloud sees nothing, whatever fails and whoever chose the target."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from facade import discovery, planning, routing
from facade.config import Settings
from tests.api.asking import Answer, ask, chat
from tests.api.serving import serving, settings, upstream
from tests.fake_upstream import FakeUpstream, Model, faults
from tests.fake_upstream.answers import Answer as Sent
from tests.faults.observed import COLUMNS, Terms, fakes, observe
from tests.faults.rows import ROWS

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"
ONLY: Final = {"local_only": True}
KEY: Final = '[keys.agents]\nsecret = "sk-agents"\nlocal_only = true\n'
BEARER: Final = "Bearer sk-agents"
FAR: Final = "local = false\n"
BY_KEY: Final = Terms(FAR, KEY, headers={"authorization": BEARER})
BY_REQUEST: Final = {
    "body": Terms(FAR, fields={"constraints": ONLY}),
    "header": Terms(FAR, headers={"x_facade_constraints": "local_only"}),
}


def unmet(answer: Answer) -> bool:
    told = (answer.status, answer.error["type"], answer.error["code"])
    return told == (403, "permission_error", "constraints_unmet")


# -- the fault matrix, with a cloud behind the local target ---------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def targets() -> AsyncIterator[tuple[FakeUpstream, FakeUpstream]]:
    local, cloud = fakes()
    async with local, cloud:
        yield local, cloud


@pytest.mark.parametrize("name", ROWS)
async def test_a_cloud_sees_no_connection_under_any_fault_by_a_key(
    name: str, targets: tuple[FakeUpstream, FakeUpstream], tmp_path: Path
) -> None:
    local, cloud = targets
    row = ROWS[name]
    before = cloud.connections
    alone = {column: row.cell("alone", *column[1:]) for column in COLUMNS}
    assert alone == await observe(row, tmp_path, local, cloud, BY_KEY)
    assert before == cloud.connections


@pytest.mark.parametrize("said", BY_REQUEST)
@pytest.mark.parametrize("name", ROWS)
async def test_a_cloud_sees_no_call_under_any_fault_by_request(
    name: str, said: str, targets: tuple[FakeUpstream, FakeUpstream], tmp_path: Path
) -> None:
    local, cloud = targets
    row = ROWS[name]
    alone = {column: row.cell("alone", *column[1:]) for column in COLUMNS}
    assert alone == await observe(row, tmp_path, local, cloud, BY_REQUEST[said])
    # Others may reach it, so it is listed when the facade starts.
    assert {"/v1/models", "/api/tags", "/api/version"} >= {each.path for each in cloud.requests}


# -- whoever is wrong about a target --------------------------------------------------------


def both(folder: Path, local: FakeUpstream, cloud: FakeUpstream, more: str = KEY) -> Settings:
    """A local upstream `ollama`, a cloud `openai`, and an alias for each and for both."""
    text = upstream("ollama", local.url) + upstream("openai", cloud.url, local="false") + more
    text += '[models.here]\ntargets = ["ollama/llama3.1"]\n'
    text += '[models.there]\ntargets = ["openai/llama3.1"]\n'
    text += '[models.both]\ntargets = ["openai/llama3.1", "ollama/llama3.1"]\n'
    return settings(folder, text)


@pytest.mark.parametrize("asked", ["there", "openai/llama3.1"])
async def test_what_has_no_local_target_is_403_and_is_sent_nowhere(
    asked: str, targets: tuple[FakeUpstream, FakeUpstream], tmp_path: Path
) -> None:
    local, cloud = targets
    before = cloud.connections
    async with serving(both(tmp_path, local, cloud), local) as facade:
        for path, body in ((CHAT, chat(asked)), ("/v1/embeddings", {"model": asked, "input": "a"})):
            answer = await ask(facade, "POST", path, body, authorization=BEARER)
            assert unmet(answer)
            assert "local_only" in answer.error["message"]
            assert "x-should-retry" not in answer.headers
    assert before == cloud.connections


async def test_the_local_target_of_a_chain_answers_wherever_it_stands(tmp_path: Path) -> None:
    async with FakeUpstream() as local, FakeUpstream() as cloud:
        async with serving(both(tmp_path, local, cloud), local) as facade:
            answer = await ask(facade, "POST", CHAT, chat("both"), authorization=BEARER)
        assert (200, "ollama") == (answer.status, answer.headers["x-facade-upstream"])
        assert 0 == cloud.connections


async def test_a_bug_in_routing_leaks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "allowed", lambda routes, _: routes)
    monkeypatch.setattr(routing, "within", lambda plan, _: plan)
    monkeypatch.setattr(discovery.Listing, "stays", lambda *_: True)
    async with FakeUpstream() as local, FakeUpstream() as cloud:
        async with serving(both(tmp_path, local, cloud), local) as facade:
            for streamed in (False, True):
                body = chat("there", stream=streamed)
                answer = await ask(facade, "POST", CHAT, body, authorization=BEARER)
                assert unmet(answer)
            answer = await ask(facade, "POST", CHAT, chat("both"), authorization=BEARER)
            assert (200, "ollama") == (answer.status, answer.headers["x-facade-upstream"])
        assert 0 == cloud.connections


async def test_a_redirect_of_a_local_upstream_is_not_followed(tmp_path: Path) -> None:
    async with FakeUpstream() as local, FakeUpstream() as cloud:
        away = {"location": f"{cloud.url}/api/chat", "content-length": "0"}
        local.script("/api/chat", *[Sent(status, away) for status in (301, 302, 307, 308)])
        async with serving(both(tmp_path, local, cloud), local) as facade:
            body = chat("ollama/llama3.1")
            for _ in range(4):
                answer = await ask(facade, "POST", CHAT, body, authorization=BEARER)
                assert (502, "upstream_broken") == (answer.status, answer.error["code"])
        assert 0 == cloud.connections


# -- models that a local server passes on ---------------------------------------------------


@pytest.mark.parametrize("name", ["big:1t-cloud", "big:cloud", "big:Cloud", "big-cloud"])
async def test_a_model_that_is_named_as_a_cloud_s_is_never_local(name: str, tmp_path: Path) -> None:
    async with FakeUpstream([Model(name)]) as local, FakeUpstream() as cloud:
        async with serving(both(tmp_path, local, cloud), local) as facade:
            for asked in (name, f"ollama/{name}"):
                answer = await ask(facade, "POST", CHAT, chat(asked), authorization=BEARER)
                assert unmet(answer)
        assert [] == local.requests_to("/api/chat") + local.requests_to("/api/show")


async def test_a_model_that_its_server_calls_remote_is_never_local(tmp_path: Path) -> None:
    disguised = [Model("mine:latest", remote="big:1t"), Model("llama3.1:latest")]
    async with FakeUpstream(disguised) as local, FakeUpstream() as cloud:
        chain = '[models.m]\ntargets = ["ollama/mine", "ollama/llama3.1"]\n'
        async with serving(both(tmp_path, local, cloud, KEY + chain), local) as facade:
            for asked in ("mine", "ollama/mine", "ollama/mine:latest"):
                answer = await ask(facade, "POST", CHAT, chat(asked), authorization=BEARER)
                assert unmet(answer)
            answer = await ask(facade, "POST", CHAT, chat("m"), authorization=BEARER)
            assert "llama3.1" == answer.headers["x-facade-model"]
        assert ["llama3.1"] == [each.json["model"] for each in local.requests_to("/api/chat")]


async def test_a_model_whose_place_cannot_be_asked_is_not_local(tmp_path: Path) -> None:
    async with FakeUpstream() as local, FakeUpstream() as cloud:
        local.fault(faults.Status(500), path="/api/show", times=None)
        async with serving(both(tmp_path, local, cloud), local) as facade:
            for asked in ("llama3.1", "here"):
                answer = await ask(facade, "POST", CHAT, chat(asked), authorization=BEARER)
                assert 500 == answer.status
        assert [] == local.requests_to("/api/chat")


async def test_where_a_model_is_is_asked_once_for_all(tmp_path: Path) -> None:
    async with FakeUpstream() as local, FakeUpstream() as cloud:
        async with serving(both(tmp_path, local, cloud), local) as facade:
            await local.came(path="/api/version")  # the listing is there
            for _ in range(5):
                answer = await ask(facade, "POST", CHAT, chat("here"), authorization=BEARER)
                assert 200 == answer.status
        assert 1 == len(local.requests_to("/api/show"))


# -- names and listings ---------------------------------------------------------------------


async def test_only_what_can_be_asked_for_is_listed(tmp_path: Path) -> None:
    models = [Model("near:latest"), Model("big:cloud"), Model("mine:latest", remote="big:1t")]
    async with FakeUpstream(models) as local, FakeUpstream([Model("far:latest")]) as cloud:
        async with serving(both(tmp_path, local, cloud), local) as facade:
            answer = await ask(facade, "GET", "/v1/models", authorization=BEARER)
            one = await ask(facade, "GET", "/v1/models/far", authorization=BEARER)
        assert ["here", "both", "near:latest"] == [each["id"] for each in answer.json["data"]]
        assert 404 == one.status
        assert 0 == cloud.connections


async def test_a_name_that_nobody_here_has_is_asked_of_nobody_else(tmp_path: Path) -> None:
    far = [Model("far:latest"), Model("llama3.1:latest")]
    async with FakeUpstream() as local, FakeUpstream(far) as cloud:
        free = '[keys.free]\nsecret = "sk-free"\n'
        async with serving(both(tmp_path, local, cloud, KEY + free), local) as facade:
            await cloud.came(path="/v1/models")
            await local.came(path="/api/version")
            cloud.reset()
            answer = await ask(facade, "POST", CHAT, chat("nope"), authorization=BEARER)
            assert (404, "model_not_found") == (answer.status, answer.error["code"])
            for name in ("nope", "llama3", "openai/llama3.1", "there", "far"):
                answer = await ask(facade, "GET", f"/v1/models/{name}", authorization=BEARER)
                assert (404, "model_not_found") == (answer.status, answer.error["code"])
            both_see = await ask(facade, "GET", "/v1/models/llama3.1", authorization=BEARER)
            assert 200 == both_see.status
        assert [] == cloud.requests
