"""A stage returns its result, or a Wait for it; only a Wait is awaited.

So a request that need not wait is decided without one suspension, and a shell that has
no task for a request can run the same code: it steps the coroutine and goes on when the
Wait it gave is done.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar

T = TypeVar("T")

Wait = asyncio.Future


async def result_of(step: T | Wait[T]) -> T:
    """The result of a stage, waited for only where it has to be."""
    return await step if isinstance(step, asyncio.Future) else step
