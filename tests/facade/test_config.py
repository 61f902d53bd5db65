"""A file becomes Settings, or one sentence that says what cannot be meant."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest

from facade.config import (
    ModelSettings,
    Settings,
    UpstreamModelSettings,
    UpstreamSettings,
    load,
)
from facade.deadlines import Timeouts
from facade.documents import Secret
from facade.listening import ServerSettings
from tests.facade.config_files import LOCAL, sentence, write

FULL = """
[server]
host = "0.0.0.0"
port = 9000
allow_anonymous = true
allowed_hosts = ["LLM.example.org", "[::1]"]
cors_allow_origins = ["https://chat.example.org", "tauri://localhost"]
max_body = 1000
client_idle = 5
log_level = "debug"

[upstreams.local]
dialect = "ollama"
base_url = "http://127.0.0.1:11434/"
keep_alive = "10m"
options = { num_ctx = 8192, stop = ["a"] }
timeouts = { connect = 1, load = 2, first_token = 3.5, idle = 4, total = 5 }

[upstreams.local.models."llama3.1"]
options = { num_ctx = 4096 }

[upstreams.cloud]
dialect = "openai"
base_url = "https://api.openai.com/v1"
api_key = "env:CLOUD_KEY"
local = false
proxy = "http://user:word@proxy:3128"
ca_file = "ca.pem"
client_cert = "client.pem"
connections = 7
slots = 3
embedding_slots = 2
queue = 0

[models.assistant]
targets = ["local/llama3.1", "cloud/org/gpt-4o-mini"]
retries = 0
commit = "complete"
busy = "next"
cold = "next"

