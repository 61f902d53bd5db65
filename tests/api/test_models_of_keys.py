"""What a key may ask for: its models are answered and listed, all others do not exist."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from openai import NotFoundError

from tests.api.asking import ask, chat
from tests.api.serving import Facade, serving, settings
from tests.api.test_keys import CHAT, client, with_keys
from tests.fake_upstream import FakeUpstream

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keyed(
    upstreams: FakeUpstream, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Facade]:
    said = settings(tmp_path_factory.mktemp("keyed"), with_keys(upstreams))
    async with serving(said, upstreams) as facade:
        yield facade


@pytest.mark.parametrize(
    ("key", "asked"),
    [
        ("sk-operator", "assistant"),
        ("sk-operator", "ollama/llama3.1"),
        ("sk-agents", "assistant"),
        ("sk-agents", "assistant:latest"),
        ("sk-agents", "gpt-4o"),
        ("sk-direct", "openai/llama3.1"),
    ],
)
async def test_a_key_may_ask_for_its_models(
    key: str, asked: str, keyed: Facade, fake: FakeUpstream
) -> None:
    bearer = f"Bearer {key}"
    answer = await ask(keyed, "POST", CHAT, chat(asked), authorization=bearer)
    assert 200 == answer.status
    one = await ask(keyed, "GET", f"/v1/models/{asked}", authorization=bearer)
    assert asked == one.json["id"]


@pytest.mark.parametrize(
    ("key", "asked"),
    [
        ("sk-agents", "other"),
        ("sk-agents", "llama3.1"),
        ("sk-agents", "ollama/llama3.1"),
        ("sk-agents", "ollama/gpt-4o"),
        ("sk-agents", "nowhere"),
        ("sk-direct", "assistant"),
        ("sk-direct", "ollama/llama3.1"),
    ],
)
async def test_any_other_model_is_404_whether_it_exists_or_not_and_is_not_asked(
    key: str, asked: str, keyed: Facade, fake: FakeUpstream
) -> None:
    async with client(keyed, key) as sdk:
        with pytest.raises(NotFoundError) as caught:
            await sdk.chat.completions.create(
                model=asked, messages=[{"role": "user", "content": "Hi"}]
            )
        with pytest.raises(NotFoundError):
            await sdk.completions.create(model=asked, prompt="Hi")
        with pytest.raises(NotFoundError):
            await sdk.embeddings.create(model=asked, input="Hi")
        with pytest.raises(NotFoundError):
            await sdk.models.retrieve(asked)
    assert ("model_not_found", "model") == (caught.value.code, caught.value.param)
    assert f"the model '{asked}' does not exist or your key may not use it" in caught.value.message
    assert "x-facade-upstream" not in caught.value.response.headers
    assert [] == fake.requests


async def test_a_key_sees_the_models_that_it_may_ask_for(keyed: Facade) -> None:
    seen = {}
    for key in ("sk-operator", "sk-agents", "sk-direct"):
        async with client(keyed, key) as sdk:
            seen[key] = {model.id async for model in sdk.models.list()}
    assert {"assistant", "other", "llama3.1:latest"} <= seen["sk-operator"]
    assert {"assistant"} == {name for name in seen["sk-agents"] if not name.startswith("gpt-")}
    assert set() == seen["sk-direct"]
