"""The caller's bytes as calls, checked by OpenAI's own rules; what is wrong names its field.

What only some upstreams can do is not decided here: that is a dialect's word.
Source: https://platform.openai.com/docs/api-reference
"""

from __future__ import annotations

import re
from typing import Final, TypeVar

import msgspec
from msgspec import UNSET

from adapters.patching import Inside, patched
from adapters.wire import (
    ChatCall,
    ChatRequest,
    CompletionCall,
    CompletionRequest,
    EmbeddingCall,
    EmbeddingRequest,
    Input,
)
from facade.errors import BadRequest

T = TypeVar("T")

MOST_INPUTS: Final = 2048
_MISSING: Final = re.compile(r"Object missing required field `([^`]+)`(.*)")
_AT: Final = re.compile(r" - at `\$\.?([^`]*)`$")
_chat = msgspec.json.Decoder(ChatRequest)
_completion = msgspec.json.Decoder(CompletionRequest)
_embedding = msgspec.json.Decoder(EmbeddingRequest)


def chat(body: bytes) -> ChatCall:
    """POST /v1/chat/completions."""
    request = _decoded(_chat, body)
    if request.stream_options is not None and not request.stream:
        raise _no_stream()
    if request.top_logprobs is not None and not request.logprobs:
        raise BadRequest(
            "top_logprobs needs logprobs to be true", param="top_logprobs", code="invalid_value"
        )
    return ChatCall(body if request.constraints is UNSET else _of_openai(body), request)


def completion(body: bytes) -> CompletionCall:
    """POST /v1/completions."""
    request = _decoded(_completion, body)
    if request.stream_options is not None and not request.stream:
        raise _no_stream()
    if request.best_of is not None and request.best_of > (request.n or 1):
        raise BadRequest(
            "best_of above n is not supported: no upstream here can rank answers",
            param="best_of",
            code="unsupported_value",
        )
    return CompletionCall(body if request.constraints is UNSET else _of_openai(body), request)


def embedding(body: bytes) -> EmbeddingCall:
    """POST /v1/embeddings."""
    request = _decoded(_embedding, body)
    if request.encoding_format not in (None, "float", "base64"):
        raise BadRequest(
            f"'{request.encoding_format}' is not an encoding: use float or base64",
            param="encoding_format",
            code="invalid_value",
        )
    _check_inputs(request.input)
    return EmbeddingCall(body if request.constraints is UNSET else _of_openai(body), request)


def _of_openai(body: bytes) -> bytes:
    """The body without what is ours: an upstream may refuse what it does not know."""
    return patched(body, Inside(constraints=None))


def _check_inputs(inputs: Input) -> None:
    if len(inputs) == 0:
        raise BadRequest("the input is empty", param="input", code="invalid_value")
    if isinstance(inputs, str) or all(isinstance(item, int) for item in inputs):
        return
    if len(inputs) > MOST_INPUTS:
        raise BadRequest(
            f"{len(inputs)} inputs are more than {MOST_INPUTS}", param="input", code="invalid_value"
        )
    for position, item in enumerate(inputs):
        if type(item) is not type(inputs[0]):
            raise BadRequest(
                "the inputs are of different types", param=f"input[{position}]", code="invalid_type"
            )
        if item in ("", []):
            raise BadRequest(
                f"input {position} is empty", param=f"input[{position}]", code="invalid_value"
            )


def _no_stream() -> BadRequest:
    return BadRequest(
        "stream_options is only for streams: set stream to true",
        param="stream_options",
        code="invalid_value",
    )


def _no_body() -> BadRequest:
    return BadRequest("the request has no body: send a JSON object", code="invalid_json")


def _decoded(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        if not body.isascii():
            body.decode()  # what is not read goes upstream as it is, and must be text too
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if not body.strip():
            raise _no_body() from None
        raise BadRequest(f"the body is not valid JSON: {error}", code="invalid_json") from None


def _invalid(message: str) -> BadRequest:
    """msgspec's sentence, with the field's path where OpenAI has it."""
    match = _AT.search(message)
    path = match.group(1) if match else ""
    sentence = _AT.sub("", message)
    missing = _MISSING.match(sentence)
    if missing:
        path = f"{path}.{missing.group(1)}" if path else missing.group(1)
        return BadRequest(f"'{path}' is missing", param=path, code="missing_required_parameter")
    code = "invalid_type" if ", got " in sentence else "invalid_value"
    where = f"'{path}': " if path else ""
    return BadRequest(f"{where}{sentence[:1].lower()}{sentence[1:]}", param=path or None, code=code)
