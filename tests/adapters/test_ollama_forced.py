"""Forced calls: a constrained text is cut into name, arguments and answer, however it comes."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import UpstreamError
from adapters.forced import ForcedAnswer, Piece
from tests.adapters.ollama_calls import TOOL, asked, chunks_of, done, line

VALUES: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
LAYOUTS: Final = st.sampled_from([None, 0, 1, "\t", " \n "])
SPACES: Final = st.text(alphabet=" \t\r\n", max_size=3)


def read(pieces: list[str], names: frozenset[str] = frozenset(("now",))) -> Piece:
    """All pieces of a text as one."""
    answer = ForcedAnswer(names)
    read = [answer.feed(piece) for piece in pieces]
    answer.close()
    named = [piece.name for piece in read if piece.name is not None]
    assert len(named) < 2, "the name came twice"
    return Piece(
        named[0] if named else None,
        "".join(piece.arguments for piece in read),
        "".join(piece.content for piece in read),
    )


def sliced(text: str, cuts: set[int]) -> list[str]:
    edges = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


@given(VALUES, LAYOUTS, SPACES, SPACES, st.sets(st.integers(min_value=0), max_size=12))
def test_a_call_is_the_same_in_any_slices(
    value: object, layout: str | int | None, before: str, after: str, cuts: set[int]
) -> None:
    arguments = json.dumps(value, indent=layout, ensure_ascii=False)
    text = (
        f'{before}{{"name":{after}"now",{before}"parameters":{before}{arguments}{after}}}{before}'
    )
    compact = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    assert Piece("now", compact) == read(sliced(text, cuts))


@given(VALUES, LAYOUTS, SPACES, st.sets(st.integers(min_value=0), max_size=12))
def test_an_answer_is_the_same_in_any_slices(
    value: object, layout: str | int | None, space: str, cuts: set[int]
) -> None:
    content = json.dumps(value, indent=layout, ensure_ascii=False)
    text = f'{{{space}"answer":{space}{content}{space}}}{space}'
    assert Piece(content=content) == read(sliced(text, cuts))


@given(st.text(), st.sets(st.integers(min_value=0), max_size=6))
def test_any_other_text_is_an_error_or_nothing(text: str, cuts: set[int]) -> None:
    with pytest.raises(UpstreamError):
        read(sliced(text, cuts))


@given(st.text(min_size=1), st.sets(st.integers(min_value=0), max_size=6))
def test_every_name_that_may_be_called_is_read(name: str, cuts: set[int]) -> None:
    text = json.dumps({"name": name, "parameters": {}})
    assert Piece(name, "{}") == read(sliced(text, cuts), frozenset((name,)))


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ('{"name":"now","parameters":5}', "5"),
        ('{"name":"now","parameters":5, "id":1}', "5"),
        ('{"name":"now","parameters":"a}"}', '"a}"'),
        ('{"name":"now","parameters":{"a":"\\\\"}} garbage {"', '{"a":"\\\\"}'),
        ('{"name":"now","parameters":[{}]', "[{}]"),
    ],
)
def test_the_arguments_end_where_their_value_ends(text: str, arguments: str) -> None:
    assert Piece("now", arguments) == read([text])
    assert Piece("now", arguments) == read(list(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "It is sunny.",
        '{"name":"now"}',
        '{"name":"now","parameters":',
        '{"name":"now","parameters":{"a":1',
        '{"name":"now","parameters":5',
        '{"name":"then","parameters":{}}',
        '{"name":"\\x","parameters":{}}',
        '{"name":"\\ud800","parameters":{}}',
        '{"parameters":{},"name":"now"}',
    ],
)
def test_a_text_that_is_no_call_is_an_error_at_its_end(text: str) -> None:
    with pytest.raises(UpstreamError, match="did not call a tool"):
        read([text])


def test_a_model_that_talks_on_is_not_heard_out() -> None:
    answer = ForcedAnswer(frozenset(("now",)))
    assert Piece() == answer.feed("x" * 4096)
    with pytest.raises(UpstreamError, match="did not call a tool"):
        answer.feed("x")
    with pytest.raises(UpstreamError, match="did not call a tool"):
        chunks_of(asked(tools=[TOOL], tool_choice="required"), line("x" * 4097), line("y"), done())
