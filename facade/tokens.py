"""Inputs and prompts given as token ids, made text for upstreams that read nothing else.

Strategy: whoever sends ids counted them by a vocabulary of OpenAI's: o200k_base if the model
asked for is one of those that have it, else cl100k_base, as LangChain's default client does.
The vocabularies come with the `tokens` extra; they are loaded when first needed (80 MB each)
and read in a thread, for a long input takes as long as a short answer.
Source: https://github.com/openai/tiktoken/blob/main/tiktoken/model.py
"""

from __future__ import annotations

import asyncio
import importlib.util
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, Protocol, TypeVar, cast

from msgspec.structs import replace

from adapters.patching import Inside, patched
from adapters.wire import CompletionCall, EmbeddingCall, Input
from facade.errors import BadRequest
from facade.faces.requests import MOST_INPUTS
from facade.waits import Wait

T = TypeVar("T")
Call = TypeVar("Call", CompletionCall, EmbeddingCall)

_LIBRARY: Final = "bpe_openai"
_O200K: Final = re.compile(r"(.*/)?(chatgpt-4o|gpt-4o|gpt-4\.1|gpt-4\.5|gpt-5|gpt-oss|o[1-9])\b")
_TEXTS: Final = {"cl100k_base": 100_256, "o200k_base": 199_998}  # ids from there on have no text


class _Vocabulary(Protocol):
    def decode(self, tokens: list[int], errors: str = "replace") -> str: ...


def readable(
    call: Call, field: str, then: Callable[[Call], T], *, takes_tokens: bool
) -> T | Wait[T]:
    """`then` of the call; token ids in its `field` are text by then, unless they are taken.

    The Wait raises BadRequest where they are no ids, or the extra is not installed.
    """
    given: Input | None = getattr(call.request, field)
    if takes_tokens or given is None or isinstance(given, str):
        return then(call)
    if all(isinstance(item, str) for item in given):
        return then(call)
    return asyncio.ensure_future(_read(call, field, given, then))


async def _read(call: Call, field: str, given: Input, then: Callable[[Call], T]) -> T:
    texts = await asyncio.to_thread(_texts, given, field, call.request.model)
    request = replace(call.request, **{field: texts})
    return then(replace(call, body=patched(call.body, Inside({field: texts})), request=request))


def _texts(given: Input, field: str, model: str) -> list[str]:
    if importlib.util.find_spec(_LIBRARY) is None:
        raise BadRequest(
            f"this model's upstream takes no token ids in '{field}': send text, "
            "or let the operator add the `tokens` extra (`pip install bpe-openai`)",
            param=field,
            code="unsupported_value",
        )
    name = "o200k_base" if _O200K.match(model) else "cl100k_base"
    if all(isinstance(item, int) for item in given):
        return [_text(given, name, field)]
    if len(given) > MOST_INPUTS:
        raise _wrong(f"{len(given)} inputs are more than {MOST_INPUTS}", field)
    return [_text(item, name, f"{field}[{place}]") for place, item in enumerate(given)]


def _text(ids: object, name: str, at: str) -> str:
    """Characters that a client cut between two lists are U+FFFD in both."""
    if not isinstance(ids, list) or not all(isinstance(each, int) for each in ids):
        raise BadRequest(
            f"'{at}' is not a list of token ids, as others are", param=at, code="invalid_type"
        )
    if not ids:
        raise _wrong(f"'{at}' is empty", at)
    wrong = next((each for each in ids if not 0 <= each < _TEXTS[name]), None)
    if wrong is not None:
        raise _wrong(f"'{at}': {wrong} is no token id of {name} that stands for a text", at)
    return _vocabulary(name).decode(ids)


def _wrong(message: str, at: str) -> BadRequest:
    return BadRequest(message, param=at, code="invalid_value")


@lru_cache
def _vocabulary(name: str) -> _Vocabulary:
    return cast(_Vocabulary, importlib.import_module(_LIBRARY).get_encoding(name))
