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

    Tokens that do not spell the text are returned as they came: better than none.
    """
    rest = text.encode()
    found: list[TokenLogprob] = []
    for token in reversed(tokens):
        if not rest:
            break
        taken = _tail(token.token, rest)
        if taken is None:
            return tuple(tokens)
        found.append(msgspec.structs.replace(token, bytes=list(rest[len(rest) - taken :])))
        rest = rest[: len(rest) - taken]
    return tuple(tokens) if rest else tuple(reversed(found))


def _tail(token: str, rest: bytes) -> int | None:
    """How many bytes at the end of `rest` the token spells; None if it does not."""
    taken = 0
    for character in reversed(token):
        left = rest[: len(rest) - taken]
        if not left:  # white space the server trimmed off the text
            break
        if character == _REPLACEMENT and not left.endswith(_REPLACEMENT_UTF8):
            taken += 1
        elif left.endswith(character.encode()):
            taken += len(character.encode())
        else:
            return None
    return taken
