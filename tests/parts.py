"""The real parts that tests need and a machine may lack, each with the one way to look for it.

A test names its parts by markers (`@pytest.mark.node`); `tests/conftest.py` skips it where one is
lacking, and `tests/ready.py` says at the end what was skipped. In CI most may not be lacking.
Standard library only, and nothing of the project that needs more.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from facade.embedded.model import model_file

ROOT: Final = Path(__file__).resolve().parent.parent
CLIENTS: Final = ROOT / "tests" / "clients"


class Part(NamedTuple):
    """`lacking` says why the part cannot be used here, or "" where it can."""

    name: str
    lacking: Callable[[], str]
    may_lack_in_ci: bool


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true"}


def unusable(part: Part) -> bool:
    """Whether the lack of the part is a failure on this machine instead of a skip."""
    return in_ci() and not part.may_lack_in_ci


def ollama_url() -> str:
    """Where the live Ollama of the tests is; OLLAMA_HOST is read as Ollama itself reads it."""
    host = os.environ.get("OLLAMA_HOST", "").strip() or "127.0.0.1"
    url = urlsplit(host if "://" in host else f"http://{host}")
    name = "127.0.0.1" if url.hostname in {None, "0.0.0.0"} else url.hostname
    port = url.port or ({"http": 80, "https": 443}[url.scheme] if "://" in host else 11434)
    return f"{url.scheme}://{name}:{port}{url.path.rstrip('/')}"


def corpus() -> Path:
    """The folder of recorded traffic."""
    return Path(os.environ.get("FACADE_CORPUS") or ROOT.parent / "shared" / "corpus")


def no_node() -> str:
    """Node and npm themselves; what `npm ci` needs."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return "no node and npm on the PATH"
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.match(r"v(\d+)", said)
    if version is None or int(version[1]) < 20:
        return f"node is {said.strip() or 'broken'}, the SDK needs 20 or newer"
    return ""


@functools.cache
def _no_node_sdk() -> str:
    sdk = CLIENTS / "node_modules" / "openai"
    return no_node() or ("" if sdk.is_dir() else "`npm ci` was not run in tests/clients")


@functools.cache
def _no_ollama() -> str:
    url = ollama_url()
    try:
        with urllib.request.urlopen(f"{url}/api/version", timeout=2) as answer:
            return "" if answer.status == 200 else f"{url} answers {answer.status}"
    except OSError as error:
        return f"none at {url}: {error}"


def _no_engine() -> str:
    if importlib.util.find_spec("xllamacpp") is None:
        return "xllamacpp is not installed"
    return "" if model_file().is_file() else "no model; `facade models pull` fetches it"


def store_server() -> str:
    """The program of the store that processes share; "" where there is none."""
    return shutil.which("valkey-server") or shutil.which("redis-server") or ""


def _no_store() -> str:
    return "" if store_server() else "no valkey-server or redis-server; Debian packages them"


def _no_corpus() -> str:
    return "" if (corpus() / "ollama-native.jsonl").is_file() else f"none at {corpus()}"


PARTS: Final = (
    Part("node", _no_node_sdk, may_lack_in_ci=False),
    Part("embedded", _no_engine, may_lack_in_ci=False),
    Part("store", _no_store, may_lack_in_ci=False),
    Part("ollama", _no_ollama, may_lack_in_ci=True),
    Part("corpus", _no_corpus, may_lack_in_ci=True),
)
