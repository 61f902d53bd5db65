"""What `[keys.NAME]` and the rules beside it may say, and what of it cannot be meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from facade.auth import Caller, digest
from facade.config import ConfigError, load
from facade.documents import Secret
from facade.keys import KeySettings, keyring
from tests.facade.config_files import LOCAL, sentence, write

HASH = digest("p", "sk-3").hex()
FULL = f"""{LOCAL}
[server]
host = "0.0.0.0"
pepper = "env:PEPPER"
ip_allowlist = ["10.0.0.0/8", "fd00::/8", "::1"]
trusted_proxies = ["10.0.0.1"]
[keys.agents]
secret = "env:AGENTS_KEY"
priority = "interactive"
models = ["assistant", "gpt-*"]
[keys.secrets]
secret = "file:key"
[keys.hashed]
hash = "{HASH.upper()}"
admin = true
[keys.near]
from = ["10.0.0.0/8"]
priority = "batch"
"""


def test_every_key_of_the_file_arrives(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-2\n")
    settings = load({"PEPPER": "p", "AGENTS_KEY": "sk-1"}, write(tmp_path, FULL))
    assert settings.server.ip_allowlist == ("10.0.0.0/8", "fd00::/8", "::1")
    assert settings.server.trusted_proxies == ("10.0.0.1",)
    assert settings.server.pepper == Secret("p")
    assert settings.keys == {
        "agents": KeySettings(
            secret=Secret("sk-1"), priority="interactive", models=("assistant", "gpt-*")
        ),
        "secrets": KeySettings(secret=Secret("sk-2")),
        "hashed": KeySettings(hash=HASH.upper(), admin=True),
        "near": KeySettings(networks=("10.0.0.0/8",), priority="batch"),
    }
    assert "sk-" not in repr(settings)
    ring = keyring(settings.keys, settings.server.pepper)
    agents = Caller("agents", "interactive", ("assistant", "gpt-*"))
    known = [ring.holder(f"sk-{number}") for number in range(5)]
    assert [None, agents, Caller("secrets"), Caller("hashed", admin=True), None] == known
    ((_, near),) = ring.neighbours
    assert Caller("near", "batch") == near


def test_a_secret_needs_no_pepper(tmp_path: Path) -> None:
    settings = load({}, write(tmp_path, f"{LOCAL}[keys.a]\nsecret = 'sk-1'"))
    ring = keyring(settings.keys, settings.server.pepper)
    assert Caller("a") == ring.holder("sk-1")
    assert ring.holder("sk-2") is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[keys.a]", "keys.a: a key has either secret, or hash, or from: one of them"),
        ("[keys.a]\nfrom = []", "keys.a: a key has either secret, or hash, or from"),
        ("[keys.a]\nsecret = 's'\nfrom = ['::1']", "keys.a: a key has either secret, or hash"),
        (f"[keys.a]\nsecret = 's'\nhash = '{HASH}'", "keys.a: a key has either secret, or hash"),
        ("[keys.'a b']\nsecret = 's'", 'keys."a b": the name of a key has only letters'),
        ("[keys.a]\nsecret = ''", "keys.a.secret: the secret is empty"),
        ("[keys.a]\nsecret = 'ä'", "keys.a.secret: the secret holds characters that no header"),
        ("[keys.a]\nsecret = 'env:NOWHERE'", "keys.a.secret: the variable that should hold the"),
        ("[keys.a]\nsecret = 5", "keys.a.secret: expected a string"),
        ("[keys.a]\nhash = 'abc'", "keys.a.hash: expected 64 hex digits, as `facade keys new`"),
        (f"[keys.a]\nhash = '{HASH}'", "keys.a.hash: a hash needs the pepper it was made with"),
        (
            "[keys.a]\nsecret = 's'\nlocal_only = true\nforce_cloud = true",
            "keys.a.force_cloud: local_only and force_cloud exclude each other",
        ),
        ("[keys.a]\nfrom = ['10.0.0.1/8']", "keys.a.from[0]: '10.0.0.1/8' is no network"),
        ("[keys.a]\nfrom = '::1'", "keys.a.from: expected a list but got a string"),
        ("[keys.a]\nsecret = 's'\npriority = 'high'", "keys.a.priority: expected 'interactive' or"),
        ("[keys.a]\nsecret = 's'\nmodels = ['b', '*-*']", "keys.a.models[1]: expected the name of"),
        ("[keys.a]\nsecret = 's'\nmodels = ['']", "keys.a.models[0]: expected the name of a model"),
        ("[keys.a]\nsecret = 's'\nnetworks = ['::1']", "unknown key 'networks' at keys.a"),
        ("[keys.a]\nsecret = 's'\n[keys.b]\nsecret = 's'", "keys.b: the key 'a' has the same"),
        (
            f"[keys.a]\nhash = '{HASH}'\n[keys.b]\nsecret = 'sk-3'\n[server]\npepper = 'p'",
            "keys.b: the key 'a' has the same secret",
        ),
        (
            "[server]\nip_allowlist = ['::1', 'here']",
            "server.ip_allowlist[1]: 'here' is no network",
        ),
        ("[server]\ntrusted_proxies = ['']", "server.trusted_proxies[0]: '' is no network"),
        (
            "[server]\nallow_anonymous = true\n[keys.a]\nsecret = 's'",
            "server.allow_anonymous: this would answer everybody, but there are keys",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_sentence(
    tmp_path: Path, text: str, problem: str
) -> None:
    said = sentence(tmp_path, LOCAL + text)
    assert said.startswith(f"facade.toml: {problem}")
    assert "\n" not in said
    assert "sk-" not in said


@pytest.mark.parametrize("key", ["native_options"])
def test_a_right_or_limit_that_nothing_obeys_yet_is_refused(tmp_path: Path, key: str) -> None:
    said = sentence(tmp_path, f"{LOCAL}[keys.a]\nsecret = 's'\n{key} = true")
    assert f"facade.toml: the key '{key}' at keys.a is not built yet; nothing would obey it" == said


def test_keys_that_are_no_table_are_refused(tmp_path: Path) -> None:
    assert "facade.toml: keys: expected a table" == sentence(tmp_path, f"keys = 5\n{LOCAL}")


def test_with_a_key_any_host_may_be_bound(tmp_path: Path) -> None:
    text = f"[server]\nhost = '0.0.0.0'\n{LOCAL}"
    assert "0.0.0.0" == load({"FACADE_API_KEY": "s"}, write(tmp_path, text)).server.host
    said = sentence(tmp_path, text)
    assert "add a key (`facade keys new`, or FACADE_API_KEY)" in said


def test_a_key_of_the_environment_stands_beside_those_of_the_file(tmp_path: Path) -> None:
    text = f"{LOCAL}[keys.environment]\nfrom = ['::1']\n[keys.ci]\nsecret = 'sk-2'\n"
    assert load({"FACADE_API_KEY": "sk-1"}, write(tmp_path, text)).keys == {
        "environment": KeySettings(secret=Secret("sk-1")),
        "ci": KeySettings(secret=Secret("sk-2")),
    }


@pytest.mark.parametrize("with_file", [True, False])
def test_a_wrong_key_of_the_environment_is_told_by_its_variable(
    tmp_path: Path, with_file: bool
) -> None:
    file = write(tmp_path, LOCAL) if with_file else None
    with pytest.raises(ConfigError, match=r"^FACADE_API_KEY: the secret holds characters that no"):
        load({"FACADE_API_KEY": "sk-\u00e4"}, file)
