"""The server of the shared store, and the stores under test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.facade.limits import server
from tests.facade.limits.subjects import InMemory, Subject, shared_subject


@pytest.fixture(scope="session")
def store_url() -> Iterator[str]:
    with server.running() as url:
        yield url


@pytest.fixture(params=["memory", pytest.param("shared", marks=pytest.mark.store)])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    if request.param == "memory":
        yield InMemory()
        return
    subject = await shared_subject(request.getfixturevalue("store_url"))
    yield subject
    await subject.close()
