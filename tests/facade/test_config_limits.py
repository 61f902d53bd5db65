"""What a file may say of limits and of the store that counts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from facade.config import load
from tests.facade.command import facade
from tests.facade.config_files import LOCAL, sentence, write

WRITTEN = "write it like '60/minute', '100000 tokens/minute' or '4 concurrent'"
STORE = "expected memory:// or a URL like valkey://host:6379/0 (or redis://, unix:///path)"
PLACES = {
    "keys.k.limits": "[keys.k]\nsecret = 's'\n",
    "models.m.limits": "[models.m]\ntargets = ['local/a']\n",
    "server.ip_limits": "[server]\n",
    "upstreams.u.limits": "[upstreams.u]\ndialect = 'ollama'\nbase_url = 'http://host'\n",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        ("['60/minute', 'often']", f"[1]: 'often' is no limit; {WRITTEN}"),
        ("['']", f"[0]: '' is no limit; {WRITTEN}"),
        ("['5 concurrent/minute']", f"[0]: '5 concurrent/minute' is no limit; {WRITTEN}"),
        ("['0/minute']", "[0]: '0/minute' lets nothing through; a limit is at least 1"),
        ("['1 per minute', '1/minute']", "[1]: '1/minute' stands there twice"),
        ("[60]", "[0]: expected a string but got a whole number"),
        ("'60/minute'", ": expected a list but got a string"),
    ],
)
def test_a_limit_that_cannot_be_meant_is_refused_with_its_place(
    tmp_path: Path, place: str, limits: str, problem: str
) -> None:
    text = f"{PLACES[place]}{place.rpartition('.')[2]} = {limits}\n{LOCAL}"
    assert f"facade.toml: {place}{problem}" == sentence(tmp_path, text)


@pytest.mark.parametrize("command", ["serve", "check"])
def test_a_limit_that_cannot_be_parsed_stops_the_command(tmp_path: Path, command: str) -> None:
    file = write(tmp_path, f"{LOCAL}[keys.k]\nsecret = 's'\nlimits = ['lots']\n")
    done = facade(command, "--config", str(file))
    assert (2, "") == (done.returncode, done.stdout)
    assert f"facade: {file}: keys.k.limits[0]: 'lots' is no limit; {WRITTEN}\n" == done.stderr


@pytest.mark.parametrize(
    "url",
    [
        "memory://",
        "valkey://host:6379/0",
        "valkeys://host",
        "redis://:p%40ss@10.0.0.1:6380/3",
        "rediss://user:pass@[::1]:6379/",
        "unix:///run/valkey.sock",
    ],
)
def test_a_store_is_memory_or_a_server(tmp_path: Path, url: str) -> None:
    settings = load({}, write(tmp_path, f"{LOCAL}[store]\nurl = '{url}'\n"))
    assert url == settings.store.url


@pytest.mark.parametrize(
    "url",
    [
        "memory",
        "memory://x",
        "valkey://",
        "valkey://host:port/0",
        "valkey://host:99999",
        "valkey://host:0",
        "redis://host/first",
        "http://host",
        "unix://",
        "sqlite:///limits.db",
        "redis://:hunter2@/0",
    ],
)
def test_another_store_is_refused_and_its_password_not_told(tmp_path: Path, url: str) -> None:
    said = sentence(tmp_path, f"{LOCAL}[store]\nurl = '{url}'\n")
    assert f"facade.toml: store.url: {STORE}" == said


def test_the_url_of_a_store_may_stand_in_the_environment(tmp_path: Path) -> None:
    file = write(tmp_path, f"{LOCAL}[store]\nurl = 'env:STORE'\n")
    settings = load({"STORE": "redis://:hunter2@host"}, file)
    assert "redis://:hunter2@host" == settings.store.url
    assert "hunter2" not in repr(settings)


def test_check_says_who_is_limited(tmp_path: Path) -> None:
    text = (
        LOCAL
        + "limits = ['8/second']\n[server]\nip_limits = ['9/second']\n[keys.k]\nsecret = 's'\n"
        "limits = ['60/minute', '4 concurrent']\n"
        "[models.m]\ntargets = ['local/a']\nlimits = ['5 tokens/day']\n"
    )
    done = facade("check", "--config", str(write(tmp_path, text)))
    assert 0 == done.returncode
    assert "  at most 8/second\n" in done.stdout
    assert "Each address: at most 9/second.\n" in done.stdout
    assert "key k: a secret, normal, every model, at most 60/minute, 4 concurrent\n" in done.stdout
    assert "  2 retries, commit first-token, at most 5 tokens/day\n" in done.stdout
