"""The other side: an upstream that speaks Ollama and OpenAI, and breaks on command.

What a request is answered with is an `Answer`: scripted (`FakeUpstream.script`), or made as a
small polite server would make it. A fault turns one Answer into another. The server plays Answers
byte by byte as they say, and logs what came and when its client hung up.
"""

from __future__ import annotations

from tests.fake_upstream import faults
from tests.fake_upstream.answers import Answer, Pause, Reply, ToolCall, document, ndjson, sse
from tests.fake_upstream.models import DEFAULT_MODELS, Model
from tests.fake_upstream.server import FakeUpstream, running
from tests.fake_upstream.wire import Request

__all__ = [
    "DEFAULT_MODELS",
    "Answer",
    "FakeUpstream",
    "Model",
    "Pause",
    "Reply",
    "Request",
    "ToolCall",
    "document",
    "faults",
    "ndjson",
    "running",
    "sse",
]
