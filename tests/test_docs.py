"""The README says what the code does: each key, default, variable, clock, route, and no other."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import pytest
from msgspec import NODEFAULT, Struct

from adapters.providers import PROVIDERS
from facade import config
from facade.config import ModelSettings, UpstreamSettings, load
from facade.deadlines import Timeouts
from facade.environment import ROWS
from facade.keys import KeySettings
from facade.limits.settings import StoreSettings
from facade.listening import ServerSettings
from facade.routes.admin import AdminFace
from facade.routes.docs import OPERATIONS
from facade.routes.metrics import MetricsFace
from facade.routes.openai import OpenAIFace
from facade.routes.operations import OperationsFace
from tests.parts import ROOT

README: Final = (ROOT / "README.md").read_text()
TABLES: Final[Mapping[str, type[Struct]]] = {
    "`[server]`": ServerSettings,
    "`[upstreams.NAME]`": UpstreamSettings,
    "`[models.ALIAS]`": ModelSettings,
    "`[keys.NAME]`": KeySettings,
    "`[store]`": StoreSettings,
}


def _table(after: str) -> list[list[str]]:
    """The cells of the first table behind this line, without its head."""
    rows = README.partition(f"\n{after}\n")[2].lstrip("\n").splitlines()
    table = []
    for row in rows:
        if not row.startswith("|"):
            break
        table.append([cell.strip() for cell in row.strip("|").split("|")])
    assert len(table) > 2, f"no table behind {after}"
    return table[2:]


def _default(field: Any) -> object:  # noqa: ANN401 - msgspec's FieldInfo
    return field.default if field.default_factory is NODEFAULT else field.default_factory()


@pytest.mark.parametrize(("heading", "struct"), TABLES.items())
def test_the_readme_has_every_key_with_its_default_and_no_other(
    heading: str, struct: type[Struct]
) -> None:
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    said = {re.split(r"[`.]", key)[1]: default for key, default, _ in _table(heading)}
    assert fields.keys() == said.keys()
    for name, default in said.items():
        assert (default == "") == fields[name].required, name
        if default.startswith("`"):
            assert _default(fields[name]) == json.loads(default.strip("`")), name
        elif default == "none":
            assert not _default(fields[name]), name


def test_the_readme_has_every_clock_with_its_seconds() -> None:
    clocks = {field.encode_name: field.default for field in msgspec.structs.fields(Timeouts)}
    (cell,) = (row[2] for row in _table("`[upstreams.NAME]`") if row[0] == "`timeouts`")
    said = {name: float(seconds) for name, seconds in re.findall(r"`(\w+)` (\d+)", cell)}
    assert clocks == said
    assert list(clocks) == [row[0].strip("`") for row in _table("### Clocks")]


def test_the_readme_has_every_variable_and_no_other() -> None:
    table = README.partition("\n| variable | sets |\n")[2].partition("\n\n")[0]
    said = set(re.findall(r"`([A-Z][A-Z_]+)`", table))
    elsewhere = {"FACADE_CONFIG", "FACADE_MODELS_DIR"}
    assert {variable for row in ROWS for variable in row.variables} | elsewhere == said


def test_the_readme_has_every_vendor_with_its_key_and_its_address() -> None:
    table = README.partition("\n| vendor | key")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.split("\n")[2:]]
    assert [f"`{name}`" for name in PROVIDERS] == [name for name, _, _ in rows]
    for row, (_, key, address) in zip(PROVIDERS.values(), rows, strict=True):
        assert list(row.key_variables) == re.findall("`(.*?)`", key)
        assert f"`{row.base_url or row.path}`" in address


def test_every_variable_that_the_code_reads_is_in_the_readme() -> None:
    read = {
        name
        for file in (ROOT / "facade").rglob("*.py")
        for name in re.findall(r'environ(?:\.get\(|\[)"([A-Z_]+)"', file.read_text())
    }
    assert {"FACADE_CONFIG"} <= read
    of_the_system = {"XDG_CACHE_HOME"}
    assert set() == {name for name in read - of_the_system if f"`{name}`" not in README}


def test_the_example_of_the_readme_is_a_valid_file(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    file = tmp_path / "facade.toml"
    file.write_text(example)
    settings = load({"OPENAI_API_KEY": "sk-1", "AGENTS_KEY": "sk-2"}, file)
    assert {"local", "cloud"} == settings.upstreams.keys()
    assert tomllib.loads(example)["models"].keys() == settings.models.keys()
    assert "sk-1" == settings.upstreams["cloud"].api_key


def test_no_key_that_is_not_built_is_in_the_readme() -> None:
    keys = {
        key
        for heading in TABLES
        for row in _table(heading)
        for key in re.findall(r"`(\w+)", row[0])
    }
    assert set() == keys & config.NOT_BUILT


def _routes() -> dict[str, tuple[str, ...]]:
    nobody = cast(Any, None)
    operations = (AdminFace(nobody), MetricsFace(nobody), OperationsFace(nobody))
    faces = (_unbuilt(OpenAIFace), *operations)
    return {path: methods for face in faces for path, (_, methods) in face.routes().items()}


def _unbuilt(face: type[OpenAIFace]) -> OpenAIFace:
    """A face that has its routes; they do not depend on what it is built with."""
    return face.__new__(face)


def test_every_route_is_in_the_readme_and_in_the_documentation() -> None:
    documented = {operation.path for operation in OPERATIONS} | {"/docs"}
    for path in _routes():
        spelled = "/v1/models/{id}" if path == "/v1/models/" else path
        assert f"{spelled}`" in README, path
        assert spelled in documented, path


def test_every_path_of_the_readme_and_of_the_documentation_is_a_route() -> None:
    table = README.partition("## What it serves")[2].partition("\n\n")[2].partition("\n\n")[0]
    said = {
        path
        for row in table.splitlines()
        for path in re.findall(r"`(?:[A-Z]+ )?(/[^`]*)`", row.split("|")[1])
    }
    documented = {operation.path for operation in OPERATIONS}
    routes = {path.replace("/v1/models/", "/v1/models/{id}") for path in _routes()}
    assert routes == said
    assert documented <= routes
    for operation in OPERATIONS:
        methods = _routes().get(operation.path.replace("{id}", ""), ())
        assert operation.method.upper() in methods or operation.path == "/"


def test_the_decisions_are_numbered_without_a_gap() -> None:
    numbers = sorted(int(file.name[:4]) for file in (ROOT / "docs" / "decisions").glob("*.md"))
    assert list(range(1, len(numbers) + 1)) == numbers
