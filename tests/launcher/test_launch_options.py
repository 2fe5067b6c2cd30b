# SPDX-License-Identifier: Apache-2.0
"""Options and configurations: what is refused, in which words, and what the plan shows."""

import re
import subprocess
from pathlib import Path

import pytest

MAN_PAGE = Path(__file__).parents[2] / "launcher" / "shm-launch.1.scd"
TOPOLOGIES = Path(__file__).parents[1] / "configs" / "topologies"
DUAL = "pack:2 numa:1 core:4 pu:2"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-n", "0", "true"], '-n: "0" is not a whole number from 1 to 64'),
        (["-n", "1000", "true"], '-n: "1000" is not a whole number from 1 to 64'),
        (["-n", "two", "true"], '-n: "two" is not a whole number'),
        (["-n", "-1", "true"], '-n: "-1" is not a whole number'),
        (["-n", "99999999999999999999", "true"], "is not a whole number from 1 to 64"),
        (["-n"], "-n needs a value: -n N"),
        (["true"], "how many ranks? -n 2"),
        (["-n", "2"], "what shall the ranks run?"),
        ([], "how many ranks?"),
        (["-n", "2", "--rank", "true"], "unknown option --rank; did you mean --ranks?"),
        (["-n", "2", "--dryrun", "true"], "did you mean --dry-run?"),
        (["--nproc-per-node", "2", "true"], "did you mean --ranks?"),
        (["-np", "2", "true"], "unknown option -np; did you mean -n 2?"),
        (["-n2x", "true"], '-n: "2x" is not a whole number from 1 to 64'),
        (["-n", "2", "--cpu-bind=x", "true"], "did you mean --cpus?"),
        (["-n", "2", "--frobnicate", "true"], "unknown option --frobnicate; shm-launch --help"),
        (["-n", "2", "-x", "true"], "unknown option -x;"),
        (["-n", "2", "--strict=yes", "true"], '--strict takes no value, but has "yes"'),
        (["-n", "2", "-n", "3", "true"], "-n is given twice, with different values"),
        (["-n", "2", "--per", "sokket", "true"], '--per: "sokket" is none of spread, socket,'),
        (["-n", "2", "--mem", "best", "true"], '--mem: "best" is none of bind, prefer, interleave or local'),
        (["-n", "2", "--timeout", "soon", "true"], "not a number of seconds"),
        (["-n", "2", "--timeout", "nan", "true"], "not a number of seconds"),
        (["-n", "2", "--master-port", "70000", "true"], "from 1 to 65535"),
        (["-n", "2", "--no-bind", "--strict", "true"], "keep one"),
        (["-n", "2", "--topology", DUAL, "true"], "add --dry-run"),
        (["-n", "2", "--dry-run", "--topology", "pack:x"], "does not describe a machine"),
        (["-n", "2", "--dry-run", "--topology", "none.xml"], "none.xml is not a topology"),
        (["-n", "3", "--per", "socket", "--dry-run", "--topology", DUAL], "2 can be used here; ask for 2"),
        (["-n", "2", "--cores-per-rank", "5", "--dry-run", "--topology", DUAL], "at most 4 cores a rank"),
        (["-n", "2", "--config", "nothing-such", "true"], "known are "),
        (["-n", "2", "--config", "./none.yaml", "true"], "./none.yaml: No such file"),
    ],
)
def test_refused(launcher, words, said):
    result = launcher.run(*words)
    assert result.returncode == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1, "one line"
    assert result.stdout == ""


def test_a_flag_of_a_configuration_is_taken_back(launcher):
    (launcher.folder / "mine.yaml").write_text("ranks: 1\nstrict: true\nno-prefix: true\n")
    refused = launcher.run("--config", "./mine.yaml", "--no-bind", "true")
    assert refused.returncode == 2 and "--strict wants everything bound" in refused.stderr
    result = launcher.run("--config", "./mine.yaml", "--no-bind", "--strict=false", "echo", "ran")
    assert (result.returncode, result.stdout) == (0, "ran\n")
    assert launcher.run("-n", "1", "--strict=true", "--no-bind", "true").returncode == 2


