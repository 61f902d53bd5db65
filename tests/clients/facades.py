"""A running facade: the command as a process of its own, ended as an operator ends it."""

from __future__ import annotations

import contextlib
import re
import signal
from collections.abc import Iterator, Sequence

from tests.facade.command import ended, serving


@contextlib.contextmanager
def facade(program: Sequence[str] = ("-m", "facade"), **said: str) -> Iterator[str]:
    """The base URL that clients use. In the end it has closed well, and broken nowhere."""
    with serving(program=program, **said) as (process, greeting):
        url = re.search(r"http://\S+", greeting)
        assert url is not None, ended(process)
        yield url[0]
        process.send_signal(signal.SIGTERM)
        code, errors = ended(process)
    assert code == 0, errors
    assert "Traceback" not in errors, errors
