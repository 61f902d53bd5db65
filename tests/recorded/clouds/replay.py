"""One recorded exchange, replayed in every way, and what of it does not agree with the oracle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from tests.recorded.clouds import oracle, reading
from tests.recorded.clouds.asking import Asked, asked
from tests.recorded.clouds.comparing import agree, agree_vectors
from tests.recorded.clouds.exchanges import CHAT, Exchange, Play, plays
from tests.recorded.clouds.failures import Failure
from tests.recorded.clouds.sent import check_sent
from tests.recorded.clouds.serving import Parts, answer, deployment, path_of

ENCODINGS: Final = (None, "float", "base64")
# Requests that are answered 200 there, and refused here before they are sent.
REFUSED_HERE: Final[Mapping[str, str]] = {
    "ollama-v1-stop-mixed": "a number among the stop sequences; OpenAI takes texts",
    "ollama-v1-emb-empty": "an empty input; OpenAI refuses it",
}


async def mismatches(
    parts: Parts, exchange: Exchange, ways: Iterable[Play] | None = None
) -> list[str]:
    """What does not agree, each with the way it was played (all ways if none are named)."""
    replay = _embed if exchange.wire != CHAT else _chat
    found = []
    for play in ways or plays(exchange):
        try:
            await replay(parts, exchange, play)
        except Exception as problem:  # noqa: BLE001 - whatever it is, this play has failed
            found.append(f"{play.name}: {_told_of(problem)}")
    return found


async def _chat(parts: Parts, exchange: Exchange, play: Play) -> None:
    question = asked(exchange, play, deployment(exchange))
    _script(parts, exchange, play)
    told = await reading.chat(parts.client, question)
    if _refused(parts, exchange, told.failure):
        question = asked(exchange, play, deployment(exchange), minimal=True)
        told = await reading.chat(parts.client, question)
    expected = oracle.told(exchange, b"".join(play.pieces))
    agree(expected, told, usage=question.usage or not question.streamed)
    if play.cut:
        assert told.failure, "an answer without its end was called complete"
    _check_sent(parts, exchange, question)


async def _embed(parts: Parts, exchange: Exchange, play: Play) -> None:
    for encoding in ENCODINGS:
        question = asked(exchange, play, deployment(exchange))
        _script(parts, exchange, play)
        told = await reading.embeddings(parts.client, question, encoding)
        if _refused(parts, exchange, told.failure):
            question = asked(exchange, play, deployment(exchange), minimal=True)
            told = await reading.embeddings(parts.client, question, encoding)
        agree_vectors(oracle.embedded(exchange), told)
        _check_sent(parts, exchange, question)


def _script(parts: Parts, exchange: Exchange, play: Play) -> None:
    parts.fake.reset()
    parts.fake.script(path_of(exchange), answer(exchange, play))


def _refused(parts: Parts, exchange: Exchange, failure: Failure | None) -> bool:
    """Whether the facade refused by itself what the upstream refused too, or a table names."""
    if parts.fake.requests_to(path_of(exchange)):
        return False
    assert failure is not None, "answered without asking the upstream"
    known = 400 <= exchange.status < 500 or exchange.id in REFUSED_HERE
    assert known, f"refused here and not asked there: {failure}"
    assert failure.status == 400, f"refused with {failure}"
    return True


def _check_sent(parts: Parts, exchange: Exchange, question: Asked) -> None:
    (request,) = parts.fake.requests_to(path_of(exchange))
    query = request.target.partition("?")[2]
    assert not exchange.query or exchange.query == query, f"the query sent upstream is {query!r}"
    check_sent(question, request.json)


def _told_of(problem: Exception) -> str:
    text = " ".join(str(problem).split())
    return text if isinstance(problem, AssertionError) else f"{type(problem).__name__}: {text}"
