"""What FACADE_FALLBACK says, with a file and without."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from facade.config import ConfigError, load
from tests.facade.test_environment import FILE


def test_the_environment_makes_upstreams_but_no_chain_between_them() -> None:
    settings = load({"OLLAMA_HOST": "gpu", "OPENAI_API_KEY": "sk-1"})
    assert ["ollama", "openai"] == list(settings.upstreams)
    assert settings.models == {}


@pytest.mark.parametrize(
    ("said", "models"),
    [
        ("a=ollama/x,openai/y", {"a": ("ollama/x", "openai/y")}),
        (" a = ollama/x , openai/y ; ", {"a": ("ollama/x", "openai/y")}),
        ("a=ollama/x;b:1=openai/y", {"a": ("ollama/x",), "b:1": ("openai/y",)}),
        ("*=ollama/*,openai/y", {"*": ("ollama/*", "openai/y")}),
        ("a=ollama/x=1", {"a": ("ollama/x=1",)}),
    ],
)
def test_a_chain_takes_facade_fallback(said: str, models: Mapping[str, tuple[str, ...]]) -> None:
    settings = load({"OLLAMA_HOST": "gpu", "OPENAI_API_KEY": "sk-1", "FACADE_FALLBACK": said})
    assert models == {alias: model.targets for alias, model in settings.models.items()}


def test_facade_fallback_beats_the_file_and_leaves_its_other_aliases(tmp_path: Path) -> None:
    file = tmp_path / "facade.toml"
    file.write_text(f"{FILE}[models.a]\ntargets = ['local/x']\n[models.b]\ntargets = ['local/y']\n")
    models = load({"FACADE_FALLBACK": "a=local/z"}, file).models
    assert {"a": ("local/z",), "b": ("local/y",)} == {a: m.targets for a, m in models.items()}
    file.write_text(f"{FILE}[models.b]\ntargets = ['far/y']\n")
    with pytest.raises(ConfigError, match=r"facade\.toml: models\.b\.targets\[0\]: no upstream"):
        load({"FACADE_FALLBACK": "a=local/z"}, file)
