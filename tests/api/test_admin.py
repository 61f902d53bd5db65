"""What the operator sees, and that nobody else does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tests.api.asking import Json, ask
from tests.api.queues import OLLAMA, behind, in_line, said
from tests.api.serving import Facade, both, serving, settings
from tests.fake_upstream import FakeUpstream, faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUEUE: Final = "/api/admin/queue"
KEYS: Final = """
[keys.operator]
secret = "sk-operator"
admin = true
priority = "batch"
[keys.agents]
secret = "sk-agents"
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keyed(
    upstreams: FakeUpstream, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Facade]:
    folder = tmp_path_factory.mktemp("keyed")
    async with serving(settings(folder, both(upstreams) + KEYS), upstreams) as facade:
        yield facade


async def queue(facade: Facade, name: str = "ollama") -> Json:
    answer = await ask(facade, "GET", QUEUE, authorization="Bearer sk-operator")
    assert 200 == answer.status
    upstreams: Json = answer.json["upstreams"]
    assert [name] == list(upstreams), "those that have slots"
    lanes: Json = upstreams[name]
    assert ["generation", "embedding"] == list(lanes)
    return lanes


@pytest.mark.parametrize(
    ("secret", "status", "code"),
    [
        ("", 401, "invalid_api_key"),
        ("sk-wrong", 401, "invalid_api_key"),
        ("sk-agents", 403, "admin_only"),
    ],
)
async def test_only_a_key_with_admin_sees_the_queue(
    keyed: Facade, secret: str, status: int, code: str
) -> None:
    answer = await ask(keyed, "GET", QUEUE, authorization=secret and f"Bearer {secret}")
    assert (status, code) == (answer.status, answer.error["code"])


async def test_without_keys_nobody_sees_the_queue(fake: FakeUpstream, tmp_path: Path) -> None:
    async with serving(settings(tmp_path, both(fake)), fake) as facade:
        answer = await ask(facade, "GET", QUEUE)
    assert (403, "admin_only") == (answer.status, answer.error["code"])


async def test_the_queue_is_only_looked_at(keyed: Facade) -> None:
    answer = await ask(keyed, "POST", QUEUE, b"{}", authorization="Bearer sk-operator")
    assert (405, "method_not_allowed") == (answer.status, answer.error["code"])


async def test_the_queue_shows_who_runs_and_who_waits(keyed: Facade, fake: FakeUpstream) -> None:
    fake.fault(faults.HangBeforeHeaders(), path=OLLAMA)
    idle = await queue(keyed)
    for lane in idle.values():
        assert (1, 0, 100) == (lane["slots"], lane["in_use"], lane["queue"])
        nobody = {"waiting": 0, "oldest_seconds": 0.0, "wait_seconds": 0.0}
        assert {"interactive": nobody, "normal": nobody, "batch": nobody} == lane["bands"]
    asked = [await in_line(keyed, said("runs"), authorization="Bearer sk-agents")]
    await fake.came(path=OLLAMA)
    for name in ("agents", "operator", "operator"):
        asked += [await in_line(keyed, said("waits"), authorization=f"Bearer sk-{name}")]
    busy = await queue(keyed)
    assert (1, idle["generation"]["granted"] + 1) == (
        busy["generation"]["in_use"],
        busy["generation"]["granted"],
    )
    bands = busy["generation"]["bands"]
    assert {"interactive": 0, "normal": 1, "batch": 2} == {
        name: band["waiting"] for name, band in bands.items()
    }
    assert bands["normal"]["oldest_seconds"] >= bands["batch"]["oldest_seconds"] > 0
    waits = [bands[name]["wait_seconds"] for name in ("interactive", "normal", "batch")]
    assert waits == pytest.approx([waits[0], 2 * waits[0], 4 * waits[0]])
    assert 0 == busy["embedding"]["in_use"]
    fake.release()
    assert [200] * 4 == [(await each).status for each in asked]
    done = (await queue(keyed))["generation"]
    assert (0, 0) == (done["in_use"], behind(done))
