"""Targets that cannot serve a request are put aside, as far as it is known without generating."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from tests.api.asking import Answer, ask, chat
from tests.api.chains import Pair, calls, provenance
from tests.api.serving import Facade, serving, settings
from tests.fake_upstream import FakeUpstream, Model, document, faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"
TOOL: Final = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
IMAGE: Final = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
SEEN: Final = [{"role": "user", "content": [{"type": "text", "text": "Hi"}, IMAGE]}]
LONG: Final = [{"role": "user", "content": "word " * 4000}]  # surely 2500 tokens


def chain(folder: Path, one: FakeUpstream, two: FakeUpstream, **more: str) -> Any:  # noqa: ANN401
    """`assistant`: first Ollama's, then the one of an OpenAI-shaped upstream."""
    first, said = more.get("model", "llama3.1"), more.get("ollama", "")
    return settings(
        folder,
        f'[upstreams.ollama]\ndialect = "ollama"\nbase_url = "{one.url}"\n{said}\n'
        f'[upstreams.openai]\ndialect = "openai"\nbase_url = "{two.url}/v1"\n'
        f'[models.assistant]\ntargets = ["ollama/{first}", "openai/llama3.1"]\n',
    )


async def asked(facade: Facade, **more: object) -> Answer:
    return await ask(facade, "POST", CHAT, chat("assistant", **more))


@pytest.mark.parametrize(
    ("model", "more", "served"),
    [
        ("llama3.1", {}, "ollama"),
        ("llama3.1", {"tools": [TOOL]}, "ollama"),
        ("llama3.1", {"messages": SEEN}, "openai"),
        ("llava", {"tools": [TOOL]}, "openai"),
        ("llava", {"messages": SEEN}, "ollama"),
        ("llava", {"messages": SEEN, "tools": [TOOL]}, "openai"),
    ],
)
async def test_the_first_target_that_can_serve_is_asked(
    model: str, more: Mapping[str, object], served: str, pair: Pair
) -> None:
    said = chain(pair.folder, pair.one, pair.two, model=model)
    async with serving(said, pair.one) as facade:
        for _ in range(2):
            answer = await asked(facade, **more)
            assert (200, (served, "1", None)) == (answer.status, provenance(answer))
    assert len(pair.one.requests_to("/api/show")) <= 1


async def test_embeddings_go_to_a_model_that_embeds(pair: Pair) -> None:
    async with serving(chain(pair.folder, pair.one, pair.two), pair.one) as facade:
        body = {"model": "assistant", "input": "Hi"}
        answer = await ask(facade, "POST", "/v1/embeddings", body)
    assert (200, "openai") == (answer.status, answer.headers["x-facade-upstream"])


async def test_a_capability_that_cannot_be_asked_is_taken_for_granted(pair: Pair) -> None:
    pair.one.fault(faults.Status(500), path="/api/show", times=None)
    async with serving(chain(pair.folder, pair.one, pair.two), pair.one) as facade:
        for _ in range(3):
            answer = await asked(facade, tools=[TOOL])
            assert ("ollama", "1", None) == provenance(answer)
    assert 1 == len(pair.one.requests_to("/api/show"))  # and not with each request


async def test_where_none_can_serve_the_first_says_so(pair: Pair) -> None:
    one = '[upstreams.ollama]\ndialect = "ollama"\n' + f'base_url = "{pair.one.url}"\n'
    text = one + '[models.assistant]\ntargets = ["ollama/qwen3", "ollama/llama3.1"]\n'
    async with serving(settings(pair.folder, text), pair.one) as facade:
        answer = await asked(facade, messages=SEEN)
    assert (400, "unsupported_value") == (answer.status, answer.error["code"])
    assert 0 == len(pair.one.requests_to("/api/chat"))


async def test_28_nothing_is_generated_to_learn_what_models_can_do(pair: Pair) -> None:
    async with serving(chain(pair.folder, pair.one, pair.two), pair.one) as facade:
        await asked(facade, tools=[TOOL], messages=SEEN)
    assert (0, 1) == (calls(pair.one), calls(pair.two))


