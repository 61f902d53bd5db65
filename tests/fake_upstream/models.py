"""The models the fake has, and what every dialect derives from a text alone: words and vectors.

Nothing is random and no clock is read: the same request has the same answer, on every machine.
"""

from __future__ import annotations

import hashlib
import math
import random
import struct
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from tests.fake_upstream.answers import Reply, words


class Model(Struct, frozen=True):
    """A model as `/api/show` describes it. `remote`: what it is called where it is passed on to."""

    name: str
    capabilities: tuple[str, ...] = ("completion", "tools")
    context_length: int = 131072
    dimensions: int = 768
    remote: str = ""

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.name.encode()).hexdigest()


DEFAULT_MODELS: Final = (
    Model("llama3.1:latest"),
    Model("qwen3:latest", ("completion", "tools", "thinking")),
    Model("llava:latest", ("completion", "vision")),
    Model("nomic-embed-text:latest", ("embedding",), context_length=2048),
)


class Models:
    """What is listed, and which of it `/api/ps` calls loaded: all, until a test says otherwise.

    Of `loading` it lists each too, with another end each time, as Ollama does.
    """

    def __init__(self, models: Iterable[Model]) -> None:
        self.listed = {model.name: model for model in models}
        self.loaded = set(self.listed)
        self.loading: set[str] = set()
        self.asked = 0  # how often `/api/ps` was

    def find(self, name: str) -> Model | None:
        """The model of that name; `x` is `x:latest`."""
        return self.listed.get(name) or self.listed.get(f"{name}:latest")


def default_reply(prompt: str, *, thinks: bool) -> Reply:
    """What every model says to a prompt."""
    return Reply(f"You said: {prompt}", "They want an answer." if thinks else "")


def count(texts: Iterable[str]) -> int:
    """Words are this fake's tokens."""
    return sum(len(words(text)) for text in texts)


def unit_vector(text: str, dimensions: int) -> list[float]:
    """A direction of the text's own, of length 1; every number is exact in 32 bits."""
    draw = random.Random(text)
    numbers = [draw.gauss() for _ in range(dimensions)]
    length = math.sqrt(sum(number * number for number in numbers))
    return [*struct.unpack(f"<{dimensions}f", pack([number / length for number in numbers]))]


def pack(vector: list[float]) -> bytes:
    """Little-endian float32."""
    return struct.pack(f"<{len(vector)}f", *vector)
