"""What is served where nothing is configured: Ollama on its usual port, else the embedded model."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from msgspec.structs import replace

from facade.config import ConfigError, Settings, UpstreamSettings, load
from facade.documents import Secret
from facade.embedded import Engine, installed

USUAL_OLLAMA: Final = "http://127.0.0.1:11434"

WAYS_ON: Final = f"""\
there is nothing to serve: nothing is configured, no Ollama answers at {USUAL_OLLAMA}
and the embedded model is not installed. Three ways on:
  1. start Ollama (`ollama serve`), then this command again;
  2. install the small embedded model: `pip install xllamacpp`, `facade models pull`;
  3. set the usual variable of a vendor's key (OPENAI_API_KEY or another), or write
     facade.toml and start `facade serve --config facade.toml`:

       [upstreams.cloud]
       vendor = "openai"
       api_key = "env:MY_KEY"

       [upstreams.mine]
       dialect = "openai"
       base_url = "http://127.0.0.1:8000/v1"
"""


class Served(NamedTuple):
    """What is to be served. An engine has to run as long."""

    settings: Settings
    engine: Engine | None = None


def choose(environ: Mapping[str, str], file: Path | None, flags: Mapping[str, object]) -> Served:
    """What is configured, else what is found. Raises ConfigError."""
    settings = load(environ, file, flags)
    if settings.upstreams:
        return Served(settings)
    if _ollama_answers(USUAL_OLLAMA):
        return Served(load({**environ, "OLLAMA_BASE_URL": USUAL_OLLAMA}, file, flags))
    if not installed():
        raise ConfigError(WAYS_ON)
    engine = Engine()
    upstream = UpstreamSettings(
        dialect="openai",
        base_url=engine.base_url,
        api_key=Secret(engine.api_key),
        local=True,
        slots=engine.slots,
    )
    return Served(replace(settings, upstreams={"embedded": upstream}), engine)


def _ollama_answers(url: str) -> bool:
    """Within a second, and never by way of a proxy."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=1)
    try:
        connection.request("GET", "/api/version")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
