"""`python -m tests.facade.limits.claim URL LIMIT TOKENS`: a process that takes what it can.

Says "ready", waits for a line, then takes 500 times at once and says how often it was let
through. It settles nothing and waits to be killed.
"""

from __future__ import annotations

import asyncio
import sys

from facade.limits.buckets import Bucket, Lease, Tokens
from facade.limits.grammar import parse
from facade.limits.shared import SharedStore, connected
from facade.waits import result_of


async def main(url: str, limit: str, tokens: str) -> None:
    """Until it is killed."""
    async with connected(url) as client:
        await client.ping()
        store = SharedStore(client)
        bucket = Bucket("key", "agents", parse(limit))
        reserve = Tokens(1, int(tokens), int(tokens))
        print("ready", flush=True)
        sys.stdin.readline()
        said = await asyncio.gather(
            *(result_of(store.take(Lease((bucket,), reserve))) for _ in range(500))
        )
        print(said.count(None), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
