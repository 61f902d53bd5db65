"""What the README promises of the tools, and the rules of the test parts, hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import parts, ready
from tests.parts import ROOT, Part


def test_make_ready_is_the_test_command_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    line = re.search(r"^python3 -m venv .*tests\.ready$", readme, re.MULTILINE)
    assert line is not None
    assert f"\nready:\n\t{line[0]}\n" in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize(
    "lock", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda p: p.name
)
def test_a_lock_pins_every_package_by_hash_and_holds_no_address(lock: Path) -> None:
    text = lock.read_text()
    pins = re.findall(r"^[a-z0-9][a-z0-9._-]*==\S+.*? \\\n    --hash=sha256:", text, re.MULTILINE)
    assert len(re.findall(r"^[a-z]", text, re.MULTILINE)) == len(pins)
    assert "://" not in text


def test_the_lock_of_the_node_sdk_holds_no_registry_address() -> None:
    assert "://" not in (parts.CLIENTS / "package-lock.json").read_text()


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("gpu:8000", "http://gpu:8000"),
        ("https://gpu/ollama/", "https://gpu:443/ollama"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(
    said: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", said)
    assert meant == parts.ollama_url()


@pytest.mark.parametrize(
    ("ci", "may_lack", "fails"),
    [("true", False, True), ("true", True, False), ("", False, False)],
)
def test_only_ci_turns_the_lack_of_a_part_into_a_failure(
    ci: str, may_lack: bool, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)
    assert fails == parts.unusable(Part("engine", lambda: "gone", may_lack_in_ci=may_lack))


def test_the_run_stops_at_the_first_failure_with_its_code(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    steps = [
        ready.Step("one", ("sh", "-c", "echo first")),
        ready.Step("two", ("sh", "-c", "exit 3")),
        ready.Step("three", ("sh", "-c", "echo third")),
    ]
    monkeypatch.setattr(ready, "STEPS", steps)
    assert 3 == ready.main()
    said = capfd.readouterr().out
    assert "first" in said
    assert "third" not in said
    assert said.endswith("== not ready: two failed with code 3\n")
