# SPDX-License-Identifier: Apache-2.0
"""Containers' surroundings, in a mount namespace of the child's own: /sys or /proc not mounted, a small /dev/shm or
none, a root that is read-only. For root, and in a user namespace for anyone, where the child then is user 1000."""

import ctypes
import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable

NEW_MOUNTS, NEW_USER = 0x20000, 0x10000000
BIND, RECURSIVE, PRIVATE = 1 << 12, 1 << 14, 1 << 18
SYS_MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, READ_ONLY = 442, -100, 0x8000, 1

libc = ctypes.CDLL(None, use_errno=True)


def check(outcome: int, what: str) -> None:
    if outcome != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def mount(source: str, target: str, kind: str = "", flags: int = 0, words: str = "") -> None:
    texts = [text.encode() or None for text in (source, target, kind, words)]
    check(libc.mount(*texts[:3], ctypes.c_ulong(flags), texts[3]), f"mounting {target}")


def no_sys() -> None:
    mount("none", "/sys", "tmpfs", words="mode=755")


def no_proc() -> None:
    mount("none", "/proc", "tmpfs", words="mode=755")


def small_shm() -> None:
    mount("none", "/dev/shm", "tmpfs", words="size=64m")


def no_shm() -> None:
    """A /dev of four devices."""
    folder = tempfile.mkdtemp()
    mount("none", folder, "tmpfs", words="mode=755")
    for name in ("null", "zero", "random", "urandom"):
        with open(f"{folder}/{name}", "w"):
            mount(f"/dev/{name}", f"{folder}/{name}", flags=BIND)
    mount(folder, "/dev", flags=BIND | RECURSIVE)
    check(libc.umount2(folder.encode(), 2), "unmounting")
    os.rmdir(folder)


def read_only_root() -> None:
    """/tmp too, and all else that is mounted."""
    attributes = (ctypes.c_uint64 * 4)(READ_ONLY, 0, 0, 0)
    outcome = libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, b"/", AT_RECURSIVE, attributes, ctypes.sizeof(attributes))
    check(outcome, "making / read-only")


def enter(rootless: bool) -> None:
    user, group = os.getuid(), os.getgid()
    check(libc.unshare(NEW_MOUNTS | (NEW_USER if rootless else 0)), "unshare")
    if rootless:
        for name, words in (("setgroups", "deny"), ("uid_map", f"1000 {user} 1"), ("gid_map", f"1000 {group} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(words)
    mount("none", "/", flags=RECURSIVE | PRIVATE)


def inside(*changes: Callable[[], None], rootless: bool) -> Callable[[], None]:
    """A preexec_fn that starts the child there; `changes` are done in their order."""

    def prepare() -> None:
        enter(rootless)
        for change in changes:
            change()

    return prepare


@functools.cache
def why_not(rootless: bool) -> str:
    """Why this machine lets no one have such surroundings; empty where it does."""
    if not rootless and os.getuid() != 0:
        return "only root may mount without a user namespace"
    code = "import surroundings as s; s.enter({}); s.no_shm(); s.no_sys(); s.no_proc(); s.read_only_root()"
    words = [sys.executable, "-c", code.format(rootless)]
    tried = subprocess.run(words, cwd=os.path.dirname(__file__), capture_output=True, text=True)
    return "" if tried.returncode == 0 else tried.stderr.strip().splitlines()[-1]
