"""What an answer is called: one id, object, created and model over all events of a stream.

SDKs take the first of each, and some drop a usage chunk that has another id.
Source: https://platform.openai.com/docs/api-reference/chat/streaming
"""

from __future__ import annotations

import msgspec

from adapters import openai_glance as glance
from adapters.dialect import Reply
from adapters.openai_glance import Json
from adapters.patching import Inside


class Names:
    """The answer's id, created and model: the first of each that is not empty stands.

    Content cannot wait for them: what is unknown by then is ours (`reply`).
    """

    def __init__(self, prefix: str, kind: str, reply: Reply) -> None:
        self.settled = False
        self.head: Json = {
            "id": prefix + reply.id,
            "object": kind,
            "created": reply.created,
            "model": reply.model,
        }
        self._unknown = {"id", "created", "model"}

    def settle(self, answer: glance.Answer) -> bool:
        said = {
            "id": str(answer.id or ""),
            "created": glance.unix_time(answer.created),
            "model": answer.model,
        }
        for name in [name for name in self._unknown if said[name]]:
            self.head[name] = said[name]
            self._unknown.remove(name)
        self.settled = bool(not self._unknown or answer.choices or answer.usage)
        return self.settled

    def told(self, reply: Reply) -> Reply:
        """`reply` as the upstream tells it."""
        told = {"created": self.head["created"], "model": self.head["model"]}
        return msgspec.structs.replace(reply, **told)

    def kept(self, answer: glance.Answer) -> bool:
        """Whether `answer` says them as they stand: asked for every event, so without a loop."""
        head, created = self.head, answer.created
        return (
            created == head["created"]
            and created.__class__ is int
            and answer.id == head["id"]
            and answer.model == head["model"]
            and answer.object == head["object"]
        )

    def changes(self, answer: glance.Answer) -> Inside:
        changes = Inside(
            (name, value) for name, value in self.head.items() if getattr(answer, name) != value
        )
        if not isinstance(answer.created, int):  # 5.0 is 5, but no integer to other readers
            changes["created"] = self.head["created"]
        return changes
