"""Forced tool calls on a server that cannot force them, by constrained decoding.

The tools are told in a system message and the answer is constrained to
`{"name": <one of them>, "parameters": {...}}`, or, where the caller also asked for a
format, to that or `{"answer": <the format>}`. `ForcedAnswer` turns the text back: nothing
goes out until the name is known, then the arguments stream as they come.
The keys sort with the name first, because some servers sort a schema's properties.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from adapters.errors import broken
from adapters.json_schema import Schema, inlined
from adapters.wire import Function

_CALL: Final = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"parameters"\s*:\s*')
_ANSWER: Final = re.compile(r'\s*\{\s*"answer"\s*:\s*')


class Forced(Struct, frozen=True):
    """What is asked: one of `functions`, or (`answer` set) an answer of that schema."""

    functions: Sequence[Function]
    answer: object | None = None

    def schema(self) -> Schema:
        """The constraint."""
        options: list[object] = [_call_schema(function) for function in self.functions]
        if self.answer is not None:
            options.append(_object({"answer": self.answer}))
        return {"anyOf": options} if len(options) > 1 else _mapping(options[0])

    def instructions(self) -> str:
        """The system text that tells the model of the tools."""
        tools = [
            {
                "name": function.name,
                "description": function.description or "",
                "parameters": parameters(function),
            }
            for function in self.functions
        ]
        text = (
            "You have these functions:\n"
            + "\n".join(msgspec.json.encode(tool).decode() for tool in tools)
            + '\nCall one of them by answering {"name": its name, "parameters": its arguments}.'
        )
        if self.answer is not None:
            text += ' To answer without calling one, answer {"answer": your answer}.'
        return text


def parameters(function: Function) -> Schema:
    """A function's parameters as a self-contained object schema."""
    schema = inlined(msgspec.json.decode(function.parameters), f"tools.{function.name}.parameters")
    return Schema(type="object") | schema if isinstance(schema, dict) else _object({})


def _call_schema(function: Function) -> Schema:
    name = {"type": "string", "enum": [function.name]}
    return _object({"name": name, "parameters": parameters(function)})


def _object(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _mapping(value: object) -> Schema:
    return value if isinstance(value, dict) else {}


class Piece(Struct, frozen=True):
    """What some text turned out to be; `name` is set once, when a call begins."""

    name: str | None = None
    arguments: str = ""
    content: str = ""


class ForcedAnswer:
    """Constrained text in, pieces of a call or of an answer out."""

    def __init__(self) -> None:
        self._held = ""
        self._value: _JsonValue | None = None
        self.is_call = False

    def feed(self, text: str) -> Piece:
        if self._value is not None:
            return self._piece(self._value.feed(text))
        self._held += text
        match = _CALL.match(self._held)
        if match is None:
            match = _ANSWER.match(self._held)
            if match is None:
                return Piece()
        self._value = _JsonValue()
        text = self._value.feed(self._held[match.end() :])
        if match.re is _ANSWER:
            return self._piece(text)
        self.is_call = True
        return Piece(name=msgspec.json.decode(match.group(1), type=str), arguments=text)

    def close(self, whole: bool) -> None:
        """The text is over. `whole`: the model was not cut, so what is missing is its fault."""
        if whole and (self._value is None or not self._value.whole):
            raise broken("the model did not call a tool although it had to")

    def _piece(self, text: str) -> Piece:
        return Piece(arguments=text) if self.is_call else Piece(content=text)


class _JsonValue:
    """Cuts one JSON value out of a text that goes on after it."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self.whole = False

    def feed(self, text: str) -> str:
        """The part of `text` that still belongs to the value."""
        for position, character in enumerate(text):
            if self.whole or self._ends_before(character):
                self.whole = True
                return text[:position]
        return text

    def _ends_before(self, character: str) -> bool:
        if self._in_string:
            self._in_string = self._escaped or character != '"'
            self._escaped = character == "\\" and not self._escaped
        elif character == '"':
            self._in_string = True
        elif character in "{[":
            self._depth += 1
        elif character in "}]":
            self._depth -= 1
            return self._depth < 0  # the brace that closes the wrapper
        return False
