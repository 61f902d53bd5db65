"""The models of an OpenAI-shaped upstream, in any of the forms in which they are listed.

`{"data": [...]}` is OpenAI's; a bare list and `{"models": [...]}` occur. What has no name is
no model.
Source: https://platform.openai.com/docs/api-reference/models/list
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from adapters import openai_glance as glance
from adapters.dialect import Model


class _Listed(Struct, frozen=True):
    id: str | None = None
    name: str | None = None
    created: int | float | str | None = None
    owned_by: object = None


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
    )
