# SPDX-License-Identifier: Apache-2.0
"""Plans that were read by a person once: every configuration on its machine, and 1 to 12 ranks on all machines."""

import difflib
import re

import golden
import pytest
from planning import CONFIGS, HERE, TOPOLOGIES, ask

NAMES = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
FILES = golden.golden_files(NAMES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_plan_is_the_golden_one(path):
    make, name = FILES[path]
    assert path.exists(), "write it with: python tests/configs/golden.py"
    before, now = path.read_text(), make(name)
    difference = difflib.unified_diff(
        before.splitlines(), now.splitlines(), str(path.relative_to(HERE)), "now", "", "", 1
    )
    assert now == before, "\n".join(["", *difference, "If this is right: python tests/configs/golden.py"])


def test_no_golden_plan_is_left_over():
    there = {path for path in golden.PLANS.rglob("*") if path.is_file()}
    assert there == set(FILES)


def test_there_are_enough_machines_and_every_configuration_has_one():
    machines = golden.topologies()
    assert len(machines) >= 15
    for name in NAMES:
        assert name in machines or golden.ELSEWHERE.get(name), f"{name} has no machine in {TOPOLOGIES}"


@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_explains_itself(name):
    text = (CONFIGS / f"{name}.yaml").read_text()
    assert text.startswith("# SPDX-License-Identifier: Apache-2.0\n")
    assert f"shm-launch --config {name} python" in text
    assert len(re.findall(r"^description: \S", text, re.MULTILINE)) == 1
    assert max(map(len, text.splitlines())) <= 102


@pytest.mark.parametrize("name", NAMES)
def test_by_name_and_by_path_are_the_same(name):
    machine = golden.topologies()[name if name in golden.topologies() else golden.ELSEWHERE[name][0]]
    by_name = ask("plan", "--config", name, "--topology", machine)
    by_path = ask("plan", "--config", str(CONFIGS / f"{name}.yaml"), "--topology", machine)
    assert by_name.returncode == by_path.returncode == 0, by_name.stderr
    assert by_name.stdout == by_path.stdout
