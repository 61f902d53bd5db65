"""Schemas made smaller: always an end, always an object, and nothing said is lost."""

from __future__ import annotations

import json
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import InvalidRequest
from adapters.json_schema import Schema, Schemas

KEYWORDS: Final = st.sampled_from(
    [
        "$defs", "$ref", "additionalProperties", "allOf", "anyOf", "const", "default",
        "definitions", "description", "enum", "items", "minimum", "oneOf", "properties",
        "required", "type", "x",
    ]
)  # fmt: skip
SCHEMAS: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.sampled_from(["", "a", "#", "#/", "#/$defs/a", "#/properties/x", "#/anyOf/0", "object"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYWORDS, inner, max_size=5),
    max_leaves=25,
)


def simplified(schema: object) -> Schema:
    return Schemas().simplified(schema, "tools[0].function.parameters")


def inlined(schema: object) -> object:
    return Schemas().inlined(schema, "p")


def check(node: object) -> None:
    """A schema of which the server can read every keyword."""
    assert isinstance(node, dict)
    known = {"type", "description", "enum", "required", "properties", "items", "anyOf"}
    assert node.keys() <= known
    assert isinstance(node.get("type", ""), str | list)
    assert isinstance(node.get("description", ""), str)
    assert isinstance(node.get("enum", []), list)
    assert all(isinstance(name, str) for name in node.get("required", []))
    for inner in node.get("properties", {}).values():
        check(inner)
    for inner in node.get("anyOf", []):
        check(inner)
    if "items" in node:
        check(node["items"])


def references(node: object) -> list[str]:
    """The references that a reader of the schema would still have to follow."""
    if isinstance(node, list):
        return [found for item in node for found in references(item)]
    if not isinstance(node, dict):
        return []
    found = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
    for key, value in node.items():
        if key == "properties" and isinstance(value, dict):
            found += references(list(value.values()))
        elif key not in {"const", "default", "enum", "required"}:
            found += references(value)
    return found


@given(SCHEMAS)
def test_any_schema_becomes_one_of_an_object_or_is_refused(schema: object) -> None:
    before = json.dumps(schema)
    try:
        flat = simplified(schema)
    except InvalidRequest:
        flat = {"type": "object", "properties": {}}
    assert ("object", True) == (flat["type"], isinstance(flat["properties"], dict))
    assert "anyOf" not in flat
    check(flat)
    assert before == json.dumps(schema), "the caller's own schema was changed"


@given(SCHEMAS)
def test_no_reference_is_left(schema: object) -> None:
    try:
        found = inlined({"items": schema, "$defs": {"a": {"type": "string"}}})
    except InvalidRequest:
        found = {}
    assert [] == references(found)


@pytest.mark.parametrize("keyword", ["minimum", "minLength", "minItems", "multipleOf", "default"])
def test_a_limit_of_one_is_said(keyword: str) -> None:
    flat = simplified({"properties": {"x": {keyword: 1}}})
    assert {"x": {"description": f"{keyword}: 1"}} == flat["properties"]


def test_a_default_of_true_and_of_null_are_said() -> None:
    flat = simplified({"properties": {"x": {"default": True}, "y": {"default": None}}})
    expected = {"x": {"description": "default: true"}, "y": {"description": "default: null"}}
    assert expected == flat["properties"]


def test_allowing_more_properties_says_nothing_and_forbidding_them_does() -> None:
    assert {"type": "object", "properties": {}} == simplified({"additionalProperties": True})
    flat = simplified({"additionalProperties": False, "description": "All"})
    assert "All (additionalProperties: false)" == flat["description"]


def test_properties_may_have_the_names_of_keywords() -> None:
    names = ("definitions", "$defs", "$ref", "const", "allOf", "oneOf", "description", "enum")
    properties = {name: {"type": "string"} for name in names}
    flat = simplified({"type": "object", "properties": properties})
    assert properties == flat["properties"]


