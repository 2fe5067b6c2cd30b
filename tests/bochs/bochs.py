# SPDX-License-Identifier: Apache-2.0
"""Boots a guest in Bochs, an emulator of a CPU with AVX-512, from a disk that is made for it."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path

from initramfs import find
from kernel import Missing

LIMIT_S = 1500
KERNELS = ("test_choice", "test_semantics", "test_fpenv", "test_groups", "test_norm", "test_rungs")
PROGRAMS = ("coll/test_few", *(f"kernels/{name}" for name in KERNELS))  # of a build's tests
BOCHS = Path("/usr/bin/bochs-bin")
XORRISO = Path("/usr/bin/xorriso")
ISOLINUX = Path("/usr/lib/ISOLINUX/isolinux.bin")
LOADER = Path("/usr/lib/syslinux/modules/bios/ldlinux.c32")
BIOS = Path("/usr/share/bochs/BIOS-bochs-latest")
VGA_BIOS = Path("/usr/share/bochs/VGABIOS-lgpl-latest")

# Bochs gives compacted XSAVE areas a wrong size, and Linux would then do without AVX.
BOOT = """DEFAULT guest
PROMPT 0
TIMEOUT 1
LABEL guest
 KERNEL /vmlinuz
 APPEND initrd=/initrd console=ttyS0,115200 panic=-1 nokaslr mitigations=off loglevel=3 clearcpuid=xsavec,xsaves
"""

# unmapped: the port that ends the guest. sync=none: as fast as it goes.
MACHINE = """plugin_ctrl: unmapped=1
display_library: term
megs: 512
romimage: file={bios}
vgaromimage: file={vga_bios}
cpu: model=corei7_skylake_x, count=1, ips=100000000, reset_on_triple_fault=0
clock: sync=none, time0=utc
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path={disk}, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev={serial}
log: {log}
panic: action=fatal
error: action=ignore
info: action=ignore
"""

covered: list[str] = []  # what each program said of the kernels it tested


@dataclass
class Outcome:
    """Of one program: its exit code, None when it did not come to an end, and its lines."""

    code: int | None = None
    lines: list[str] = field(default_factory=list)


@dataclass
class Run:
    programs: dict[str, Outcome] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    ended: str = ""


def require() -> None:
    """Raises Missing where one of the packages is not there."""
    for path in (BOCHS, XORRISO, ISOLINUX, LOADER, BIOS, VGA_BIOS):
        if not path.exists():
            raise Missing(f"{path} is missing (requirements/bochs-debian.txt)")


def make_disk(folder: Path, kernel: Path, initrd: bytes) -> Path:
    content = folder / "disk"
    boot = content / "isolinux"
    boot.mkdir(parents=True)
    shutil.copy(ISOLINUX, boot)
    shutil.copy(LOADER, boot)
    (boot / "isolinux.cfg").write_text(BOOT)
    shutil.copy(kernel, content / "vmlinuz")
    (content / "initrd").write_bytes(initrd)
    disk = folder / "disk.iso"
    subprocess.run(
        [
            *(str(XORRISO), "-as", "mkisofs", "-quiet", "-o", str(disk)),
            *("-b", "isolinux/isolinux.bin", "-c", "isolinux/boot.cat"),
            *("-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", str(content)),
        ],
        check=True,
        capture_output=True,
    )
    return disk


def drain(terminal: int) -> None:
    """Bochs draws the guest's screen on a terminal, and waits where nobody reads it."""
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:  # it has ended
        pass


def start(folder: Path, disk: Path) -> str:
    """Runs the machine to its end; "" or how else it ended."""
    machine = folder / "bochsrc"
    places = {"bios": BIOS, "vga_bios": VGA_BIOS, "disk": disk, "serial": folder / "serial", "log": folder / "log"}
    machine.write_text(MACHINE.format(**places))
    commands = folder / "commands"
    commands.write_text("c\n")  # Debian's Bochs has a debugger, which waits for "continue"
    ours, its = pty.openpty()
    until_our_end = [str(find("setpriv")), "--pdeathsig", "KILL"]  # also where pytest is killed
    command = [*until_our_end, str(BOCHS), "-q", "-rc", str(commands), "-f", str(machine)]
    with subprocess.Popen(
        command, stdin=its, stdout=its, stderr=its, env={**os.environ, "TERM": "xterm"}, cwd=folder
    ) as process:
        os.close(its)
        reader = threading.Thread(target=drain, args=(ours,))
        reader.start()
        try:
            process.wait(LIMIT_S)
            ended = ""
        except subprocess.TimeoutExpired:
            ended = f"killed after {LIMIT_S} s"
        finally:
            process.kill()
            process.wait()
            reader.join()
            os.close(ours)
    return ended


def read(serial: Path) -> Run:
    run, current = Run(), None
    run.lines = serial.read_text(errors="replace").splitlines() if serial.exists() else []
    for line in run.lines:
        if found := re.search(r"@begin (\S+)", line):
            current = run.programs[found[1]] = Outcome()
        elif found := re.search(r"@end (\S+) (\d+)", line):
            run.programs[found[1]].code = int(found[2])
            current = None
        elif current:
            current.lines.append(line)
    return run


def boot(folder: Path, kernel: Path, initrd: bytes) -> Run:
    ended = start(folder, make_disk(folder, kernel, initrd))
    run = read(folder / "serial")
    run.ended = ended
    return run
