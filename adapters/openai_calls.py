"""The tool calls of one choice of a stream, numbered from 0 in the order in which they begin.

Strategy: each fragment is given to a call that has begun, or begins one. A call's index, id,
type and name go out once, with its first fragment; later ones carry index and arguments only.
What upstreams do instead: no index, index 0 for every call, ids and names said again or null,
no id or type at all, arguments that are null or an object.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from msgspec import UNSET, Raw

from adapters.dialect import Reply
from adapters.openai_glance import Call, Function
from adapters.patching import Inside
from adapters.wire import ToolDelta

_object = msgspec.json.Decoder(dict[str, Raw])


class TakenCall(NamedTuple):
    """What must be changed in a fragment, and what it says."""

    changes: Inside
    delta: ToolDelta


class _Begun:
    """A call that has begun. `given` is the upstream's id, "" if it gave none."""

    def __init__(self, index: int, said: Call) -> None:
        self.index = index
        self.given = said.id or ""
        self.name = ""
        self.arguments: list[str] = []  # never empty ones
        self.is_function = said.function is not None

    def continues(self, said: Call) -> bool:
        """Whether `said`, which has this call's index or none, is more of it."""
        name = said.function.name if said.function else None
        if not name:
            return True
        if said.id and self.given:
            return said.id == self.given
        return name == (self.name or name) and not _is_whole("".join(self.arguments))


class Calls:
    def __init__(self, reply: Reply, choice: int) -> None:
        self._reply = reply
        self._choice = choice
        self._calls: list[_Begun] = []
        self._numbered: dict[int, _Begun] = {}  # by the upstream's index

    def __len__(self) -> int:
        return len(self._calls)

    def kept(self, said: list[Call]) -> tuple[ToolDelta, ...]:
        """What a fragment says that goes on with its call as it should; () for any other."""
        first, *more = said
        call = None if first.index is None else self._numbered.get(first.index)
        function = first.function
        if (
            more
            or call is None
            or call.index != first.index
            or first.id is not UNSET
            or first.type is not UNSET
            or function is None
            or function.name is not UNSET
            or not isinstance(function.arguments, str)
        ):
            return ()
        if function.arguments:
            call.arguments.append(function.arguments)
        return (ToolDelta(call.index, function.arguments),)

    def take(self, said: Call, last: bool) -> TakenCall:
        """One fragment. `last`: its choice ends with it."""
        call, changes, id_ = self._find(said), Inside(), None
        if call:
            changes |= {name: None for name in ("id", "type") if getattr(said, name) is not UNSET}
        else:
            call = self._begin(said)
            id_ = call.given or call_id(self._reply, self._choice, call.index)
            if not said.id:
                changes["id"] = id_
            if not said.type:
                changes["type"] = "function"
        if said.index != call.index:
            changes["index"] = call.index
        if said.function is None:
            return TakenCall(changes, ToolDelta(call.index, id=id_))
        inside, name = _function(said.function, call, last)
        if inside:
            changes["function"] = inside
        arguments = inside.get("arguments", said.function.arguments)
        return TakenCall(changes, ToolDelta(call.index, str(arguments), id_, name))

    def without_arguments(self) -> list[int]:
        """The calls that have none so far."""
        return [call.index for call in self._calls if call.is_function and not call.arguments]

    def _find(self, said: Call) -> _Begun | None:
        if said.index is not None:
            call = self._numbered.get(said.index)
        else:
            call = self._calls[-1] if self._calls else None
        return call if call and call.continues(said) else None

    def _begin(self, said: Call) -> _Begun:
        call = _Begun(len(self._calls), said)
        self._calls.append(call)
        if said.index is not None:
            self._numbered[said.index] = call
        return call


def call_id(reply: Reply, choice: int, call: int) -> str:
    """An id for a call that the upstream gave none."""
    return f"call_{reply.id[:20]}{choice:02d}{call:02d}"


def text_of(arguments: str | dict[str, Raw] | None) -> str:
    """Arguments as the string they should be."""
    if isinstance(arguments, dict):
        return msgspec.json.encode(arguments).decode()
    return arguments or ""


def _function(said: Function, call: _Begun, last: bool) -> tuple[Inside, str | None]:
    """What must be changed in a fragment's function, and its name where it goes out now."""
    changes, name = Inside(), None
    if said.name and not call.name:
        call.name = name = said.name
    elif said.name is not UNSET:
        changes["name"] = None
    arguments = text_of(said.arguments)
    if last and not (call.arguments or arguments):
        arguments = "{}"  # SDKs parse them, and "" is no JSON
    if arguments:
        call.arguments.append(arguments)
    if arguments != said.arguments:
        changes["arguments"] = arguments
    return changes, name


def _is_whole(arguments: str) -> bool:
    try:
        _object.decode(arguments)
    except msgspec.DecodeError:
        return False
    return True
