# SPDX-License-Identifier: Apache-2.0
"""The kernel of the guests: Debian's for virtual machines, downloaded and unpacked, not installed.

It has NUMA, HMAT, memory hotplug and cgroups built in, and boots without modules.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

PACKAGE = "linux-image-cloud-amd64"
LIMIT_S = 300
ROOT = Path(__file__).resolve().parents[2]


class Missing(Exception):
    """What cannot be had here, and why; the tests are skipped with it."""


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or ROOT / ".cache") / "shmrt" / "guest-kernel"


def output(*words: str, **options) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S, **options)
    if done.returncode != 0:
        raise Missing(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def current_package() -> str:
    """The package that the one without a version in its name stands for."""
    pattern = re.compile(r"Depends: (linux-image-\d\S*)")
    found = pattern.search(output("apt-cache", "depends", PACKAGE))
    if not found and os.geteuid() == 0:
        output("apt-get", "update")
        found = pattern.search(output("apt-cache", "depends", PACKAGE))
    if not found:
        raise Missing(f"no {PACKAGE} in apt's lists: run apt-get update as root")
    return found[1]


def unpack(deb: Path, folder: Path) -> None:
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as archive:
        output(
            "tar",
            "-x",
            "-C",
            str(folder),
            "--strip-components=2",
            "--wildcards",
            "./boot/vmlinuz-*",
            stdin=archive.stdout,
        )
    deb.unlink()


def kernel() -> Path:
    """The image that QEMU boots; raises Missing. KERNEL names another one."""
    if given := os.environ.get("NUMA_TEST_KERNEL"):
        return Path(given)
    folder = cache_folder()
    if found := sorted(folder.glob("vmlinuz-*")):
        return found[-1]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        output("apt-get", "download", current_package(), cwd=folder)
    except FileNotFoundError as error:
        raise Missing(f"{error.filename} is missing: this is not Debian or a relative of it") from error
    unpack(next(folder.glob("*.deb")), folder)
    return next(folder.glob("vmlinuz-*"))
