"""Which models there are, under which names, and where a name leads."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import openai
import pytest

from facade import discovery
from tests.api.asking import Answer, ask, chat
from tests.api.serving import Facade, both, serving, settings, upstream
from tests.fake_upstream import FakeUpstream, Model, Pause, document, faults
from tests.fake_upstream.answers import Answer as Sent

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"
LIST: Final = "/v1/models"
LISTINGS: Final = {"ollama": "/api/tags", "openai": "/v1/models"}
ALIASES: Final = """
[models.assistant]
targets = ["openai/llama3.1", "ollama/qwen3"]
[models."team/assistant:v1"]
targets = ["ollama/llama3.1"]
[models."gpt-*"]
targets = ["openai/gpt-*"]
[models."*-local"]
targets = ["ollama/*"]
[models."x-*-y"]
targets = ["ollama/qwen3"]
"""


def ids(answer: Answer) -> list[str]:
    assert {"object": "list", "data": answer.json["data"]} == answer.json
    return [model["id"] for model in answer.json["data"]]


async def test_models_are_aliases_and_then_what_upstreams_list(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    async with serving(settings(tmp_path, both(fake) + ALIASES), fake) as facade:
        answer = await ask(facade, "GET", LIST)
        async with facade.sdk() as sdk:
            listed = [model.id async for model in sdk.models.list()]
    assert [
        "assistant",
        "team/assistant:v1",
        "llama3.1:latest",
        "qwen3:latest",
        "llava:latest",
        "nomic-embed-text:latest",
    ] == ids(answer)
    assert listed == ids(answer)
    for model in answer.json["data"]:
        assert {"id", "object", "created", "owned_by"} == model.keys()
        assert ("model", int) == (model["object"], type(model["created"]))
    owners = {model["id"]: model["owned_by"] for model in answer.json["data"]}
    assert ("facade", "library") == (owners["assistant"], owners["llama3.1:latest"])


async def test_no_models_are_an_empty_list(tmp_path: Path, dialect: str) -> None:
    async with (
        FakeUpstream(models=()) as empty,
        serving(settings(tmp_path, upstream(dialect, empty.url)), empty) as facade,
    ):
        assert [] == ids(await ask(facade, "GET", LIST))
        empty.script(LISTINGS[dialect], document({"models": None, "data": []}))
        assert 404 == (await ask(facade, "GET", f"{LIST}/x")).status


ODD: Final = (
    "hf.co/org/model:Q4_K_M",
    "a/b/c:latest",
    "Model With Blanks",
    "100%2Fsure",
    "ünï:code",
    "question?mark",
)


@pytest.mark.parametrize("name", ODD)
async def test_any_id_can_be_asked_for(tmp_path: Path, dialect: str, name: str) -> None:
    async with (
        FakeUpstream(models=[Model(name)]) as odd,
        serving(settings(tmp_path, upstream(dialect, odd.url)), odd) as facade,
        facade.sdk() as sdk,
    ):
        assert [name] == ids(await ask(facade, "GET", LIST))
        assert name == (await sdk.models.retrieve(name)).id
        if name == name.removesuffix(":latest"):
            assert f"{name}:latest" == (await sdk.models.retrieve(f"{name}:latest")).id
        answer = await sdk.chat.completions.create(**chat(name))
        assert "You said: Hi" == answer.choices[0].message.content


async def test_slashes_and_colons_may_be_written_as_they_are_or_escaped(tmp_path: Path) -> None:
    name = "hf.co/org/model:latest"
    async with (
        FakeUpstream(models=[Model(name)]) as fake,
        serving(settings(tmp_path, upstream("ollama", fake.url)), fake) as facade,
    ):
        for path in (name, "hf.co%2Forg%2Fmodel%3Alatest", "hf.co/org%2fmodel"):
            answer = await ask(facade, "GET", f"{LIST}/{path}")
            assert (200, "model") == (answer.status, answer.json["object"])
            assert name.startswith(answer.json["id"])
        for path in ("hf.co%252Forg%252Fmodel", "hf.co/org", "org/model"):
            assert 404 == (await ask(facade, "GET", f"{LIST}/{path}")).status


@pytest.mark.parametrize("name", ["llama3.1", "llama3.1:latest"])
async def test_x_is_x_latest(facade: Facade, dialect: str, name: str) -> None:
    for asked in (name, f"{dialect}/{name}"):
        assert asked == (await ask(facade, "GET", f"{LIST}/{asked}")).json["id"]
        answer = await ask(facade, "POST", CHAT, chat(asked))
        assert (200, name) == (answer.status, answer.headers["x-facade-model"])


@pytest.mark.parametrize(
    ("name", "leads_to"),
    [
        ("assistant", "openai llama3.1"),
        ("assistant:latest", "openai llama3.1"),
        ("team/assistant:v1", "ollama llama3.1"),
        ("gpt-4o", "openai gpt-4o"),
        ("gpt-", "openai gpt-"),
        ("qwen3-local", "ollama qwen3"),
        ("qwen3-local:latest", "ollama qwen3"),
        ("gpt-4o:latest", "openai gpt-4o:latest"),
        ("gpt-local", "openai gpt-local"),
        ("x-1-y", "ollama qwen3"),
        ("x--y", "ollama qwen3"),
        ("openai/qwen3", "openai qwen3"),
        ("openai/gpt-*", "openai gpt-*"),
        ("ollama/a/b:c", "ollama a/b:c"),
        ("llava", "ollama llava"),
    ],
)
async def test_a_name_leads_to_its_target(
    fake: FakeUpstream, tmp_path: Path, name: str, leads_to: str
) -> None:
    async with serving(settings(tmp_path, both(fake) + ALIASES), fake) as facade:
        await ask(facade, "GET", LIST)
        answer = await ask(facade, "POST", CHAT, chat(name))
        target = f"{answer.headers['x-facade-upstream']} {answer.headers['x-facade-model']}"
        assert leads_to == target
        retrieved = await ask(facade, "GET", f"{LIST}/{name}")
    assert answer.status == retrieved.status


@pytest.mark.parametrize("name", ["nope", "x-y", "assistant:v2", "nobody/llama3.1", "ollama/", "/"])
async def test_a_name_that_nobody_has_is_404(fake: FakeUpstream, tmp_path: Path, name: str) -> None:
    async with serving(settings(tmp_path, both(fake) + ALIASES), fake) as facade:
        for streamed in (False, True):
            answer = await ask(facade, "POST", CHAT, chat(name, stream=streamed))
            assert (404, "model", "model_not_found") == (
                answer.status,
                answer.error["param"],
                answer.error["code"],
            )
        async with facade.sdk() as sdk:
            with pytest.raises(openai.NotFoundError) as caught:
                await sdk.models.retrieve(f"{name}x")
    assert "model_not_found" == caught.value.code
    assert [] == fake.requests_to("/api/chat")


async def test_a_name_of_too_many_bytes_is_none(fake: FakeUpstream, tmp_path: Path) -> None:
    async with serving(settings(tmp_path, both(fake) + ALIASES), fake) as facade:
        told = [await ask(facade, "GET", f"{LIST}/x-{'n' * (size - 4)}-y") for size in (512, 513)]
    assert [200, 404] == [answer.status for answer in told]
    assert "model_not_found" == told[1].error["code"]


# -- listings ------------------------------------------------------------------------------


async def test_500_requests_for_an_unknown_model_make_one_refresh_a_second(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    async with serving(settings(tmp_path, both(fake)), fake) as facade:
        await ask(facade, "GET", LIST)
        await asyncio.sleep(1)  # a listing is asked again once a second at most
        fake.reset()
        body, began = chat("nope"), asyncio.get_running_loop().time()
        answers = await asyncio.gather(*(ask(facade, "POST", CHAT, body) for _ in range(500)))
        most = 1 + int(asyncio.get_running_loop().time() - began)  # a slow machine takes seconds
    assert {404} == {answer.status for answer in answers}
    assert all(1 <= len(fake.requests_to(path)) <= most for path in LISTINGS.values())


async def test_a_model_that_has_come_since_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "_REFRESH_AT_MOST_EVERY", 0)
    async with (
        FakeUpstream(models=()) as growing,
        serving(settings(tmp_path, upstream("ollama", growing.url)), growing) as facade,
    ):
        assert 404 == (await ask(facade, "POST", CHAT, chat("new"))).status
        growing.models.listed["new:latest"] = Model("new:latest")
        assert 200 == (await ask(facade, "POST", CHAT, chat("new"))).status


async def test_an_upstream_that_cannot_be_listed_is_tried(tmp_path: Path, dialect: str) -> None:
    async with FakeUpstream() as fake:
        fake.fault(faults.Status(500), times=None, path=LISTINGS[dialect])
        async with serving(settings(tmp_path, upstream(dialect, fake.url)), fake) as facade:
            answer = await ask(facade, "POST", CHAT, chat("llama3.1"))
            assert 200 == answer.status
            unknown = await ask(facade, "POST", CHAT, chat("nope"))
            assert (404, "model_not_found") == (unknown.status, unknown.error["code"])
            assert "nope" == unknown.headers["x-facade-model"]  # it was the upstream who said so


async def test_without_any_listing_the_reason_is_told(tmp_path: Path, dialect: str) -> None:
    async with FakeUpstream() as fake:
        fake.fault(faults.Html(), times=None, path=LISTINGS[dialect])
        async with serving(settings(tmp_path, upstream(dialect, fake.url)), fake) as facade:
            for path in (LIST, f"{LIST}/llama3.1"):
                answer = await ask(facade, "GET", path)
                assert (502, "upstream_broken") == (answer.status, answer.error["code"])
            ready = (await ask(facade, "GET", "/readyz")).json
    assert {"status": "ready", "upstreams": {dialect: "down"}} == ready


async def test_a_listing_holds_while_its_upstream_is_down(
    fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "_REFRESH_AT_MOST_EVERY", 0)
    async with FakeUpstream(models=[Model("brief:latest")]) as falling:
        text = upstream("ollama", falling.url) + upstream("openai", fake.url)
        async with serving(settings(tmp_path, text), fake) as facade:
            assert "brief:latest" in ids(await ask(facade, "GET", LIST))
            await falling.stop()
            assert "brief:latest" in ids(await ask(facade, "GET", LIST))
            assert 200 == (await ask(facade, "GET", f"{LIST}/brief")).status
            ready = (await ask(facade, "GET", "/readyz")).json
            answer = await ask(facade, "POST", CHAT, chat("brief"))
            falling.port = 0
            await falling.start()
    assert {"ollama": "down", "openai": "up"} == ready["upstreams"]
    assert (503, "upstream_unavailable") == (answer.status, answer.error["code"])


async def test_aliases_are_listed_with_every_upstream_down(tmp_path: Path) -> None:
    async with FakeUpstream() as gone:
        text = both(gone) + ALIASES
    async with serving(settings(tmp_path, text), gone) as facade:
        assert ["assistant", "team/assistant:v1"] == ids(await ask(facade, "GET", LIST))
        assert 200 == (await ask(facade, "GET", f"{LIST}/assistant")).status
        answer = await ask(facade, "GET", f"{LIST}/other")
        assert (503, "upstream_unavailable") == (answer.status, answer.error["code"])


async def test_a_client_that_leaves_ends_no_refresh_of_others(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    slow = Sent(200, pause=Pause(), body=(b'{"models":[{"name":"late:latest"}]}',))
    fake.script("/api/tags", slow)
    async with serving(settings(tmp_path, upstream("ollama", fake.url)), fake) as facade:
        await fake.came(path="/api/tags")
        first = asyncio.create_task(ask(facade, "POST", CHAT, chat("late")))
        second = asyncio.create_task(ask(facade, "GET", LIST))
        await facade.until(lambda: facade.requests == 2)
        first.cancel()
        await facade.until(lambda: facade.requests == 1)
        fake.release()
        assert ["late:latest"] == ids(await second)
    assert 1 == len(fake.requests_to("/api/tags"))


async def test_what_a_model_can_do_is_asked_once_and_only_where_it_matters(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    url = "data:image/png;base64,iVBORw0KGgo="
    seen = [{"type": "image_url", "image_url": {"url": url}}]
    async with serving(settings(tmp_path, upstream("ollama", fake.url)), fake) as facade:
        for model, status in (("llava", 200), ("llama3.1", 400), ("llava", 200), ("llava", 200)):
            body = chat(model, messages=[{"role": "user", "content": seen}])
            answer = await ask(facade, "POST", CHAT, body)
            assert status == answer.status
        assert 200 == (await ask(facade, "POST", CHAT, chat("qwen3"))).status
    asked = [request.json["model"] for request in fake.requests_to("/api/show")]
    assert ["llava", "llama3.1"] == asked


async def test_facts_that_cannot_be_asked_forbid_nothing(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    fake.fault(faults.Status(500), path="/api/show", times=None)
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    async with serving(settings(tmp_path, upstream("ollama", fake.url)), fake) as facade:
        body = chat("llama3.1", messages=[{"role": "user", "content": [part]}])
        assert 200 == (await ask(facade, "POST", CHAT, body)).status
