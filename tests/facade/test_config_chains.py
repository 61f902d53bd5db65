"""What a file may say of a chain."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.facade.config_files import LOCAL, sentence


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            LOCAL + "[models.m]\ntargets = ['local/a', 'far/a']",
            "models.m.targets[1]: no upstream is called 'far'",
        ),
        (
            LOCAL + "[models.m]\ntargets = ['local']",
            "models.m.targets[0]: 'local' is not of the form upstream/model",
        ),
        (
            LOCAL + "[models.m]\ntargets = ['local/*']",
            "models.m.targets[0]: 'local/*' holds a '*' that the name of the model does not have",
        ),
        (
            LOCAL + "[models.'*-*']\ntargets = ['local/*']",
            "models.\"*-*\": the name of a model holds at most one '*'",
        ),
        (
            LOCAL + "[models.' m']\ntargets = ['local/a']",
            'models." m": the name of a model has no blanks around it and is not empty',
        ),
        (
            LOCAL + "[models.m]\ntargets = ['local/a', ['local/b', 'far/c']]",
            "models.m.targets[1][1]: no upstream is called 'far'",
        ),
        (
            LOCAL + "[models.m]\ntargets = ['local/a', []]",
            "models.m.targets[1]: expected a list of length >= 1",
        ),
        (
            LOCAL + "[models.m]\ntargets = [['local/a', ['local/b']]]",
            "models.m.targets[0]: expected a string but got a list",
        ),
        (
            LOCAL + "[models.m]\ntargets = []",
            "models.m.targets: expected a list of length >= 1",
        ),
        (
            LOCAL + "[models.m]\ntargets = ['local/a']\nretries = -1",
            "models.m.retries: expected a whole number >= 0",
        ),
        (
            LOCAL + "[models.m]\ntargets = ['local/a']\ncommit = 'never'",
            "models.m.commit: expected 'first-token' or 'complete'",
        ),
    ],
)
def test_a_chain_that_cannot_be_meant_is_refused_with_its_place(
    tmp_path: Path, text: str, problem: str
) -> None:
    assert f"facade.toml: {problem}" == sentence(tmp_path, text)
