"""Log probabilities put back onto the text they belong to.

A server that turns each token into text on its own writes a character made of several
tokens as U+FFFD, once per byte. The text of the line is whole, so the bytes can be cut
back from it: the tokens are walked from the last to the first along the text's end.
What stands before them (markup that became no text) belongs to nothing and is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from adapters.wire import TokenLogprob

_REPLACEMENT: Final = "\ufffd"
_REPLACEMENT_UTF8: Final = _REPLACEMENT.encode()


def aligned(tokens: Sequence[TokenLogprob], text: str) -> tuple[TokenLogprob, ...]:
    """The tokens that make up `text`, with their true bytes, which together are its UTF-8.

    A stop sequence may have cut the last one. Tokens that do not spell the text are returned
    as they came: better than none.
    """
    whole = text.encode()
    end = len(whole)
    found: list[TokenLogprob] = []
    for token in reversed(tokens):
        if not end:
            break
        last = end == len(whole)
        start = _longest_tail(token.token, whole) if last else _tail(token.token, whole, end)
        if start is None:
            return tuple(tokens)
        found.append(msgspec.structs.replace(token, bytes=list(whole[start:end])))
        end = start
    return tuple(tokens) if end else tuple(reversed(found))


def _longest_tail(token: str, whole: bytes) -> int | None:
    """Where the token begins that the text ends with, though its own end may be missing."""
    for length in range(len(token), 0, -1):
        start = _tail(token[:length], whole, len(whole))
        if start is not None:
            return start
    return None if token else len(whole)


def _tail(token: str, whole: bytes, end: int) -> int | None:
    """Where the token begins that ends at `end`; None if it does not spell what stands there."""
    for character in reversed(token):
        if not end:  # what stands before was markup
            break
        if character == _REPLACEMENT and not whole.endswith(_REPLACEMENT_UTF8, 0, end):
            end -= 1
        elif whole.endswith(character.encode(), 0, end):
            end -= len(character.encode())
        else:
            return None
    return end