def test_values_are_not_schemas() -> None:
    value = {"$ref": "#/nowhere", "definitions": 1}
    flat = simplified({"properties": {"x": {"const": value}, "y": {"enum": [value]}}})
    assert {"x": {"enum": [value]}, "y": {"enum": [value]}} == flat["properties"]


def test_a_reference_may_lead_into_a_list() -> None:
    schema = {
        "properties": {
            "a": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
            "b": {"$ref": "#/properties/a/anyOf/1"},
            "c/d~": {"type": "null"},
            "e": {"$ref": "#/properties/c~1d~0", "description": "mine"},
        }
    }
    properties = simplified(schema)["properties"]
    assert isinstance(properties, dict)
    assert {"type": "integer"} == properties["b"]
    assert {"type": "null", "description": "mine"} == properties["e"]


@pytest.mark.parametrize(
    "reference",
    [
        "#/nope", "#/anyOf/1", "#/anyOf/x", "#/anyOf/123456789012345678901234567890", "#/x/y",
        "", "#foo", "other.json", "other.json#/anyOf/0", "/anyOf/0", "#/nothing",
    ],
)  # fmt: skip
def test_a_reference_that_leads_nowhere_is_refused(reference: str) -> None:
    schema: Schema = {"anyOf": [{}], "nothing": None, "properties": {"x": {"$ref": reference}}}
    with pytest.raises(InvalidRequest, match="which is not in it"):
        simplified(schema)


def test_cycles_become_objects() -> None:
    assert {"type": "object"} == inlined({"$ref": "#"})
    tree = {"type": "object", "properties": {"child": {"$ref": "#"}}}
    child = {"type": "object", "properties": {"child": {"type": "object"}}}
    assert {"type": "object", "properties": {"child": child}} == inlined(tree)
    pair = {"$defs": {"a": {"items": {"$ref": "#/$defs/b"}}, "b": {"items": {"$ref": "#/$defs/a"}}}}
    expected = {"items": {"items": {"type": "object"}}}
    assert expected == inlined(pair | {"$ref": "#/$defs/a"})


def test_a_reference_to_a_boolean_schema_is_the_boolean() -> None:
    assert {"items": True} == inlined({"$defs": {"x": True}, "items": {"$ref": "#/$defs/x"}})


def test_a_schema_that_grows_without_measure_is_refused() -> None:
    bomb: Schema = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 10} for n in range(20)}
    bomb["d20"] = {"type": "string"}
    with pytest.raises(InvalidRequest, match="too large") as caught:
        simplified({"$defs": bomb, "$ref": "#/$defs/d0"})
    assert "tools[0].function.parameters" == caught.value.param


def test_all_schemas_of_a_request_grow_by_one_measure() -> None:
    schema: Schema = {"$defs": {"x": {"enum": [], "anyOf": [{}] * 900}}, "$ref": "#/$defs/x"}
    schemas = Schemas()
    for _ in range(22):
        schemas.inlined(schema, "p")
    with pytest.raises(InvalidRequest, match="too large"):
        schemas.inlined(schema, "p")


def test_a_large_schema_without_references_passes() -> None:
    properties = {f"p{n}": {"type": "string"} for n in range(30_000)}
    assert properties == simplified({"properties": properties})["properties"]


def test_all_of_is_merged_and_its_own_members_win() -> None:
    schema = {
        "title": "T",
        "type": "object",
        "required": ["a"],
        "properties": {"a": {"type": "string"}},
        "allOf": [
            {"type": "array", "required": ["b", "a"], "properties": {"b": {"type": "integer"}}},
            {"allOf": [{"description": "D"}]},
            True,
        ],
    }
    expected = {
        "type": "object",
        "required": ["a", "b"],
        "properties": {"a": {"type": "string"}, "b": {"type": "integer"}},
        "description": "D",
    }
    assert expected == simplified(schema)
