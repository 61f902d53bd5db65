"""What no tool checks of the house: a vendor's name decides nothing, and files are one sitting."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

import pytest

from adapters.registry import DIALECTS
from tests.parts import ROOT

FILES: Final = sorted(
    path for folder in ("facade", "adapters") for path in ROOT.glob(f"{folder}/**/*.py")
)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def of_a_vendor(path: Path) -> bool:
    return path.parent.name == "adapters" and path.stem.split("_")[0] in {*DIALECTS, "registry"}


@pytest.mark.parametrize("path", [p for p in FILES if not of_a_vendor(p)], ids=named)
def test_nothing_is_compared_with_the_name_of_a_dialect(path: Path) -> None:
    compared = [
        (node.lineno, constant.value)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Compare | ast.MatchValue)
        for constant in ast.walk(node)
        if isinstance(constant, ast.Constant) and constant.value in DIALECTS
    ]
    assert [] == compared


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_file_is_at_most_300_lines_and_says_what_it_is(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    assert ast.get_docstring(ast.parse(text))
