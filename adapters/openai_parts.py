"""Content that came as a list of parts, where OpenAI's answers have a string.

Text is joined, thoughts are joined apart (they become `reasoning_content`), and what is neither
(references, pictures) is kept as it came, for `content_parts`.
Source: https://docs.mistral.ai/capabilities/reasoning/
"""

from __future__ import annotations

from typing import Final, NamedTuple

from adapters.openai_glance import Json

_THOUGHTS: Final = ("thinking", "reasoning", "reasoning_text")
_WORDS: Final = ("text", "thinking", "reasoning", "summary", "content")


class Parts(NamedTuple):
    text: str
    thoughts: str
    others: list[Json]


def parted(content: list[object] | Json) -> Parts:
    """The parts of a list, or the only part."""
    text, thoughts, others = [], [], list[Json]()
    for part in content if isinstance(content, list) else [content]:
        words = _words(part)
        if isinstance(part, dict) and part.get("type") in _THOUGHTS:
            thoughts.append(words)
        elif words or _is_text(part):
            text.append(words)
        elif isinstance(part, dict):
            others.append(part)
    return Parts("".join(text), "".join(thoughts), others)


def _is_text(part: object) -> bool:
    return isinstance(part, str) or (isinstance(part, dict) and part.get("type") == "text")


def _words(part: object) -> str:
    """The text of a part, which may be a list of parts itself."""
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        return ""
    said = next((part[name] for name in _WORDS if part.get(name)), "")
    return "".join(map(_text, said if isinstance(said, list) else [said]))


def _text(said: object) -> str:
    text = said.get("text") if isinstance(said, dict) else said
    return text if isinstance(text, str) else ""
