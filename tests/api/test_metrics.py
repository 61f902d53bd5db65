"""GET /metrics of a live facade: what a request leaves there, and who may look."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.api.asking import Answer, Json, ask, chat, opened
from tests.api.chains import ALIAS, Pair
from tests.api.serving import Facade, both, serving, settings
from tests.fake_upstream import FakeUpstream, faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"
TOOK: Final = "gen_ai_server_request_duration_seconds_count"
FIRST: Final = "gen_ai_server_time_to_first_token_seconds_count"
USED: Final = "gen_ai_client_token_usage_sum"


@asynccontextmanager
async def _fresh(folder: Path, fake: FakeUpstream, more: str = "") -> AsyncIterator[Facade]:
    """A facade that has counted nothing yet."""
    async with serving(settings(folder, both(fake) + more), fake) as facade:
        yield facade


async def _value(facade: Facade, name: str, **labels: str) -> float:
    """The sum of this name's values whose labels hold these."""
    answer = await ask(facade, "GET", "/metrics")
    assert 200 == answer.status
    return _sum(answer, name, **labels)


def _sum(answer: Answer, name: str, **labels: str) -> float:
    samples = [sample for family in parse(answer.body.decode()) for sample in family.samples]
    return sum(
        sample.value
        for sample in samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_is_counted_with_its_tokens(
    streamed: bool, fake: FakeUpstream, dialect: str, tmp_path: Path
) -> None:
    model = f"{dialect}/llama3.1"
    async with _fresh(tmp_path, fake) as facade:
        answer = await ask(facade, "POST", CHAT, chat(model, stream=streamed))
        assert 200 == answer.status
        of = {
            "gen_ai_operation_name": "chat",
            "gen_ai_provider_name": dialect,
            "gen_ai_request_model": model,
            "gen_ai_response_model": "llama3.1",
        }
        assert 1 == await _value(facade, TOOK, **of)
        assert int(streamed) == await _value(facade, FIRST, **of)
        assert 0 < await _value(facade, USED, gen_ai_token_type="input", **of)
        assert 0 < await _value(facade, USED, gen_ai_token_type="output", **of)


OTHERS: Final[dict[str, tuple[str, Json]]] = {
    "text_completion": ("/v1/completions", {"prompt": "Hi", "model": "openai/llama3.1"}),
    "embeddings": ("/v1/embeddings", {"input": "Hi", "model": "ollama/nomic-embed-text"}),
}


@pytest.mark.parametrize(("operation", "asked"), OTHERS.items(), ids=OTHERS.keys())
async def test_each_operation_has_its_name(
    operation: str, asked: tuple[str, Json], fake: FakeUpstream, tmp_path: Path
) -> None:
    async with _fresh(tmp_path, fake) as facade:
        assert 200 == (await ask(facade, "POST", *asked)).status
        assert 1 == await _value(facade, TOOK, gen_ai_operation_name=operation)
        assert 0 < await _value(facade, USED, gen_ai_token_type="input")


async def test_a_failure_is_counted_by_its_kind(
    fake: FakeUpstream, dialect: str, model: str, tmp_path: Path
) -> None:
    fake.fault(faults.Status(500))
    async with _fresh(tmp_path, fake) as facade:
        assert 500 == (await ask(facade, "POST", CHAT, chat(model))).status
        of = {"gen_ai_provider_name": dialect, "error_type": "failed"}
        assert 1 == await _value(facade, TOOK, **of)


async def test_a_stream_that_was_cut_is_no_good_answer(
    fake: FakeUpstream, model: str, tmp_path: Path
) -> None:
    fake.fault(faults.NoEnd())
    async with _fresh(tmp_path, fake) as facade:
        await ask(facade, "POST", CHAT, chat(model, stream=True))
        assert 1 == await _value(facade, TOOK, error_type="cut")
        assert 0 == await _value(facade, FIRST)


async def test_a_client_that_leaves_is_counted(
    fake: FakeUpstream, model: str, path: str, tmp_path: Path
) -> None:
    fake.fault(faults.HangBeforeHeaders())
    async with _fresh(tmp_path, fake) as facade:
        async with opened(facade, "POST", CHAT, chat(model)) as client:
            await fake.came(path=path)
            client.leave()
        await facade.idle()
        assert 1 == await _value(facade, TOOK, error_type="client_left")


async def test_names_that_nobody_has_are_no_labels(fake: FakeUpstream, tmp_path: Path) -> None:
    async with _fresh(tmp_path, fake) as facade:
        for name in ("nobody", "ollama/has-this", "nor-this"):
            assert 404 == (await ask(facade, "POST", CHAT, chat(name))).status
        assert 3 == await _value(facade, TOOK, gen_ai_request_model="other")
        assert 3 == await _value(facade, TOOK)


async def test_fallbacks_and_failed_attempts_are_counted(pair: Pair) -> None:
    pair.one.fault(faults.Status(503), times=2)
    async with pair.serving(retries="1") as facade:
        assert 200 == (await ask(facade, "POST", CHAT, chat(ALIAS))).status
        failed = await _value(
            facade, "facade_attempt_failures_total", upstream="one", error_type="overloaded"
        )
        assert 2 == failed
        fell_back = await _value(
            facade, "facade_fallbacks_total", upstream="two", reason="overloaded"
        )
        assert 1 == fell_back
        assert 1 == await _value(facade, TOOK)  # of the request, however many attempts


async def test_a_target_that_is_left_alone_is_told(pair: Pair) -> None:
    pair.one.fault(faults.Status(429, headers={"retry-after": "1000"}))
    async with pair.serving() as facade:
        await ask(facade, "POST", CHAT, chat(ALIAS))
        rest = await _value(
            facade, "facade_target_rest_seconds", upstream="one", reason="rate_limited"
        )
        assert 900 < rest <= 1000


async def test_limits_are_told(fake: FakeUpstream, tmp_path: Path) -> None:
    limits = 'limits = ["4/hour"]\n'
    keys = f'[keys.ann]\nsecret = "sk-ann"\nadmin = true\n{limits}'
    async with _fresh(tmp_path, fake, keys) as facade:
        ann = {"authorization": "Bearer sk-ann"}
        assert 200 == (await ask(facade, "POST", CHAT, chat("ollama/llama3.1"), **ann)).status
        told = await ask(facade, "GET", "/metrics", **ann)
    used = _sum(told, "facade_limit_used_ratio", scope="key", limit="4/hour")
    assert 0.25 == pytest.approx(used, abs=0.01)


async def test_slots_are_told(fake: FakeUpstream, path: str, tmp_path: Path) -> None:
    fake.fault(faults.HangBeforeHeaders(), path="/api/chat")
    async with serving(settings(tmp_path, both(fake, slots="1")), fake) as facade:
        body = chat("ollama/llama3.1")
        of = {"upstream": "ollama", "lane": "generation"}
        async with opened(facade, "POST", CHAT, body), opened(facade, "POST", CHAT, body):
            await facade.until(lambda: facade.requests == 2)
            await fake.came(path="/api/chat")
            assert 1 == await _value(facade, "facade_slots_in_use", **of)
            assert 1 == await _value(facade, "facade_queue_waiting", **of)
        await facade.idle()
        assert 0 == await _value(facade, "facade_slots_in_use", **of)
        assert 1 == await _value(facade, "facade_queue_left_total", outcome="cancelled", **of)


async def test_with_keys_only_an_admin_may_look(fake: FakeUpstream, tmp_path: Path) -> None:
    keys = '[keys.ann]\nsecret = "sk-ann"\n[keys.bob]\nsecret = "sk-bob"\nadmin = true\n'
    async with _fresh(tmp_path, fake, keys) as facade:
        asked = {
            secret: await ask(facade, "GET", "/metrics", authorization=f"Bearer {secret}")
            for secret in ("", "sk-ann", "sk-bob")
        }
    assert [401, 403, 200] == [answer.status for answer in asked.values()]
    assert "admin_only" == asked["sk-ann"].error["code"]
    assert 1 == _sum(asked["sk-bob"], "facade_info")


async def test_they_are_text_for_prometheus(facade: Facade) -> None:
    answer = await ask(facade, "GET", "/metrics")
    assert "text/plain; version=0.0.4; charset=utf-8" == answer.headers["content-type"]
    assert answer.body.endswith(b"\n")
    head = await ask(facade, "HEAD", "/metrics")
    assert (200, b"") == (head.status, head.body)
    assert 405 == (await ask(facade, "POST", "/metrics")).status
