"""The models of an OpenAI-shaped upstream, in any of the forms in which they are listed.

`{"data": [...]}` is OpenAI's; a bare list and `{"models": [...]}` occur. What has no name is
no model. OpenAI says neither windows nor capabilities; where others do, they are known.
Source: https://platform.openai.com/docs/api-reference/models/list
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from adapters import openai_glance as glance
from adapters.dialect import Facts, Model


class _Listed(Struct, frozen=True):
    id: str | None = None
    name: str | None = None
    created: int | float | str | None = None
    owned_by: object = None
    max_model_len: object = None
    context_length: object = None
    context_window: object = None
    max_context_length: object = None
    supported_parameters: object = None
    architecture: object = None
    capabilities: object = None


class _Listing(glance.Body, frozen=True):
    data: list[_Listed] | None = None
    models: list[_Listed] | None = None


_listing = msgspec.json.Decoder(_Listing)


def models(body: bytes) -> list[Model]:
    """/models."""
    if body.lstrip().startswith(b"["):
        body = b'{"data":' + body + b"}"
    listing = glance.read(_listing, body)
    listed = listing.models if listing.data is None else listing.data
    named = [_model(entry) for entry in listed or () if entry.id or entry.name]
    if not named and listed != []:
        raise glance.no_answer(body, "the upstream's listing names no models")
    return named


def _model(entry: _Listed) -> Model:
    return Model(
        id=entry.id or entry.name or "",
        created=glance.unix_time(entry.created),
        owned_by=str(entry.owned_by or "unknown"),
        facts=Facts(_capabilities(entry), window=_window(entry)),
    )


def _window(entry: _Listed) -> int | None:
    """vLLM's name for it, OpenRouter's and Together's, Groq's, Mistral's."""
    said = (
        entry.max_model_len,
        entry.context_length,
        entry.context_window,
        entry.max_context_length,
    )
    return next((size for size in said if isinstance(size, int) and size > 0), None)


def _capabilities(entry: _Listed) -> frozenset[str] | None:
    """Of what is told both tools and images; whether it can embed is not.

    Sources: https://openrouter.ai/docs/api-reference/list-available-models and
    https://docs.mistral.ai/api/endpoint/models
    """
    told, parameters = entry.capabilities, entry.supported_parameters
    built = entry.architecture
    modalities = built.get("input_modalities") if isinstance(built, dict) else None
    if isinstance(told, dict) and {"function_calling", "vision"} <= told.keys():
        tools, vision = told["function_calling"], told["vision"]
    elif isinstance(parameters, list) and isinstance(modalities, list):
        tools, vision = "tools" in parameters, "image" in modalities
    else:
        return None
    known = {"tools": tools, "vision": vision}
    return frozenset(("completion", "embedding", *(name for name, so in known.items() if so)))
