"""Patching changes what is named and keeps the bytes of all else."""

from __future__ import annotations

import pytest

from adapters.dialect import Reply
from adapters.errors import Kind, UpstreamError
from adapters.openai_stream import CHAT, OpenAIStream
from adapters.patching import Inside, patched
from adapters.wire import NULL


def test_patching_keeps_the_bytes_of_what_is_not_named() -> None:
    assert b'{"a":1.50,"c":{ "d" : [ ] },"e":2}' == patched(
        b' {"a": 1.50, "b": 1, "c": { "d" : [ ] }} ', Inside(b=None, e=2)
    )


def test_patching_goes_into_objects_and_arrays() -> None:
    changes = Inside(a=Inside({1: Inside(b=NULL), 0: None}), c=Inside(d=1), e=Inside(f=2))
    assert b'{"a":[{"b":null},3],"c":{"d":1},"e":{"f":2}}' == patched(
        b'{"a":[1,{"b":2},3],"c":null}', changes
    )


def test_without_changes_the_bytes_are_the_same() -> None:
    json_ = b' { "a" : 1 } '
    assert json_ is patched(json_, Inside())


def test_names_that_are_no_text_are_the_upstreams_fault() -> None:
    with pytest.raises(UpstreamError) as told:
        patched(b'{"a":1,"\xff":2}', Inside(a=2))
    assert Kind.BROKEN is told.value.kind


def test_so_they_are_in_an_event_of_a_stream_that_has_to_be_mended() -> None:
    stream = OpenAIStream(CHAT, Reply(id="0" * 24, created=5, model="m"))
    event = b'data: {"id":"x","model":"m","\xff":1,"choices":[{"delta":{"content":"a"}}]}\n\n'
    with pytest.raises(UpstreamError) as told:
        stream.feed(event)
    assert Kind.BROKEN is told.value.kind
