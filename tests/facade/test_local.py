"""Which upstreams are local."""

from __future__ import annotations

from pathlib import Path

import pytest

from facade.config import load
from tests.facade.config_files import write


@pytest.mark.parametrize(
    ("base_url", "more", "local"),
    [
        ("http://127.0.0.1:1", "", True),
        ("http://localhost:1", "", True),
        ("http://[::1]:1", "", True),
        ("http://localhost.example.org", "", False),
        ("http://10.0.0.1:1", "", False),
        ("http://gpu:1", "", False),
        ("http://gpu:1", "local = true", True),
        ("http://127.0.0.1:1", "local = false", False),
        ("http://127.0.0.1:1", "proxy = 'http://proxy:3128'", False),  # it is the proxy's loopback
        ("http://127.0.0.1:1", "proxy = 'http://proxy:3128'\nlocal = true", True),
    ],
)
def test_only_loopback_is_local_unless_the_operator_says_so(
    tmp_path: Path, base_url: str, more: str, local: bool
) -> None:
    text = f"[upstreams.a]\ndialect = 'ollama'\nbase_url = '{base_url}'\n{more}"
    assert local is load({}, write(tmp_path, text)).upstreams["a"].local
