"""What is counted, as Prometheus' own parser reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from adapters.errors import InvalidRequest, Kind, UpstreamError
from adapters.wire import Chunk, Usage
from facade import gauges, metrics
from facade.admission import Admission, Room
from facade.breaker import CONSECUTIVE, REST, Breakers
from facade.errors import NotFound, QueueFull, RateLimited
from facade.metrics import Family, Histogram, Meter, Metrics
from facade.planning import Route
from facade.turns import Asker


def values(counted: Metrics, name: str) -> dict[frozenset[tuple[str, str]], float]:
    """The values of this name, by their labels."""
    return {
        frozenset(sample.labels.items()): sample.value
        for family in parse(counted.text().decode())
        for sample in family.samples
        if sample.name == name
    }


def value(counted: Metrics, name: str, **labels: str) -> float:
    """The one value of this name whose labels hold these."""
    (found,) = [
        v for said, v in values(counted, name).items() if labels.items() <= dict(said).items()
    ]
    return found


def _good(counted: Metrics, model: str = "llama3.1", asked: str = "assistant") -> Meter:
    meter = counted.begin("messages", asked)
    meter.upstream, meter.model = "local", model
    return meter


def test_each_value_is_in_the_first_bound_that_it_does_not_exceed() -> None:
    histogram = Histogram((1.0, 2.0))
    histogram.observe([0.5, 1.0, 1.5])
    histogram.observe([2.0, 99.0])
    histogram.observe([])
    assert [2, 2, 1] == histogram.counts
    assert 104.0 == histogram.total


def test_a_good_answer_is_counted_by_what_was_asked_and_who_answered() -> None:
    counted = Metrics()
    meter = _good(counted)
    meter.begins()
    meter.see([Chunk(content="a"), Chunk(usage=Usage(100, 7))])
    counted.answered(meter)
    labels = {
        "gen_ai_operation_name": "chat",
        "gen_ai_provider_name": "local",
        "gen_ai_request_model": "assistant",
        "gen_ai_response_model": "llama3.1",
    }
    for name in ("request_duration", "time_to_first_token"):
        assert 1 == value(counted, f"gen_ai_server_{name}_seconds_count", **labels)
    usage = "gen_ai_client_token_usage"
    assert 100 == value(counted, f"{usage}_sum", gen_ai_token_type="input", **labels)
    assert 7 == value(counted, f"{usage}_sum", gen_ai_token_type="output", **labels)
    assert 0 == value(counted, f"{usage}_bucket", gen_ai_token_type="input", le="64.0")
    assert 1 == value(counted, f"{usage}_bucket", gen_ai_token_type="input", le="256.0")
    assert 1 == value(counted, f"{usage}_bucket", gen_ai_token_type="input", le="+Inf")


def test_what_the_upstream_does_not_say_is_not_counted() -> None:
    counted = Metrics()
    meter = _good(counted)
    meter.used(None)
    meter.see([])
    meter.see([Chunk(content="a")])
    counted.answered(meter)
    assert {} == values(counted, "gen_ai_client_token_usage_count")
    assert {} == values(counted, "gen_ai_server_time_to_first_token_seconds_count")


def test_the_prompt_of_several_calls_counts_once() -> None:
    meter = Meter("messages", "m", 0.0)
    for usage in (Usage(10, 1), Usage(10, 2)):
        meter.used(usage)
    assert (10, 3) == (meter.prompt_tokens, meter.completion_tokens)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UpstreamError(Kind.TIMEOUT, "slow", code="words of an upstream"), "timeout"),
        (UpstreamError(Kind.REJECTED, "no", status=422), "rejected"),
        (NotFound("no", code="model_not_found"), "model_not_found"),
        (NotFound("no"), "404"),
        (RateLimited("wait"), "rate_limit_exceeded"),
        (QueueFull("full"), "queue_full"),
        (InvalidRequest("no"), "invalid_request"),
        (asyncio.CancelledError(), "client_left"),
        (KeyError("ours"), "internal_error"),
    ],
    ids=repr,
)
def test_a_failure_is_counted_by_one_of_few_words(error: BaseException, kind: str) -> None:
    counted = Metrics()
    counted.failed(_good(counted), error)
    count = value(counted, "gen_ai_server_request_duration_seconds_count", error_type=kind)
    assert 1 == count


def test_a_name_is_a_label_only_when_it_has_answered() -> None:
    counted = Metrics()
    for name in ("made up", "made up too"):
        counted.failed(_good(counted, name, name), NotFound("no"))
    (labels,) = values(counted, "gen_ai_server_request_duration_seconds_count")
    assert "other" == dict(labels)["gen_ai_request_model"]
    assert "other" == dict(labels)["gen_ai_response_model"]
    counted.answered(_good(counted, "real", "real"))
    counted.failed(_good(counted, "real", "real"), NotFound("no"))
    name = "gen_ai_server_request_duration_seconds_count"
    assert 1 == value(counted, name, gen_ai_response_model="real", error_type="404")


def test_of_too_many_names_the_rest_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_MOST", 3)
    counted = Metrics()
    for number in range(10):
        counted.answered(_good(counted, str(number)))
    said = values(counted, "gen_ai_server_request_duration_seconds_count")
    assert {"0", "1", "2", "other"} == {dict(labels)["gen_ai_response_model"] for labels in said}
    assert 10 == sum(said.values())


def test_a_label_may_hold_anything() -> None:
    counted = Metrics()
    odd = 'a"b\\c\nd{}=,é'
    counted.answered(_good(counted, odd))
    assert 1 == value(
        counted, "gen_ai_server_request_duration_seconds_count", gen_ai_response_model=odd
    )


def test_failed_attempts_and_fallbacks_are_counted() -> None:
    counted = Metrics()
    for _ in range(2):
        counted.attempt_failed("local", UpstreamError(Kind.TIMEOUT, "slow"))
    meter = _good(counted)
    meter.upstream, meter.fell_back = "cloud", "timeout"
    counted.answered(meter)
    failures = value(
        counted, "facade_attempt_failures_total", upstream="local", error_type="timeout"
    )
    assert 2 == failures
    assert 1 == value(counted, "facade_fallbacks_total", upstream="cloud", reason="timeout")


def _told(*families: Family) -> Metrics:
    counted = Metrics()
    counted.gauges = lambda: families
    return counted


async def test_the_version_and_the_tasks_are_told() -> None:
    said = _told(*gauges.of_the_facade())
    assert 1 == value(said, "facade_info")
    assert len(asyncio.all_tasks()) == value(said, "facade_tasks")


def test_targets_that_are_left_alone_are_told_with_why() -> None:
    breakers = Breakers[Route]()
    for _ in range(CONSECUTIVE):
        breakers.of(Route("local", "a")).failed(0.0, probe=False)
    breakers.of(Route("cloud", "b")).cool(9.0, limited=True)
    breakers.of(Route("cloud", "c")).failed(0.0, probe=False)
    said = _told(*gauges.of_breakers(breakers, 1.0))
    name = "facade_target_rest_seconds"
    assert REST - 1 == value(said, name, upstream="local", model="a", reason="breaker_open")
    assert 8 == value(said, name, upstream="cloud", model="b", reason="rate_limited")
    assert 2 == len(values(said, name))


async def test_slots_and_who_waits_for_them_are_told() -> None:
    loop = asyncio.get_running_loop()
    queue = Admission("local", Room(1, None, 1), loop.time, frozenset)
    asker = Asker("ann", "batch", "generation", "m", 60.0)
    queue.enter(asker)
    waiting = queue.enter(asker)
    with pytest.raises(QueueFull):
        queue.enter(asker)
    said = _told(*gauges.of_queues({"local": queue}))
    of: Mapping[str, str] = {"upstream": "local", "lane": "generation"}
    assert 1 == value(said, "facade_slots", **of)
    assert 1 == value(said, "facade_slots_in_use", **of)
    assert 1 == value(said, "facade_queue_waiting", priority="batch", **of)
    assert 0 <= value(said, "facade_queue_oldest_seconds", priority="batch", **of)
    left = {
        dict(labels)["outcome"]: count
        for labels, count in values(said, "facade_queue_left_total").items()
        if of.items() <= dict(labels).items()
    }
    assert {"granted": 1, "full": 1} == {name: count for name, count in left.items() if count}
    assert isinstance(waiting, asyncio.Future)
    waiting.cancel()
