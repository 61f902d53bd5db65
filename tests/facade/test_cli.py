"""The command line says what it serves, or in one sentence why it cannot."""

from __future__ import annotations

import importlib.metadata
import json
import re
import signal
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from facade.auth import Caller
from facade.config import load
from facade.keys import keyring
from tests.facade.command import SmallOllama, answer_to, ended, facade, serving
from tests.facade.config_files import LOCAL, write

FILE = (
    LOCAL
    + """\
keep_alive = "10m"
embedding_slots = 4
queue = 9
options = { num_ctx = 8192 }
[upstreams.local.models."llama3.1"]
options = { num_ctx = 4096 }
[upstreams.cloud]
dialect = "openai"
base_url = "https://llm.example.org/v1"
api_key = "sk-secret"
timeouts = { first_token = 2.5 }
[models.assistant]
targets = ["local/llama3.1", "cloud/gpt"]
cold = "next"
"""
)


def test_check_says_what_would_be_served_and_no_secret(tmp_path: Path) -> None:
    done = facade("check", "--config", str(write(tmp_path, FILE)), "--port", "9000")
    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout == (
        "The configuration is valid. Clients would use http://127.0.0.1:9000/v1\n"
        "for the hosts localhost, 127.0.0.1, [::1]; no key is asked of them.\n"
        "upstream local: ollama at http://127.0.0.1:11434, local, without a key\n"
        "  clocks: connect 5 s, load 300 s, first_token 60 s, idle 30 s, total 580 s\n"
        "  1 at a time (embeddings: 4), 9 may wait\n"
        "  keep_alive: 10m\n"
        '  options for every model: {"num_ctx":8192}\n'
        '  options for llama3.1: {"num_ctx":4096}\n'
        "upstream cloud: openai at https://llm.example.org/v1, not local, with a key\n"
        "  clocks: connect 5 s, load 300 s, first_token 2.5 s, idle 30 s, total 580 s\n"
        "model assistant: local/llama3.1, then cloud/gpt\n"
        "  2 retries, commit first-token, cold: next\n"
    )


KEYED = (
    LOCAL
    + """\
[server]
host = "0.0.0.0"
pepper = "pepper-secret"
ip_allowlist = ["10.0.0.0/8", "::1"]
[keys.agents]
secret = "env:AGENTS_KEY"
priority = "interactive"
models = ["assistant", "local/*"]
[keys.operator]
hash = "%s"
admin = true
prefer_local = true
max_latency_ms = 2000
[keys.lan]
from = ["10.0.0.0/8", "fd00::/8"]
priority = "batch"
"""
)


def test_check_says_who_may_ask_and_no_secret(tmp_path: Path) -> None:
    file = write(tmp_path, KEYED % ("0a" * 32))
    done = facade("check", "--config", str(file), AGENTS_KEY="sk-secret")
    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout.startswith(
        "The configuration is valid. Clients would use http://127.0.0.1:8080/v1\n"
        "with a key.\n"
        "Only requests from 10.0.0.0/8, ::1 are answered.\n"
        "key agents: a secret, interactive, assistant, local/*\n"
        "key operator: a secret, normal, every model, prefer_local, max_latency_ms=2000, admin\n"
        "key lan: whoever asks from 10.0.0.0/8, fd00::/8 for the hosts localhost, 127.0.0.1, "
        "[::1], batch, every model\n"
        "upstream local:"
    )
    assert "-secret" not in done.stdout
    assert "0a0a" not in done.stdout


def _new_key(said: str) -> tuple[str, str]:
    """The secret, and what is to be pasted."""
    (secret,) = re.findall(r"^sk-\S{43}$", said, re.MULTILINE)
    assert 1 == said.count(secret)
    return secret, said[said.index("[keys.") :]


def test_a_new_key_opens_a_facade_that_has_its_table(tmp_path: Path) -> None:
    # The file cannot be served before it has a key.
    text = f'{LOCAL}[server]\nhost = "0.0.0.0"\npepper = "env:PEPPER"\n'
    file = str(write(tmp_path, text))
    done = facade("keys", "new", "--name", "ci", "--config", file, PEPPER="p")
    assert (0, "") == (done.returncode, done.stderr)
    assert "pepper" not in done.stdout
    secret, table = _new_key(done.stdout)
    again = facade("keys", "new", "--name", "ci", PEPPER="p", FACADE_CONFIG=file)
    assert secret != _new_key(again.stdout)[0]
    write(tmp_path, text + table)
    with serving("--config", file, PEPPER="p") as (process, greeting):
        for sent, status in ((secret, 200), ("sk-other", 401)):
            with answer_to(greeting, "GET", "/v1/models/local/m", key=sent) as answer:
                assert (status == 401) == (answer.status == 401)
        process.send_signal(signal.SIGTERM)
        _, errors = ended(process)
    assert secret not in errors


