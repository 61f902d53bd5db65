"""Which models of an upstream may be in use at a time.

An Ollama without room for a second model takes the first out of memory as soon as no call uses it;
so calls to both, side by side, would make it load one with each. Therefore a model comes into
memory beside others in use only if they have been there together before. Else it comes alone, and
who asks for others waits until it is there: then it shows whether they still are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from adapters.dialect import named_remote

Loaded = Callable[[], Collection[str] | None]  # the models in memory; None: it is not known
Together = Callable[[str, str], bool]  # whether two of them have been there at the same time


def always(_: str, __: str) -> bool:
    """There is room for all."""
    return True


class Company:
    """The models that calls are under way for. Those that run elsewhere are in nobody's way."""

    def __init__(self, loaded: Loaded, together: Together) -> None:
        self._loaded = loaded
        self._together = together
        self._calls: dict[str, int] = {}

    def takes(self, model: str) -> bool:
        """Whether a call to the model may begin now."""
        if not self._calls:
            return True
        others = [other for other in self._calls if other != model and not named_remote(other)]
        if not others or named_remote(model) or (known := self._loaded()) is None:
            return True
        return all(
            (model in known and other in known) or self._together(model, other) for other in others
        )

    def begin(self, model: str) -> None:
        self._calls[model] = self._calls.get(model, 0) + 1

    def end(self, model: str) -> None:
        left = self._calls.pop(model) - 1
        if left:
            self._calls[model] = left