def test_a_topology_that_crashes_hwloc(launcher):
    whole = TOPOLOGIES / "uneven.xml"
    (launcher.folder / "edited.xml").write_text(re.sub(' complete_nodeset="[^"]*"', "", whole.read_text()))
    result = launcher.run("plan", "-n", "2", "--topology", "edited.xml")
    # Later versions of hwloc may make do with less.
    if result.returncode:
        assert (result.returncode, result.stdout) == (2, "")
        assert "edited.xml is XML that crashes hwloc (signal " in result.stderr
    assert launcher.run("plan", "-n", "2", "--topology", str(whole)).returncode == 0


def test_a_topology_from_a_pipe(launcher):
    with subprocess.Popen(["cat", TOPOLOGIES / "uneven.xml"], stdout=subprocess.PIPE) as cat:
        name = f"/dev/fd/{cat.stdout.fileno()}"
        result = launcher.run("plan", "-n", "2", "--topology", name, pass_fds=[cat.stdout.fileno()])
    assert (result.returncode, result.stderr) == (0, "")
    assert "10 cores" in result.stdout


def test_the_environment_cannot_move_us_to_another_machine(launcher):
    result = launcher.run("-n", "2", "true", env={"HWLOC_SYNTHETIC": DUAL})
    assert result.returncode == 2
    assert "unset it, or add --dry-run" in result.stderr


def test_options_of_the_command_are_its_own(launcher):
    for words in (["echo", "-n", "9", "--help"], ["--", "echo", "-n", "9", "--help"]):
        result = launcher.run("-n1", *words)
        assert (result.returncode, result.stdout) == (0, "9 --help")
    result = launcher.run("--ranks=1", "--", "--not-an-option")
    assert result.returncode == 127


def test_help_and_man_page_know_the_same_options(launcher):
    result = launcher.run("--help")
    assert (result.returncode, result.stderr) == (0, "")
    helped = set(re.findall(r"^  .{4}--([a-z0-9-]+)", result.stdout, re.MULTILINE))
    assert len(helped) > 12
    described = set(re.findall(r"\*--([a-z0-9-]+)\*", MAN_PAGE.read_text()))
    assert helped <= described, f"not in the man page: {helped - described}"
    assert all(len(line) <= 100 for line in result.stdout.splitlines())


def test_version(launcher):
    assert re.fullmatch(r"shm-launch \d+\.\d+\.\d+\n", launcher.run("--version").stdout)


def plan(launcher, *words):
    result = launcher.run("--dry-run", *words)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def test_plan_of_a_dual_socket_server(launcher):
    assert plan(launcher, "-n", "2", "--reserve", "1", "--topology", DUAL) == (
        "pack:2 numa:1 core:4 pu:2: 2 packages, 2 NUMA nodes, 8 cores and 16 CPUs to use\n"
        "\n"
        "rank  package  nodes  cores  reserved  CPUs  memory  segment  threads\n"
        "   0  0        0      0-3    3         0-7   bind 0  node 0         3\n"
        "   1  1        1      4-7    7         8-15  bind 1  node 1         3\n"
    )


def test_plan_with_something_to_say(launcher):
    text = plan(launcher, "-n", "3", "--mem", "local", "--topology", "pack:1 core:2")
    assert "   2  0        0      0      -         0     local   node 0         1\n" in text
    assert "note: 3 ranks share 2 cores" in text


def test_plan_without_binding(launcher):
    text = plan(launcher, "-n", "1", "--no-bind", "--topology", DUAL)
    assert re.search(r"^ +0 .* any +any +8$", text, re.MULTILINE)


def test_the_command_line_wins(launcher, tmp_path):
    (tmp_path / "c.yaml").write_text("ranks: 4\nreserve: 1\n")
    text = plan(launcher, "--config", "c.yaml", "--reserve", "0", "-n", "2", "--topology", DUAL)
    assert re.findall(r"^ +(\d) .* (\d)$", text, re.MULTILINE) == [("0", "4"), ("1", "4")]


def test_flags_in_a_configuration(launcher, tmp_path):
    (tmp_path / "c.yaml").write_text("ranks: 2\nno-bind: true\nno-prefix: true\nstrict: false\n")
    result = launcher.run("--config", "c.yaml", "echo", "x")
    assert (result.returncode, result.stdout) == (0, "x\nx\n")
