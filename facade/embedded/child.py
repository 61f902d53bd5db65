"""The engine's own process: llama.cpp's server on loopback, for as long as stdin is open.

One line of JSON on stdin says what to serve (so that the key is on no command line); one line on
stdout says that it answers. A crash of native code takes this process and no other. Started as a
file of its own, it imports nothing of the project.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Final

import xllamacpp  # type: ignore[import-untyped] # it has no stubs

_WINDOW: Final = 4096  # tokens of one call, prompt and answer
_LONGEST: Final = (
    1024  # tokens, where none are named: a model this small may repeat itself for ever
)
_BATCH: Final = 128  # tokens of a prompt between two looks at who has left
# One core stays free: where threads share cores, decoding falls to a seventh of its speed.
# More than a few have nothing to do in a model this small.
_THREADS: Final = max(1, min(4, (os.cpu_count() or 1) - 1))


def main() -> None:
    """Serve as the first line of stdin says (see `Engine._order`) until stdin ends."""
    order = json.loads(sys.stdin.readline())
    params = xllamacpp.CommonParams()
    params.model.path = order["model"]
    params.model_alias = {order["name"]}
    params.hostnames = ["127.0.0.1"]
    params.port = order["port"]
    params.api_keys = [order["key"]]
    params.verbosity = order["verbosity"]
    params.n_ctx = _WINDOW * order["slots"]
    params.n_parallel = order["slots"]
    params.n_predict = _LONGEST
    params.n_batch = _BATCH
    params.cpuparams.n_threads = _THREADS
    params.cpuparams_batch.n_threads = _THREADS
    params.cache_ram_mib = 0  # old prompts would be kept in up to 8 GB
    params.ui = False
    try:
        server = xllamacpp.Server(params)  # returns when it answers
    except RuntimeError as error:
        sys.exit(f"the embedded engine: {error}")
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)  # the server's own end would wait for answers under way


if __name__ == "__main__":
    main()
