# SPDX-License-Identifier: Apache-2.0
"""The guests' root file system: busybox, programs with the libraries that they use here, and scripts, as the
cpio archive ("newc") that Linux unpacks at its start. Archives may follow each other in one file."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from pathlib import Path

from kernel import Missing

FOLDER, PROGRAM, FILE, LINK = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o755, stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777
FOLDERS = ("proc", "sys", "dev", "tmp", "root", "etc", "bin")


def entry(name: str, mode: int, content: bytes, number: int) -> bytes:
    path = name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = (number, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(path), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + path
    return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)


class Archive:
    def __init__(self) -> None:
        self.parts: dict[str, tuple[int, bytes]] = {}

    def add(self, name: str, mode: int, content: bytes = b"") -> None:
        """A file at an absolute path, and the folders above it."""
        name = name.lstrip("/")
        for parent in reversed(Path(name).parents[:-1]):
            self.parts.setdefault(str(parent), (FOLDER, b""))
        self.parts[name] = (mode, content)

    def add_program(self, path: Path) -> None:
        """Into /bin, with its libraries at the paths that they have here."""
        self.add(f"/bin/{path.name}", PROGRAM, path.read_bytes())
        said = subprocess.run(["ldd", str(path)], capture_output=True, text=True)
        for library in re.findall(r"(?:=> |^\s+)(/\S+)", said.stdout, re.MULTILINE):
            self.add(library, PROGRAM, Path(library).read_bytes())

    def bytes(self) -> bytes:
        parts = [entry(name, mode, content, i + 1) for i, (name, (mode, content)) in enumerate(self.parts.items())]
        whole = b"".join(parts) + entry("TRAILER!!!", 0, b"", 0)
        return whole + bytes(-len(whole) % 512)


def find(program: str) -> Path:
    path = shutil.which(program, path="/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin")
    if not path:
        raise Missing(f"{program} is not installed (requirements/debian-emulators.txt)")
    return Path(path).resolve()


def base(programs: list[Path], scripts: list[Path]) -> bytes:
    """What all guests share. @scripts lie in the root folder; /init starts."""
    archive = Archive()
    for folder in FOLDERS:
        archive.add(folder, FOLDER)
    busybox = find("busybox")
    for applet in subprocess.run([str(busybox), "--list"], capture_output=True, text=True).stdout.split():
        archive.add(f"/bin/{applet}", LINK, b"busybox")
    archive.add("/bin/busybox", PROGRAM, busybox.read_bytes())  # which it lists too
    for program in programs:
        archive.add_program(program)
    for script in scripts:
        archive.add(f"/{script.stem}", PROGRAM, script.read_bytes())
    return archive.bytes()


def single(name: str, content: bytes) -> bytes:
    archive = Archive()
    archive.add(name, FILE, content)
    return archive.bytes()
