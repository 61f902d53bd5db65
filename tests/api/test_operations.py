"""The operations' own listener: probes and metrics for whoever reaches it, and nothing else."""

from __future__ import annotations

import http.client
import signal
from pathlib import Path

import pytest

from tests.facade.command import answer_to, ended, facade, serving
from tests.facade.config_files import LOCAL, write

KEYED = LOCAL + '[server]\nops_port = 0\n[keys.ann]\nsecret = "sk-ann"\n'


def _asked(greeting: str, method: str, path: str) -> tuple[int, str]:
    with answer_to(greeting, method, path) as answer:
        return answer.status, answer.read().decode()


def test_it_has_the_probes_and_the_metrics_without_a_key_and_nothing_else(tmp_path: Path) -> None:
    with serving("--config", str(write(tmp_path, KEYED))) as (process, greeting):
        main, operations = greeting.split("; operations at ")
        assert (200, '{"status":"live"}') == _asked(operations, "GET", "/livez")
        assert 200 == _asked(operations, "GET", "/readyz")[0]
        assert (200, "") == _asked(operations, "HEAD", "/readyz")
        status, said = _asked(operations, "GET", "/metrics")
        assert 200 == status
        assert "facade_info{" in said
        assert 405 == _asked(operations, "POST", "/metrics")[0]
        for path in ("/", "/v1/models", "/docs", "/livez/x", "/api/admin/queue"):
            status, said = _asked(operations, "GET", path)
            assert (404, True) == (status, "this port has /livez, /readyz and /metrics" in said)
        assert 401 == _asked(main, "GET", "/metrics")[0]
        assert 200 == _asked(main, "GET", "/livez")[0]
        process.send_signal(signal.SIGTERM)
        code, errors = ended(process)
    assert (0, False) == (code, "Traceback" in errors)


@pytest.mark.parametrize(("host", "status"), [("127.0.0.1", 403), ("0.0.0.0", 200)])
def test_on_loopback_it_is_not_read_by_web_pages(host: str, status: int, tmp_path: Path) -> None:
    """Under a name of its own that means this machine, a page is of the same origin."""
    file = write(tmp_path, f'{LOCAL}[server]\nops_port = 0\nops_host = "{host}"\n')
    with serving("--config", str(file)) as (_, greeting):
        port = int(greeting.strip().rpartition(":")[2])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", "/metrics", headers={"host": "evil.example.org"})
        assert status == connection.getresponse().status
        connection.close()


def test_one_that_is_in_use_is_told(tmp_path: Path) -> None:
    with serving("--config", str(write(tmp_path, KEYED))) as (_, greeting):
        port = greeting.strip().rpartition(":")[2]
        file = str(write(tmp_path, LOCAL + f"[server]\nops_port = {port}\n"))
        done = facade("serve", "--port", "0", "--config", file)
    assert 1 == done.returncode
    assert done.stderr == (
        f"facade: 127.0.0.1, port {port} is in use: stop what listens there, or take another "
        "port with server.ops_port\n"
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
def test_it_may_leave_loopback_without_keys(host: str, tmp_path: Path) -> None:
    file = write(tmp_path, f'{LOCAL}[server]\nops_port = 9090\nops_host = "{host}"\n')
    done = facade("check", "--config", str(file))
    assert 0 == done.returncode
    shown = "127.0.0.1" if host == "0.0.0.0" else "[::1]"
    assert f"Whoever operates it: http://{shown}:9090, without a key.\n" in done.stdout


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ('ops_host = "0.0.0.0"', "server.ops_host: nothing listens there without an ops_port"),
        (
            'ops_port = 1\nops_host = "a b"',
            "server.ops_host: expected an address or a name of this machine",
        ),
    ],
)
def test_what_cannot_be_meant_is_an_error(said: str, problem: str, tmp_path: Path) -> None:
    done = facade("check", "--config", str(write(tmp_path, f"{LOCAL}[server]\n{said}\n")))
    assert 2 == done.returncode
    assert problem in done.stderr
