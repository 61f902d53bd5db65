"""The calls of one request where an upstream has no `n`, encoded one by one.

A body may be large and choices many: made all at once, a small request would fill the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import overload

from adapters.dialect import Encoded


def calls(count: int, encode: Callable[[int], Encoded]) -> Sequence[Encoded]:
    """`count` calls; `encode` makes the one of a number, where there are more, at its turn."""
    return [encode(0)] if count == 1 else _Calls(count, encode)


class _Calls(Sequence[Encoded]):
    def __init__(self, count: int, encode: Callable[[int], Encoded]) -> None:
        self._choices = range(count)
        self._encode = encode

    def __len__(self) -> int:
        return len(self._choices)

    @overload
    def __getitem__(self, at: int) -> Encoded: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Encoded]: ...

    def __getitem__(self, at: int | slice) -> Encoded | Sequence[Encoded]:
        chosen = self._choices[at]
        return self._encode(chosen) if isinstance(chosen, int) else [*map(self._encode, chosen)]