[models."gpt-*"]
targets = ["local/*"]
"""


def full(folder: Path) -> Settings:
    (folder / "ca.pem").touch()
    (folder / "client.pem").touch()
    return Settings(
        server=ServerSettings(
            host="0.0.0.0",
            port=9000,
            allow_anonymous=True,
            allowed_hosts=("llm.example.org", "[::1]"),
            cors_allow_origins=("https://chat.example.org", "tauri://localhost"),
            max_body=1000,
            client_idle=5,
            log_level="debug",
        ),
        upstreams={
            "local": UpstreamSettings(
                dialect="ollama",
                base_url="http://127.0.0.1:11434",
                local=True,
                keep_alive="10m",
                options={"num_ctx": 8192, "stop": ["a"]},
                timeouts=Timeouts(connect=1, load=2, first_token=3.5, idle=4, total=5),
                models={"llama3.1": UpstreamModelSettings(options={"num_ctx": 4096})},
                slots=1,
                embedding_slots=1,
            ),
            "cloud": UpstreamSettings(
                dialect="openai",
                base_url="https://api.openai.com/v1",
                api_key=Secret("sk-1"),
                local=False,
                proxy=Secret("http://user:word@proxy:3128"),
                ca_file=folder / "ca.pem",
                client_cert=folder / "client.pem",
                connections=7,
                slots=3,
                embedding_slots=2,
                queue=0,
            ),
        },
        models={
            "assistant": ModelSettings(
                targets=("local/llama3.1", "cloud/org/gpt-4o-mini"),
                retries=0,
                commit="complete",
                busy="next",
                cold="next",
            ),
            "gpt-*": ModelSettings(targets=("local/*",)),
        },
    )


def test_every_key_of_a_toml_file_arrives(tmp_path: Path) -> None:
    assert full(tmp_path) == load({"CLOUD_KEY": "sk-1"}, write(tmp_path, FULL))


@pytest.mark.parametrize("name", ["facade.yaml", "facade.YML"])
def test_a_yaml_file_says_the_same(tmp_path: Path, name: str) -> None:
    text = msgspec.yaml.encode(tomllib.loads(FULL)).decode()
    assert full(tmp_path) == load({"CLOUD_KEY": "sk-1"}, write(tmp_path, text, name))


def test_the_smallest_file_has_the_defaults_of_the_design(tmp_path: Path) -> None:
    settings = load({}, write(tmp_path, LOCAL))
    assert settings.server == ServerSettings(
        host="127.0.0.1",
        port=8080,
        allow_anonymous=False,
        allowed_hosts=("localhost", "127.0.0.1", "[::1]"),
        cors_allow_origins=(),
        max_body=33_554_432,
        client_idle=60,
        deadline=590,
        log_level="info",
    )
    assert settings.upstreams["local"].timeouts == Timeouts(
        connect=5, load=300, first_token=60, idle=30, total=580
    )
    assert settings.upstreams["local"].connections == 100
    assert settings.upstreams["local"].local is True
    assert settings.models == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[server]\nhost = ''\n" + LOCAL, "server.host: expected an address or a name of this"),
        (
            "[server]\nallowed_hosts = ['http://a']\n" + LOCAL,
            "server.allowed_hosts[0]: 'http://a' is no host name",
        ),
        (
            "[server]\ncors_allow_origins = ['*']\n" + LOCAL,
            "server.cors_allow_origins[0]: '*' is no origin",
        ),
        (
            "[upstreams.a]\ndialect = 'Ollama'\nbase_url = 'http://a'",
            "upstreams.a.dialect: expected 'ollama' or 'openai'",
        ),
        (
            LOCAL.replace("upstreams.local", 'upstreams."a/b"'),
            "upstreams.\"a/b\": the name of an upstream has only letters, digits, '.', '_' and '-'",
        ),
        (
            LOCAL + "timeouts = { idle = 0 }",
            "upstreams.local.timeouts.idle: expected seconds, more than 0 and at most 86400",
        ),
        (LOCAL + "timeouts = { total = inf }", "upstreams.local.timeouts.total: expected seconds"),
        (LOCAL + "timeouts = { total = nan }", "upstreams.local.timeouts.total: expected seconds"),
        (LOCAL + "proxy = 'proxy:3128'", "upstreams.local.proxy: expected a URL like http://"),
        ("[server]\nport = 9000", "no upstream is configured; add a table [upstreams.NAME]"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_in_one_sentence(
    tmp_path: Path, text: str, problem: str
) -> None:
    said = sentence(tmp_path, text)
    assert said.startswith(f"facade.toml: {problem}")
    assert "\n" not in said


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:11434",
        "ftp://a",
        "http://:80",
        "http://a:b",
        "http://a:70000",
        "http://a:0",
        "http://[::1",
        "http://a b",
        "http://a/\\u0001",
        "http://a?\\u007f",
        "http://ä",
    ],
)
def test_a_base_url_is_http_with_a_host(tmp_path: Path, url: str) -> None:
    said = sentence(tmp_path, LOCAL.replace("http://127.0.0.1:11434", url))
    assert "facade.toml: upstreams.local.base_url: expected a URL like http://host:port" == said


@pytest.mark.parametrize("url", ["http://me:sk-1@a", "http://sk-1@a", "http://a#sk-1"])
def test_a_base_url_holds_no_credential_and_none_is_printed(tmp_path: Path, url: str) -> None:
    said = sentence(tmp_path, LOCAL.replace("http://127.0.0.1:11434", url))
    assert (
        "facade.toml: upstreams.local.base_url: the URL may hold no user, password or fragment; "
        "a key goes into api_key" == said
    )


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://localhost:8080/v1"),
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("::", "http://[::1]:8080"),
        ("llm.example.org", "http://llm.example.org:8080"),
    ],
)
def test_an_upstream_that_is_the_facade_itself_is_refused(
    tmp_path: Path, host: str, url: str
) -> None:
    server = f"[server]\nhost = '{host}'\nallow_anonymous = true\n"
    text = server + LOCAL.replace("http://127.0.0.1:11434", url)
    assert (
        "facade.toml: upstreams.local.base_url: the URL is the facade's own address; "
        "only clients use it" == sentence(tmp_path, text)
    )
    assert load({"FACADE_PORT": "8081"}, write(tmp_path, text)).server.port == 8081


@pytest.mark.parametrize(
    ("url", "said", "local"),
    [
        ("http://localhost:1", "", True),
        ("http://127.1.2.3:1", "", True),
        ("http://[::1]:1", "", True),
        ("http://10.0.0.1:1", "", False),
        ("http://0.0.0.0:1", "", False),
        ("http://localhost.example.org", "", False),
        ("http://10.0.0.1:1", "local = true", True),
        ("http://localhost:1", "local = false", False),
    ],
)
def test_an_upstream_is_local_where_it_is_loopback_or_said_to_be(
    tmp_path: Path, url: str, said: str, local: bool
) -> None:
    text = LOCAL.replace("http://127.0.0.1:11434", url) + said
    assert local == load({}, write(tmp_path, text)).upstreams["local"].local


# The loopback rule


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "llm.example.org", "127.1"])
def test_without_keys_only_loopback_is_bound(tmp_path: Path, host: str) -> None:
    text = f"[server]\nhost = '{host}'\n{LOCAL}"
    said = sentence(tmp_path, text)
    assert said.startswith(f"facade.toml: server.host: '{host}' can be reached from other machines")
    assert "set allow_anonymous = true" in said
    allowed = load({"FACADE_ALLOW_ANONYMOUS": "true"}, write(tmp_path, text)).server
    assert host == allowed.host
    assert allowed.allowed_hosts == ("localhost", "127.0.0.1", "[::1]")


@pytest.mark.parametrize(
    ("host", "bound", "also"),
    [
        ("localhost", "localhost", ()),
        ("::1", "::1", ()),
        ("[::1]", "::1", ()),
        ("127.0.0.2", "127.0.0.2", ("127.0.0.2",)),
    ],
)
def test_the_host_that_is_bound_is_allowed_where_it_is_loopback(
    tmp_path: Path, host: str, bound: str, also: tuple[str, ...]
) -> None:
    server = load({}, write(tmp_path, f"[server]\nhost = '{host}'\n{LOCAL}")).server
    assert bound == server.host
    assert ("localhost", "127.0.0.1", "[::1]", *also) == server.allowed_hosts


def test_any_host_may_be_allowed(tmp_path: Path) -> None:
    text = f"[server]\nallowed_hosts = ['*']\n{LOCAL}"
    assert load({}, write(tmp_path, text)).server.allowed_hosts == ("*",)
