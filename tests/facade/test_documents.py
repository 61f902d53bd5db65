"""A document of the wrong form is told in one sentence with its key, and shows no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from facade.config import NOT_BUILT, ConfigError, load
from tests.facade.config_files import LOCAL, sentence, write


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[server]\nprot = 1\n", "unknown key 'prot' at server"),
        ("[serve]\n", "unknown key 'serve'"),
        (LOCAL + "timeouts = { ilde = 1 }", "unknown key 'ilde' at upstreams.local.timeouts"),
        (
            LOCAL + '[upstreams.local.models."a.b"]\nmax = 1',
            "unknown key 'max' at upstreams.local.models.\"a.b\"",
        ),
        ("server = 1", "server: expected a table"),
        ("[server]\nport = '1'", "server.port: expected a whole number but got a string"),
        ("[server]\nport = 65536", "server.port: expected a whole number <= 65535"),
        ("[server]\nallow_anonymous = 1", "server.allow_anonymous: expected true or false but got"),
        ("[server]\nmax_body = 0", "server.max_body: expected a whole number >= 1"),
        ("[server]\nclient_idle = 0", "server.client_idle: expected a number > 0"),
        (
            "[server]\nlog_level = 'loud'",
            "server.log_level: expected 'debug' or 'info' or 'warning' or 'error'",
        ),
        (
            "[server]\nallowed_hosts = ['a', 1]",
            "server.allowed_hosts[1]: expected a string but got a whole number",
        ),
        (
            "[upstreams.a]\nbase_url = 'http://a'",
            "the key 'dialect' is missing at upstreams.a",
        ),
        (
            LOCAL + "keep_alive = []",
            "upstreams.local.keep_alive: expected a whole number or a string or nothing but got",
        ),
        (LOCAL + "connections = 0", "upstreams.local.connections: expected a whole number >= 1"),
        (LOCAL + "ca_file = 1", "upstreams.local.ca_file: expected a string"),
        (
            LOCAL + "ca_file = 'none.pem'",
            "upstreams.local.ca_file: the file cannot be read (No such file or directory)",
        ),
        (LOCAL + "[models.m]", "the key 'targets' is missing at models.m"),
        (
            LOCAL + "[models.m]\ntargets = []",
            "models.m.targets: expected a list of length >= 1",
        ),
        (
            LOCAL + "[server]\nlog_level = 'loud'",
            "server.log_level: expected 'debug' or 'info' or 'warning' or 'error'",
        ),
        ("[server\n", "the file is not TOML: Expected ']' at the end of a table declaration"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence_with_its_key(
    tmp_path: Path, text: str, problem: str
) -> None:
    said = sentence(tmp_path, text)
    assert said.startswith(f"facade.toml: {problem}")
    assert "\n" not in said


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- 1", "expected a table"),
        ("server:\n  port: 1\n 2: x", "the file is not YAML: "),
        ("1: x", "the key 1 is not a string"),
        ("upstreams:\n", "upstreams: expected a table"),
        ("", "no upstream is configured"),
        (
            "upstreams: {a: {dialect: ollama, base_url: 'http://a', options: {1: 2}}}",
            "upstreams.a.options: expected a string but got a whole number",
        ),
    ],
)
def test_what_is_wrong_with_yaml_is_said_the_same_way(
    tmp_path: Path, text: str, problem: str
) -> None:
    assert sentence(tmp_path, text, "facade.yaml").startswith(f"facade.yaml: {problem}")


@pytest.mark.parametrize("key", sorted(NOT_BUILT))
def test_a_key_that_nothing_obeys_yet_says_so(tmp_path: Path, key: str) -> None:
    assert (
        f"facade.toml: the key '{key}' at upstreams.local is not built yet; nothing would obey it"
        == sentence(tmp_path, f"{LOCAL}{key} = 1")
    )


def test_a_file_of_another_kind_or_none_at_all_is_refused(tmp_path: Path) -> None:
    assert "facade.json: the name of a configuration file ends in .toml, .yaml or .yml" == sentence(
        tmp_path, "{}", "facade.json"
    )
    with pytest.raises(ConfigError, match=r"none\.toml: the file cannot be read \(No such file"):
        load({}, tmp_path / "none.toml")
    (tmp_path / "facade.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"facade\.toml: the file is not UTF-8 text"):
        load({}, tmp_path / "facade.toml")


@pytest.mark.parametrize(
    ("said", "key"),
    [("sk-1", "sk-1"), ("env:KEY", "sk-2"), ("file:key", "sk-3"), ("file:{folder}/key", "sk-3")],
)
def test_a_secret_stands_in_the_file_in_a_variable_or_in_another_file(
    tmp_path: Path, said: str, key: str
) -> None:
    (tmp_path / "key").write_text("sk-3\n")
    text = f"{LOCAL}api_key = '{said.format(folder=tmp_path)}'"
    settings = load({"KEY": " sk-2\n"}, write(tmp_path, text))
    assert key == settings.upstreams["local"].api_key
    assert "sk-" not in repr(settings)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("env:NONE", "the variable that should hold the secret is not set"),
        ("env:sk-1", "the variable that should hold the secret is not set"),
        ("env:EMPTY", "the secret is empty"),
        ("", "the secret is empty"),
        ("file:none", "the file cannot be read (No such file or directory)"),
        ("file:binary", "the secret holds characters that no header can carry"),
        ("env:LINES", "the secret holds characters that no header can carry"),
    ],
)
def test_a_secret_that_cannot_be_fetched_names_its_key_and_shows_nothing(
    tmp_path: Path, said: str, problem: str
) -> None:
    (tmp_path / "binary").write_bytes(b"sk-1\xff")
    text = f"{LOCAL}api_key = '{said}'"
    assert f"facade.toml: upstreams.local.api_key: {problem}" == sentence(
        tmp_path, text, EMPTY=" ", LINES="sk-1\nsk-2"
    )


def test_what_a_secret_holds_is_never_read_as_a_reference(tmp_path: Path) -> None:
    text = f"{LOCAL}api_key = 'env:KEY'"
    settings = load({"KEY": "env:HOME", "HOME": "x"}, write(tmp_path, text))
    assert settings.upstreams["local"].api_key == "env:HOME"


@pytest.mark.parametrize(
    "text",
    ["a: b\napi_key: *sk-1-secret", "api_key: !sk-1-secret x", "api_key: 'sk-1-secret", "a: %sk-1"],
)
def test_a_broken_yaml_file_is_not_quoted(tmp_path: Path, text: str) -> None:
    said = sentence(tmp_path, text, "facade.yaml")
    assert said.startswith("facade.yaml: the file is not YAML: ")
    assert "(at line" in said
    assert "sk-1" not in said
