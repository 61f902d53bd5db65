"""`/_fake/...`: what a test says in Python, other processes say in JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from tests.fake_upstream.answers import TEXT, Answer, Reply, document
from tests.fake_upstream.faults import Fault
from tests.fake_upstream.wire import Request

if TYPE_CHECKING:
    from tests.fake_upstream.server import FakeUpstream


class _Script(Struct, forbid_unknown_fields=True):
    path: str
    answers: list[dict[str, Any]]  # of Answer and Reply, but with text for bytes


class _Trouble(Struct, forbid_unknown_fields=True):
    fault: Fault
    times: int | None = 1
    path: str | None = None


def _script(fake: FakeUpstream, body: bytes) -> None:
    script = msgspec.json.decode(body, type=_Script)
    given = [_with_bytes(answer) for answer in script.answers]
    answers = msgspec.convert(given, list[Answer | Reply], builtin_types=(bytes,))
    fake.script(script.path, *answers)


def _with_bytes(answer: dict[str, Any]) -> dict[str, Any]:
    body = answer.get("body")
    if not isinstance(body, list):
        return answer
    return answer | {"body": [p.encode() if isinstance(p, str) else p for p in body]}


def _fault(fake: FakeUpstream, body: bytes) -> None:
    told = msgspec.json.decode(body, type=_Trouble)
    fake.fault(told.fault, times=told.times, path=told.path)


def _reset(fake: FakeUpstream, body: bytes) -> None:
    fake.reset()


def _release(fake: FakeUpstream, body: bytes) -> None:
    fake.release()


_VERBS: Final[Mapping[str, Callable[[FakeUpstream, bytes], None]]] = {
    "/_fake/script": _script,
    "/_fake/fault": _fault,
    "/_fake/reset": _reset,
    "/_fake/release": _release,
}


def answer(fake: FakeUpstream, request: Request) -> Answer:
    """Do what the request says; 400 tells what is wrong with it."""
    if (request.method, request.path) == ("GET", "/_fake/log"):
        return document([_logged(each) for each in fake.requests])
    verb = _VERBS.get(request.path)
    if request.method != "POST" or verb is None:
        verbs = "".join(f"POST {path}\n" for path in _VERBS)
        return Answer(404, {"content-type": TEXT}, (f"GET /_fake/log\n{verbs}".encode(),))
    try:
        verb(fake, request.body)
    except ValueError as error:
        return document({"error": str(error)}, 400)
    return document({})


def _logged(request: Request) -> dict[str, Any]:
    text = request.body.decode("utf-8", "replace")
    return msgspec.structs.asdict(request) | {"body": text}
