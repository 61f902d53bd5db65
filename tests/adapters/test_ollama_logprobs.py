"""Log probabilities: the bytes of all tokens together are the content they belong to."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from adapters.logprobs import aligned
from adapters.wire import TokenLogprob

# A true U+FFFD that is split into its bytes could not be told from another character's.
TEXTS = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\ufffd"))


def tokens(*texts: str) -> list[TokenLogprob]:
    """Tokens as a server gives them: their bytes are those of their text."""
    return [TokenLogprob(text, -0.5, list(text.encode()), []) for text in texts]


def spelled(found: tuple[TokenLogprob, ...]) -> bytes:
    return b"".join(bytes(token.bytes) for token in found)


def cut(text: str, cuts: set[int]) -> list[str]:
    """The text as tokens cut anywhere, also inside characters: U+FFFD once a byte there."""
    whole = text.encode()
    inside = sorted({place % (len(whole) + 1) for place in cuts} - {0, len(whole)})
    edges = [0, *inside, len(whole)]
    starts = {len(text[:i].encode()) for i in range(len(text) + 1)}
    pieces = []
    for start, end in pairwise(edges):
        piece, at = "", start
        while at < end:
            size = next(n for n in range(1, 5) if at + n in starts)
            if at in starts and at + size <= end:
                piece += whole[at : at + size].decode()
                at += size
            else:
                piece += "\ufffd"
                at += 1
        pieces.append(piece)
    return pieces


@given(TEXTS, st.sets(st.integers(min_value=0), max_size=10))
def test_the_bytes_of_all_tokens_are_the_text(text: str, cuts: set[int]) -> None:
    pieces = cut(text, cuts)
    found = aligned(tokens(*pieces), text)
    assert text.encode() == spelled(found)
    assert [piece for piece in pieces if piece] == [token.token for token in found]


@given(TEXTS, st.sets(st.integers(min_value=0), max_size=10), st.lists(TEXTS, max_size=4))
def test_markup_before_the_text_is_dropped(text: str, cuts: set[int], markup: list[str]) -> None:
    found = aligned(tokens(*markup, *cut(text, cuts)), text)
    assert text.encode() == spelled(found)


@given(TEXTS.filter(bool), st.integers(min_value=1), st.text(max_size=5))
def test_a_stop_inside_the_last_token_cuts_it(text: str, length: int, stopped: str) -> None:
    kept = text[: length % len(text) + 1]
    found = aligned(tokens(text + stopped), kept)
    assert kept.encode() == spelled(found)


@given(st.lists(st.text(), max_size=6), st.text())
def test_any_tokens_and_any_text_give_tokens(texts: list[str], text: str) -> None:
    given_tokens = tokens(*texts)
    found = aligned(given_tokens, text)
    assert found == tuple(given_tokens) or spelled(found) == text.encode()


def test_a_token_without_text_takes_nothing() -> None:
    found = aligned(tokens("a", "", "b", ""), "ab")
    assert [("a", [97]), ("", []), ("b", [98]), ("", [])] == [(t.token, t.bytes) for t in found]


def test_a_token_that_is_half_markup_keeps_its_half() -> None:
    found = aligned(tokens("</think", ">\n4", "2"), "42")
    assert [(">\n4", [52]), ("2", [50])] == [(t.token, t.bytes) for t in found]


def test_tokens_that_spell_something_else_go_as_they_came() -> None:
    assert tuple(tokens("x", "b")) == aligned(tokens("x", "b"), "ab")
    assert tuple(tokens("b")) == aligned(tokens("b"), "ab")


def test_a_true_replacement_character_is_three_bytes() -> None:
    (found,) = aligned(tokens("\ufffd"), "\ufffd")
    assert [0xEF, 0xBF, 0xBD] == found.bytes
