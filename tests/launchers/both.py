# SPDX-License-Identifier: Apache-2.0
"""The two programs of examples/launchers in one process, since importing PyTorch takes longest."""

import runpy
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "examples" / "launchers"

for name in ("all_reduce.py", "process_group.py"):
    print(f"{name}:", end=" ", flush=True)
    runpy.run_path(str(FOLDER / name), run_name="__main__")
sys.stdout.flush()