def test_without_a_pepper_a_new_key_brings_one(tmp_path: Path) -> None:
    done = facade("keys", "new")
    secret, table = _new_key(done.stdout)
    (line,) = re.findall(r"^pepper = .*$", done.stdout, re.MULTILINE)
    assert table.startswith("[keys.client]\nhash = ")
    settings = load({}, write(tmp_path, f"{LOCAL}[server]\n{line}\n{table}"))
    caller = keyring(settings.keys, settings.server.pepper).holder(secret)
    assert caller == Caller("client")
    given = facade("keys", "new", FACADE_PEPPER="p")
    assert "pepper" not in given.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--name", "a.b"), "argument --name: only letters, digits, '_' and '-'"),
        (("--config", "nowhere.toml"), "nowhere.toml: the file cannot be read"),
    ],
)
def test_a_key_that_cannot_be_made_is_one_sentence(arguments: Sequence[str], said: str) -> None:
    done = facade("keys", "new", *arguments)
    assert (2, "") == (done.returncode, done.stdout)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_file_may_be_named_by_a_variable_and_a_wrong_one_is_told(tmp_path: Path) -> None:
    file = write(tmp_path, "[server]\nprot = 1\n" + LOCAL)
    done = facade("check", FACADE_CONFIG=str(file))
    said = f"facade: {file}: unknown key 'prot' at server\n"
    assert (2, "", said) == (done.returncode, done.stdout, done.stderr)


def test_the_help_teaches_and_the_version_is_that_of_the_package() -> None:
    assert "OPENAI_BASE_URL=http://127.0.0.1:8080/v1" in facade("--help").stdout
    version = importlib.metadata.version("facade")
    assert f"facade {version}\n" == facade("--version").stdout


def test_serve_greets_with_the_url_that_clients_need_once_it_answers() -> None:
    with SmallOllama().running() as ollama, serving(OLLAMA_HOST=ollama.url) as (process, greeting):
        assert re.fullmatch(
            rf"facade answers at http://127\.0\.0\.1:\d+/v1 from ollama \({ollama.url}\)\n",
            greeting,
        )
        with answer_to(greeting, "GET", "/livez") as answer:
            assert answer.status == 200
            assert answer.getheader("date") is not None
            assert answer.getheader("server") is None
        process.send_signal(signal.SIGTERM)
        code, errors = ended(process)
    assert code == 0
    assert "Traceback" not in errors


def test_on_every_interface_the_greeting_names_one_that_works_here() -> None:
    arguments = ("--host", "0.0.0.0")
    said = {"OLLAMA_HOST": "127.0.0.1:9", "FACADE_ALLOW_ANONYMOUS": "true"}
    with serving(*arguments, **said) as (process, greeting):
        assert greeting.startswith("facade answers at http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        assert ended(process)[0] == 130


def test_an_answer_under_way_is_finished_after_sigterm() -> None:
    body = json.dumps(
        {"model": "ollama/m", "stream": True, "messages": [{"role": "user", "content": "count"}]}
    )
    with SmallOllama().running() as ollama, serving(OLLAMA_HOST=ollama.url) as (process, greeting):
        with answer_to(greeting, "POST", "/v1/chat/completions", body) as answer:
            head = answer.readline()
            process.send_signal(signal.SIGTERM)
            threading.Timer(0.5, ollama.released.set).start()
            said = head + answer.read()
        code, errors = ended(process)
    assert b'"one "' in said
    assert b'"two"' in said
    assert said.endswith(b"data: [DONE]\n\n")
    assert code == 0
    assert "Traceback" not in errors


def test_a_port_in_use_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = facade("serve", "--port", port, OLLAMA_HOST="127.0.0.1:9")
    assert done.returncode == 1
    assert done.stderr == (
        f"facade: 127.0.0.1, port {port} is in use: stop what listens there, "
        "or take another port with --port\n"
    )


def test_a_host_that_cannot_be_bound_is_one_sentence() -> None:
    said = {"OLLAMA_HOST": "127.0.0.1:9", "FACADE_ALLOW_ANONYMOUS": "true"}
    done = facade("serve", "--host", "192.0.2.1", "--port", "0", **said)
    assert done.returncode == 1
    said_of_it = "cannot listen on 192.0.2.1, port 0: Cannot assign requested address"
    assert f"facade: {said_of_it}\n" == done.stderr


def test_without_keys_another_host_than_loopback_is_refused() -> None:
    done = facade("serve", "--host", "0.0.0.0", OLLAMA_HOST="127.0.0.1:9")
    assert done.returncode == 2
    assert done.stderr.startswith("facade: --host: '0.0.0.0' can be reached from other machines")


def test_a_model_that_cannot_be_pulled_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "models").touch()
    done = facade("models", "pull", FACADE_MODELS_DIR=str(tmp_path / "models"))
    assert done.returncode == 1
    assert f"facade: {tmp_path / 'models'} cannot be written: File exists\n" in done.stderr
    assert "Traceback" not in done.stderr
