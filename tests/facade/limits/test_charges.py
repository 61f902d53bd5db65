"""What a request is charged, by what the upstream sent of it."""

from __future__ import annotations

import pytest

from adapters.dialect import Whole
from adapters.wire import Chunk, Usage
from facade.limits.charges import Charge, Limits, buckets
from facade.limits.estimates import Estimate, Size
from facade.limits.memory import MemoryStore

WORD = Chunk(content="word")
PIECES = Chunk(content="three of them", pieces=["three", " of", " them"])
EVENTS = Chunk(content="two words", raw=b'{"a":1}\n\ndata: {"a":2}')
END = Chunk(finish="stop")


def usage(prompt: int, done: int, *, partial: bool = False) -> Chunk:
    return Chunk(usage=Usage(prompt, done, partial=partial))


async def charge(size: Size) -> tuple[Charge, dict[str, str]]:
    """One that has taken of 10,000 tokens, and the headers where it tells what is left."""
    headers: dict[str, str] = {}
    named = {"key": {"k": buckets("key", "k", ["10000 tokens/year"])}, "model": {}, "upstream": {}}
    limits = Limits(MemoryStore(lambda: 1.0), named, [])
    made = limits.charge("m", lambda: size, headers)
    await made.take(limits.of_caller("k", None, ""))
    made.attempt("up", 1)
    return made, headers


@pytest.mark.parametrize(
    ("chunks", "cost"),
    [
        ([WORD, PIECES, EVENTS, END], 30 + 1 + 3 + 2),
        ([WORD, WORD, END, usage(7, 5)], 7 + 5),
        ([Chunk(content="word", finish="stop", usage=Usage(7, 5))], 7 + 5),
        ([WORD, usage(0, 5, partial=True)], 30 + 5),
        ([WORD, WORD, usage(7, 0, partial=True)], 7 + 2),
        ([Chunk(reasoning="hm"), Chunk(refusal="no"), Chunk(role=True), END], 30 + 2),
        ([END], 30),
        ([WORD, usage(7, 5), WORD, usage(7, 4)], 7 + 5 + 4),
        ([WORD, WORD, usage(7, 10**18)], 30 + 2),
        ([WORD, usage(10**18, 5)], 30 + 1),
        ([WORD, usage(7, 5), WORD, WORD], 7 + 5 + 2),
    ],
)
async def test_the_upstreams_count_is_charged_and_deltas_where_it_is_lacking(
    chunks: list[Chunk], cost: int
) -> None:
    made, headers = await charge(Size(Estimate(30, 10), 500, 2))
    made.see(chunks)
    made.leave(given=True)
    assert 10_000 - cost == int(headers["x-ratelimit-remaining-tokens"])


async def test_different_prompts_are_charged_each() -> None:
    made, headers = await charge(Size(Estimate(30, 10), 500, 2, prompts=2))
    made.see([usage(7, 5), usage(8, 4)])
    made.settle()
    made.show()
    assert 10_000 - (7 + 5 + 8 + 4) == int(headers["x-ratelimit-remaining-tokens"])


@pytest.mark.parametrize(
    ("whole", "cost"),
    [
        (Whole(b"x" * 300), 30 + 100),
        (Whole(b"x" * 300, Usage(7, 5)), 12),
        (Whole(b"x" * 300, Usage(7, 10**18)), 30 + 100),
    ],
)
async def test_what_comes_in_one_piece_and_was_not_counted_is_charged_by_its_bytes(
    whole: Whole, cost: int
) -> None:
    made, headers = await charge(Size(Estimate(30, 10), 500))
    made.whole(whole)
    assert 10_000 - cost == int(headers["x-ratelimit-remaining-tokens"])


async def test_what_an_unbounded_answer_needs_is_learned_and_of_bounded_ones_nothing() -> None:
    made, _ = await charge(Size(Estimate(30, 10), 500))
    made.whole(Whole(b"", Usage(7, 5)))
    assert 512 == made._limits.answers.expected("m")
    made, _ = await charge(Size(Estimate(30, 10), None, 2))
    made.whole(Whole(b"", Usage(7, 50)))
    assert 25 == made._limits.answers.expected("m")
