"""What `facade explain` prints: the plan and what would happen, or in a sentence why it cannot."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import pytest

from facade.cli import main
from tests.facade.command import environ
from tests.facade.config_files import write

FILE: Final = """\
[server]
ip_limits = ["1000/hour"]
[upstreams.local]
dialect = "ollama"
base_url = "http://127.0.0.1:11434"
slots = 2
queue = 5
[upstreams.cloud]
dialect = "openai"
base_url = "https://llm.example.org/v1?secret=sk-query"
api_key = "sk-secret"
limits = ["500/minute"]
timeouts = { first_token = 10 }
[models.assistant]
targets = ["local/llama3.1", "cloud/gpt"]
retries = 1
limits = ["10 concurrent"]
[models."gpt-*"]
targets = ["cloud/gpt-*"]
[keys.agents]
secret = "sk-agents"
priority = "interactive"
models = ["assistant"]
limits = ["60/minute", "4 concurrent"]
[keys.home]
secret = "sk-home"
local_only = true
"""
LOCAL: Final = """\
1. local/llama3.1
    ollama at http://127.0.0.1:11434, local
    clocks: connect 5 s, load 300 s, first_token 60 s, idle 30 s, total 580 s
    2 at a time, 5 may wait
"""
CLOUD: Final = """\
    openai at https://llm.example.org/v1, not local
    clocks: connect 5 s, load 300 s, first_token 10 s, idle 30 s, total 580 s
    at most 500/minute
"""


Run = Callable[..., tuple[int, str, str]]
Explain = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command; gives the exit code, and what it said."""
    file = str(write(tmp_path, FILE))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(os, "environ", environ())
        code = main(["explain", "--config", file, "--model", *arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def explained(run: Run) -> Explain:
    """What it says where all is well."""

    def explained(*arguments: str) -> str:
        code, said, problem = run(*arguments)
        assert (0, "") == (code, problem)
        return said

    return explained


@pytest.fixture
def then(explained: Explain) -> Explain:
    """What would happen."""

    def then(simulated: str) -> str:
        said = explained("assistant", "--simulate", simulated)
        return said[said.index("If ") :]

    return then


def test_it_says_the_plan_and_no_secret(explained: Explain) -> None:
    said = explained("assistant", "--key", "agents")
    assert said == (
        "assistant, asked by agents, interactive\n"
        "  the key: at most 60/minute, 4 concurrent\n"
        "  each address: at most 1000/hour\n"
        "  the alias assistant: 1 retries, commit first-token, busy wait, cold wait, 590 s in all\n"
        "  the alias: at most 10 concurrent\n"
        f"{LOCAL}2. cloud/gpt\n{CLOUD}"
        "If all is well:\n"
        "  0 s, attempt 1: local/llama3.1 answers\n"
    )


def test_it_says_what_would_happen_attempt_by_attempt(then: Explain) -> None:
    assert then("local=timeout") == (
        "If local timeout:\n"
        "  0 s, attempt 1: local/llama3.1 fails (timeout)\n"
        "    asked again, 0.25 s later at most\n"
        "  60.25 s, attempt 2: local/llama3.1 fails (timeout)\n"
        "  120.25 s, attempt 3: cloud/gpt answers\n"
        "    x-facade-fallback: timeout\n"
    )


def test_it_says_what_the_client_is_told(then: Explain) -> None:
    assert then(" local=429:100 , cloud=429:200 ") == (
        "If local 429:100, cloud 429:200:\n"
        "  0 s, attempt 1: local/llama3.1 fails (429:100)\n"
        "  0 s, attempt 2: cloud/gpt fails (429:200)\n"
        "  The client is told 429 rate_limit_exceeded\n"
        "    retry-after: 100\n"
        "    x-should-retry: false\n"
    )


def test_a_fault_of_the_request_itself_ends_it(then: Explain) -> None:
    assert then("local=422") == (
        "If local 422:\n"
        "  0 s, attempt 1: local/llama3.1 fails (422)\n"
        "  The client is told 422\n"
        "    x-should-retry: false\n"
    )


def test_a_key_that_demands_local_has_no_other_target(explained: Explain) -> None:
    said = explained("assistant", "--key", "home", "--simulate", "local=401")
    assert "asked by home, normal\n  each address: at most 1000/hour\n  local_only\n" in said
    assert "cloud" not in said
    assert said.endswith("  The client is told 502 upstream_auth\n    x-should-retry: false\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("gpt-5", "--key", "agents"), "404 model_not_found"),
        (("cloud/gpt", "--key", "home"), "403 constraints_unmet"),
    ],
)
def test_who_may_not_is_told_so(arguments: Sequence[str], told: str, explained: Explain) -> None:
    assert f"  The client is told {told}\n" in explained(*arguments)


def test_an_upstreams_own_name_is_asked_once(explained: Explain) -> None:
    said = explained("cloud/gpt", "--simulate", "cloud=500")
    assert said.endswith(
        f"  one upstream's own name: asked once, 590 s in all\n1. cloud/gpt\n{CLOUD}"
        "If cloud 500:\n"
        "  0 s, attempt 1: cloud/gpt fails (500)\n"
        "  The client is told 500 upstream_error\n"
    )


def test_equals_are_said_to_be_equals(tmp_path: Path, explained: Explain) -> None:
    write(tmp_path, f"{FILE}[models.any]\ntargets = [['local/a', 'cloud/b'], 'cloud/c']\n")
    said = explained("any")
    assert "  equals, by what is loaded, free and fast: local/a, cloud/b\n1. local/a" in said


def test_a_pattern_is_an_alias(explained: Explain) -> None:
    said = explained("gpt-5")
    assert "  the alias gpt-*: 2 retries" in said
    assert "1. cloud/gpt-5\n" in said


def test_a_name_that_only_a_listing_may_have_is_not_asked_for(explained: Explain) -> None:
    said = explained("mistral")
    assert said.endswith(
        "No alias means it, and it names no upstream: the first that lists it: local, then cloud\n"
    )


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--simulate", "loca=503"), "no upstream is called 'loca'; there are: local, cloud"),
        (("--simulate", "local"), "'local' is not of the form upstream=fault"),
        (("--simulate", "local=200"), "'200' is no fault; there are: a status from 400 to 599"),
        (("--simulate", "local=503:x"), "'503:x' is no fault"),
        (("--simulate", "local="), "'' is no fault"),
        (("--simulate", "local=confined"), "'confined' is no fault"),
        (("--key", "agent"), "--key: no key is called 'agent'; there are: agents, home"),
    ],
)
def test_what_is_not_understood_is_a_sentence(
    arguments: Sequence[str], problem: str, run: Run
) -> None:
    code, said, told = run("assistant", *arguments)
    assert (2, "") == (code, said)
    assert problem in told
    assert 1 == told.count("\n")
