"""Each row of the environment's table does what it says, and the order of precedence holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from adapters.providers import PROVIDERS
from facade.config import ConfigError, Settings, UpstreamSettings, load
from facade.documents import Secret
from facade.environment import ROWS

FILE = """
[server]
host = "127.0.0.3"
port = 9000

[upstreams.local]
dialect = "ollama"
base_url = "http://127.0.0.1:11434"
"""


def ollama(
    base_url: str, *, local: bool = False, options: dict[str, object] | None = None
) -> dict[str, UpstreamSettings]:
    return {
        "ollama": UpstreamSettings(
            dialect="ollama",
            base_url=base_url,
            local=local,
            options=options or {},
            slots=1,
            embedding_slots=1,
        )
    }


def openai(
    base_url: str, key: str | None = None, *, local: bool = False
) -> dict[str, UpstreamSettings]:
    secret = Secret(key) if key else None
    return {
        "openai": UpstreamSettings(dialect="openai", base_url=base_url, api_key=secret, local=local)
    }


def vendor(name: str, base_url: str | None = None) -> dict[str, UpstreamSettings]:
    """The upstream of a vendor, with the key "key"."""
    return {
        name: UpstreamSettings(
            vendor=name,
            dialect="openai",
            base_url=base_url or PROVIDERS[name].base_url or "",
            api_key=Secret("key"),
            local=False,
        )
    }


VENDORS = {
    "openai": "OPENAI_API_KEY",
    "groq": "GROQ_API_KEY",
    "mistral": "MISTRAL_API_KEY",
    "deepseek": "DEEPSEEK_API_KEY",
    "xai": "XAI_API_KEY",
    "together": "TOGETHER_API_KEY",
    "fireworks": "FIREWORKS_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
    "cerebras": "CEREBRAS_API_KEY",
    "perplexity": "PERPLEXITY_API_KEY",
    "moonshot": "MOONSHOT_API_KEY",
    "zai": "ZAI_API_KEY",
    "alibaba": "DASHSCOPE_API_KEY",
    "huggingface": "HF_TOKEN",
}
SERVER_ROWS: list[tuple[dict[str, str], str, object]] = [
    ({"FACADE_HOST": "127.0.0.2"}, "host", "127.0.0.2"),
    ({"FACADE_PORT": "9001"}, "port", 9001),
    ({"FACADE_PORT": "0"}, "port", 0),
    ({"FACADE_ALLOW_ANONYMOUS": "true"}, "allow_anonymous", True),
    ({"FACADE_ALLOW_ANONYMOUS": "1"}, "allow_anonymous", True),
    ({"FACADE_ALLOW_ANONYMOUS": "False"}, "allow_anonymous", False),
    ({"FACADE_PEPPER": "env:p"}, "pepper", Secret("env:p")),
    ({"FACADE_ALLOWED_HOSTS": "a.example.org, B,,"}, "allowed_hosts", ("a.example.org", "b")),
]
UPSTREAM_ROWS: list[tuple[dict[str, str], dict[str, UpstreamSettings]]] = [
    ({"OLLAMA_BASE_URL": "http://gpu:11434"}, ollama("http://gpu:11434")),
    ({"OLLAMA_HOST": "gpu"}, ollama("http://gpu:11434")),
    (
        {"LLM_SERVICE_HOST_IP": "10.0.0.5", "LLM_SERVICE_PORT": "9000"},
        ollama("http://10.0.0.5:9000"),
    ),
    ({"LLM_SERVICE_HOST_IP": "10.0.0.5"}, ollama("http://10.0.0.5:11434")),
    ({"LLM_SERVICE_HOST_IP": "fd00::5", "LLM_SERVICE_PORT": "9"}, ollama("http://[fd00::5]:9")),
    ({"LLM_SERVICE_PORT": "9000"}, {}),
    (
        {"OLLAMA_HOST": "gpu", "OLLAMA_DEFAULT_OPTIONS": '{"num_ctx": 8192, "stop": ["a"]}'},
        ollama("http://gpu:11434", options={"num_ctx": 8192, "stop": ["a"]}),
    ),
    ({"OLLAMA_DEFAULT_OPTIONS": '{"num_ctx": 8192}'}, {}),
    *(({variable: "key"}, vendor(name)) for name, variable in VENDORS.items()),
    ({"PPLX_API_KEY": "key"}, vendor("perplexity")),
    ({"PPLX_API_KEY": "other", "PERPLEXITY_API_KEY": "key"}, vendor("perplexity")),
    ({"GROQ_API_KEY": " "}, {}),
    ({"AZURE_OPENAI_API_KEY": "key"}, {}),
    ({"AZURE_OPENAI_ENDPOINT": "https://me.openai.azure.com/"}, {}),
    (
        {"AZURE_OPENAI_API_KEY": "key", "AZURE_OPENAI_ENDPOINT": "https://me.openai.azure.com/"},
        vendor("azure", "https://me.openai.azure.com/openai/v1"),
    ),
    (
        {
            "AZURE_OPENAI_API_KEY": "key",
            "AZURE_OPENAI_ENDPOINT": "https://me.openai.azure.com/openai/v1/",
        },
        vendor("azure", "https://me.openai.azure.com/openai/v1"),
    ),
    (
        {"OPENAI_BASE_URL": "http://127.0.0.1:1234/v1"},
        openai("http://127.0.0.1:1234/v1", local=True),
    ),
    (
        {"OPENAI_BASE_URL": "https://llm.example.org/v1/", "OPENAI_API_KEY": "sk-1"},
        openai("https://llm.example.org/v1", "sk-1"),
    ),
]


def test_every_row_of_the_table_is_tested_here() -> None:
    cases = [row[0] for row in SERVER_ROWS] + [row[0] for row in UPSTREAM_ROWS]
    tested = {name for environ in cases for name in environ} | {"FACADE_API_KEY", "FACADE_FALLBACK"}
    assert tested == {variable for row in ROWS for variable in row.variables}


@pytest.mark.parametrize(("environ", "key", "value"), SERVER_ROWS)
def test_a_variable_of_the_server_sets_its_key(
    environ: Mapping[str, str], key: str, value: object
) -> None:
    assert value == getattr(load(environ).server, key)


@pytest.mark.parametrize(("environ", "upstreams"), UPSTREAM_ROWS)
def test_without_a_file_a_variable_makes_its_upstream(
    environ: Mapping[str, str], upstreams: Mapping[str, UpstreamSettings]
) -> None:
    assert Settings(server=load({}).server, upstreams=dict(upstreams)) == load(environ)


@pytest.mark.parametrize(
    ("said", "base_url"),
    [
        ("127.0.0.1:11434", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:8000", "http://127.0.0.1:8000"),
        ("[::]:8000", "http://127.0.0.1:8000"),
        ("::", "http://127.0.0.1:11434"),
        (":11434", "http://127.0.0.1:11434"),
        ("host", "http://host:11434"),
        ("host:8000", "http://host:8000"),
        ("host/ollama/", "http://host:11434/ollama"),
        ("::1", "http://[::1]:11434"),
        ("[::1]", "http://[::1]:11434"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("http://host:8000/", "http://host:8000"),
        ("http://host", "http://host"),  # port 80, as Ollama's own client reads it
        ("https://host", "https://host"),
        ("https://host/ollama/v1/", "https://host/ollama"),
        ("http://localhost:11434/v1", "http://localhost:11434"),
        ("http://host/curve/mv1", "http://host/curve/mv1"),
        (' "127.0.0.1:11434" ', "http://127.0.0.1:11434"),
    ],
)
@pytest.mark.parametrize("variable", ["OLLAMA_HOST", "OLLAMA_BASE_URL"])
def test_an_address_of_ollama_is_read_as_ollama_reads_it(
    variable: str, said: str, base_url: str
) -> None:
    assert base_url == load({variable: said}).upstreams["ollama"].base_url


def test_the_most_exact_name_of_ollama_wins() -> None:
    environ = {"LLM_SERVICE_HOST_IP": "third", "LLM_SERVICE_PORT": "3"}
    assert load(environ).upstreams == ollama("http://third:3")
    environ |= {"OLLAMA_HOST": "second:2"}
    assert load(environ).upstreams == ollama("http://second:2")
    environ |= {"OLLAMA_BASE_URL": "http://first:1"}
    assert load(environ).upstreams == ollama("http://first:1")


def test_a_key_is_never_read_as_a_reference() -> None:
    settings = load({"OPENAI_API_KEY": "file:/x", "FACADE_API_KEY": "file:/y"})
    assert Secret("file:/x") == settings.upstreams["openai"].api_key
    assert Secret("file:/y") == settings.keys["environment"].secret


def test_every_vendor_of_the_environment_is_one_upstream_and_none_leads_to_another() -> None:
    settings = load(dict.fromkeys(VENDORS.values(), "key") | {"OLLAMA_HOST": "gpu"})
    assert ["ollama", *VENDORS] == list(settings.upstreams)
    assert {} == settings.models


def test_an_empty_variable_is_one_that_is_not_set() -> None:
    environ = {variable: " " for row in ROWS for variable in row.variables}
    assert load({}) == load(environ)


def test_what_kubernetes_sets_beside_a_service_named_facade_is_no_port() -> None:
    assert load({"FACADE_PORT": "tcp://10.0.0.1:8080"}).server.port == 8080


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"FACADE_FALLBACK": "a=gpu/x"}, "FACADE_FALLBACK: no upstream is called 'gpu'"),
        (
            {"FACADE_FALLBACK": "a=x", "OLLAMA_HOST": "gpu"},
            "FACADE_FALLBACK: 'x' is not of the form upstream/model",
        ),
        ({"FACADE_FALLBACK": "ollama/x"}, "FACADE_FALLBACK: expected a list of length >= 1"),
        ({"FACADE_FALLBACK": "a="}, "FACADE_FALLBACK: expected a list of length >= 1"),
        (
            {"FACADE_FALLBACK": "=ollama/x", "OLLAMA_HOST": "gpu"},
            "FACADE_FALLBACK: the name of a model has no blanks around it and is not empty",
        ),
        ({"FACADE_PORT": "http"}, "FACADE_PORT: expected a whole number but got a string"),
        ({"FACADE_PORT": "70000"}, "FACADE_PORT: expected a whole number <= 65535"),
        (
            {"FACADE_ALLOW_ANONYMOUS": "yes"},
            "FACADE_ALLOW_ANONYMOUS: expected true or false but got a string",
        ),
        (
            {"FACADE_ALLOWED_HOSTS": "a,b:80"},
            "FACADE_ALLOWED_HOSTS: 'b:80' is no host name; write it without scheme, port and path",
        ),
        (
            {"OLLAMA_HOST": "gpu", "OLLAMA_DEFAULT_OPTIONS": "{"},
            "OLLAMA_DEFAULT_OPTIONS: expected a table but got a string",
        ),
        ({"OLLAMA_HOST": "gpu:http"}, "OLLAMA_HOST: expected a URL like http://host:port"),
        (
            {"LLM_SERVICE_HOST_IP": "a", "LLM_SERVICE_PORT": "b"},
            "LLM_SERVICE_HOST_IP: expected a URL like http://host:port",
        ),
        (
            {"OLLAMA_BASE_URL": "http://me:sk-1@gpu:1"},
            "OLLAMA_BASE_URL: expected a URL like http://host:port",
        ),
        (
            {"OPENAI_BASE_URL": "http://localhost:8080/v1"},
            "OPENAI_BASE_URL: the URL is the facade's own address; only clients use it",
        ),
        (
            {"OPENAI_API_KEY": "sk-1\nsk-2"},
            "OPENAI_API_KEY: the secret holds characters that no header can carry",
        ),
    ],
)
def test_a_variable_that_is_wrong_is_named_in_the_sentence(
    environ: Mapping[str, str], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(environ)
    assert said == str(caught.value)


def test_the_loopback_rule_names_the_variable_that_broke_it() -> None:
    with pytest.raises(ConfigError, match=r"^FACADE_HOST: '0\.0\.0\.0' can be reached from other"):
        load({"FACADE_HOST": "0.0.0.0"})


def test_the_command_line_beats_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    file = tmp_path / "facade.toml"
    file.write_text(FILE)
    environ = {"FACADE_PORT": "9001"}
    assert load({}, file).server.port == 9000
    assert load(environ, file).server.port == 9001
    assert load(environ, file, {"port": 9002}).server.port == 9002
    assert load(environ, file, {"port": 9002}).server.host == "127.0.0.3"
    with pytest.raises(ConfigError, match=r"^--port: expected a whole number <= 65535$"):
        load(environ, file, {"port": 70_000})


def test_with_a_file_the_environment_makes_no_upstream(tmp_path: Path) -> None:
    file = tmp_path / "facade.toml"
    file.write_text(FILE)
    environ = {"OPENAI_API_KEY": "sk-1", "OLLAMA_HOST": "gpu", "OLLAMA_DEFAULT_OPTIONS": "{"}
    assert load({}, file) == load(environ, file)
    assert ["local"] == list(load(environ, file).upstreams)


def test_what_is_wrong_in_a_file_is_not_laid_to_a_variable(tmp_path: Path) -> None:
    file = tmp_path / "facade.toml"
    file.write_text('[upstreams.openai]\ndialect = "openai"\nbase_url = "ftp://a"')
    with pytest.raises(ConfigError, match=r"facade\.toml: upstreams\.openai\.base_url: expected"):
        load({"OPENAI_BASE_URL": "http://a", "OPENAI_API_KEY": "sk-1"}, file)
