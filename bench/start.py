#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What starting and ending ranks that do nothing costs: shm-launch beside mpirun and torchrun, in turns.

    bench/start.py [-n 8] [--rounds 15] [--json FILE]

Each launcher runs `true` on N ranks. The figures are medians over the rounds; torchrun, which takes seconds,
has a fifth of them. The aim: at most 1/3 of mpirun's time and 1/20 of torchrun's. A launcher that is not here is
left out, and one that fails ends this with 1.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path


def commands(ranks: int) -> dict[str, list[str]]:
    beside = Path(sys.executable).parent
    found = {}
    words = {
        "shm-launch": ["-n", str(ranks), "true"],
        "mpirun": ["--oversubscribe", "-n", str(ranks), "true"],
        "torchrun": ["--no-python", "--nproc-per-node", str(ranks), "true"],
    }
    for name, arguments in words.items():
        program = os.environ.get("SHM_LAUNCH") if name == "shm-launch" else None
        program = program or shutil.which(name, path=f"{beside}:{os.environ['PATH']}")
        if program:
            found[name] = [program, *arguments]
        else:
            print(f"{name} is not here, and left out", file=sys.stderr)
    return found


def seconds(command: list[str]) -> float:
    # Root is who runs it in a container; mpirun wants to hear that.
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    start = time.perf_counter()
    result = subprocess.run(command, env=os.environ | allowed, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    taken = time.perf_counter() - start
    if result.returncode:
        sys.exit(f"{' '.join(command)} ended with {result.returncode}:\n{result.stderr}")
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-n", "--ranks", type=int, default=8, metavar="N")
    parser.add_argument("--rounds", type=int, default=15, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    contenders = commands(args.ranks)
    taken = {name: [] for name in contenders}
    for number in range(args.rounds):
        for name, command in contenders.items():
            if name != "torchrun" or number % 5 == 0:
                taken[name].append(seconds(command))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    print(f"{args.ranks} ranks of `true`, medians of {args.rounds} rounds")
    for name, median in medians.items():
        ratio = f"shm-launch takes {medians['shm-launch'] / median:.3f} of it" if name != "shm-launch" else ""
        print(f"{name:<12}{median * 1e3:>9.1f} ms   {ratio}".rstrip())
    if args.json:
        args.json.write_text(json.dumps({"ranks": args.ranks, "median_s": medians, "seconds": taken}, indent=1) + "\n")


if __name__ == "__main__":
    main()
