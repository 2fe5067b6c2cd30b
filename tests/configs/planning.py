# SPDX-License-Identifier: Apache-2.0
"""What the tests of configurations and plans share: asking shm-launch, and nothing of this machine's environment.

The binary is $SHM_LAUNCH, or shm-launch on PATH.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

LIMIT_S = 60
HERE = Path(__file__).parent
CONFIGS = HERE.parents[1] / "configs"
TOPOLOGIES = HERE / "topologies"


def binary() -> str:
    found = os.environ.get("SHM_LAUNCH") or shutil.which("shm-launch")
    if not found or not Path(found).exists():
        raise RuntimeError("shm-launch is neither in SHM_LAUNCH nor on PATH: build and install it first")
    return str(Path(found).resolve())


def ask(*words: str, cwd: Path = HERE, env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LD_LIBRARY_PATH", "ASAN_OPTIONS") if key in os.environ}
    return subprocess.run(
        [binary(), *words], cwd=cwd, env=kept | (env or {}), capture_output=True, text=True, timeout=LIMIT_S
    )
