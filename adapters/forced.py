"""Forced tool calls on a server that cannot force them, by constrained decoding.

The tools are told in a system message and the answer is constrained to
`{"name": <one of them>, "parameters": {...}}`, or, where the caller also asked for a
format, to that or `{"answer": <the format>}`. `ForcedAnswer` turns the text back: nothing
goes out until the name is known, then the arguments stream as they come.
The keys sort with the name first, because some servers sort a schema's properties.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from adapters.errors import UpstreamError, broken
from adapters.json_schema import Schema

_CALL: Final = re.compile(
    r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"parameters"\s*:\s*(?=\S)'
)
_ANSWER: Final = re.compile(r'\s*\{\s*"answer"\s*:\s*(?=\S)')
_AFTER_A_NUMBER: Final = frozenset(",}] \t\r\n")  # the others end by themselves
_SPACE: Final = frozenset(" \t\r\n")
_LONGEST_HEAD: Final = 4096  # characters in which the name must have come


class Declaration(Struct, frozen=True):
    """A function with its parameters as a self-contained object schema."""

    name: str
    description: str
    parameters: Schema


class Forced(Struct, frozen=True):
    """What is asked: one of `functions`, or (`answer` set) an answer of that schema."""

    functions: Sequence[Declaration]
    answer: object | None = None

    @property
    def names(self) -> frozenset[str]:
        return frozenset(function.name for function in self.functions)

    def schema(self) -> Schema:
        """The constraint."""
        options = [
            _object(
                name={"type": "string", "enum": [function.name]}, parameters=function.parameters
            )
            for function in self.functions
        ]
        if self.answer is not None:
            options.append(_object(answer=self.answer))
        return {"anyOf": options} if len(options) > 1 else options[0]

    def instructions(self) -> str:
        """The system text that tells the model of the tools."""
        told = "\n".join(msgspec.json.encode(function).decode() for function in self.functions)
        text = (
            f"You have these functions:\n{told}\n"
            'Call one of them by answering {"name": its name, "parameters": its arguments}.'
        )
        if self.answer is not None:
            text += ' To answer without calling one, answer {"answer": your answer}.'
        return text


def _object(**properties: object) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


class Piece(Struct, frozen=True):
    """What some text turned out to be; `name` is set once, when a call begins."""

    name: str | None = None
    arguments: str = ""
    content: str = ""


class ForcedAnswer:
    """Constrained text in, pieces of a call or of an answer out; `names` may be called.

    Raises UpstreamError where the model did not hold the constraint.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._held = ""
        self._value: _JsonValue | None = None
        self._is_call = False

    def feed(self, text: str) -> Piece:
        if self._value is not None:
            return self._piece(self._value.feed(text))
        self._held += text
        match = _CALL.match(self._held) or _ANSWER.match(self._held)
        if match is None:
            if len(self._held) > _LONGEST_HEAD:
                raise _not_held()
            return Piece()
        self._is_call = match.re is _CALL
        self._value = _JsonValue(compact=self._is_call)
        text = self._value.feed(self._held[match.end() :])
        if not self._is_call:
            return self._piece(text)
        return Piece(name=self._name(match[1]), arguments=text)

    def close(self) -> None:
        """The text is over, and nobody cut it: what is missing is the model's fault."""
        if self._value is None or not self._value.whole:
            raise _not_held()

    def _name(self, json: str) -> str:
        try:
            name = msgspec.json.decode(json, type=str)
        except msgspec.DecodeError:
            raise _not_held() from None
        if name not in self._names:
            raise _not_held()
        return name

    def _piece(self, text: str) -> Piece:
        return Piece(arguments=text) if self._is_call else Piece(content=text)


def _not_held() -> UpstreamError:
    return broken("the model did not call a tool although it had to")


class _JsonValue:
    """Cuts one JSON value out of a text that begins with it and goes on after it.

    `compact`: as arguments are written, without white space between the tokens.
    """

    def __init__(self, *, compact: bool) -> None:
        self._compact = compact
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self.whole = False

    def feed(self, text: str) -> str:
        """The part of `text` that still belongs to the value."""
        kept: list[str] = []
        for character in text:
            if not self._in_string and self._depth == 0 and character in _AFTER_A_NUMBER:
                self.whole = True
            if self.whole:
                break
            if self._in_string or not (self._compact and character in _SPACE):
                kept.append(character)
            self._step(character)
        return "".join(kept)

    def _step(self, character: str) -> None:
        """What ends a string, an object or an array belongs to it."""
        if self._in_string:
            self._in_string = self._escaped or character != '"'
            self._escaped = character == "\\" and not self._escaped
            closes = not self._in_string
        else:
            self._in_string = character == '"'
            self._depth += (character in "{[") - (character in "}]")
            closes = character in "}]"
        self.whole = closes and self._depth == 0
