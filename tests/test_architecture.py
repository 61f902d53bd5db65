"""The rules of the house that no linter knows: sizes, docstrings, and who may know a vendor."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from adapters.providers import PROVIDERS
from adapters.registry import DIALECTS
from tests.parts import ROOT

CODE: Final = sorted(
    file.relative_to(ROOT)
    for part in ("adapters", "facade")
    for file in (ROOT / part).rglob("*.py")
)
TESTS: Final = sorted(
    file.relative_to(ROOT)
    for file in (ROOT / "tests").rglob("*.py")
    if "node_modules" not in file.parts
)
_ROWS: Final = {Path("adapters/registry.py"), Path("adapters/providers.py")}
LONGEST_FILE: Final = 300
MATCHES: Final = {"startswith", "endswith", "removeprefix", "count", "find", "index", "fullmatch"}


def _tree(file: Path) -> ast.Module:
    return ast.parse((ROOT / file).read_text())


def _is_of_a_vendor(file: Path) -> bool:
    """`adapters/<vendor>.py`, the parts of it beside it, and the rows that name it."""
    own = file.parts[0] == "adapters" and file.stem.split("_")[0] in DIALECTS
    return own or file in _ROWS


def _compared(tree: ast.AST) -> Iterator[str]:
    """Every text that something is compared, matched or looked up with."""
    for node in ast.walk(tree):
        asked: list[ast.AST] = []
        if isinstance(node, ast.Compare):
            asked = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            asked = [node.value]
        elif isinstance(node, ast.Subscript):
            asked = [node.slice]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            asked = list(node.args) if node.func.attr in {*MATCHES, "get", "pop"} else []
        for each in asked:
            yield from (
                leaf.value
                for leaf in ast.walk(each)
                if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str)
            )


def _names_a_vendor(text: str) -> bool:
    words = set(re.findall(r"[a-z0-9]+(?:[.-][a-z0-9]+)*", text.lower()))
    return any(dialect in text.lower() for dialect in DIALECTS) or bool(words & PROVIDERS.keys())


@pytest.mark.parametrize("file", [file for file in CODE if not _is_of_a_vendor(file)], ids=str)
def test_nothing_is_compared_with_a_vendors_name(file: Path) -> None:
    variables = {"OPENAI_API_KEY"}  # a name of the environment, not of a vendor
    found = [text for text in _compared(_tree(file)) if _names_a_vendor(text)]
    assert [] == [text for text in found if text not in variables]


def test_a_comparison_with_a_vendors_name_would_be_found() -> None:
    for code in (
        'x == "ollama"',
        '"ollama" in x',
        'x in ("a", "openai")',
        'x.startswith("openai/")',
        'quirks["ollama"]',
        'quirks.get("openai")',
        'match x:\n case "ollama": pass',
        'x == "groq"',
        'x.endswith("/mistral")',
        'quirks["llama.cpp"]',
    ):
        assert any(map(_names_a_vendor, _compared(ast.parse(code)))), code
    assert not any(map(_names_a_vendor, _compared(ast.parse('dialect = "ollama"'))))


@pytest.mark.parametrize("file", CODE, ids=str)
def test_only_the_registry_imports_a_vendors_dialect(file: Path) -> None:
    if _is_of_a_vendor(file):
        return
    imported = [
        f"{node.module}.{each.name}"
        for node in ast.walk(_tree(file))
        if isinstance(node, ast.ImportFrom)
        for each in node.names
    ]
    dialects = [name.split(".")[1] for name in imported if name.startswith("adapters.")]
    assert [] == [name for name in dialects if name.split("_")[0] in DIALECTS]


@pytest.mark.parametrize("file", [*CODE, *TESTS], ids=str)
def test_no_file_is_long_and_every_module_says_what_it_is(file: Path) -> None:
    assert (ROOT / file).read_text().count("\n") < LONGEST_FILE
    assert ast.get_docstring(_tree(file))


@pytest.mark.parametrize("file", CODE, ids=str)
def test_a_broad_except_and_an_ignored_rule_have_their_reason_beside_them(file: Path) -> None:
    for number, line in enumerate((ROOT / file).read_text().splitlines(), 1):
        for mark in ("# noqa", "# type: ignore"):
            reason = line.partition(mark)[2]
            assert not reason or " - " in reason or "# " in reason, f"{file}:{number}"
