# SPDX-License-Identifier: Apache-2.0
"""bash's completion of shm-launch: what it offers, and that it offers what the program takes."""

import re
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "launcher" / "shm-launch.bash"


@pytest.fixture
def complete(launcher):
    """What is offered for a line that ends where the cursor is."""

    def offered(*words: str) -> list[str]:
        line = [launcher.binary, *words]
        code = (
            f'source "{SCRIPT}"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _shm_launch "$1"; '
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        result = subprocess.run(
            ["bash", "-c", code, "bash", *line],
            capture_output=True,
            text=True,
            check=True,
            cwd=launcher.folder,
            env=launcher.environment(),
        )
        assert result.stderr == ""
        return result.stdout.split()

    return offered


def test_options_are_those_of_help(launcher, complete):
    helped = re.findall(r"^  .{4}(--[a-z-]+)", launcher.run("--help").stdout, re.MULTILINE)
    assert len(helped) > 30
    assert complete("-n", "2", "--") == helped
    assert complete("plan", "--re") == ["--reserve", "--report", "--restarts"]


@pytest.mark.parametrize("option", ["--per", "--mem", "--tier", "--rank-order"])
def test_choices_are_those_of_the_program(launcher, complete, option):
    said = launcher.run(option, "?", "-n", "1", "true").stderr
    known = re.search(r"is none of (.*)$", said, re.MULTILINE)[1]
    synonyms = {"package", "node"}
    assert set(complete(option, "")) == set(re.split(r", | or ", known)) - synonyms


def test_configurations_and_files(launcher, complete):
    (launcher.folder / "own.yaml").write_text("ranks: 2\n")
    assert {"one-rank-per-socket", "own.yaml"} <= set(complete("--config", "o"))
    assert complete("--topology", "ow") == ["own.yaml"]
    assert "own.yaml" in complete("plan", "--diff", "o")
    assert "own.yaml" in complete("plan", "--diff", "one-rank-per-socket", "o")
    assert complete("plan", "--diff", "a", "b", "--js") == ["--json"]


def test_programs_where_a_command_is_due(complete):
    assert "plan" in complete("pla")
    assert "true" in complete("-n", "2", "tru")
    assert complete("-n", "") == []
