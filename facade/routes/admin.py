"""What the operator may see, by a key with `admin`: without such a key nobody may."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from facade.admission import Admission
from facade.edge import Handle, Request
from facade.errors import Forbidden
from facade.relay import JSON
from facade.wire.answer import AnswerWriter


class AdminFace:
    """The handlers. `queues` are those of the upstreams that have slots."""

    def __init__(self, queues: Mapping[str, Admission]) -> None:
        self._queues = queues

    def routes(self) -> dict[str, tuple[Handle, tuple[str, ...]]]:
        """Each path with its handler and methods."""
        return {"/api/admin/queue": (self.queue, ("GET",))}

    async def queue(self, request: Request, answer: AnswerWriter) -> None:
        """The lines of each upstream: who runs, who waits, and how long one who came would."""
        _check(request)
        lanes = {name: queue.snapshot() for name, queue in self._queues.items()}
        answer.whole(200, JSON, msgspec.json.encode({"upstreams": lanes}))


def _check(request: Request) -> None:
    if not request.caller.admin:
        raise Forbidden("this takes a key with admin = true: see [keys]", code="admin_only")
