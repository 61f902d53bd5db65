"""The README tells every key, every variable and every path there is, and no key that is not."""

from __future__ import annotations

import re
from typing import Final

import pytest
from msgspec import Struct
from msgspec.structs import fields

from facade import environment
from facade.config import ModelSettings, ServerSettings, UpstreamSettings
from facade.deadlines import Timeouts
from facade.routes.docs import OPERATIONS, Operation
from tests.parts import ROOT

README: Final = (ROOT / "README.md").read_text()
TABLES: Final[dict[str, type[Struct]]] = {
    "[server]": ServerSettings,
    "[upstreams.NAME]": UpstreamSettings,
    "[models.ALIAS]": ModelSettings,
}


def keys_told(table: str) -> set[str]:
    """The keys in the README's table under that name; `models."m".options` tells `models`."""
    section = README.split(f"`{table}`\n", 1)[1].split("\n\n", 1)[0]
    return {row[1].split(".")[0] for row in re.finditer(r"^\| `([^`]+)` \|", section, re.MULTILINE)}


@pytest.mark.parametrize("table", TABLES)
def test_every_key_is_told_and_every_key_told_is_one(table: str) -> None:
    assert {field.encode_name for field in fields(TABLES[table])} == keys_told(table)


@pytest.mark.parametrize("clock", [field.encode_name for field in fields(Timeouts)])
def test_every_clock_is_told(clock: str) -> None:
    assert f"| `{clock}` |" in README


@pytest.mark.parametrize("row", environment.ROWS, ids=lambda row: row.variables[0])
def test_every_variable_is_told(row: environment.Row) -> None:
    assert [] == [name for name in row.variables if f"`{name}`" not in README]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.path)
def test_every_path_is_told(operation: Operation) -> None:
    assert f"{operation.path}`" in README
