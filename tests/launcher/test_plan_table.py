# SPDX-License-Identifier: Apache-2.0
"""The table of a plan: what it says, and that its layout holds on large and on odd machines."""

import fcntl
import os
import pty
import re
import struct
import termios

import pytest

SERVER = "pack:2 numa:2 l3:2 core:2 pu:2"
# As firmware of many servers numbers CPUs: in turn over the sockets.
IN_TURN = ",".join(str(number) for number in [*range(0, 128, 2), *range(1, 128, 2)])


def table(launcher, *words, **options):
    result = launcher.run("plan", *words, **options)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def test_of_a_server(launcher):
    assert table(launcher, "-n", "3", "--reserve", "1", "--topology", SERVER) == (
        "pack:2 numa:2 l3:2 core:2 pu:2: 2 packages, 4 NUMA nodes, 16 cores and 32 CPUs to use\n"
        "\n"
        "rank  package  nodes  cores  reserved  CPUs   memory    segment  threads\n"
        "   0  0        0-1    0-5    5         0-11   bind 0-1  node 0         5\n"
        "   1  0-1      1-2    6-10   10        12-21  bind 1-2  node 2         4\n"
        "   2  1        2-3    11-15  15        22-31  bind 2-3  node 3         4\n"
        "\n"
        "note: rank 1 has cores on more than one socket, and waits for the link between them; "
        "4 cores a rank would keep each on one\n"
        "note: ranks 0,2 have cores on more than one NUMA node, and only a part of one\n"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cpus", "16-31"], "8 cores and 16 CPUs to use (of 32 CPUs; the others are not asked for)"),
        (["--nodes", "1", "--cpus", "0,8-31"], "4 cores and 8 CPUs to use (of 32 CPUs; the others are not asked for)"),
        (["--cpus", "0-31"], "16 cores and 32 CPUs to use"),
    ],
)
def test_the_machine_as_far_as_the_request_leaves_it(launcher, words, said):
    text = table(launcher, "-n", "1", *words, "--topology", SERVER)
    assert text.splitlines()[0].endswith(said)
    assert said in launcher.run("plan", "-n", "1", *words, "--topology", SERVER, "--draw", "-").stdout


def test_long_lists_go_on_in_the_next_line(launcher):
    text = table(launcher, "-n", "2", "--topology", f"pack:2 core:64 pu:1(indexes={IN_TURN})")
    rows = text.partition("\n\n")[2].splitlines()
    assert max(map(len, rows)) <= 100
    assert sum(re.match(r" +\d+  \d", row) is not None for row in rows) == 2
    at = rows[0].index("CPUs")
    cells = [row[at:].split(" ")[0] for row in rows[1:]]
    assert len(cells) > 4
    assert sum(not cell.endswith(",") for cell in cells) == 2, "only a list's last line ends without a comma"
    assert "".join(cells) == IN_TURN.replace(",1,", "1,")  # no comma after rank 0's last


@pytest.mark.parametrize(
    "topology",
    [
        "pu:1",
        "core:2 pu:1",
        "pack:2 numa:4 l3:8 core:8 pu:2",
        "pack:8 numa:1 core:60 pu:2",
        "pack:2 [numa(memory=64GB)] [numa(memory=16GB)] core:56 pu:2",
    ],
)
@pytest.mark.parametrize("ranks", [1, 7, 64])
def test_layout(launcher, topology, ranks):
    _, _, rest = table(launcher, "-n", str(ranks), "--topology", topology).partition("\n\n")
    rows = rest.partition("\n\n")[0].splitlines()
    titles = rows[0].split()
    starts = [rows[0].index(title) for title in titles]
    assert len(rows) == 1 + ranks
    for row in rows:
        assert len(row) <= 100 and row == row.rstrip()
        assert all(row[start - 1] == " " for start in starts[1:]), "columns stay apart"


