# SPDX-License-Identifier: Apache-2.0
"""plan --diff: what differs and only that, exit codes as of diff(1), and files that are no plans."""

import json
import subprocess
from pathlib import Path

import pytest

TOPOLOGIES = Path(__file__).parents[1] / "configs" / "topologies"
SERVER = "pack:2 numa:2 core:4 pu:2"


def save(launcher, name, *words):
    result = launcher.run("plan", "--json", *words)
    assert result.returncode == 0, result.stderr
    (launcher.folder / name).write_text(result.stdout)
    return json.loads(result.stdout)


def diff(launcher, *words, **options):
    return launcher.run("plan", "--diff", *words, **options)


def rows(result):
    """(who, what): (value in A, value in B)"""
    lines = [line for line in result.stdout.splitlines()[1:] if not line.startswith("note")]
    at = result.stdout.index(result.stdout.splitlines()[0].split()[1]) if lines else 0
    found = {}
    for line in lines:
        left, b = line[:at], line[at:]
        who, what, a = (part.strip() for part in left.split("  ") if part.strip())
        found[who, what] = (a, b)
    return found


def test_the_same(launcher):
    save(launcher, "a.json", "-n", "3", "--topology", SERVER)
    save(launcher, "b.json", "-n", "3", "--topology", SERVER)
    result = diff(launcher, "a.json", "b.json")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "a.json and b.json give the same plan for 3 ranks\n"


def test_what_differs_and_only_that(launcher):
    save(launcher, "a.json", "-n", "2", "--topology", SERVER)
    save(launcher, "b.json", "-n", "2", "--reserve", "1", "--mem", "interleave", "--topology", SERVER)
    result = diff(launcher, "a.json", "b.json")
    assert (result.returncode, result.stderr) == (1, "")
    assert result.stdout == (
        "                    a.json    b.json\n"
        "rank 0    reserved  -         7\n"
        "rank 0-1  threads   8         7\n"
        "rank 0    memory    bind 0-1  interleave 0-1\n"
        "rank 1    reserved  -         15\n"
        "rank 1    memory    bind 2-3  interleave 2-3\n"
    )


