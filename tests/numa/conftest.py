# SPDX-License-Identifier: Apache-2.0
"""Builds what the guests run once, boots each guest once, and shows at the end what was seen in it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import guest
import initramfs
import pytest
from kernel import ROOT, Missing, kernel
from machines import Machine

HERE = Path(__file__).resolve().parent
PAGES = re.compile(r"pages rank (\d+) (\w+): (\d+) of (\d+) right")
runs: dict[str, guest.Run] = {}


def build_folder() -> Path:
    return Path(os.environ.get("NUMA_TEST_BUILD") or ROOT / "build" / "dev")


class Guests:
    """Each machine's run; it is booted when the first of its checks is asked for."""

    def __init__(self, folder: Path):
        self.folder = folder
        built = build_folder()
        made = built / "tests" / "numa"
        programs = [made / name for name in ("numa_rank", "numa_pages", "guest_exit", "no_mbind")]
        programs.append(built / "launcher" / "shm-launch")
        missing = [str(path) for path in programs if not path.exists()]
        if missing:
            pytest.fail(f"not built: {', '.join(missing)}; cmake --build {built} --target numa_guest")
        try:
            programs += [initramfs.find("numactl"), initramfs.find("taskset")]
            initramfs.find("qemu-system-x86_64")
            self.base = initramfs.base(programs, sorted((HERE / "guest").glob("*.sh")))
            self.kernel = kernel()
        except Missing as reason:
            pytest.skip(f"no guests: {reason}")

    def run(self, machine: Machine) -> guest.Run:
        if machine.name not in runs:
            checks = HERE / "checks" / f"{machine.name}.sh"
            runs[machine.name] = guest.boot(machine, self.kernel, self.base, checks, self.folder)
        return runs[machine.name]


@pytest.fixture(scope="session")
def guests(tmp_path_factory) -> Guests:
    return Guests(tmp_path_factory.mktemp("guests"))


def tally(lines: list[str]) -> str:
    """Pages of each kind on the right node, over all ranks."""
    sums: dict[str, list[int]] = {}
    for line in lines:
        if found := PAGES.search(line):
            right, there = sums.setdefault(found[2], [0, 0])
            sums[found[2]] = [right + int(found[3]), there + int(found[4])]
    return ", ".join(f"{kind} {right}/{there}" for kind, (right, there) in sums.items())


def pytest_terminal_summary(terminalreporter) -> None:
    if not runs:
        return
    terminalreporter.section("pages on their owner's node")
    for name, run in runs.items():
        terminalreporter.write_line(f"{name}: {run.seconds:.0f} s")
        for check, outcome in run.checks.items():
            terminalreporter.write_line(f"  {check:32} {tally(outcome.lines)}")
