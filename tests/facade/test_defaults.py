"""Where nothing is configured, what is there is served, or the ways on are said."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from facade import defaults
from facade.config import ConfigError, load
from facade.defaults import choose
from facade.embedded import NAME
from facade.embedded.model import model_file
from tests.facade.command import SmallOllama, answer_to, ended, serving
from tests.facade.config_files import write


@contextlib.contextmanager
def usual(monkeypatch: pytest.MonkeyPatch, ollama: SmallOllama) -> Iterator[None]:
    """This is the Ollama on the usual port."""
    monkeypatch.setattr(defaults, "USUAL_OLLAMA", ollama.url)
    with ollama.running():
        yield


def test_an_ollama_on_its_usual_port_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    ollama = SmallOllama()
    with usual(monkeypatch, ollama):
        settings, engine = choose({"OLLAMA_DEFAULT_OPTIONS": '{"num_ctx": 8192}'}, None, {})
    assert engine is None
    assert ["ollama"] == list(settings.upstreams)
    assert ollama.url == settings.upstreams["ollama"].base_url
    assert settings.upstreams["ollama"].options == {"num_ctx": 8192}


def test_what_is_configured_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with usual(monkeypatch, SmallOllama()):
        settings, engine = choose({"OPENAI_API_KEY": "sk-1"}, None, {"port": 9000})
    assert engine is None
    assert ["openai"] == list(settings.upstreams)
    assert settings.server.port == 9000


def test_a_file_without_an_upstream_is_wrong_whatever_there_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with usual(monkeypatch, SmallOllama()), pytest.raises(ConfigError, match="no upstream"):
        choose({}, write(tmp_path, "[server]\nport = 9000"), {})


def test_another_server_on_the_usual_port_is_no_ollama(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FACADE_MODELS_DIR", str(tmp_path))
    with usual(monkeypatch, SmallOllama(status=404)), pytest.raises(ConfigError):
        choose({}, None, {})


def test_a_server_that_is_silent_on_the_usual_port_is_no_ollama(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FACADE_MODELS_DIR", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(defaults, "USUAL_OLLAMA", url)
        with pytest.raises(ConfigError):
            choose({}, None, {})


def test_with_nothing_at_all_the_three_ways_on_are_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(defaults, "USUAL_OLLAMA", "http://127.0.0.1:9")
    monkeypatch.setenv("FACADE_MODELS_DIR", str(tmp_path))
    with pytest.raises(ConfigError) as caught:
        choose({}, None, {})
    said = str(caught.value)
    assert "`ollama serve`" in said
    assert "`facade models pull`" in said
    assert "OPENAI_API_KEY" in said
    example = textwrap.dedent(said[said.index("       [upstreams") :])
    upstream = load({"MY_KEY": "sk-1"}, write(tmp_path, example)).upstreams["cloud"]
    assert upstream.api_key == "sk-1"


# The program `facade` on a machine without an Ollama.
ALONE = """
import sys
from facade import cli, defaults
defaults.USUAL_OLLAMA = "http://127.0.0.1:9"
sys.exit(cli.main())
"""


@pytest.mark.embedded
def test_with_no_ollama_the_embedded_model_is_served_as_long_as_the_facade() -> None:
    body = json.dumps({"model": NAME, "messages": [{"role": "user", "content": "Hi"}]})
    with serving(program=("-c", ALONE)) as (process, greeting):
        assert greeting.endswith(f"/v1 from the embedded model {NAME}\n")
        with answer_to(greeting, "POST", "/v1/chat/completions", body) as answer:
            assert answer.status == 200
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(signal.SIGTERM)
        code, errors = ended(process)
    assert code == 0
    assert "Traceback" not in errors
    assert len(children) == 1
    assert not Path("/proc", children[0]).exists()


@pytest.mark.embedded
def test_an_engine_that_does_not_start_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / model_file().name).write_text("no model")
    with serving(program=("-c", ALONE), FACADE_MODELS_DIR=str(tmp_path)) as (process, greeting):
        code, errors = ended(process)
    assert (1, "") == (code, greeting)
    assert "facade: the embedded engine did not start" in errors
    assert "Traceback" not in errors


@pytest.mark.embedded
def test_the_embedded_model_is_an_upstream_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "USUAL_OLLAMA", "http://127.0.0.1:9")
    settings, engine = choose({}, None, {"port": 9000})
    assert engine is not None
    assert settings.server.port == 9000
    upstream = settings.upstreams["embedded"]
    assert (upstream.base_url, upstream.api_key) == (engine.base_url, engine.api_key)
    assert upstream.local is True
    assert engine.api_key not in repr(settings)
