"""A vendor's name makes an upstream; what the operator writes beside it holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.providers import PROVIDERS
from facade.config import UpstreamSettings, load
from facade.documents import Secret
from tests.facade.command import facade
from tests.facade.config_files import sentence, write

GROQ = '[upstreams.fast]\nvendor = "groq"\n'
AZURE = '[upstreams.a]\nvendor = "azure-deployments"\napi_key = "k"\nbase_url = "{}"\n'


def test_a_vendor_is_a_whole_upstream(tmp_path: Path) -> None:
    settings = load({"GROQ_API_KEY": " gsk-1 "}, write(tmp_path, GROQ))
    assert settings.upstreams["fast"] == UpstreamSettings(
        vendor="groq",
        dialect="openai",
        base_url="https://api.groq.com/openai/v1",
        api_key=Secret("gsk-1"),
        local=False,
    )


def test_what_the_file_says_beats_the_row(tmp_path: Path) -> None:
    text = GROQ + 'base_url = "http://127.0.0.1:9/x/"\napi_key = "env:MINE"\n'
    fast = load({"GROQ_API_KEY": "usual", "MINE": "mine"}, write(tmp_path, text)).upstreams["fast"]
    assert ("http://127.0.0.1:9/x", Secret("mine"), True) == (
        fast.base_url,
        fast.api_key,
        fast.local,
    )


def test_a_key_read_from_its_variable_is_never_read_as_a_reference(tmp_path: Path) -> None:
    settings = load({"GROQ_API_KEY": "env:HOME"}, write(tmp_path, GROQ))
    assert Secret("env:HOME") == settings.upstreams["fast"].api_key


@pytest.mark.parametrize("environ", [{}, {"GROQ_API_KEY": ""}, {"GROQ_API_KEY": "  "}])
def test_a_cloud_without_its_key_is_refused(tmp_path: Path, environ: dict[str, str]) -> None:
    assert (
        "facade.toml: upstreams.fast.api_key: the key is missing: set GROQ_API_KEY in the "
        "environment, or write api_key" == sentence(tmp_path, GROQ, **environ)
    )


def test_elsewhere_than_at_the_vendor_a_key_may_be_missing(tmp_path: Path) -> None:
    text = GROQ + 'base_url = "http://127.0.0.1:9/v1"\n'
    assert load({}, write(tmp_path, text)).upstreams["fast"].api_key is None


def test_a_key_that_cannot_be_sent_names_its_variable(tmp_path: Path) -> None:
    assert "GROQ_API_KEY: the secret holds characters that no header can carry" == sentence(
        tmp_path, GROQ, GROQ_API_KEY="a\nb"
    )


@pytest.mark.parametrize("vendor", ['"grok"', '"Groq"', '""', "3", "[]", "{}", "true"])
def test_a_vendor_that_is_none_is_told_which_there_are(tmp_path: Path, vendor: str) -> None:
    said = sentence(tmp_path, f"[upstreams.a]\nvendor = {vendor}")
    assert (
        "facade.toml: upstreams.a.vendor: there is no such vendor; there are openai, azure, "
        "azure-deployments, groq, mistral, deepseek, xai, together, fireworks, openrouter, "
        "cerebras, perplexity, moonshot, zai, alibaba, huggingface, vllm, gpustack, llama.cpp, "
        "lmstudio, ollama-v1" == said
    )


def test_a_dialect_beside_a_vendor_is_refused(tmp_path: Path) -> None:
    said = sentence(tmp_path, GROQ + 'dialect = "openai"', GROQ_API_KEY="k")
    problem = "a vendor has its own dialect: leave out one of the two"
    assert f"facade.toml: upstreams.fast.dialect: {problem}" == said


@pytest.mark.parametrize("vendor", [name for name, row in PROVIDERS.items() if not row.base_url])
def test_where_only_the_operator_knows_the_address_it_is_asked_for(
    tmp_path: Path, vendor: str
) -> None:
    said = sentence(tmp_path, f"[upstreams.a]\nvendor = '{vendor}'\napi_key = 'k'")
    assert "facade.toml: the key 'base_url' is missing at upstreams.a" == said


@pytest.mark.parametrize("url", ['"ftp://a"', '"me.openai.azure.com"', '"http://[::1"', '""'])
def test_an_address_that_is_none_is_refused_for_a_vendor_too(tmp_path: Path, url: str) -> None:
    said = sentence(tmp_path, f"[upstreams.a]\nvendor = 'azure'\nbase_url = {url}")
    assert "facade.toml: upstreams.a.base_url: expected a URL like http://host:port" == said


def test_an_address_of_another_type_is_refused_as_such(tmp_path: Path) -> None:
    said = sentence(tmp_path, "[upstreams.a]\nvendor = 'azure'\nbase_url = 1")
    assert "facade.toml: upstreams.a.base_url: expected a string but got a whole number" == said


@pytest.mark.parametrize(
    ("given", "base_url"),
    [
        ("https://me.x", "https://me.x/openai?api-version=2025-04-01-preview"),
        ("https://me.x/", "https://me.x/openai?api-version=2025-04-01-preview"),
        ("https://me.x/openai/", "https://me.x/openai?api-version=2025-04-01-preview"),
        ("https://me.x/my/gateway", "https://me.x/my/gateway?api-version=2025-04-01-preview"),
        ("https://me.x?api-version=1", "https://me.x/openai?api-version=1"),
        ("https://me.x/openai/?api-version=1", "https://me.x/openai?api-version=1"),
    ],
)
def test_an_address_gets_the_path_and_the_query_that_it_lacks(
    tmp_path: Path, given: str, base_url: str
) -> None:
    settings = load({}, write(tmp_path, AZURE.format(given)))
    assert base_url == settings.upstreams["a"].base_url


def test_a_table_that_is_none_is_still_told_so(tmp_path: Path) -> None:
    assert "facade.toml: upstreams.a: expected a table" == sentence(tmp_path, "[upstreams]\na = 1")
    assert "facade.toml: upstreams: expected a table" == sentence(tmp_path, "upstreams = 1")
    said = sentence(tmp_path, "upstreams:\n  1: {vendor: x}", "facade.yaml")
    assert said.startswith("facade.yaml: upstreams.1.vendor: there is no such vendor")


def test_check_says_every_vendor_and_no_query(tmp_path: Path) -> None:
    addresses = {
        name: row.base_url or "https://llm.example.org/v1" for name, row in PROVIDERS.items()
    }
    tables = [
        f"[upstreams.'a-{number}']\nvendor = '{name}'\napi_key = 'sk-1'\n"
        f"base_url = '{address}?k=sk-2'\n"
        for number, (name, address) in enumerate(addresses.items())
    ]
    done = facade("check", "--config", str(write(tmp_path, "".join(tables))))
    for number, (name, address) in enumerate(addresses.items()):
        place = "local" if "127.0.0.1" in address else "not local"
        line = f"upstream a-{number}: {name} at {address}, {place}, with a key"
        assert line in done.stdout.splitlines()
    assert "sk-" not in done.stdout + done.stderr
