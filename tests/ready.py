"""`python -m tests.ready`: every check of the project, in order, up to the first that fails.

Format, lint, types, import boundaries, the Node SDK of the client tests, the tests, and the two
floors of coverage. Closes by naming what this machine lacked, so that a skip is never silent.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

from tests.parts import CLIENTS, PARTS, ROOT, in_ci, no_node

BIN: Final = Path(sys.executable).parent


class Step(NamedTuple):
    """One command of the run, started in `cwd`."""

    name: str
    command: tuple[str, ...]
    cwd: Path = ROOT


def _tool(name: str, *arguments: str) -> tuple[str, ...]:
    return (str(BIN / name), *arguments)


NODE: Final = Step("node sdk", ("npm", "ci", "--no-audit", "--no-fund"), CLIENTS)

STEPS: Final = (
    Step("format", _tool("ruff", "format", "--check")),
    Step("lint", _tool("ruff", "check")),
    Step("types", _tool("mypy")),
    Step("import boundaries", _tool("lint-imports", "--no-logo")),
    NODE,
    Step("old coverage out", _tool("coverage", "erase")),
    Step("tests", _tool("coverage", "run", "-m", "pytest")),
    Step("coverage of all processes", _tool("coverage", "combine", "-q")),
    Step(
        "coverage: adapters 100 %",
        _tool("coverage", "report", "--include=adapters/*", "--fail-under=100"),
    ),
    Step("coverage: over all 90 %", _tool("coverage", "report", "--fail-under=90")),
)


def _code(step: Step) -> int:
    print(f"\n== {step.name}", flush=True)
    if step is NODE and (reason := no_node()):
        print(f"skipped: {reason}")
        return int(in_ci())
    return subprocess.run(step.command, cwd=step.cwd, check=False).returncode


def _summary() -> None:
    lacking = [(part.name, reason) for part in PARTS if (reason := part.lacking())]
    for name, reason in lacking:
        print(f"skipped here, lacks: {name} ({reason})")
    if not lacking:
        print("nothing skipped: this machine has every part")


def main() -> int:
    """Run the steps; 0, or the exit code of the step that failed."""
    for step in STEPS:
        if code := _code(step):
            print(f"\n== not ready: {step.name} failed with code {code}")
            return code
    print("\n== ready")
    _summary()
    return 0


if __name__ == "__main__":
    sys.exit(main())
