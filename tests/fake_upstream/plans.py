"""What is planned: scripted answers by path, and the faults that befall what is answered."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Final

import msgspec
from msgspec import Struct

from tests.fake_upstream import ollama, openai
from tests.fake_upstream.answers import TEXT, Answer, Reply, error_answer
from tests.fake_upstream.faults import Fault
from tests.fake_upstream.models import Models
from tests.fake_upstream.wire import Request

RENDERED: Final = {
    "/api/chat": ollama.chat,
    "/api/generate": ollama.generate,
    "/v1/chat/completions": openai.chat,
    "/v1/completions": openai.completion,
}
CALLS: Final = {*RENDERED, "/api/embed", "/api/embeddings", "/v1/embeddings"}
_ROUTES: Final = {**ollama.ROUTES, **openai.ROUTES}


class _Trouble(Struct):
    fault: Fault
    path: str | None
    left: int | None  # requests still to befall

    def befalls(self, path: str) -> bool:
        if self.left == 0 or (path != self.path if self.path else path not in CALLS):
            return False
        if self.left is not None:
            self.left -= 1
        return True


class Plans:
    """Scripts and faults, until they are used up or cleared."""

    def __init__(self) -> None:
        self._scripts: defaultdict[str, deque[Answer | Reply]] = defaultdict(deque)
        self._troubles: list[_Trouble] = []

    def script(self, path: str, *answers: Answer | Reply) -> None:
        """Queue what the next requests on the path are answered with."""
        if path not in RENDERED and any(isinstance(answer, Reply) for answer in answers):
            raise ValueError(f"a Reply is for {', '.join(RENDERED)}; {path} takes Answers")
        self._scripts[path].extend(answers)

    def fault(self, fault: Fault, *, times: int | None, path: str | None) -> None:
        """Let the fault befall so many requests (None: all) on the path (None: any model call)."""
        self._troubles.append(_Trouble(fault, path, times))

    def clear(self) -> None:
        """Forget all."""
        self._scripts.clear()
        self._troubles.clear()

    def answer(self, request: Request, models: Models) -> Answer:
        """What was scripted, or else a polite answer, with the faults of the time in it."""
        path = request.path
        script = self._scripts.get(path)
        try:
            planned = script.popleft() if script else _polite(request, models)
            answer = RENDERED[path](request, planned) if isinstance(planned, Reply) else planned
        except msgspec.ValidationError as error:
            answer = error_answer(path, 400, str(error))
        for trouble in self._troubles:
            if trouble.befalls(path):
                answer = trouble.fault.on(answer, path)
        return answer


def _polite(request: Request, models: Models) -> Answer:
    path = request.path
    if path.startswith("/v1/models/"):
        return openai.one_model(request, models)
    if path not in _ROUTES:
        return _no_route(path)
    method, answer = _ROUTES[path]
    if request.method != method and (request.method, method) != ("HEAD", "GET"):
        return Answer(405, {"content-type": TEXT, "allow": method}, (b"405 method not allowed",))
    return answer(request, models)


def _no_route(path: str) -> Answer:
    if path.startswith("/v1/"):
        return error_answer(path, 404, f"no {path} here")
    return Answer(404, {"content-type": TEXT}, (b"404 page not found",))
