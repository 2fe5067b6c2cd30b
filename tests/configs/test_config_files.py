# SPDX-License-Identifier: Apache-2.0
"""Configurations: how they are found, what they may say, and the exact words for those that are wrong.

broken/ has one mistake a file, and messages.txt what is said of each. After a change of words:

    python tests/configs/test_config_files.py   # writes messages.txt anew; read the difference
"""

import re
import sys

import pytest
from planning import CONFIGS, HERE, ask

BROKEN = HERE / "broken"
MESSAGES = BROKEN / "messages.txt"
DUAL = "pack:2 numa:1 core:4 pu:2"


def message_of(name: str) -> str:
    """Everything that is said of a broken configuration."""
    result = ask("--config", name, "-n", "2", "--dry-run", "--topology", DUAL, cwd=BROKEN)
    assert result.returncode == 2, f"{name}: {result.returncode} {result.stderr}"
    assert result.stdout == ""
    return result.stderr


@pytest.mark.parametrize("name", sorted(path.name for path in BROKEN.glob("*.yaml")))
def test_the_exact_message(name):
    said = {line.partition(":")[0]: line for line in MESSAGES.read_text().splitlines(keepends=True)}
    assert message_of(name) == "shm-launch: " + said[name]


def test_messages_are_of_files_that_exist_and_point_into_them():
    lines = MESSAGES.read_text().splitlines()
    assert len(lines) >= 50
    assert [line.partition(":")[0] for line in lines] == sorted(path.name for path in BROKEN.glob("*.yaml"))
    for line in lines:
        name, row, column, text = re.fullmatch(r"(\S+):(\d+):(\d+): (.+)", line).groups()
        rows = (BROKEN / name).read_bytes().count(b"\n") + 1
        assert int(row) <= rows and int(column) >= 1 and text, line


def plan(*words, **options):
    result = ask("--dry-run", "--topology", DUAL, *words, **options)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


@pytest.mark.parametrize(
    "text",
    [
        b"ranks: 2\nper: socket\n",
        b"\xef\xbb\xbfranks: 2\nper: socket\n",
        b"ranks: 2\r\nper: socket\r\n",
        b"%YAML 1.1\n--- # comment\nranks: '2'\nper: \"socket\"\n...\n",
        b"{ranks: 2, per: socket}",
        b"description: over\n  two lines\nranks: 2\nper: socket",
        "description: für größere Maschinen\nranks: 2\nper: socket".encode(),
        b"ranks: 2\nper: socket\npreload: [libm.so.6]\nenv:\n  A: 1\n  B: x y=z\n",
        b"ranks: 2\nper: socket\npreload: libm.so.6\nenv: A=1\n",
        b"ranks: 2\nper: socket\nenv:\n- A=1\n- B=\n",
        b"ranks: 2\nper: socket\nstrict: false\nlog-dir: '~'\n",
    ],
)
def test_ways_to_write_the_same(tmp_path, text):
    (tmp_path / "c.yaml").write_bytes(text)
    assert plan("--config", "c.yaml", cwd=tmp_path) == plan("-n", "2", "--per", "socket")


@pytest.fixture
def environment_of_the_rank(tmp_path):
    """The variables of a rank that runs under a configuration."""

    def run(text: str, *words: str) -> dict[str, str]:
        (tmp_path / "c.yaml").write_text(text)
        result = ask("-n", "1", "--config", "c.yaml", *words, "env", "-0", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        return dict(entry.partition("=")[::2] for entry in result.stdout.split("\0"))

    return run


@pytest.mark.parametrize("text", ["env: {A: 1, B: x y}\n", "env: [A=1, B=x y]\n", "env:\n  A: '1'\n  B: x y\n"])
def test_variables_of_a_configuration_and_of_the_command_line(environment_of_the_rank, text):
    alone = environment_of_the_rank(text)
    assert (alone["A"], alone["B"]) == ("1", "x y")
    both = environment_of_the_rank(text, "--env", "A=2", "--env", "AB=3")
    assert (both["A"], both["B"], both["AB"]) == ("2", "x y", "3")


def test_a_file_without_end(tmp_path):
    (tmp_path / "long.yaml").write_bytes(b"# padding\n" * 110_000)
    result = ask("--config", "long.yaml", "-n", "2", "--dry-run", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr == (
        "shm-launch: long.yaml: longer than 1048576 bytes, which no configuration needs; is it another file?\n"
    )
    assert ask("--config", "/dev/zero", "-n", "2", "--dry-run").returncode == 2


def test_what_is_no_file(tmp_path):
    for path, why in (("./none.yaml", "No such file or directory"), (f"{tmp_path}/", "Is a directory")):
        result = ask("--config", path, "-n", "2", "--dry-run", cwd=tmp_path)
        assert (result.returncode, result.stderr) == (2, f"shm-launch: {path}: {why}\n")


def test_a_configuration_by_name_and_by_path(tmp_path):
    (tmp_path / "mine.yaml").write_text("ranks: 2\ncores-per-rank: 1\n")
    (tmp_path / "one-rank-per-socket.yaml").write_text("ranks: 1\n")
    env = {"SHMRT_CONFIG_DIR": str(tmp_path)}
    assert plan("--config", "mine", env=env) == plan("--config", f"{tmp_path}/mine.yaml")
    assert plan("--config", "one-rank-per-socket", env=env) == plan("-n", "1"), "the user's folder comes first"
    assert plan("--config", "one-rank-per-numa-node", env=env) == plan("--per", "numa")


def test_an_unknown_name_lists_what_there_is(tmp_path):
    (tmp_path / "mine.yaml").write_text("ranks: 2\n")
    result = ask("--config", "nothing-such", "-n", "2", "--dry-run", env={"SHMRT_CONFIG_DIR": str(tmp_path)})
    assert result.returncode == 2
    before, _, listed = result.stderr.rstrip("\n").partition("; known are ")
    assert before == (
        'shm-launch: there is no configuration named "nothing-such"; a file is given as a path, ./nothing-such.yaml'
    )
    known = listed.split(", ")
    assert known == sorted(set(known)), "each once, in order"
    assert {"mine", *(path.stem for path in CONFIGS.glob("*.yaml"))} <= set(known)


def test_a_folder_with_more_names_than_a_message_has_room_for(tmp_path):
    for i in range(300):
        (tmp_path / f"a-name-of-some-length-{i}.yaml").write_text("ranks: 2\n")
    result = ask("--config", "x", "-n", "2", "--dry-run", env={"SHMRT_CONFIG_DIR": str(tmp_path)})
    assert result.returncode == 2
    assert result.stderr.endswith(", ...\n") and result.stderr.count("\n") == 1


if __name__ == "__main__":
    lines = [message_of(path.name).removeprefix("shm-launch: ") for path in sorted(BROKEN.glob("*.yaml"))]
    MESSAGES.write_text("".join(lines))
    sys.exit(0)
