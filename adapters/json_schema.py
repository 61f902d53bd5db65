"""JSON Schemas made smaller: references inlined, and what a poorer reader would lose kept.

`inlined` gives a schema without `$ref`. `simplified` gives one for servers that read only
type, properties, items, required, enum, anyOf and description: other keywords are said in
the description, so that the model still sees them.
Source: https://json-schema.org/draft/2020-12/json-schema-validation
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from adapters.errors import InvalidRequest

Schema = dict[str, object]

_SAID: Final = (  # keywords that are lost unless the description says them
    "format",
    "pattern",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "uniqueItems",
    "default",
    "examples",
    "additionalProperties",
)
_KEPT: Final = ("type", "description", "enum", "items", "properties", "required", "anyOf")
_MOST_NODES: Final = 20_000  # a schema that grows beyond this when inlined is hostile


def inlined(schema: object, param: str) -> object:
    """`schema` with every local `$ref` replaced by what it names; a cycle becomes an object."""
    return _Inliner(schema, param).inline(schema, ())


class _Inliner:
    def __init__(self, root: object, param: str) -> None:
        self._root = root
        self._param = param
        self._left = _MOST_NODES

    def inline(self, node: object, seen: tuple[str, ...]) -> object:
        self._left -= 1
        if self._left < 0:
            raise InvalidRequest("the schema is too large", self._param)
        if isinstance(node, list):
            return [self.inline(item, seen) for item in node]
        if not isinstance(node, dict):
            return node
        members = {
            key: self.inline(value, seen)
            for key, value in node.items()
            if key not in ("$defs", "definitions", "$ref")
        }
        reference = node.get("$ref")
        if not isinstance(reference, str):
            return members
        if reference in seen:
            return {"type": "object"}
        named = self.inline(self._named(reference), (*seen, reference))
        return named | members if isinstance(named, dict) else named

    def _named(self, reference: str) -> object:
        node = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            node = node.get(key) if isinstance(node, dict) else None
        if node is None or not reference.startswith("#"):
            raise InvalidRequest(f"the schema names '{reference}', which is not in it", self._param)
        return node


def simplified(schema: object, param: str) -> Schema:
    """A tool's parameters for a server that reads few keywords; always an object schema."""
    flat = _simplify(inlined(schema, param))
    flat["type"] = "object"
    flat.setdefault("properties", {})
    return flat


def _simplify(node: object) -> Schema:
    if not isinstance(node, dict):  # a boolean schema: anything goes
        return {}
    node = _merged(node)
    if "const" in node:
        node.setdefault("enum", [node["const"]])
    if "oneOf" in node:
        node.setdefault("anyOf", node["oneOf"])
    kept: Schema = {key: node[key] for key in _KEPT if node.get(key) is not None}
    if isinstance(kept.get("properties"), dict):
        kept["properties"] = {
            name: _simplify(value) for name, value in _mapping(kept["properties"]).items()
        }
    if "items" in kept:
        kept["items"] = _simplify(kept["items"])
    if isinstance(kept.get("anyOf"), list):
        kept["anyOf"] = [_simplify(option) for option in _list(kept["anyOf"])]
    said = ", ".join(_say(key, node[key]) for key in _SAID if node.get(key) not in (None, True))
    if said:
        description = node.get("description")
        kept["description"] = f"{description} ({said})" if description else said
    return kept


def _say(keyword: str, value: object) -> str:
    return f"{keyword}: {msgspec.json.encode(value).decode()}"


def _merged(node: Mapping[str, object]) -> Schema:
    """`allOf` folded into the schema that carries it."""
    merged = {key: value for key, value in node.items() if key != "allOf"}
    for part in _list(node.get("allOf")):
        for key, value in _merged(_mapping(part)).items():
            mine = merged.get(key)
            if isinstance(mine, dict) and isinstance(value, dict):
                merged[key] = mine | value
            elif isinstance(mine, list) and isinstance(value, list):
                merged[key] = mine + [item for item in value if item not in mine]
            else:
                merged.setdefault(key, value)
    return merged


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
