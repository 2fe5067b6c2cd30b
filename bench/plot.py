#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws what shm-bench wrote with --json: time and bandwidth against size, for every contender.

shm-bench-plot RESULTS.json PICTURE.svg      (or .png, .pdf; - reads standard input)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

WIDTHS = {"library": 2.4, "peer": 1.6, "floor": 1.2, "probe": 0.9}
COMPOSITE = "floor: remote_write + remote_read + memcpy / 2"
STYLES = {"library": "o-", "peer": "s-", "floor": "--", "probe": ":"}


def fail(text: str) -> None:
    sys.exit(f"shm-bench-plot: {text}")


def size_text(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:g} {unit}"
        size /= 1024
    return f"{size:g} GiB"


def series_of(report: dict) -> dict[str, dict]:
    """Contender -> kind, sizes, medians, best times, bytes moved; sizes ascending."""
    found: dict[str, dict] = {}
    for row in report["results"]:
        one = found.setdefault(
            row["contender"], {"kind": row["kind"], "bytes": [], "median": [], "best": [], "moved": []}
        )
        one["bytes"].append(row["bytes"])
        one["median"].append(row["median_us"])
        one["best"].append(row["best_us"])
        one["moved"].append(row["moved_bytes"])
    return found


def title_of(report: dict) -> str:
    o, machine, library = report["options"], report["machine"], report["library"]
    state = "in place" if o["in_place"] else "out of place"
    where = {True: " in shared memory", "both": ", private and shared"}.get(o["shared"], "")
    return (
        f"{o['collective']}, {o['op']} of {o['dtype']}, {o['ranks']} ranks of {library['lanes']} lane(s), "
        f"{state}, {o['buffers']} buffers{where}\n{machine['cpu']}, {machine['cores']} cores, "
        f"shmrt {library['version']} ({library['kernel']})"
    )


def add_floor(series: dict[str, dict], report: dict) -> None:
    rows = [row for row in report["ratios"] if row["floor_us"] and row["contender"] == "shmrt"]
    if rows:
        series[COMPOSITE] = {
            "kind": "floor",
            "bytes": [row["bytes"] for row in rows],
            "median": [row["floor_us"] for row in rows],
            "best": [row["floor_us"] for row in rows],
            "moved": [0] * len(rows),
        }


def draw(report: dict, picture: str) -> None:
    try:
        import matplotlib
    except ImportError:
        fail("no picture without matplotlib: pip install matplotlib (it is in requirements/dev.txt)")
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.fonttype"] = "none"  # words stay words
    from matplotlib import pyplot

    series = series_of(report)
    add_floor(series, report)
    figure, (times, rates) = pyplot.subplots(1, 2, figsize=(15, 7.5), layout="constrained")
    colors: dict[str, str] = {"shmrt": "black", COMPOSITE: "dimgray", "shmrt_shared": "crimson"}
    for name, one in series.items():
        kind = one["kind"]
        # What the probe measures again has the colour of what it checks.
        color = colors.setdefault(name.removeprefix("probe."), f"C{(len(colors) - 3) % 10}")
        look = {"lw": WIDTHS[kind], "ms": 4, "color": color, "label": name}
        if len(one["bytes"]) == 1:
            look["marker"] = "o"
        times.plot(one["bytes"], one["median"], STYLES[kind], **look)
        if kind == "library":
            times.fill_between(one["bytes"], one["best"], one["median"], color=color, alpha=0.15)
        if any(one["moved"]):
            rate = [moved / us / 1e3 for moved, us in zip(one["moved"], one["median"], strict=True)]
            rates.plot(one["bytes"], rate, STYLES[kind], **look)
    sizes = sorted({row["bytes"] for row in report["results"]})
    for axes, what in ((times, "time of a call, us (median; shaded down to the best)"), (rates, "GB/s of a rank")):
        axes.set_yscale("log")
        if sizes[0] > 0:
            axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [size_text(size) for size in sizes], rotation=45)
        axes.minorticks_off()
        axes.set_xlabel("size of a block")
        axes.set_ylabel(what)
        axes.grid(alpha=0.3)
    handles, labels = times.get_legend_handles_labels()
    figure.legend(handles, labels, fontsize="small", loc="outside lower center", ncols=4)
    figure.suptitle(title_of(report), fontsize="medium")
    figure.savefig(picture)


def main() -> None:
    if len(sys.argv) != 3 or sys.argv[1] in ("-h", "--help"):
        print(__doc__.strip())
        sys.exit(0 if len(sys.argv) == 2 and sys.argv[1] in ("-h", "--help") else 2)
    source, picture = sys.argv[1:]
    try:
        report = json.loads(sys.stdin.read() if source == "-" else Path(source).read_text())
        if not report["results"]:
            fail(f"{source} holds no results")
        draw(report, picture)
    except (OSError, ValueError, KeyError, TypeError) as error:
        fail(f"{source}: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