def changed(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return 2 * value + 77
    return 2500 if value is None else f"{value}1"


def test_any_field_counts(launcher):
    """Each field of a rank and of the machine, changed alone, is a difference in both directions."""
    words = ("-n", "2", "--topology", str(TOPOLOGIES / "xeon-max-2s-flat.xml"))
    whole = save(launcher, "a.json", *words)
    changes = [(("ranks", 1, key), value) for key, value in whole["ranks"][1].items() if key not in ("rank", "memory")]
    changes += [(("ranks", 1, "memory", key), value) for key, value in whole["ranks"][1]["memory"].items()]
    changes += [(("machine", key), value) for key, value in whole["machine"].items() if not isinstance(value, list)]
    changes += [(("machine", "nodes", 1, key), value) for key, value in whole["machine"]["nodes"][1].items()]
    changes += [(("machine", "distances", 1, 0), whole["machine"]["distances"][1][0]), (("bound",), True)]
    changes = [(path, value) for path, value in changes if path[-1] != "topology"]
    assert len(changes) > 25
    for path, value in changes:
        other = json.loads(json.dumps(whole))
        inner = other
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = changed(value)
        (launcher.folder / "b.json").write_text(json.dumps(other))
        for names in (("a.json", "b.json"), ("b.json", "a.json")):
            result = diff(launcher, *names)
            assert (result.returncode, result.stderr) == (1, ""), path
            assert len(result.stdout.splitlines()) == (3 if path[-1] == "number" else 2), (path, result.stdout)


def test_what_is_no_difference(launcher):
    """Who wrote it, the name of the topology, and fields of a later version."""
    whole = save(launcher, "a.json", "-n", "2", "--topology", SERVER)
    whole["version"] = "99.9"
    whole["machine"]["topology"] = "elsewhere.xml"
    whole["machine"]["nodes"][0]["memory_bytes"] += 4096  # as from one boot to the next
    whole["machine"]["colour"] = whole["ranks"][0]["shape"] = "round"
    (launcher.folder / "b.json").write_text(json.dumps(whole))
    assert diff(launcher, "a.json", "b.json").returncode == 0


def test_more_ranks(launcher):
    save(launcher, "a.json", "-n", "2", "--topology", SERVER)
    save(launcher, "b.json", "-n", "5", "--topology", SERVER)
    assert rows(diff(launcher, "a.json", "b.json"))["rank 2-4", "there"] == ("no", "yes")
    assert rows(diff(launcher, "b.json", "a.json"))["rank 2-4", "there"] == ("yes", "no")


def test_other_machine(launcher):
    save(launcher, "a.json", "-n", "1", "--topology", str(TOPOLOGIES / "cxl.xml"))
    save(launcher, "b.json", "-n", "1", "--topology", str(TOPOLOGIES / "uneven.xml"))
    found = rows(diff(launcher, "a.json", "b.json"))
    assert found["machine", "node 2"] == ("512 GiB cxl, package 1, nearest to node 1", "64 GiB dram, package 1")
    assert found["machine", "distances of node 0"] == ("10 21 34", "10 12 21")
    assert found["machine", "allowed CPUs"] == ("0-31", "0-9")


def test_notes_of_one_side(launcher):
    save(launcher, "a.json", "-n", "2", "--topology", SERVER)
    save(launcher, "b.json", "-n", "3", "--topology", SERVER)
    result = diff(launcher, "a.json", "b.json")
    notes = [line for line in result.stdout.splitlines() if line.startswith("note")]
    assert notes[0].startswith("note, of b.json only: rank 1 has cores on")


def test_a_file_of_any_name(launcher):
    save(launcher, "a.plan", "-n", "2", "--topology", SERVER)
    save(launcher, "b.json", "-n", "2", "--topology", SERVER)
    result = diff(launcher, "a.plan", "b.json")
    assert (result.returncode, result.stdout) == (0, "a.plan and b.json give the same plan for 2 ranks\n")


def test_configurations(launcher):
    (launcher.folder / "mine.yaml").write_text("per: socket\nreserve: 1\n")
    result = diff(launcher, "one-rank-per-socket", "mine.yaml", "--topology", SERVER)
    assert result.returncode == 1
    assert set(rows(result).values()) == {("-", "7"), ("-", "15"), ("8", "7")}
    # Other options hold for both, before and behind.
    result = launcher.run("plan", "--reserve", "1", "--diff", "one-rank-per-socket", "mine.yaml", "--topology", SERVER)
    assert result.returncode == 0, result.stdout


def test_a_configuration_and_a_saved_plan_from_a_pipe(launcher):
    saved = launcher.run("plan", "--per", "socket", "--json", "--topology", SERVER).stdout
    result = diff(launcher, "one-rank-per-socket", "-", "--topology", SERVER, stdin=saved)
    assert (result.returncode, result.stdout.count("same plan")) == (0, 1)


def test_paths_of_the_shell(launcher):
    """As in --diff <(ssh there shm-launch plan ...) <(...): paths that end in nothing in particular."""
    line = f"'{launcher.binary}' plan -n 2 --json --topology '{SERVER}'"
    code = f"'{launcher.binary}' plan --diff <({line}) <({line} --reserve 1)"
    result = subprocess.run(["bash", "-c", code], capture_output=True, text=True, env=launcher.environment())
    assert (result.returncode, result.stderr) == (1, "")
    assert "rank 0-1  threads   8" in result.stdout


def test_a_command_may_follow(launcher):
    save(launcher, "a.json", "-n", "1", "--topology", SERVER)
    assert diff(launcher, "a.json", "a.json", "--", "touch", "made").returncode == 0
    assert not (launcher.folder / "made").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plan", "--diff", "a.json"], "--diff needs two values: --diff A B"),
        (["plan", "--diff"], "--diff needs a value: --diff A B"),
        (["plan", "--diff", "a.json", "--json"], '--diff: "--json" is neither a saved plan (FILE.json, or -) nor'),
        (["plan", "--diff", "a.json", "b.json", "--diff", "c", "d"], '"c" is a third one'),
        (["--diff", "a.json", "b.json"], "shm-launch plan --diff a.json b.json"),
        (["plan", "--diff", "a", "b", "--config", "c"], "put c in the place of a or b"),
        (["plan", "--diff", "a", "b", "--draw", "c"], "--draw shows one plan and --diff compares two"),
        (["plan", "--diff", "a", "b", "--json"], "--json shows one plan and --diff compares two"),
        (["plan", "--diff", "-", "-"], "standard input holds one plan only"),
        (["plan", "--diff", "none.json", "a"], "none.json: No such file or directory"),
        (["plan", "--diff", "./", "a"], "./: Is a directory"),
        (["plan", "--diff", "nonesuch", "a"], 'there is no configuration named "nonesuch"'),
        (["plan", "--diff", "bad.yaml", "a"], 'bad.yaml:1:1: unknown key "rank"'),
        (["plan", "--diff", "none.yaml", "a"], "none.yaml: how many ranks?"),
        (["plan", "--diff", "wide.yaml", "a", "--topology", SERVER], "wide.yaml: 3 ranks"),
    ],
)
def test_trouble(launcher, words, said):
    (launcher.folder / "bad.yaml").write_text("rank: 2\n")
    (launcher.folder / "none.yaml").write_text("reserve: 1\n")
    (launcher.folder / "wide.yaml").write_text("ranks: 3\nper: socket\n")
    result = launcher.run(*words)
    assert (result.returncode, result.stdout) == (2, "")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def without(path):
    def change(whole):
        inner = whole
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]

    return change


