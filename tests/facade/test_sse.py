"""The stream's outer form holds for every reader, also for those that split lines generously."""

from __future__ import annotations

import json

import pytest

from facade.faces import sse


@pytest.mark.parametrize("end", ["\x85", "\u2028", "\u2029"])
def test_no_character_of_an_event_is_a_line_end_to_any_reader(end: str) -> None:
    text = f"before{end}after, é and \U0001f389"
    event = sse.event(json.dumps({"content": text}, ensure_ascii=False).encode()).decode()
    assert [event.removesuffix("\n\n"), ""] == event.splitlines()
    assert {"content": text} == json.loads(event.removeprefix("data: "))


def test_an_event_without_such_characters_keeps_its_bytes() -> None:
    assert 'data: {"a":"é…\u2027"}\n\n'.encode() == sse.event('{"a":"é…\u2027"}'.encode())
