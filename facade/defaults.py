"""What is served where nothing is configured: Ollama on its usual port, else the embedded model."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from facade.config import ConfigError, Settings, load

USUAL_OLLAMA: Final = "http://127.0.0.1:11434"

WAYS_ON: Final = f"""\
there is nothing to serve: nothing is configured, no Ollama answers at {USUAL_OLLAMA}
and the embedded model is not installed. Three ways on:
  1. start Ollama (`ollama serve`), then this command again;
  2. install the small embedded model: `facade models pull`;
  3. set OPENAI_API_KEY (and OPENAI_BASE_URL for a vendor with the same API), or write
     facade.toml and start `facade serve --config facade.toml`:

       [upstreams.cloud]
       dialect = "openai"
       base_url = "https://api.openai.com/v1"
       api_key = "env:MY_KEY"
"""


def ollama_answers(url: str = USUAL_OLLAMA) -> bool:
    """Whether an Ollama answers there within a second. Proxies are not asked."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=1)
    try:
        connection.request("GET", "/api/version")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def settings_for(
    environ: Mapping[str, str], file: Path | None, flags: Mapping[str, object]
) -> Settings:
    """The settings to serve: what is configured, else what is found. Raises ConfigError."""
    settings = load(environ, file, flags)
    if settings.upstreams:
        return settings
    if ollama_answers():
        return load({**environ, "OLLAMA_BASE_URL": USUAL_OLLAMA}, file, flags)
    raise ConfigError(WAYS_ON)