def having(value, *path):
    def change(whole):
        inner = whole
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without(["shm_launch_plan"]), "this is no plan that shm-launch plan --json has written"),
        (having("1", "shm_launch_plan"), "this is no plan that"),
        (having(2, "shm_launch_plan"), "this plan is of format 2, and this shm-launch knows format 1"),
        (without(["machine"]), "machine is missing"),
        (having([], "machine"), "machine has to be an object"),
        (having({}, "ranks"), "ranks has to be a list"),
        (having([3], "ranks"), "ranks[0] has to be an object"),
        (without(["ranks", 1, "cpus"]), "ranks[1].cpus is missing"),
        (having(3, "ranks", 1, "cpus"), "ranks[1].cpus has to be a text"),
        (having(None, "ranks", 1, "cpus"), "ranks[1].cpus has to be a text"),
        (having(1.5, "ranks", 0, "threads"), "ranks[0].threads has to be a whole number"),
        (having(5, "ranks", 0, "rank"), "ranks[0].rank has to be 0"),
        (without(["ranks", 0, "memory", "nodes"]), "ranks[0].memory.nodes is missing"),
        (having(1, "machine", "memory_denied"), "machine.memory_denied has to be true or false"),
        (without(["machine", "nodes", 3, "host"]), "machine.nodes[3].host is missing"),
        (having([[10]], "machine", "distances"), "machine.distances has to be 4 rows of 4 whole numbers"),
        (having([["x"] * 4] * 4, "machine", "distances"), "machine.distances has to be 4 rows"),
        (lambda whole: having(whole["ranks"] * 33, "ranks")(whole), "ranks[2].rank has to be 2"),
    ],
)
def test_files_that_are_no_plans(launcher, change, said):
    whole = save(launcher, "a.json", "-n", "2", "--topology", SERVER)
    change(whole)
    (launcher.folder / "b.json").write_text(json.dumps(whole))
    for names in (("a.json", "b.json"), ("b.json", "a.json")):
        result = diff(launcher, *names)
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr.startswith(f"shm-launch: b.json: {said}"), result.stderr
        assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "b.json:1:0: '[' or '{' expected near end of file"),
        (b"\n{", "b.json:2:1: string or '}' expected near end of file"),
        (b"[]", "b.json: this is no plan"),
        (b"<svg/>", "b.json:1:1: '[' or '{' expected near '<'"),
        (b'{"a": 1, "a": 2}', "duplicate object key near"),
        (b"\x00\xff", "b.json:1:"),
        (b"[" * 5000, "maximum parsing depth reached"),
        (b"{} {}", "end of file expected near '{'"),
    ],
)
def test_files_that_are_no_json(launcher, text, said):
    (launcher.folder / "b.json").write_bytes(text)
    result = diff(launcher, "b.json", "b.json")
    assert (result.returncode, result.stdout) == (2, "")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_full_disk(launcher):
    save(launcher, "a.json", "-n", "1", "--topology", SERVER)
    with open("/dev/full", "w") as full:
        result = diff(launcher, "a.json", "a.json", stdout=full)
    assert result.returncode == 2
    assert "the difference cannot be shown: No space left on device" in result.stderr
