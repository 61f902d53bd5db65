"""The model that is served where nothing is configured: a small one, on this machine, offline.

It is an ordinary upstream: an `Engine` has a `base_url`, an `api_key` and the model `NAME`, and
speaks the dialect "openai". Standard library only, so that `pull` works wherever Python does.
"""

from __future__ import annotations

from facade.embedded.engine import Engine, EngineFailed, installed
from facade.embedded.model import NAME, PullFailed, pull

__all__ = ["NAME", "Engine", "EngineFailed", "PullFailed", "installed", "pull"]
