# SPDX-License-Identifier: Apache-2.0
"""Drawings: every core once and in its rank's colour, texts in their boxes, and files written whole or not at all."""

import json
import os
import re
import resource
import signal
import stat
from collections import Counter
from pathlib import Path

import pytest
from drawings import Drawing

ROOT = Path(__file__).parents[2]
TOPOLOGIES = ROOT / "tests" / "configs" / "topologies"
SERVER = "pack:2 numa:2 l3:2 core:2 pu:2"

MACHINES = [
    ("pu:1", 1),
    ("core:2 pu:1", 2),
    ("pack:1 core:2 pu:1", 64),
    ("pack:2 core:2 pu:1", 3),
    ("pack:2 numa:4 core:14 pu:2", 8),
    ("pack:2 numa:4 l3:8 core:2 pu:2", 8),
    ("pack:1 core:72 pu:1", 5),
    ("pack:8 numa:1 core:60 pu:2", 64),
    ("pack:2 numa:8 l3:4 core:2 pu:8", 7),
    ("numa:16 core:1 pu:1", 4),
    ("pack:2 [numa(memory=64GB)] [numa(memory=16GB)] core:56 pu:2", 6),
    ("pack:2 [numa(memory=64GB)] [numa(memory=16GB)] [numa(memory=32GB)] core:3 pu:1", 2),
    ("pack:2 numa:16 core:2 pu:1", 64),
]
MACHINES += [(path.name, 1 + index % 12) for index, path in enumerate(sorted(TOPOLOGIES.glob("*.xml")))]


def members(text):
    ranges = [part.split("-") for part in text.split(",") if part]
    return {number for ends in ranges for number in range(int(ends[0]), int(ends[-1]) + 1)}


def draw(launcher, *words):
    result = launcher.run("plan", *words, "--draw", "-", cwd=TOPOLOGIES, text=False)
    assert (result.returncode, result.stderr) == (0, b"")
    return Drawing(result.stdout)


def plan(launcher, *words):
    result = launcher.run("plan", *words, "--json", cwd=TOPOLOGIES)
    assert result.returncode == 0
    return json.loads(result.stdout)


def name_of_a_core(drawing, box):
    """The CPUs that are written in it."""
    names = [text.words for text in drawing.inside(box) if not text.is_bold]
    assert len(names) <= 1
    return members(names[0]) if names else set()


@pytest.mark.parametrize(("topology", "ranks"), MACHINES)
def test_any_machine(launcher, topology, ranks):
    words = ("-n", str(ranks), "--topology", topology)
    whole, drawing = plan(launcher, *words), draw(launcher, *words)
    cores = drawing.kind("core")
    assert len(cores) == whole["machine"]["cores"]
    assert len(drawing.kind("package")) == whole["machine"]["packages"]
    for boxes in (cores, [*drawing.kind("node"), *drawing.kind("memory")], drawing.kind("package")):
        assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]

    for thing in [*drawing.boxes, *drawing.texts]:
        assert drawing.page.holds(thing), thing
    for core in cores:
        assert sum(node.holds(core) for node in drawing.kind("node")) == 1
        for text in drawing.inside(core):
            assert core.holds(text, slack=1.5), text
    for node in drawing.kind("node"):
        assert sum(package.holds(node) for package in drawing.kind("package")) == 1
    check_ranks(drawing, whole)
    check_segments(drawing, whole)


def check_ranks(drawing, whole):
    """Each rank has a colour of its own among its neighbours, on all of its cores and no others."""
    colours = {}
    shown = Counter()
    for box in [*drawing.kind("core"), *drawing.kind("share")]:
        if box.rank is not None:
            colours.setdefault(box.rank, box.fill)
            assert colours[box.rank] == box.fill
            shown[box.rank] += 1
    assert shown == {rank["rank"]: len(members(rank["cores"])) for rank in whole["ranks"]}
    for rank in range(len(whole["ranks"]) - 1):
        assert colours[rank] != colours[rank + 1]
    legend = [box.fill for box in drawing.kind("legend")]
    assert legend == [colours[rank["rank"]] for rank in whole["ranks"]]
    for core in drawing.kind("core"):
        cpus = name_of_a_core(drawing, core)
        if core.rank is not None and core.right - core.left >= 16:
            assert [text.words for text in drawing.inside(core) if text.is_bold] == [str(core.rank)]
        if core.rank is not None and cpus:
            assert cpus & members(whole["ranks"][core.rank]["cpus"])
            assert not any(cpus & members(rank["cpus"]) for rank in whole["ranks"] if rank["rank"] != core.rank)


