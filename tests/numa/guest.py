# SPDX-License-Identifier: Apache-2.0
"""Boots a guest, follows its serial console, and keeps what each check in it said."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from initramfs import find, single
from machines import Machine

LIMIT_S = 420  # of one guest; a quiet machine takes a quarter of it at most
EXIT_OFFSET = 16  # what guest_exit.c adds
log = logging.getLogger("numa")

BEGIN = re.compile(r"@begin (\S+)")
END = re.compile(r"@end (\S+) (\d+) (\S+)")


@dataclass
class Outcome:
    """Of one check: its exit code, None when it did not come to an end, and its lines."""

    code: int | None = None
    lines: list[str] = field(default_factory=list)


@dataclass
class Run:
    """Of a guest: the checks in it, all lines, and how it ended."""

    checks: dict[str, Outcome] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    ended: str = ""
    seconds: float = 0


def command(machine: Machine, kernel: Path, initrd: Path) -> list[str]:
    # One thread for all CPUs of the guest is several times as fast as one each where CPUs wait for each other.
    accelerator = os.environ.get("NUMA_TEST_ACCEL", "tcg,thread=single")
    append = f"console=ttyS0 panic=-1 quiet loglevel=3 numa_balancing=disable {machine.kernel_words}"
    return [
        *(str(find("qemu-system-x86_64")), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-machine", "q35", "-accel", accelerator, "-cpu", "max", "-kernel", str(kernel), "-initrd", str(initrd)),
        *("-append", append, "-serial", "stdio", "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"),
        *machine.arguments(),
    ]


def follow(stream, machine: Machine, run: Run) -> None:
    current: Outcome | None = None
    begun = time.monotonic()
    for line in stream:
        line = line.rstrip("\r\n")
        run.lines.append(line)
        if found := BEGIN.search(line):
            current = run.checks[found[1]] = Outcome()
        elif found := END.search(line):
            run.checks[found[1]].code = int(found[2])
            log.info(
                "%5.1f s  %s: %s %s",
                time.monotonic() - begun,
                machine.name,
                found[1],
                "passed" if found[2] == "0" else f"FAILED with {found[2]}",
            )
            current = None
        elif current:
            current.lines.append(line)


def how_ended(code: int, is_late: bool) -> str:
    if is_late:
        return f"killed after {LIMIT_S} s"
    if code == 2 * EXIT_OFFSET + 1:
        return ""
    if code & 1 and code > 2 * EXIT_OFFSET:
        return f"the guest's script ended with {(code >> 1) - EXIT_OFFSET}"
    return f"QEMU ended with {code}: the kernel panicked or was reset, or QEMU did not start"


def boot(machine: Machine, kernel: Path, base: bytes, checks: Path, folder: Path) -> Run:
    """Runs all that @checks, a shell script, has to one machine."""
    initrd = folder / f"{machine.name}.cpio"
    initrd.write_bytes(base + single("/checks", checks.read_bytes()))
    run, begun, is_late = Run(), time.monotonic(), threading.Event()
    log.info("%s: boots", machine.name)
    process = subprocess.Popen(
        command(machine, kernel, initrd),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )

    def end() -> None:
        is_late.set()
        process.kill()

    limit = threading.Timer(LIMIT_S, end)
    limit.start()
    try:
        follow(process.stdout, machine, run)
        run.ended = how_ended(process.wait(), is_late.is_set())
    finally:
        limit.cancel()
        process.kill()
        initrd.unlink()
    run.seconds = time.monotonic() - begun
    log.info("%s: %s after %.0f s", machine.name, run.ended or "done", run.seconds)
    return run