def test_a_narrow_terminal(launcher):
    """What a person with 80 columns sees."""
    leader, follower = pty.openpty()
    fcntl.ioctl(leader, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    topology = f"pack:2 core:64 pu:1(indexes={IN_TURN})"
    process = launcher.start("plan", "-n", "2", "--topology", topology, stdout=follower)
    os.close(follower)
    text = b""
    try:
        while chunk := os.read(leader, 65536):
            text += chunk
    except OSError:
        pass  # how a terminal says that nobody writes any more
    os.close(leader)
    assert process.wait() == 0
    rows = text.decode().replace("\r", "").partition("\n\n")[2].splitlines()
    assert 70 < max(map(len, rows)) <= 80


def test_the_words_of_every_policy(launcher):
    for words, said in (
        ([], "bind 0"),
        (["--mem", "prefer"], "prefer 0"),
        (["--mem", "interleave"], "interleave 0"),
        (["--mem", "local"], "local"),
    ):
        row = table(launcher, "-n", "1", *words, "--topology", "numa:1 core:2").splitlines()[3]
        assert re.split(r" {2,}", row.strip())[6] == said


def test_without_binding(launcher):
    text = table(launcher, "-n", "1", "--no-bind", "--topology", SERVER)
    assert re.search(r"^ +0  0-1 .* any +any +any +16$", text, re.MULTILINE)


def test_threads_that_the_user_has_set(launcher):
    text = table(launcher, "-n", "2", "--topology", SERVER, env={"OMP_NUM_THREADS": "3"})
    assert re.findall(r"^ +\d .* (\d+)$", text, re.MULTILINE) == ["3", "3"]
    assert "note: OMP_NUM_THREADS=3 is set and stays; the plan would set 8 for rank 0" in text


def test_a_machine_that_the_environment_names(launcher):
    text = table(launcher, "-n", "1", env={"HWLOC_SYNTHETIC": SERVER})
    assert text.startswith("The machine of HWLOC_XMLFILE or HWLOC_SYNTHETIC: 2 packages, 4 NUMA nodes")
    drawn = launcher.run("plan", "-n", "1", "--draw", "-", env={"HWLOC_SYNTHETIC": SERVER}).stdout
    assert ">1 rank on the machine of HWLOC_XMLFILE" in drawn


def test_report_is_the_same_on_standard_error(launcher):
    """But for the notes, since other jobs on this machine may come or go between the two."""
    shown = table(launcher, "-n", "1")
    result = launcher.run("-n", "1", "--report", "echo", "hello")
    assert (result.returncode, result.stdout) == (0, "hello\n")
    assert result.stderr.partition("\n\nnote")[0].rstrip() == shown.partition("\n\nnote")[0].rstrip()
    assert result.stderr.count("rank  package") == 1


def test_notes_are_said_once_with_a_report(launcher):
    result = launcher.run("-n", "64", "--report", "true")
    assert result.returncode == 0
    assert result.stderr.count("64 ranks share") == 1


def test_a_full_disk_is_an_error(launcher):
    with open("/dev/full", "w") as full:
        for words in ([], ["--json"]):
            result = launcher.run("plan", "-n", "1", *words, stdout=full)
            assert result.returncode == 125
            assert "the plan cannot be shown: No space left on device" in result.stderr


@pytest.mark.parametrize("command", [[], ["--", "touch", "made"], ["touch", "made"]])
def test_plan_starts_nothing(launcher, tmp_path, command):
    result = launcher.run("plan", "-n", "2", *command)
    assert not (tmp_path / "made").exists()
    assert result.returncode == 0
    assert result.stdout.startswith("This machine: ")


def test_a_program_called_plan(launcher, tmp_path):
    program = tmp_path / "plan"
    program.write_text("#!/bin/sh\necho planned $1\n")
    program.chmod(0o755)
    for words in (["-n", "1", "--", "plan", "x"], ["-n", "1", "plan", "x"], ["-n", "1", "./plan", "x"]):
        result = launcher.run(*words, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
        assert (result.returncode, result.stdout) == (0, "planned x\n"), words