def check_segments(drawing, whole):
    """Every segment has its tag on its node, or is counted there."""
    counted = Counter(rank["segment_node"] for rank in whole["ranks"])
    found = Counter()
    for node in [*drawing.kind("node"), *drawing.kind("memory")]:
        words = [text.words for text in drawing.inside(node)]
        (number,) = {int(word[5:].partition(":")[0]) for word in words if word.startswith("node ")}
        tags = [box for box in drawing.kind("segment") if node.holds(box)]
        assert all(whole["ranks"][tag.rank]["segment_node"] == number for tag in tags)
        found[number] += len(tags) + sum(int(word[1:]) for word in words if re.fullmatch(r"\+\d+", word))
    assert found == counted


def test_contrast_of_the_colours(launcher):
    """Dark text on every rank's colour, by the formula of the Web's guidelines: at least 4.5."""
    for box in draw(launcher, "-n", "8", "--topology", "core:8 pu:1").kind("core"):
        parts = [int(box.fill[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        brightness = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        assert (brightness + 0.05) / (0.0056 + 0.05) > 4.5


def test_reserved_cores_are_hatched(launcher):
    drawing = draw(launcher, "-n", "2", "--reserve", "3", "--topology", SERVER)
    hatched = [box for box in drawing.boxes if box.fill == "url(#hatch)" and not box.kind]
    cores = [core for core in drawing.kind("core") if any(core.holds(box) for box in hatched)]
    ranks = plan(launcher, "-n", "2", "--topology", SERVER)["ranks"]
    assert len(cores) == 6
    for core in cores:
        assert max(name_of_a_core(drawing, core)) > max(members(ranks[core.rank]["cpus"])) - 6


def test_what_is_not_used_is_grey(launcher):
    words = ("-n", "2", "--cores-per-rank", "2", "--topology", "container-cpuset.xml")
    whole, drawing = plan(launcher, *words), draw(launcher, *words)
    allowed = members(whole["machine"]["allowed_cpus"])
    used = set().union(*(members(rank["cpus"]) for rank in whole["ranks"]))
    fills = {"used": set(), "idle": set(), "forbidden": set()}
    for core in drawing.kind("core"):
        cpus = name_of_a_core(drawing, core)
        fills["used" if cpus & used else "idle" if cpus & allowed else "forbidden"].add(core.fill)
    assert len(fills["idle"]) == len(fills["forbidden"]) == 1 and len(fills["used"]) == 2
    assert len(fills["idle"] | fills["forbidden"] | fills["used"]) == 4
    said = {text.words for text in drawing.texts}
    assert {"idle", "not allowed"} <= said
    assert not {"reserved", "held by another job", "slower core"} & said


def test_cores_of_another_job(launcher):
    cores = [members(rank["cpus"]) for rank in plan(launcher, "--per", "core")["ranks"]]
    if len(cores) < 2:
        pytest.skip("one core: none is left beside the other job's")
    held, free = (",".join(map(str, sorted(core))) for core in cores[:2])
    job = launcher.start("-n", "1", "--cpus", held, *launcher.python("print('up', flush=True); input()"), stdin=-1)
    assert job.stdout.readline() == "up\n"
    drawing = draw(launcher, "-n", "1", "--cpus", free)
    job.stdin.write("\n")
    job.stdin.flush()
    assert job.wait(60) == 0
    (core,) = [core for core in drawing.kind("core") if name_of_a_core(drawing, core) == cores[0]]
    assert (core.rank, core.fill) == (None, "#cfcfcf")
    assert "held by another job" in {text.words for text in drawing.texts}


def test_memory_without_cpus_is_at_its_host(launcher):
    words = ("--per", "numa", "--tier", "hbm", "--topology", "xeon-max-2s-flat.xml")
    whole, drawing = plan(launcher, *words), draw(launcher, *words)
    names = {}
    for box in [*drawing.kind("node"), *drawing.kind("memory")]:
        (name,) = [text.words for text in drawing.inside(box) if text.words.startswith("node ")]
        names[int(name[5:].partition(":")[0])] = (name, box)
    for node in whole["machine"]["nodes"]:
        name, box = names[node["number"]]
        host = names[node["host"]][1]
        assert ("HBM" in name) == (node["tier"] == "hbm")
        assert (box.left, box.right) == (host.left, host.right) and (box.top >= host.bottom or box == host)


def test_distances(launcher):
    words = ("-n", "6", "--topology", "xeon6-2s-snc3.xml")
    drawing = draw(launcher, *words)
    matrix = [int(text.words) for text in drawing.texts if text.kind == "distance"]
    assert matrix == [number for row in plan(launcher, *words)["machine"]["distances"] for number in row]
    edges = Counter(text.words for text in drawing.texts if text.kind == "edge")
    assert edges == {"12": 4, "21": 1}
    assert not [text for text in draw(launcher, "-n", "1", "--topology", "core:2").texts if text.kind]


def test_a_matrix_that_is_wider_than_the_machine(launcher, tmp_path):
    """One core, with a score of memories beside its own."""
    count = 21
    sets = 'cpuset="0x1" complete_cpuset="0x1" nodeset="0x1fffff" complete_nodeset="0x1fffff"'
    nodes = "".join(
        f'<object type="NUMANode" os_index="{i}" local_memory="1073741824" cpuset="0x1" complete_cpuset="0x1" '
        f'nodeset="{1 << i:#x}" complete_nodeset="{1 << i:#x}" gp_index="{i + 9}"/>'
        for i in range(count)
    )
    figures = " ".join("10" if i == j else "20" for i in range(count) for j in range(count)) + " "
    indexes = " ".join(map(str, range(count))) + " "
    (tmp_path / "x.xml").write_text(
        f'<topology version="2.0"><object type="Machine" os_index="0" {sets} gp_index="1" '
        'allowed_cpuset="0x1" allowed_nodeset="0x1fffff">'
        f'<object type="Package" os_index="0" {sets} gp_index="2">{nodes}'
        f'<object type="Core" os_index="0" {sets} gp_index="3"><object type="PU" os_index="0" {sets} gp_index="4"/>'
        "</object></object></object>"
        f'<distances2 type="NUMANode" nbobjs="{count}" kind="5" name="NUMALatency" indexing="os">'
        f'<indexes length="{len(indexes)}">{indexes}</indexes>'
        f'<u64values length="{len(figures)}">{figures}</u64values></distances2></topology>'
    )
    drawing = draw(launcher, "-n", "1", "--topology", str(tmp_path / "x.xml"))
    assert len([text for text in drawing.texts if text.kind == "distance"]) == count**2
    assert len(drawing.kind("memory")) == count - 1
    assert all(drawing.page.holds(thing) for thing in [*drawing.boxes, *drawing.texts])


def test_nothing_but_shapes_and_texts(launcher):
    """It may be shown on any page: no script, no link, nothing from elsewhere."""
    result = launcher.run("plan", "-n", "2", "--topology", SERVER, "--draw", "-")
    assert Drawing(result.stdout.encode()).tags == {"svg", "title", "defs", "pattern", "rect", "path", "text"}
    assert re.findall(r"\w+://[^\"]*", result.stdout) == ["http://www.w3.org/2000/svg"]


ODD_NAMES = [
    b"a<b>&\"'.xml",
    b"new\nline.xml",
    "größe-大.xml".encode(),
    "e\uffff-\ufffe.xml".encode(),
    b"\xff\xc3.xml",
    b"\x01\x7f.xml",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_with_odd_characters(launcher, tmp_path, name):
    (tmp_path / os.fsdecode(name)).write_bytes((TOPOLOGIES / "uneven.xml").read_bytes())
    result = launcher.run("plan", "-n", "1", "--draw", "-", "--topology", name, text=False)
    assert result.returncode == 0
    title = next(text for text in Drawing(result.stdout).texts if text.is_bold).words
    clean = "??.xml" if b"\xff" in name else re.sub(r"[\x00-\x1f\x7f\ufffe\uffff]", "?", name.decode())
    assert title == f"1 rank on {clean}"


def test_long_names_and_notes_stay_on_the_page(launcher):
    topology = "core:2(indexes=0,1) pu:1" + " " * 300
    drawing = draw(launcher, "-n", "9", "--topology", topology)
    assert all(drawing.page.holds(thing) for thing in [*drawing.boxes, *drawing.texts])
    assert any(text.words.startswith("9 ranks share") for text in drawing.texts)


def test_the_same_plan_gives_the_same_bytes(launcher, tmp_path):
    for name in ("a.svg", "b.svg"):
        launcher.run("plan", "-n", "3", "--topology", SERVER, "--draw", name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_the_picture_in_the_documentation(launcher, tmp_path):
    """Its command stands beside it; what that draws now is what is in the repository."""
    text = (ROOT / "docs" / "launcher.md").read_text()
    (command,) = re.findall(r"^shm-launch (plan .*) --draw docs/plan-example.svg$", text, re.MULTILINE)
    result = launcher.run(*command.split(), "--draw", str(tmp_path / "now.svg"), cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "now.svg").read_bytes() == (ROOT / "docs" / "plan-example.svg").read_bytes()


def test_a_file_and_the_table(launcher, tmp_path):
    result = launcher.run("-n", "2", "--dry-run", "--draw", "x.svg")
    assert result.returncode == 0 and result.stdout.startswith("This machine: ")
    Drawing((tmp_path / "x.svg").read_bytes())
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "x.svg").stat().st_mode) == 0o666 & ~mask


def test_drawn_at_the_start_of_a_job(launcher, tmp_path):
    result = launcher.run("-n", "1", "--draw", "x.svg", "ls")
    assert (result.returncode, result.stdout) == (0, "x.svg\n")


def test_a_link_is_followed_and_an_old_file_replaced(launcher, tmp_path):
    (tmp_path / "old.svg").write_text("old " * 9999)
    (tmp_path / "link.svg").symlink_to("old.svg")
    assert launcher.run("plan", "-n", "1", "--draw", "link.svg").returncode == 0
    assert (tmp_path / "link.svg").is_symlink()
    Drawing((tmp_path / "old.svg").read_bytes())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.svg", "old.svg"]


def test_a_file_of_another_kind_is_not_lost(launcher, tmp_path):
    (tmp_path / "work.py").write_text("print()")
    result = launcher.run("plan", "-n", "1", "--draw", "work.py")
    assert result.returncode == 2 and '"work.py" does not end in .svg' in result.stderr
    assert (tmp_path / "work.py").read_text() == "print()"
    assert launcher.run("plan", "-n", "1", "--draw", "X.SVG").returncode == 0


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("none/x.svg", "--draw: none/x.svg can't be written: No such file or directory"),
        (".", "--draw: . can't be written: Is a directory"),
        ("/dev/full", "--draw: /dev/full can't be written: No space left on device"),
        ("x" * 300 + ".svg", "can't be written: File name too long"),
    ],
)
def test_what_cannot_be_written_starts_nothing(launcher, tmp_path, path, said):
    result = launcher.run("-n", "1", "--draw", path, "touch", "started")
    assert result.returncode == 125
    assert said in result.stderr and result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_keeps_the_old_file(launcher, tmp_path):
    def allow_little():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    (tmp_path / "x.svg").write_text("old")
    result = launcher.run("plan", "-n", "1", "--draw", "x.svg", preexec_fn=allow_little)
    assert result.returncode == 125
    assert "--draw: x.svg can't be written: File too large" in result.stderr
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x.svg", "old")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-n", "1", "--draw", "-", "true"], "--draw - and what the ranks write would both go to standard output"),
        (["plan", "-n", "1", "--draw", "-", "--json"], "--draw - and --json would both"),
        (["plan", "--draw", "-n", "1"], '--draw needs a file, and "-n" looks like an option'),
        (["plan", "-n", "1", "--draw"], "--draw needs a value: --draw FILE.svg"),
        (["-n", "1", "--json", "true"], "--json shows a plan"),
        (["plan", "-n", "1", "--draw", "x.png"], '"x.png" does not end in .svg: name it so, or give - for'),
        (["-n", "1", "--draw", "x", "true"], '"x" does not end in .svg'),
    ],
)
def test_refused(launcher, words, said):
    result = launcher.run(*words)
    assert result.returncode == 2
    assert said in result.stderr and result.stderr.count("\n") == 1
