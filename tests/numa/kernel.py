# SPDX-License-Identifier: Apache-2.0
"""The kernel of the guests: Debian's for virtual machines, downloaded and unpacked, not installed.

It has NUMA, HMAT, memory hotplug and cgroups built in, and boots without modules.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
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


def fetch(folder: Path) -> Path:
    """Into a folder of its own first: what lies in @folder is whole."""
    with tempfile.TemporaryDirectory(dir=folder) as here:
        output("apt-get", "download", current_package(), cwd=here)
        deb = next(Path(here).glob("*.deb"))
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as archive:
            words = ("tar", "-x", "-C", here, "--strip-components=2", "--wildcards", "./boot/vmlinuz-*")
            output(*words, stdin=archive.stdout)
        image = next(Path(here).glob("vmlinuz-*"))
        return image.rename(folder / image.name)


def kernel() -> Path:
    """The image that QEMU boots; raises Missing. NUMA_TEST_KERNEL names another one."""
    if given := os.environ.get("NUMA_TEST_KERNEL"):
        return Path(given)
    folder = cache_folder()
    if found := sorted(folder.glob("vmlinuz-*")):
        return found[-1]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return fetch(folder)
    except FileNotFoundError as error:
        raise Missing(f"{error.filename} is missing: this is not Debian or a relative of it") from error
    except subprocess.TimeoutExpired as error:
        raise Missing(f"{' '.join(error.cmd)} took longer than {LIMIT_S} s") from error
