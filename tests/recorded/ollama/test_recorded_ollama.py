"""Every recorded exchange with Ollama, replayed through the facade into the official SDK.

The fake upstream plays the recorded body to the byte, in three cuts; the SDK asks streamed and
not, whatever the recording was. What it gets is compared with what `oracle` reads in the
recording, what reached the fake with what was recorded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import pytest
import pytest_asyncio
from openai import APIStatusError, AsyncOpenAI

from tests.fake_upstream import Answer, FakeUpstream, Model
from tests.recorded.ollama import observed, oracle
from tests.recorded.ollama.comparing import abridged, floats, in_mode, matched
from tests.recorded.ollama.exchanges import (
    ANSWER_ONLY,
    LISTING,
    REFUSED_HERE,
    WITHOUT_EQUIVALENT,
    Exchange,
    recorded,
    replayed,
)
from tests.recorded.ollama.oracle import Failure, Told, Vectors
from tests.recorded.ollama.requests import OPERATORS, asked, comparable, sent
from tests.recorded.ollama.serving import client_of

pytestmark = [pytest.mark.corpus, pytest.mark.asyncio(loop_scope="module")]

ALL: Final = list(recorded())
REPLAYED: Final = replayed()
SPOKEN: Final = [one for one in REPLAYED if one.path in ("/api/chat", "/api/generate")]
EMBEDDED: Final = [one for one in REPLAYED if one.path == "/api/embed"]
LISTINGS: Final = [one for one in REPLAYED if one.path == LISTING]
REFUSED: Final = [one for one in ALL if one.id in REFUSED_HERE]
MODELS: Final = (
    Model("smol:latest", ("completion",)),
    Model("tools:latest", ("completion", "tools")),
    Model("think:latest", ("completion", "thinking")),
    Model("minilm:latest", ("embedding",)),
    *(Model(name) for name in ("nope:latest", "a b//c:latest")),
    *(Model(name) for name in ("gpt-oss:120b-cloud", "gpt-oss:cloud")),
)


def whole(body: bytes) -> Iterator[bytes]:
    yield body


def by_lines(body: bytes) -> Iterator[bytes]:
    return iter(body.splitlines(keepends=True))


def in_slices(body: bytes) -> Iterator[bytes]:
    return (body[start : start + 7] for start in range(0, len(body), 7))


Cut = Callable[[bytes], Iterator[bytes]]
cuts = pytest.mark.parametrize("cut", [whole, by_lines, in_slices], ids=lambda cut: cut.__name__)


def each(exchanges: list[Exchange]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("exchange", exchanges, ids=lambda exchange: exchange.id)


class Parts(NamedTuple):
    """What the tests of this module share."""

    fake: FakeUpstream
    sdk: AsyncOpenAI
    agreed: Counter[str]

    def play(self, exchange: Exchange, cut: Cut) -> None:
        self.fake.reset()
        self.fake.script(exchange.path, answer(exchange, cut))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def parts(agreed: Counter[str]) -> AsyncIterator[Parts]:
    async with FakeUpstream(MODELS) as fake, client_of(fake.url) as sdk:
        yield Parts(fake, sdk, agreed)


def answer(exchange: Exchange, cut: Cut) -> Answer:
    """The recorded answer as it came, but for lengths and what belongs to one connection."""
    headers = {
        name: value
        for name, value in exchange.headers.items()
        if name not in ("connection", "content-length", "date", "transfer-encoding")
    }
    framing = "chunked" if "transfer-encoding" in exchange.headers else "length"
    pieces = tuple(cut(exchange.body))
    if framing == "chunked":
        return Answer(exchange.status, headers, pieces, "chunked")
    return Answer(exchange.status, headers, pieces)


async def test_no_exchange_is_left_out() -> None:
    groups = (SPOKEN, EMBEDDED, LISTINGS, REFUSED)
    here = [exchange.id for group in groups for exchange in group]
    assert len(here) == len(set(here))
    assert {one.id for one in ALL} == {*here, *WITHOUT_EQUIVALENT}
    assert ANSWER_ONLY.keys() <= set(here)


@cuts
@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "not streamed"])
@each(SPOKEN)
async def test_a_recorded_answer_is_told_in_full(
    exchange: Exchange, streamed: bool, cut: Cut, parts: Parts
) -> None:
    parts.play(exchange, cut)
    answered = await observed.ask(parts.sdk, asked(exchange), streamed=streamed)
    expected = in_mode(oracle.told(exchange), streamed=streamed)
    expect(expected, matched(expected, answered.told))
    expect_sent(exchange, parts.fake)
    if not answered.told.failure:
        expect_warnings(exchange, answered.headers.get("x-facade-warning", ""))
    parts.agreed[exchange.id] += 1


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "not streamed"])
@each([one for one in SPOKEN if one.status == 200])
async def test_a_recording_without_its_last_line_is_never_called_complete(
    exchange: Exchange, streamed: bool, parts: Parts
) -> None:
    *before, _ = by_lines(exchange.body)
    cut = exchange._replace(body=b"".join(before))
    parts.play(cut, by_lines)
    answered = await observed.ask(parts.sdk, asked(cut), streamed=streamed)
    expected = in_mode(oracle.told(cut), streamed=streamed)
    assert expected.failure
    expect(expected, matched(expected, answered.told))


@cuts
@pytest.mark.parametrize("encoding", [None, "float", "base64"])
@each(EMBEDDED)
async def test_recorded_embeddings_are_told_to_the_bit(
    exchange: Exchange, encoding: str | None, cut: Cut, parts: Parts
) -> None:
    parts.play(exchange, cut)
    answered = await observed.embed(parts.sdk, asked(exchange), encoding)
    expected = oracle.embedded(exchange)
    if isinstance(expected, Failure):
        assert isinstance(answered, Failure)
        assert expected == abridged(expected, answered)
    else:
        assert isinstance(answered, Vectors)
        assert floats(expected) == floats(answered)
        assert encoding != "float" or expected.vectors == answered.vectors
        assert expected.prompt == answered.prompt
    expect_sent(exchange, parts.fake)
    parts.agreed[exchange.id] += 1


@cuts
@each([one for one in LISTINGS if one.status == 200])
async def test_a_recorded_listing_is_the_listing_of_models(
    exchange: Exchange, cut: Cut, agreed: Counter[str]
) -> None:
    async with listed(exchange, cut) as sdk:
        models = (await sdk.models.list()).data
    (tags,) = exchange.lines
    expected = [(tag["name"], oracle.unix_time(tag["modified_at"])) for tag in tags["models"]]
    assert expected == [(model.id, model.created) for model in models]
    assert {"library"} == {model.owned_by for model in models}
    agreed[exchange.id] += 1


@cuts
@each([one for one in LISTINGS if one.status != 200])
async def test_a_recorded_refusal_to_list_is_not_the_clients_fault(
    exchange: Exchange, cut: Cut, agreed: Counter[str]
) -> None:
    async with listed(exchange, cut) as sdk:
        with pytest.raises(APIStatusError) as refused:
            await sdk.models.list()
    expected = oracle.failure(exchange.status, exchange.body, exchange.path)
    answered = observed.failure(refused.value, refused.value.status_code)
    assert expected == abridged(expected, answered)
    agreed[exchange.id] += 1


@asynccontextmanager
async def listed(exchange: Exchange, cut: Cut) -> AsyncIterator[AsyncOpenAI]:
    """A facade of its own, because a listing is kept for a while."""
    async with FakeUpstream() as fake:
        fake.script(LISTING, *[answer(exchange, cut)] * 2)  # at the start, and perhaps once more
        async with client_of(fake.url) as sdk:
            yield sdk


@each(REFUSED)
async def test_what_ollama_would_let_pass_is_refused_before_it_is_asked(
    exchange: Exchange, parts: Parts
) -> None:
    parts.play(exchange, whole)
    expected = Failure(400, "invalid_request_error", *REFUSED_HERE[exchange.id])
    for streamed in (False, True):
        refused = await refusal(parts.sdk, exchange, streamed=streamed)
        assert expected == refused._replace(message="")
        assert [] == parts.fake.requests_to(exchange.path)
        parts.agreed[exchange.id] += 1


async def refusal(sdk: AsyncOpenAI, exchange: Exchange, *, streamed: bool) -> Failure:
    question = asked(exchange)
    told: Failure | Vectors | None
    if exchange.path == "/api/embed":
        told = await observed.embed(sdk, question, "float" if streamed else None)
    else:
        told = (await observed.ask(sdk, question, streamed=streamed)).told.failure
    assert isinstance(told, Failure)
    return told


def expect(expected: Told, answered: Told) -> None:
    """The same answer; ids that the facade had to make up may be any, but each once."""
    assert expected._replace(calls=()) == answered._replace(calls=())
    ids = [call.id for call in answered.calls]
    assert all(ids)
    assert len(ids) == len(set(ids))
    calls = zip(expected.calls, answered.calls, strict=True)
    assert list(expected.calls) == [
        told if ours.id else told._replace(id="") for ours, told in calls
    ]


def expect_sent(exchange: Exchange, fake: FakeUpstream) -> None:
    """The facade sent one request, and it means what the recorded one means."""
    (request,) = fake.requests_to(exchange.path)
    assert exchange.method == request.method
    if exchange.id in ANSWER_ONLY:
        return
    expected, came = comparable(sent(exchange)), comparable(request.json)
    window = came.get("options", {}).pop("repeat_last_n", 1)
    assert window > 0  # 0 switches all penalties off, and on 0.24 so does -1
    if expected.get("think") is False and exchange.request["model"] != "think":
        expected.pop("think")  # nothing to switch off
        came.pop("think", None)
    assert expected == came
    for ordered in ("format", "tools"):  # the order of keys is the order of generation
        assert repr(expected.get(ordered)) == repr(came.get(ordered))


def expect_warnings(exchange: Exchange, warnings: str) -> None:
    """What the operator alone may set is left out, and that is said."""
    request = exchange.request
    ignored = [name for name in OPERATORS if name in request.get("options", {})]
    ignored += [name for name in ("shift",) if name in request]
    assert ignored == [name for name in (*OPERATORS, "shift") if f"option {name} " in warnings]
