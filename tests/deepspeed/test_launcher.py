# SPDX-License-Identifier: Apache-2.0
"""examples/deepspeed_infer.py, as a user starts it with DeepSpeed's own launcher."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rankpool import free_port, rank_environment

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "deepspeed_infer.py"


def can_bind_memory() -> bool:
    """Containers may have numactl and yet not the system call."""
    if shutil.which("numactl") is None:
        return False
    return subprocess.run(["numactl", "-m", "0", "true"], capture_output=True).returncode == 0


def test_init_inference_under_the_launcher(tmp_path):
    if not can_bind_memory():
        pytest.skip("deepspeed --bind_cores_to_rank takes numactl, and memory that may be bound")
    # What no launcher has set yet.
    env = rank_environment(0, 1, "", 0) | {"DS_ACCELERATOR": "cpu"}
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_SIZE", "MASTER_ADDR", "MASTER_PORT", "SHMRT_JOB"):
        del env[name]
    env |= {"TORCH_EXTENSIONS_DIR": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    words = ["deepspeed", "--bind_cores_to_rank", "--num_accelerators", "2", "--master_port", str(free_port())]
    run = subprocess.run(
        [*words, str(EXAMPLE), "--new-tokens", "8"], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=400
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "tokens of the unsharded model: the same" in run.stdout
    # Two for each of four layers and one for the end, for each token.
    assert re.search(r"all-reduces through shmrt: (\d+)", run.stdout).group(1) == str(8 * (2 * 4 + 1))
    assert not list(tmp_path.iterdir())
