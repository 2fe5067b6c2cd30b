#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""All-reduce across "machines" beside flat Gloo, in turns, with the bytes that the machines sent.

python tests/machines/measure.py --mbit 1000 --places 0,0,2,2 --sizes 4K,256K,4M,32M --dtype float32
"""

import argparse
import statistics
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "torch")]

import across  # noqa: E402
from conftest import PLACES, Cast  # noqa: E402

UNITS = {"K": 1 << 10, "M": 1 << 20}
BYTES = {"float32": 4, "bfloat16": 2}


def processes(places: list[int]) -> list[int]:
    """Of the cluster's processes, one for each of these places."""
    free = list(range(len(PLACES)))
    chosen = []
    for place in places:
        number = next(n for n in free if PLACES[n] == place)
        free.remove(number)
        chosen.append(number)
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mbit", type=int, help="what each machine may send, Mbit/s; no limit by default")
    parser.add_argument("--places", default="0,0,2,2", help=f"the machine of each rank, out of {PLACES}")
    parser.add_argument("--sizes", default="4K,64K,1M,8M")
    parser.add_argument("--dtype", choices=BYTES, default="float32")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    cast = Cast()
    try:
        ranks = cast.job(processes([int(place) for place in chosen.places.split(",")]))
        print("machines:", ranks.call(across.join)[0], "Mbit/s:", chosen.mbit or "unlimited", chosen.dtype)
        ranks.call(across.join_gloo)
        cast.cluster.limit(chosen.mbit)
        print("| size | shmrt, ms | flat Gloo, ms | Gloo / shmrt | bytes a machine sends, of the size: shmrt | Gloo |")
        print("|---|---|---|---|---|---|")
        for text in chosen.sizes.split(","):
            size = int(text[:-1]) * UNITS[text[-1]]
            print(row(ranks, cast.cluster, text, size, chosen.dtype, chosen.rounds), flush=True)
        ranks.call(across.leave_gloo)
    finally:
        cast.close()


def row(ranks, cluster, text: str, size: int, dtype: str, rounds: int) -> str:
    seconds, sent = across.in_turns(ranks, cluster, size // BYTES[dtype], dtype, rounds)
    ratio = statistics.median(g / s for g, s in zip(seconds["gloo"], seconds["shmrt"], strict=True))
    ms = {engine: statistics.median(found) * 1e3 for engine, found in seconds.items()}
    share = {engine: max(found) / size for engine, found in sent.items()}
    figures = [ms["shmrt"], ms["gloo"], ratio, share["shmrt"], share["gloo"]]
    return f"| {text}iB | " + " | ".join(f"{figure:.2f}" for figure in figures) + " |"


if __name__ == "__main__":
    main()
