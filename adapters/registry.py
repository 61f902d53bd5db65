"""The dialects there are, by the name that a configuration gives them."""

from __future__ import annotations

from typing import Final

from adapters.dialect import Dialect
from adapters.ollama import Ollama
from adapters.openai import OpenAI

DIALECTS: Final[dict[str, Dialect]] = {"ollama": Ollama(), "openai": OpenAI()}
