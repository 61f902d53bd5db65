"""What is known of an upstream's memory between two askings."""

from __future__ import annotations

from typing import cast

from adapters.dialect import ListsLoaded, UpstreamRequest
from adapters.registry import spoken
from facade.loading import Loading


async def _says(_: UpstreamRequest) -> bytes:
    return b'{"models": [{"name": "llama3.1:latest", "model": "llama3.1:latest"}]}'


async def test_a_model_that_runs_elsewhere_pushes_nothing_out_of_memory() -> None:
    loading = Loading(cast(ListsLoaded, spoken("ollama", None)), _says)
    await loading.loaded()
    before = loading.memory()
    loading.note("big:cloud")
    assert before
    assert before == loading.memory()
    loading.close()
