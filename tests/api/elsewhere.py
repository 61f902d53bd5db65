"""Facades in processes of their own, as `facade serve` runs them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from msgspec import Struct

from tests.facade import command
from tests.facade.config_files import write


class Elsewhere(Struct):
    """A facade in another process."""

    port: int


@contextmanager
def processes(folder: Path, text: str, count: int) -> Iterator[list[Elsewhere]]:
    """So many facades in processes of their own, with this file."""
    file = str(write(folder, text))
    with ExitStack() as stack:
        greetings = [
            stack.enter_context(command.serving("--config", file))[1] for _ in range(count)
        ]
        ports = [re.search(r":(\d+)/v1", greeting) for greeting in greetings]
        yield [Elsewhere(int(port[1])) for port in ports if port]
