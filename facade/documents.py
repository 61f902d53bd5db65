"""A file as Structs, where every fault names its key by the full path.

msgspec checks each value; the tables are walked here, since msgspec's paths do not say which
entry of a table is meant. A Secret may stand elsewhere (`env:NAME`, `file:/path`): it is fetched
after parsing, so nothing it holds can change the document. No sentence quotes a secret.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

import msgspec
import yaml
from msgspec import Struct

T = TypeVar("T", bound=Struct)

Key = tuple[str, ...]  # ("upstreams", "local", "timeouts", "idle"); a list's index is "[0]"


class Fault(Exception):
    """One thing that is wrong, and the key whose value it is (none: it is said in the text)."""

    def __init__(self, problem: str, key: Key = ()) -> None:
        super().__init__(problem)
        self.problem = problem
        self.key = key


class Secret(str):
    """A string that no repr shows."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret(...)"


def spelled(key: Key) -> str:
    """The key as one writes it in TOML: `models."gpt-4.1".targets[0]`."""
    parts = [p if re.fullmatch(r"[\w-]+|\[\d+\]", p, re.ASCII) else f'"{p}"' for p in key]
    return ".".join(parts).replace(".[", "[")


def parse(file: Path) -> object:
    """What the file says, in plain Python values. Raises Fault."""
    read = _FORMATS.get(file.suffix.lower())
    if read is None:
        raise Fault("the name of a configuration file ends in .toml, .yaml or .yml")
    try:
        return read(file.read_text("utf-8"))
    except OSError as error:
        raise Fault(f"the file cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise Fault("the file is not UTF-8 text") from None


class Reader(Struct, frozen=True):
    """Turns plain values into Structs. Relative files are looked for in `folder`."""

    environ: Mapping[str, str]
    folder: Path
    not_built: frozenset[str]  # keys that users may expect, but that nothing obeys yet

    def table(self, raw: object, kind: type[T], key: Key = ()) -> T:
        """`raw` as the Struct `kind`. Raises Fault for the first thing that does not fit."""
        table = _table(raw, key)
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        for name in table:
            if name in fields:
                continue
            if name in self.not_built:
                raise Fault(f"the key {name!r}{_at(key)} is not built yet; nothing would obey it")
            raise Fault(f"unknown key {name!r}{_at(key)}")
        for name, field in fields.items():
            if field.required and name not in table:
                raise Fault(f"the key {name!r} is missing{_at(key)}")
        return kind(
            **{
                fields[name].name: self._value(raw, fields[name].type, (*key, name))
                for name, raw in table.items()
            }
        )

    def _value(self, raw: object, kind: Any, key: Key) -> object:  # noqa: ANN401 - a type form
        if isinstance(kind, type) and issubclass(kind, Struct):
            return self.table(raw, kind, key)
        entries = get_args(kind)[1] if get_origin(kind) is dict else None
        if isinstance(entries, type) and issubclass(entries, Struct):
            table = _table(raw, key)
            return {name: self.table(entry, entries, (*key, name)) for name, entry in table.items()}
        if get_origin(kind) is Literal and raw not in get_args(kind):
            raise Fault(f"expected {' or '.join(map(repr, get_args(kind)))}", key)
        try:
            return msgspec.convert(raw, kind, dec_hook=self._fetched)
        except msgspec.ValidationError as error:
            raise _fault(str(error), key) from None

    def _fetched(self, kind: type, raw: object) -> object:
        if kind is object:  # msgspec asks for what is inside free tables too
            return raw
        if not isinstance(raw, str):
            raise TypeError("expected a string")
        if kind is not Secret:
            return self._file(raw)
        scheme, _, rest = raw.partition(":")
        if scheme == "file":
            raw = self._file(rest).read_text("utf-8", "replace")
        elif scheme == "env" and rest not in self.environ:
            raise ValueError("the variable that should hold the secret is not set")
        elif scheme == "env":
            raw = self.environ[rest]
        if not raw.strip():
            raise ValueError("the secret is empty")
        if not (raw.strip().isascii() and raw.strip().isprintable()):
            raise ValueError("the secret holds characters that no header can carry")
        return Secret(raw.strip())

    def _file(self, name: str) -> Path:
        file = self.folder / name
        try:
            file.open("rb").close()
        except OSError as error:
            raise ValueError(f"the file cannot be read ({error.strerror})") from None
        return file


def _at(key: Key) -> str:
    return f" at {spelled(key)}" if key else ""


def _table(raw: object, key: Key) -> dict[str, object]:
    if not isinstance(raw, dict):
        raise Fault("expected a table", key)
    for name in raw:
        if not isinstance(name, str):
            raise Fault(f"the key {name!r}{_at(key)} is not a string")
    return raw


_WORDS: Final = {
    "array": "a list",
    "bool": "true or false",
    "float": "a number",
    "int": "a whole number",
    "null": "nothing",
    "object": "a table",
    "str": "a string",
}


def _fault(said: str, key: Key) -> Fault:
    """msgspec's sentence in ours: Expected `int | str`, got `array` - at `$[0]`."""
    problem, _, place = said.partition(" - at `")
    problem = re.sub(
        r"`([^`]+)`",
        lambda kinds: " or ".join(_WORDS.get(kind, kind) for kind in kinds[1].split(" | ")),
        problem,
    )
    problem = problem.replace("Expected", "expected").replace(", got", " but got")
    inside = re.search(r"\[\d+\]", place)
    return Fault(problem, (*key, inside[0]) if inside else key)


def _toml(text: str) -> object:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Fault(f"the file is not TOML: {error}") from None


def _yaml(text: str) -> object:
    try:
        document: object = yaml.safe_load(text)
    except yaml.YAMLError as error:
        # The error's own text quotes the file, which may hold a secret.
        mark = getattr(error, "problem_mark", None)
        line = f" (at line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        problem = re.sub(r"'[^']{2,}'", "something", problem)
        raise Fault(f"the file is not YAML: {problem}{line}") from None
    return {} if document is None else document


_FORMATS: Final = {".toml": _toml, ".yaml": _yaml, ".yml": _yaml}
