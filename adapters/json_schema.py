"""JSON Schemas made smaller: references inlined, and what a poorer reader would lose kept.

`inlined` gives a schema without `$ref`. `simplified` gives one for servers that read only
type, properties, items, required, enum, anyOf and description: other keywords are said in
the description, so that the model still sees them.
Source: https://json-schema.org/draft/2020-12/json-schema-validation
"""

from __future__ import annotations

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
_KEPT: Final[dict[str, type | tuple[type, ...]]] = {  # a wrong type would be a broken schema
    "type": (str, list),
    "description": str,
    "enum": list,
}
_NAMES: Final = frozenset(("properties", "patternProperties", "dependentSchemas"))
_VALUES: Final = frozenset(("const", "enum", "default", "examples", "required"))
_MOST_COPIED: Final = 20_000  # nodes that references bring in; more are hostile


class Schemas:
    """The schemas of one request: what references add to them is limited for all together."""

    def __init__(self) -> None:
        self._left = _MOST_COPIED

    def inlined(self, schema: object, param: str) -> object:
        """`schema` with each local `$ref` replaced by what it names; a cycle becomes an object."""
        return self._inline(schema, _Document(schema, param), frozenset())

    def simplified(self, schema: object, param: str) -> Schema:
        """A tool's parameters for a server that reads few keywords; always an object schema."""
        flat = _simplify(self.inlined(schema, param))
        properties: Schema = {}
        for option in (*_list(flat.pop("anyOf", None)), flat):  # no choice at the top there
            properties |= _mapping(_mapping(option).get("properties"))
        return flat | {"type": "object", "properties": properties}

    def _inline(self, node: object, document: _Document, seen: frozenset[str]) -> object:
        self._left -= bool(seen)
        if self._left < 0:
            raise InvalidRequest("the schemas are too large", document.param, "invalid_value")
        if isinstance(node, list):
            return [self._inline(item, document, seen) for item in node]
        if not isinstance(node, dict):
            return node
        members: Schema = {}
        for key, value in node.items():
            if key in _NAMES and isinstance(value, dict):
                members[key] = {
                    name: self._inline(item, document, seen) for name, item in value.items()
                }
            elif key not in ("$defs", "definitions", "$ref"):
                members[key] = value if key in _VALUES else self._inline(value, document, seen)
        reference = node.get("$ref")
        if not isinstance(reference, str):
            return members
        if reference in seen:
            return {"type": "object"}
        named = self._inline(document.named(reference), document, seen | {reference})
        return named | members if isinstance(named, dict) else named


class _Document:
    """Where the references of a schema lead."""

    def __init__(self, root: object, param: str) -> None:
        self._root = root
        self.param = param

    def named(self, reference: str) -> object:
        """What a JSON pointer in a fragment names."""
        start, *steps = reference.split("/")
        node = self._root if start == "#" else None
        for step in steps:
            key = step.replace("~1", "/").replace("~0", "~")
            if isinstance(node, list):
                position = int(key) if key.isdecimal() and len(key) < 6 else len(node)
                node = node[position] if position < len(node) else None
            else:
                node = _mapping(node).get(key)
        if node is None:
            raise InvalidRequest(
                f"the schema names '{reference}', which is not in it", self.param, "invalid_value"
            )
        return node


def _simplify(schema: object) -> Schema:
    """A schema whose every level has the few keywords alone."""
    node = _merged(_mapping(schema))  # a boolean schema: anything goes
    if "const" in node:
        node.setdefault("enum", [node["const"]])
    kept: Schema = {
        key: node[key] for key, kind in _KEPT.items() if isinstance(node.get(key), kind)
    }
    if isinstance(node.get("properties"), dict):
        kept["properties"] = {
            name: _simplify(value) for name, value in _mapping(node["properties"]).items()
        }
    required = _names(node.get("required"))
    if required:
        kept["required"] = required
    if "items" in node:
        kept["items"] = _simplify(node["items"])
    options = _list(node.get("anyOf")) or _list(node.get("oneOf"))
    if options:
        kept["anyOf"] = [_simplify(option) for option in options]
    said = ", ".join(_say(key, node[key]) for key in _SAID if _tells(key, node))
    if said:
        description = kept.get("description")
        kept["description"] = f"{description} ({said})" if description else said
    return kept


def _tells(keyword: str, node: Schema) -> bool:
    """Whether the keyword is there and says more than its absence."""
    return keyword in node and not (keyword == "additionalProperties" and node[keyword] is True)


def _say(keyword: str, value: object) -> str:
    return f"{keyword}: {msgspec.json.encode(value).decode()}"


def _merged(node: Schema) -> Schema:
    """`allOf` folded into the schema that carries it."""
    merged = {key: value for key, value in node.items() if key != "allOf"}
    for part in _list(node.get("allOf")):
        for key, value in _merged(_mapping(part)).items():
            mine = merged.get(key)
            if isinstance(mine, dict) and isinstance(value, dict):
                merged[key] = mine | value
            elif key == "required":
                merged[key] = _names([*_list(mine), *_list(value)])
            else:
                merged.setdefault(key, value)
    return merged


def _names(value: object) -> list[str]:
    """The strings of a list, each once."""
    return list(dict.fromkeys(item for item in _list(value) if isinstance(item, str)))


def _mapping(value: object) -> Schema:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
