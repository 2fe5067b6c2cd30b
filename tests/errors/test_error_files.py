# SPDX-License-Identifier: Apache-2.0
"""Configurations and saved plans that shm-launch refuses: each whole message is that of a row of docs/errors.md."""

import json
import shutil
from pathlib import Path

import pytest
from error_table import assert_documented

PLACE = r"[^:]+:(\d+:\d+:)? "


def refused(launcher, words: str, *command: str, **options) -> None:
    result = launcher.run(*command, **options)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1), result.stderr
    assert_documented(words, result.stderr.rstrip("\n").removeprefix("shm-launch: "), "2", PLACE)


@pytest.mark.parametrize(
    ("words", "name"),
    [("a file is given as a path, ./{name}.yaml; known are", "nothing-such"), ("{file}: {why}", "./none.yaml")],
)
def test_names(launcher, words, name):
    (launcher.folder / "mine.yaml").write_text("per: socket\n")
    refused(launcher, words, "-n", "1", "--config", name, "true", env={"SHMRT_CONFIG_DIR": str(launcher.folder)})


def test_no_configurations(launcher):
    """A program that lies elsewhere finds none of those that were installed beside it."""
    launcher.binary = shutil.copy(Path(launcher.binary), launcher.folder / "shm-launch")
    if "known are" in launcher.run("-n", "1", "--config", "nothing-such", "true").stderr:
        pytest.skip("configurations are installed where every shm-launch looks")
    refused(launcher, "nor any other: SHMRT_CONFIG_DIR", "-n", "1", "--config", "nothing-such", "true")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("which no configuration needs; is it another file?", "#" * (1 << 20) + "\n"),
        ("the file says nothing; a line like", "# nothing\n"),
        ("are expected, one option each, with a blank after", "- per\n"),
        ("a configuration is plain text in UTF-8", b"per: \xff\n"),
        ("a tab cannot stand here; indent with spaces", "per:\n\tsocket\n"),
        ("this is not YAML:", "per: 'socket\n"),
        ("anchors (&{name}) are not used here", "per: &a socket\n"),
        ("tags ({tag}) are not used here", "per: !!str socket\n"),
        ("tags (%TAG) are not used here", "%TAG ! tag:x,2000:\n---\nper: socket\n"),
        ("aliases (*{name}) are not used here", "per: *a\n"),
        ("merge keys (<<) are not used here", "<<: {per: socket}\n"),
        ("has to be one word or number, not a list or a mapping", "per: [socket]\n"),
        ("{key} has a NUL character", 'per: "so\\0cket"\n'),
        ("is that line indented too far, or a bracket open?", "per: socket\n  mem: bind\n"),
        ("is YAML's word for nothing; leave the line out", "per: null\n"),
        ("belongs on the command line only", "dry-run: true\n"),
        ('unknown key "{key}"; did you mean', "pers: socket\n"),
        ('unknown key "{key}"; known are', "frobnicate: 1\n"),
        ("is here again; line {line} has it too", "per: socket\nper: numa\n"),
        ("{key}: {name} is here again", "env:\n  - A=1\n  - A=2\n"),
        ("write them as one word, such as 0-3,8", "cpus: [0, 1]\n"),
        ("is no name of a variable; lines here are NAME: value", "env:\n  A=B: 1\n"),
        ("a second document begins here; only one is read", "per: socket\n---\nper: numa\n"),
    ],
)
def test_configurations(launcher, words, text):
    (launcher.folder / "c.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    refused(launcher, words, "-n", "1", "--config", "./c.yaml", "true")


def test_a_bad_value(launcher):
    """Options' own messages stand behind the place and the key."""
    (launcher.folder / "c.yaml").write_text("strict: perhaps\n")
    result = launcher.run("-n", "1", "--config", "./c.yaml", "true")
    said = result.stderr.rstrip("\n").removeprefix("shm-launch: ")
    assert_documented("is neither true nor false", said, str(result.returncode), PLACE + "strict: ")


def test_a_long_variable(launcher):
    """Longer than a word of the command line may be, so only a configuration can say it."""
    (launcher.folder / "c.yaml").write_text("env:\n  A: " + "x" * 131072 + "\n")
    words = "its value has {bytes} bytes, and the kernel takes less"
    refused(launcher, words, "-n", "1", "--config", "./c.yaml", "true")


def saved(launcher) -> dict:
    return json.loads(launcher.run("plan", "-n", "2", "--json", "--topology", "pack:2 numa:1 core:2").stdout)


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("this is no plan that shm-launch plan --json has written", lambda plan: plan.clear()),
        ("this plan is of format {number}", lambda plan: plan.update(shm_launch_plan=99)),
        ("{where} has to be an object", lambda plan: plan["ranks"].append(7)),
        ("{where} is missing", lambda plan: plan.pop("machine")),
        ("{where} has to be {what}", lambda plan: plan.update(machine=7)),
        ("].rank has to be", lambda plan: plan["ranks"][1].update(rank=5)),
        ("{count} ranks are more than {most}", lambda plan: add_ranks(plan, 65)),
        ("machine.distances has to be {count} rows", lambda plan: plan["machine"].update(distances=[[10]])),
    ],
)
def test_plans(launcher, words, change):
    plan = saved(launcher)
    (launcher.folder / "a.json").write_text(json.dumps(plan))
    change(plan)
    (launcher.folder / "b.json").write_text(json.dumps(plan))
    refused(launcher, words, "plan", "--diff", "a.json", "b.json")


def add_ranks(plan: dict, count: int) -> None:
    plan["ranks"] = [plan["ranks"][0] | {"rank": number} for number in range(count)]
