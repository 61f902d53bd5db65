"""`python -m tests.bench.asgi` is the command `facade`, served by uvicorn's protocol in place of
ours: every request goes by plain ASGI.
"""

from __future__ import annotations

import sys

import uvicorn

from facade import cli, serving
from facade.config import Settings

_ours = serving.configured


def _plain(settings: Settings) -> uvicorn.Config:
    config = _ours(settings)
    config.http = "httptools"
    return config


if __name__ == "__main__":
    serving.configured = _plain
    sys.exit(cli.main())
