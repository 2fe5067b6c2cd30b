# SPDX-License-Identifier: Apache-2.0
"""Packs the tests of kernels and boots them once, in a guest whose CPU has AVX-512."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "numa"))  # the kernel and the root file system are those of its guests

import bochs  # noqa: E402
import initramfs  # noqa: E402
from kernel import ROOT, Missing, kernel  # noqa: E402

BUILD = Path(os.environ.get("BOCHS_TEST_BUILD") or ROOT / "build" / "release")


def stripped(path: Path, folder: Path) -> Path:
    """A smaller one, since the BIOS reads them from the disk byte by byte."""
    if not path.exists():
        pytest.fail(f"not built: {path}; cmake --build {BUILD}")
    subprocess.run(["strip", "-o", str(folder / path.name), str(path)], check=True)
    return folder / path.name


@pytest.fixture(scope="session")
def guest(tmp_path_factory) -> bochs.Run:
    folder = tmp_path_factory.mktemp("bochs")
    setup = subprocess.run(
        [str(ROOT / "scripts" / "setup-debian.sh"), "requirements/bochs-debian.txt"], capture_output=True, text=True
    )
    try:
        bochs.require()
        image = kernel()
        tools = [BUILD / "tests" / "bochs" / name for name in ("bochs_exit", "f16c_ties")]
        programs = [BUILD / "tests" / name for name in bochs.PROGRAMS]
        packed = [stripped(path, folder) for path in [*programs, *tools]]
        names = "".join(f"{path.name}\n" for path in programs)
        initrd = initramfs.base(packed, [HERE / "init.sh"]) + initramfs.single("/programs", names.encode())
    except Missing as reason:
        pytest.skip(f"no Bochs: {reason}; {setup.stderr.strip()[-300:]}")
    return bochs.boot(folder, image, initrd)


def pytest_terminal_summary(terminalreporter) -> None:
    if bochs.covered:
        terminalreporter.section("kernels tested in Bochs")
        for line in bochs.covered:
            terminalreporter.write_line(line)
