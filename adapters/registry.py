"""The dialects there are, by the name that a configuration gives them; those of vendors too."""

from __future__ import annotations

from typing import Final

from adapters.dialect import Dialect
from adapters.ollama import Ollama
from adapters.openai import OpenAI, Unlisted
from adapters.providers import PROVIDERS

DIALECTS: Final[dict[str, Dialect]] = {"ollama": Ollama(), "openai": OpenAI()}

_OF_VENDORS: Final[dict[str, Dialect]] = {
    name: (OpenAI if row.lists else Unlisted)(row.quirks) for name, row in PROVIDERS.items()
}


def spoken(dialect: str, vendor: str | None) -> Dialect:
    """The dialect, with the quirks of the vendor if one is named."""
    return _OF_VENDORS[vendor] if vendor else DIALECTS[dialect]
