# SPDX-License-Identifier: Apache-2.0
"""torch's entry point: `import torch` makes "shmrt" known, loads nothing of ours, and never fails through us."""

import os
import subprocess
import sys

import pytest

ALONE = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}


def run(code: str, **variables: str) -> str:
    env = {k: v for k, v in os.environ.items() if not k.startswith("SHMRT_")} | ALONE | variables
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_torch_loads_nothing_of_ours():
    code = """
import sys, torch
assert torch.distributed.is_backend_available("shmrt")
assert "libshmrt" not in open("/proc/self/maps").read()
assert not [name for name in sys.modules if name.split(".")[0] == "shmrt"]
"""
    run(code)


def test_a_group_needs_no_import(tmp_path):
    code = """
import sys, torch, torch.distributed as dist
dist.init_process_group("cpu:shmrt")
assert dist.get_backend() == "shmrt" or "shmrt" in dist.get_backend_config(), dist.get_backend()
x = torch.ones(2)
dist.all_reduce(x)
import shmrt
assert shmrt.stats()["c10d"]["native"] == {"ALLREDUCE": 1}, shmrt.stats()
dist.destroy_process_group()
"""
    run(code)


@pytest.mark.parametrize("broken", ["raise ImportError('broken on purpose')", "raise KeyError('broken on purpose')"])
def test_a_broken_package_breaks_only_who_uses_it(tmp_path, broken):
    (tmp_path / "shmrt").mkdir()
    (tmp_path / "shmrt" / "__init__.py").write_text(broken)
    code = """
import torch, torch.distributed as dist
try:
    dist.init_process_group("shmrt")
except Exception as error:
    assert "broken on purpose" in str(error), error
else:
    raise AssertionError("nothing was raised")
dist.destroy_process_group() if dist.is_initialized() else None
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
"""
    run(code, PYTHONPATH=str(tmp_path))


def test_the_entry_point_never_raises():
    code = """
import shmrt_autoload, torch.distributed as dist
dist.Backend.register_backend = None  # of a torch.distributed that is not what we know
dist.Backend.backend_list = []
shmrt_autoload.register()
"""
    run(code)
