"""What the tests of the configuration share: the smallest file, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from facade.config import ConfigError, load

LOCAL = '[upstreams.local]\ndialect = "ollama"\nbase_url = "http://127.0.0.1:11434"\n'


def write(folder: Path, text: str, name: str = "facade.toml") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def sentence(folder: Path, text: str, name: str = "facade.toml", **environ: str) -> str:
    """What is wrong with this file, without the folder."""
    with pytest.raises(ConfigError) as caught:
        load(environ, write(folder, text, name))
    return str(caught.value).replace(f"{folder}/", "")