# -- windows -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ollama", "served"),
    [
        ("options = { num_ctx = 2048 }", "openai"),
        ("options = { num_ctx = 2500 }", "ollama"),
        ("options = { num_ctx = 8192 }", "ollama"),
        ("", "ollama"),  # unknown until it is loaded
        ('options = { num_ctx = 2048 }\nmodels."llama3.1".options = { num_ctx = 4096 }', "ollama"),
    ],
)
async def test_a_prompt_that_is_surely_too_long_goes_to_a_larger_window(
    ollama: str, served: str, pair: Pair
) -> None:
    said = chain(pair.folder, pair.one, pair.two, ollama=ollama)
    async with serving(said, pair.one) as facade:
        answer = await asked(facade, messages=LONG)
    assert (200, (served, "1", None)) == (answer.status, provenance(answer))


@pytest.mark.parametrize("streamed", [False, True])
async def test_where_all_windows_are_too_small_it_is_told_as_openai_tells_it(
    streamed: bool, pair: Pair
) -> None:
    listed = {"data": [{"id": "llama3.1", "max_model_len": 2000}]}
    pair.two.script("/v1/models", document(listed))
    said = chain(pair.folder, pair.one, pair.two, ollama="options = { num_ctx = 2048 }")
    async with serving(said, pair.one) as facade:
        await pair.two.came(path="/v1/models")
        await ask(facade, "GET", "/readyz")
        answer = await asked(facade, messages=LONG, stream=streamed)
    assert (400, "context_length_exceeded", "messages", "invalid_request_error") == (
        answer.status,
        answer.error["code"],
        answer.error["param"],
        answer.error["type"],
    )
    assert "2500 tokens" in answer.error["message"]
    assert (0, 0) == (calls(pair.one), calls(pair.two))


async def test_the_window_of_a_loaded_model_is_the_one_it_is_loaded_with(pair: Pair) -> None:
    pair.one.fault(faults.ContextOverflow(), times=None)  # it would be asked if it were unknown
    longer = [{"role": "user", "content": "word " * 8000}]  # 5000 tokens; the fake's ps says 4096
    async with serving(chain(pair.folder, pair.one, pair.two), pair.one) as facade:
        while ("openai", "1", None) != provenance(await asked(facade, messages=longer)):
            pass
        assert pair.one.requests_to("/api/ps")


async def test_9_an_overflow_moves_on_to_no_smaller_window(tmp_path: Path) -> None:
    names = {"small": 4096, "smaller": 2048, "equal": 4096}
    models = [Model(f"{name}:latest") for name in names]
    async with FakeUpstream(models) as fake, FakeUpstream(models) as other:
        fake.fault(faults.ContextOverflow())
        text = f'[upstreams.a]\ndialect = "ollama"\nbase_url = "{fake.url}"\n'
        text += "".join(f'models."{n}".options = {{ num_ctx = {s} }}\n' for n, s in names.items())
        text += f'[upstreams.b]\ndialect = "openai"\nbase_url = "{other.url}/v1"\n'
        targets = ", ".join(f'"a/{name}"' for name in names)
        text += f"[models.assistant]\ntargets = [{targets}]\n"
        text += '[models.short]\ntargets = ["a/small", "a/smaller"]\n'
        text += '[models.unknown]\ntargets = ["a/small", "a/smaller", "b/equal"]\n'
        async with serving(settings(tmp_path, text), fake) as facade:
            answer = await asked(facade)
            assert ("a", "2", "context_length") == provenance(answer)
            assert "equal" == answer.headers["x-facade-model"]
            fake.fault(faults.ContextOverflow())
            answer = await ask(facade, "POST", CHAT, chat("short"))
            assert (400, "context_length_exceeded") == (answer.status, answer.error["code"])
            assert "1" == answer.headers["x-facade-attempts"]
            fake.fault(faults.ContextOverflow())
            answer = await ask(facade, "POST", CHAT, chat("unknown"))
            assert ("b", "2", "context_length") == provenance(answer)
    asked_for = [each.json["model"] for each in fake.requests_to("/api/chat")]
    assert ["small", "equal", "small", "small"] == asked_for
