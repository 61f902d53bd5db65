"""The official SDKs behind one call, so that a check is written once and made of each of them.

A method is named as both SDKs name it ("chat.completions.create"). What it gives comes back as the
JSON of its types, what it fails with as Failed. A class as response_format is its JSON Schema.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any, Final, NamedTuple, cast

import openai
from openai import AsyncOpenAI, OpenAI
from openai._legacy_response import LegacyAPIResponse  # what with_raw_response gives
from openai.lib._parsing._completions import type_to_response_format_param
from openai.pagination import AsyncPage, SyncPage
from pydantic import BaseModel

from tests.parts import CLIENTS

Json = dict[str, Any]
_WAIT: Final = 120.0  # seconds; a bound, never reached where all is well


class Failed(Exception):
    """An SDK's error: the class it raised, and what it knows of the cause."""

    def __init__(self, error: Json) -> None:
        super().__init__(error)
        self.error = error


class Sdk(NamedTuple):
    """`call` takes the base URL, the method and the request."""

    name: str
    call: Callable[[str, str, Json], object]

    def one(self, url: str, method: str, **request: object) -> Json:
        """The one thing that the method gives. Raises Failed."""
        return cast(Json, self.call(url, method, request))

    def all(self, url: str, method: str, **request: object) -> list[Json]:
        """The many that it gives: the chunks of a stream, the models of a list. Raises Failed."""
        return cast(list[Json], self.call(url, method, request))


def _python(url: str, method: str, request: Json) -> object:
    with OpenAI(base_url=url, api_key="any", max_retries=0, timeout=_WAIT) as client, _told():
        if method.endswith(".stream"):
            with client.chat.completions.stream(**request) as events:
                return _json(events.get_final_completion())
        given = attrgetter(method)(client)(**request)
        return _json(list(given) if isinstance(given, openai.Stream | SyncPage) else given)


def _python_async(url: str, method: str, request: Json) -> object:
    with _told():
        return asyncio.run(_call_async(url, method, request))


async def _call_async(url: str, method: str, request: Json) -> object:
    client = AsyncOpenAI(base_url=url, api_key="any", max_retries=0, timeout=_WAIT)
    async with client:
        if method.endswith(".stream"):
            async with client.chat.completions.stream(**request) as events:
                return _json(await events.get_final_completion())
        given = await attrgetter(method)(client)(**request)
        many = isinstance(given, openai.AsyncStream | AsyncPage)
        return _json([each async for each in given] if many else given)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except openai.APIError as error:
        raise _failed(error) from error


def _json(given: object) -> object:
    if isinstance(given, list):
        return [_json(each) for each in given]
    if isinstance(given, LegacyAPIResponse):
        return dict(given.headers)
    assert isinstance(given, BaseModel)
    return given.model_dump(mode="json", exclude_unset=True, warnings=False)


def _failed(error: openai.APIError) -> Failed:
    body = error.body if isinstance(error.body, dict) else {}
    return Failed(
        {
            "kind": type(error).__name__,
            "status": getattr(error, "status_code", None),
            "code": error.code,
            "param": error.param,
            "request_id": getattr(error, "request_id", None),
            "message": body.get("message", error.message),
        }
    )


def _node(url: str, method: str, request: Json) -> object:
    told: Json = {"url": url, "method": method, "request": request}
    ran = subprocess.run(
        ["node", str(CLIENTS / "call.mjs")],
        input=json.dumps(told, default=type_to_response_format_param),
        capture_output=True,
        text=True,
        timeout=_WAIT,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    said: Json = json.loads(ran.stdout)
    if "failed" in said:
        raise Failed(said["failed"])
    given: object = said["given"]
    return given


PYTHON: Final = Sdk("python", _python)
PYTHON_ASYNC: Final = Sdk("python-async", _python_async)
NODE: Final = Sdk("node", _node)
