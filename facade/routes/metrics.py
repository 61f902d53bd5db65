"""GET /metrics, for Prometheus: with an admin key where keys are configured."""

from __future__ import annotations

from facade.auth import ANYBODY
from facade.edge import Handle, Request
from facade.errors import Forbidden
from facade.metrics import CONTENT_TYPE, Metrics
from facade.wire.answer import AnswerWriter


class MetricsFace:
    """The handler."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def routes(self) -> dict[str, tuple[Handle, tuple[str, ...]]]:
        """Its path, with its handler and methods."""
        return {"/metrics": (self.metrics, ("GET", "HEAD"))}

    async def metrics(self, request: Request, answer: AnswerWriter) -> None:
        if request.caller is not ANYBODY and not request.caller.admin:
            raise Forbidden("the metrics are for keys with admin = true", code="admin_only")
        answer.whole(200, {"content-type": CONTENT_TYPE}, self._metrics.text())
